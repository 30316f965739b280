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
import contextlib
import math
import sys
import time

from tests.lab.harness import agent
from tests.lab.harness import cloud
from tests.lab.harness import errors
from tests.lab.harness import faults
from tests.lab.harness import lab
from tests.lab.harness import machine
from tests.lab.harness import runner
from tests.lab.harness import settings
from tests.lab.harness import telling
from tests.lab.harness import topology


def up(about: settings.Settings, options: argparse.Namespace) -> int:
    """Start the machine, the control plane and nova-compute."""
    lab.Lab(about, telling.Clock().say).up(options.topology)
    return 0


def down(about: settings.Settings, _options: argparse.Namespace) -> int:
    """End everything the lab has started."""
    lab.Lab(about).down()
    return 0


def test(about: settings.Settings, options: argparse.Namespace) -> int:
    """Run scenarios; what was not up before is down again afterwards."""
    deadline = time.monotonic() + (60 * options.minutes or math.inf)
    with _up(about) as box:
        try:
            if options.fault:
                box.host.reset(options.fault)
            outcomes = runner.run(about, options.name, options.core, deadline)
        finally:
            if options.fault:
                box.host.reset()
    runner.print_totals(outcomes)
    return 1 if any(one.failed for one in outcomes) else 0


def blame(about: settings.Settings, options: argparse.Namespace) -> int:
    """Plant each fault in the driver; say which scenario notices it."""
    rows: list[tuple[str, runner.Outcome]] = []
    with _up(about) as box:
        for name in options.fault or faults.FAULTS:
            box.host.reset(name)
            found = runner.run(about, faults.FAULTS[name].caught_by)
            rows += ((name, one) for one in found)
        box.host.reset()
    print(f'\n{"fault":16} {"scenario":58} noticed')
    for fault, one in rows:
        print(f'{fault:16} {one.name:58} {"yes" if one.failed else "NO"}')
    return 0 if all(one.failed for _fault, one in rows) else 1


@contextlib.contextmanager
def _up(about: settings.Settings) -> collections.abc.Iterator[lab.Lab]:
    """Give the lab; one that did not run before is ended afterwards."""
    box = lab.Lab(about, telling.Clock().say)
    started = box.hardware is None
    try:
        if started:
            box.up('mixed')
        yield box
    finally:
        if started:
            box.down()


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
    tests.add_argument('name', nargs='*', help='parts of names; default: all')
    tests.add_argument('--core', action='store_true', help='the short set')
    tests.add_argument(
        '--if-possible',
        action='store_true',
        help='where this machine does not allow it, say so and succeed',
    )
    tests.add_argument(
        '--minutes',
        type=float,
        default=0,
        help='begin no scenario later than this after the start',
    )
    tests.add_argument('--fault', help='with one fault in the driver')
    blames = verbs.add_parser('blame', help=blame.__doc__)
    blames.set_defaults(run=blame)
    blames.add_argument('fault', nargs='*', help='default: every one')
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
