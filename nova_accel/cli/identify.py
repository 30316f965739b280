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
"""``nova-accel identify``: which device is which, and how that is known."""

import argparse
import collections.abc
import sys
import typing as ty

from nova_accel.cli import document
from nova_accel.cli import onhost
from nova_accel.cli import outcome
from nova_accel.cli import survey
from nova_accel.core import whereabouts

if ty.TYPE_CHECKING:
    from nova_accel.cli import visit

NAME = 'identify'
HELP = 'show which device is which, and what cannot be decided'
DESCRIPTION = """\
Show every device that the whitelist of this compute host names or that
Placement remembers:

  Stable id   what it goes by, whatever its address
  Known by    what that was made from: serial, slot, path or address
  Address     where it is now; Was at: where Placement saw it last
  State       in service, or what keeps it out
  Held by     how many servers hold something of it

Below the table it says what cannot be decided and why, and of each device
that is remembered and not here what it may be now. "nova-accel remap OLD NEW"
takes the decision.

To be run on the compute host, as a user who may read nova.conf and talk to
libvirt (nova or root). It reads only. nova-compute may be running or not.
"""
EPILOG = """\
examples:
  nova-accel identify
  nova-accel identify -f json | jq '.devices[] | select(.candidates != [])'

exit codes:
  0  every device is known, and here
  1  something is not here, or cannot be decided
  2  cannot look: nova.conf or the whitelist is wrong, or libvirt, Placement
     or nova-conductor does not answer; wrong usage
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    onhost.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Look and print; 1 if anything is away or open, 2 if nothing is seen."""
    return onhost.run(args, perform)


def perform(here: 'visit.Visit', args: argparse.Namespace) -> int:
    """Show what is where on a host."""
    return show(whereabouts.entries(*here.recognised()), args.format)


def show(
    entries: collections.abc.Sequence[whereabouts.Entry], form: str
) -> int:
    """Print what is where and return the exit code."""
    ok = all(entry.place == whereabouts.HERE for entry in entries)
    if form == 'json':
        document.dump(
            {'ok': ok, 'devices': [_record(entry) for entry in entries]}
        )
    else:
        _print(entries)
    return outcome.OK if ok else outcome.PROBLEM


def _record(entry: whereabouts.Entry) -> dict[str, ty.Any]:
    return {
        'id': entry.id or None,
        'known_by': survey.source(entry.id) or None,
        'place': entry.place,
        'address': entry.address or None,
        'address_before': entry.before or None,
        'device': entry.label or None,
        'state': entry.state,
        'provider': entry.provider or None,
        'provider_name': entry.provider_name or None,
        'servers': list(entry.servers),
        'why': entry.why or None,
        'candidates': list(entry.candidates),
    }


TITLES = (
    'Stable id',
    'Known by',
    'Address',
    'Was at',
    'Device',
    'State',
    'Held by',
)


def _print(entries: collections.abc.Sequence[whereabouts.Entry]) -> None:
    from nova_accel.cli import render

    screen = render.Screen(sys.stdout)
    screen.table(TITLES, map(_row, entries))
    for entry in entries:
        if entry.place == whereabouts.WITHHELD:
            screen.line()
            screen.line(f'{entry.address} is withheld: {entry.why}.')
    for entry in entries:
        if entry.place == whereabouts.AWAY:
            _print_lost(screen, entry)


def _row(entry: whereabouts.Entry) -> tuple[str, ...]:
    return (
        entry.id or 'none',
        survey.source(entry.id),
        entry.address or 'not here',
        entry.before,
        entry.label,
        entry.state,
        str(len(entry.servers) or ''),
    )


def _print_lost(screen: ty.Any, entry: whereabouts.Entry) -> None:
    screen.line()
    name = entry.id or f'A device of {entry.provider_name}'
    screen.line(f'{name} is not here: {entry.why}.')
    for server in entry.servers:
        screen.line(f'  Held by server {server}, which does not start.')
    if entry.id and not entry.candidates:
        screen.line('  Nothing here may be it.')
    for candidate in entry.candidates:
        screen.line(
            f'  If it is {candidate}: nova-accel remap {entry.id} {candidate}'
        )
