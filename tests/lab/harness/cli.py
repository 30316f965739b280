# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.
"""The commands of the lab."""

import argparse
import collections.abc
import sys
import time

from tests.lab.harness import agent
from tests.lab.harness import cloud
from tests.lab.harness import errors
from tests.lab.harness import lab
from tests.lab.harness import machine
from tests.lab.harness import runner
from tests.lab.harness import settings
from tests.lab.harness import topology


class Clock:
    """Tells how long each step took."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def say(self, text: str) -> None:
        passed = time.monotonic() - self._start
        print(f'{passed:6.1f} s  {text}', flush=True)


def up(about: settings.Settings, options: argparse.Namespace) -> int:
    """Start the machine, the control plane and nova-compute."""
    lab.Lab(about, Clock().say).up(options.topology)
    return 0


def down(about: settings.Settings, _options: argparse.Namespace) -> int:
    """End everything the lab has started."""
    lab.Lab(about).down()
    return 0


def test(about: settings.Settings, options: argparse.Namespace) -> int:
    """Run scenarios; what was not up before is down again afterwards."""
    box = lab.Lab(about, Clock().say)
    started = box.host is None
    try:
        if started:
            box.up('mixed')
        if options.fault:
            _restart(box, options.fault)
        return 0 if runner.run(about, options.name) else 1
    finally:
        if options.fault and not started:
            _restart(box, '')
        if started:
            box.down()


def _restart(box: lab.Lab, fault: str) -> None:
    box.compute.stop()
    box.restart_compute(fault)


def status(about: settings.Settings, _options: argparse.Namespace) -> int:
    """Say what runs; exit code 1 if the machine does not."""
    box = machine.Machine(about)
    print(f'state    {about.state}')
    print(f'machine  {box.daemon.pid or "-"}')
    for name, pid in cloud.Cloud(about).running.items():
        print(f'{name:8} {pid or "-"}')
    answers = box.daemon.pid is not None and box.agent.answers()
    print(f'agent    {"answers" if answers else "-"}')
    return 0 if answers else 1


def shell(about: settings.Settings, options: argparse.Namespace) -> int:
    """Open a terminal inside the machine, or run a command there."""
    client: agent.Agent = machine.Machine(about).agent
    if not options.command:
        client.shell()
        return 0
    result = client.run(' '.join(options.command), timeout=600)
    sys.stdout.write(result.output)
    return result.code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='lab', description='A GPU host in a box, without a GPU.'
    )
    verbs = parser.add_subparsers(dest='verb', required=True)
    starts = verbs.add_parser('up', help=up.__doc__)
    starts.set_defaults(run=up)
    starts.add_argument(
        '--topology',
        default='mixed',
        help=f'one of {", ".join(topology.names())}, or a file',
    )
    verbs.add_parser('down', help=down.__doc__).set_defaults(run=down)
    verbs.add_parser('status', help=status.__doc__).set_defaults(run=status)
    tests = verbs.add_parser('test', help=test.__doc__)
    tests.set_defaults(run=test)
    tests.add_argument('name', nargs='?', default='')
    tests.add_argument('--fault', help='with one fault in the driver')
    asks = verbs.add_parser('shell', help=shell.__doc__)
    asks.set_defaults(run=shell)
    asks.add_argument('command', nargs='*')
    return parser


def main(arguments: collections.abc.Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        about = settings.Settings(settings.default_state())
        return int(options.run(about, options))
    except errors.LabError as exc:
        print(f'lab: {exc}', file=sys.stderr)
        return 1


if __name__ == '__main__':
    sys.exit(main())
