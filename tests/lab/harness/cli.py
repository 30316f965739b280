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
from tests.lab.harness import kernel
from tests.lab.harness import machine
from tests.lab.harness import settings
from tests.lab.harness import topology


class Clock:
    """Tells how long each step took."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def say(self, text: str) -> None:
        passed = time.monotonic() - self._start
        print(f'{passed:6.1f} s  {text}', flush=True)


def up(lab: settings.Settings, options: argparse.Namespace) -> int:
    """Boot the machine and insert the topology's cards."""
    clock = Clock()
    host = topology.load(options.topology)
    linux = kernel.ensure(lab)
    clock.say(f'kernel {linux.version} and labgpu are there')
    box = machine.Machine(lab)
    uptime = box.boot(linux, host)
    clock.say(f'libvirt answers inside ({uptime:.1f} s after the kernel)')
    box.insert(*host.cards)
    functions = [
        topology.node_device(address)
        for drive in host.nvme
        if drive.vfs
        for address in box.enable_nvme(drive)
    ]
    box.wait_listed([*host.listed, *functions])
    clock.say(f'{host.name}: {len(host.cards)} cards are there')
    return 0


def down(lab: settings.Settings, _options: argparse.Namespace) -> int:
    """End everything the lab has started."""
    machine.Machine(lab).stop()
    cloud.Cloud(lab).stop()
    return 0


def status(lab: settings.Settings, _options: argparse.Namespace) -> int:
    """Say what runs; exit code 1 if the machine does not."""
    box = machine.Machine(lab)
    print(f'state    {lab.state}')
    print(f'machine  {box.daemon.pid or "-"}')
    answers = box.daemon.pid is not None and box.agent.answers()
    print(f'agent    {"answers" if answers else "-"}')
    return 0 if answers else 1


def shell(lab: settings.Settings, options: argparse.Namespace) -> int:
    """Open a terminal inside the machine, or run a command there."""
    client: agent.Agent = machine.Machine(lab).agent
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
    asks = verbs.add_parser('shell', help=shell.__doc__)
    asks.set_defaults(run=shell)
    asks.add_argument('command', nargs='*')
    return parser


def main(arguments: collections.abc.Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        lab = settings.Settings(settings.default_state())
        return int(options.run(lab, options))
    except errors.LabError as exc:
        print(f'lab: {exc}', file=sys.stderr)
        return 1


if __name__ == '__main__':
    sys.exit(main())
