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
"""The commands of the cloud."""

import argparse
import collections.abc
import contextlib
import sys

from tests.cloud.harness import cloud
from tests.cloud.harness import driverless
from tests.cloud.harness import leftovers
from tests.cloud.harness import rounds
from tests.cloud.harness import settings
from tests.cloud.harness import trials
from tests.cloud.harness import workspace
from tests.lab.harness import errors
from tests.lab.harness import telling


def up(about: settings.Settings, _options: argparse.Namespace) -> int:
    """Start the cloud."""
    cloud.Cloud(about, telling.Clock().say).up()
    print(f'credentials: . {workspace.write_openrc(about)}')
    return 0


def down(about: settings.Settings, _options: argparse.Namespace) -> int:
    """End everything that the cloud has started; look that it has."""
    box = cloud.Cloud(about)
    box.down()
    left = leftovers.wait(about)
    for one in left:
        print(f'still there: {one}', file=sys.stderr)
    return 1 if left else 0


def status(about: settings.Settings, _options: argparse.Namespace) -> int:
    """Say what runs and reports; exit code 1 if anything does not."""
    box = cloud.Cloud(about)
    print(f'{"folder":16} {about.state}')
    running = box.running
    for name, pid in running.items():
        print(f'{name:16} {pid or "-"}')
    beats = box.api.beats() if box.is_up else {}
    for name in box.hosts:
        print(f'{name:16} {"reports" if name in beats else "-"}')
    well = all(running.values()) and set(beats) >= set(box.hosts)
    return 0 if well else 1


def test(about: settings.Settings, options: argparse.Namespace) -> int:
    """Run tempest; what was not up before is down again afterwards."""
    with _up(about) as box:
        return trials.run(box, trials.chosen(options), options.minutes)


def control(about: settings.Settings, options: argparse.Namespace) -> int:
    """Run tempest on drivers that do not work; write tools/tempest-lists."""
    with _up(about) as box:
        return driverless.control(box, options)


def blame(about: settings.Settings, options: argparse.Namespace) -> int:
    """Plant each fault in the driver; say which tests notice it."""
    with _up(about) as box:
        return driverless.blame(box, options.fault)


def claim(about: settings.Settings, options: argparse.Namespace) -> int:
    """Let several claim the last unit, again and again; count winners."""
    with _up(about) as box:
        return rounds.play(box, options.rounds, options.write, options.again)


@contextlib.contextmanager
def _up(about: settings.Settings) -> collections.abc.Iterator[cloud.Cloud]:
    box = cloud.Cloud(about, telling.Clock().say)
    started = not box.is_up
    try:
        if started:
            box.up()
        yield box
    finally:
        if started:
            box.down()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='cloud', description='A real cloud on one machine.'
    )
    verbs = parser.add_subparsers(dest='verb', required=True)
    for verb in (up, down, status):
        found = verbs.add_parser(verb.__name__, help=verb.__doc__)
        found.set_defaults(run=verb)
    runs = verbs.add_parser('test', help=test.__doc__)
    runs.set_defaults(run=test)
    trials.add_options(runs)
    controls = verbs.add_parser('control', help=control.__doc__)
    controls.set_defaults(run=control)
    driverless.add_options(controls)
    blames = verbs.add_parser('blame', help=blame.__doc__)
    blames.set_defaults(run=blame)
    blames.add_argument('fault', nargs='*', help='default: every one')
    claims = verbs.add_parser('claim', help=claim.__doc__)
    claims.set_defaults(run=claim)
    claims.add_argument('--rounds', type=int, default=1000, help='of each')
    claims.add_argument(
        '--write',
        action='store_true',
        help='complete the table of the manual to so many',
    )
    claims.add_argument(
        '--again', action='store_true', help='begin that table anew'
    )
    return parser


def main(arguments: collections.abc.Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        about = settings.Settings(settings.default_state())
        return int(options.run(about, options))
    except errors.LabError as exc:
        print(f'cloud: {exc}', file=sys.stderr)
        return 1


if __name__ == '__main__':
    sys.exit(main())
