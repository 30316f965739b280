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
"""``nova-accel``: what an operator runs on a terminal."""

import argparse
import collections.abc
import io
import os
import signal
import sys

from nova_accel.cli import check
from nova_accel.cli import device
from nova_accel.cli import devices
from nova_accel.cli import doctor
from nova_accel.cli import identify
from nova_accel.cli import migrate
from nova_accel.cli import outcome
from nova_accel.cli import remap
from nova_accel.cli import status

# In the order in which one uses them. A command is a module with NAME, HELP,
# DESCRIPTION, EPILOG, add_arguments(parser) and run(args), which returns the
# exit code.
COMMANDS = (
    devices,
    check,
    migrate,
    status,
    doctor,
    device,
    identify,
    remap,
)

DESCRIPTION = """\
Look at a compute host the way the nova_accel compute driver does: which
accelerators it has, which of them the whitelist offers, and what nova's
scheduler will see. Reads only; changes nothing, needs no OpenStack service
and no credentials. Works on any libvirt connection, local or remote. Only
doctor, device, identify and remap ask nova and Placement, on the compute host
itself; device, remap --apply and doctor --fix change something there.
"""

EPILOG = """\
typical sequence:
  1. nova-accel devices
         see what the host has
  2. nova-accel devices --suggest > accel.yaml
         start a whitelist, then edit it
  3. nova-accel check --config accel.yaml
         see what it would offer, and what it would not, and why
  4. install it as /etc/nova/accel.yaml and restart nova-compute
  5. create the flavors that check has printed
  6. nova-accel doctor
         see whether nova, Placement, guests and devices agree, any time
  7. nova-accel identify
         after any change of hardware: see which device is which

exit codes:
  0  all is well
  1  the whitelist or the host is not: the messages say what to do
  2  wrong usage; doctor: it could not look

examples:
  nova-accel devices --connect qemu+ssh://host1.example/system
  nova-accel check --config accel.yaml --connect qemu+ssh://host1.example/system
  nova-accel check --strict -f json | jq .withheld

'nova-accel COMMAND --help' explains a command.
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='nova-accel',
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        '--version', action=_Version, nargs=0, help='print the version'
    )
    commands = parser.add_subparsers(
        title='commands', metavar='COMMAND', dest='command', required=True
    )
    for command in COMMANDS:
        below = commands.add_parser(
            command.NAME,
            help=command.HELP,
            description=command.DESCRIPTION,
            epilog=command.EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        command.add_arguments(below)
        below.set_defaults(run=command.run)
    return parser


class _Version(argparse.Action):
    """Looks the version up when asked only: it takes a while."""

    def __call__(
        self, parser: argparse.ArgumentParser, *_args: object
    ) -> None:
        from importlib import metadata

        print(parser.prog, metadata.version('nova-accel'))
        parser.exit()


def run(argv: collections.abc.Sequence[str]) -> int:
    """Run one command.

    :returns: the exit code.
    :raises SystemExit: for wrong usage, --help and --version.
    """
    args = build_parser().parse_args(argv)
    code: int = args.run(args)
    sys.stdout.flush()
    return code


def main() -> int:
    """Be the console script."""
    # Ctrl-C ends it at once, also inside of libvirt, and so does a reader
    # that has seen enough (| head): both without a word.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors='backslashreplace')
    try:
        return run(sys.argv[1:])
    except OSError as error:
        # What is left in the buffer would fail once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        outcome.complain(f'cannot write: {error.strerror or error}')
        return outcome.PROBLEM
