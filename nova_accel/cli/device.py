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
"""``nova-accel device``: which devices are in service, and the word on it."""

import argparse
import collections.abc
import contextlib
import signal
import sys
import typing as ty

from nova_accel.cli import document
from nova_accel.cli import onhost
from nova_accel.cli import outcome
from nova_accel.cli import survey
from nova_accel.core import states
from nova_accel import exception

if ty.TYPE_CHECKING:
    from nova_accel.cli import visit
    from nova_accel.virt import wards

NAME = 'device'
HELP = 'show which devices are in service, drain them, enable them'
DESCRIPTION = """\
Show the state of each device that this compute host offers, and change it:

  list         all devices, their state, and how many servers hold them
  show ID      one device, and the servers that hold something of it
  drain ID     nobody gets it any more; servers keep what they have of it
  enable ID    take back whatever keeps it out of service; what its rule
               says under prepare: is done first
  clean ID     clean it again, after that has failed; --done: it is clean
  rescan       have nova-compute look at all devices now

ID is a stable id or the beginning of one, or a PCI address of today.

To be run on the compute host, as a user who may read nova.conf and talk to
libvirt (nova or root). The word on a device is kept in Placement, as a trait
of its provider, and outlives a restart and the loss of the host's disk.
nova-compute is told at once; if it does not answer, it obeys when it starts.
"""
EPILOG = """\
examples:
  nova-accel device list
  nova-accel device drain sn:1322621070001 --dry-run
  nova-accel device enable 0000:3b:00.0
  nova-accel device clean 0000:3b:00.0 --done
  nova-accel device list -f json | jq '.devices[] | select(.in_service | not)'

exit codes:
  0  done, or listed
  1  there is no such device, it could not be prepared or cleaned, or
     Placement did not take it
  2  cannot look: nova.conf or the whitelist is wrong, or libvirt, Placement
     or nova-conductor does not answer; wrong usage
  3  written, but nova-compute did not answer
"""

LIST, SHOW, RESCAN = 'list', 'show', 'rescan'
DRAIN, ENABLE, CLEAN = 'drain', 'enable', 'clean'
NOT_TOLD = 3
_ANSWER_SECONDS = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        'action',
        choices=(LIST, SHOW, DRAIN, ENABLE, CLEAN, RESCAN),
        help='what to do',
    )
    parser.add_argument(
        'device',
        metavar='ID',
        nargs='?',
        help='stable id, the beginning of one, or PCI address',
    )
    parser.add_argument(
        '--done',
        action='store_true',
        help='with clean: it was cleaned by other means, take my word for it',
    )
    parser.add_argument(
        '--dry-run',
        action='store_true',
        help='say what would be written, and write nothing',
    )
    onhost.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Do it; 2 if nothing could be seen."""
    if (args.device is None) == (args.action not in (LIST, RESCAN)):
        outcome.complain(
            f'{args.action} needs the ID of a device'
            if args.device is None
            else f'{args.action} takes no ID'
        )
        return outcome.USAGE
    if args.done and args.action != CLEAN:
        outcome.complain('--done goes with clean')
        return outcome.USAGE
    return onhost.run(args, perform)


def perform(here: 'visit.Visit', args: argparse.Namespace) -> int:
    """Do what the arguments say on a host."""
    from nova_accel.virt import wards

    try:
        if args.action == RESCAN:
            return _rescan(here, args)
        listed = here.wards()
        if args.action == LIST:
            return _show(args, listed)
        ward = wards.find(listed, args.device)
        if args.action == SHOW:
            return _show(args, [ward], servers=True)
        if args.action == CLEAN:
            return _clean(here, args, ward)
        verb = _verb(args.action, ward)
        more, less = wards.say(
            here.context, here.client, ward, verb, args.dry_run
        )
    except (exception.NoSuchDevice, exception.NotWritten) as error:
        outcome.complain(str(error))
        return outcome.PROBLEM
    if args.dry_run or args.action != ENABLE:
        _report(args, ward, more, less)
        return outcome.OK if args.dry_run else tell(here)
    with _patiently():
        failure, reasons = here.attend(ward.id, _ANSWER_SECONDS)
    _report(args, ward, more, less, reasons)
    return _judged(failure, reasons)


def _verb(action: str, ward: 'wards.Ward') -> str:
    """Return what is said: of one that servers hold, nothing is prepared."""
    prepared = states.PREPARED in ward.marks and bool(ward.servers)
    return 'enable_in_use' if action == ENABLE and prepared else action


def _clean(
    here: 'visit.Visit', args: argparse.Namespace, ward: 'wards.Ward'
) -> int:
    """Have nova-compute clean a device, or take an operator's word."""
    reason = ''
    if states.CLEANING not in ward.marks:
        reason = 'nothing of it waits to be cleaned'
    elif not (args.done or ward.cleanable):
        reason = f'rule {ward.rule} does not say clean:; add --done if it is'
    if reason:
        outcome.complain(f'{ward.id}: {reason}')
        return outcome.PROBLEM
    reasons: list[str] = []
    failure = None
    if not args.dry_run and args.done:
        failure = here.declare_clean(ward.id, _ANSWER_SECONDS)
    elif not args.dry_run:
        with _patiently():
            failure, reasons = here.attend(
                ward.id, _ANSWER_SECONDS, again=True
            )
    if args.format == 'json':
        document.dump(
            {
                'device': ward.id,
                'provider': ward.provider,
                'cleaned': not (args.dry_run or failure or reasons),
                'failures': reasons,
                'dry_run': args.dry_run,
            }
        )
    elif args.dry_run:
        print(f'{ward.id} would be cleaned')
    elif not (failure or reasons):
        print(f'{ward.id} is clean')
    return _judged(failure, reasons)


@contextlib.contextmanager
def _patiently() -> collections.abc.Iterator[None]:
    """Wait for a command of the operator's, which has a time of its own."""
    left = signal.alarm(0)
    try:
        yield
    finally:
        signal.alarm(left)


def _judged(
    failure: str | None, reasons: collections.abc.Iterable[str]
) -> int:
    """Say what went wrong, and how bad that is."""
    for reason in reasons:
        outcome.complain(reason)
    if failure is not None:
        outcome.complain(f'nova-compute does not answer: {failure}')
        return NOT_TOLD
    return outcome.PROBLEM if reasons else outcome.OK


def _show(
    args: argparse.Namespace,
    listed: 'collections.abc.Iterable[wards.Ward]',
    servers: bool = False,
) -> int:
    if args.format == 'json':
        document.dump({'devices': [_record(ward) for ward in listed]})
        return outcome.OK
    from nova_accel.cli import render

    screen = render.Screen(sys.stdout)
    screen.table(TITLES, map(_row, listed))
    for ward in listed if servers else ():
        for reason in ward.reasons:
            screen.line(f'Why: {reason}')
        for server in ward.servers:
            screen.line(f'Held by server {server}')
    return outcome.OK


TITLES = ('Stable id', 'Known by', 'Address', 'Device', 'State', 'Servers')


def _row(ward: 'wards.Ward') -> tuple[str, ...]:
    return (
        ward.id,
        survey.source(ward.id),
        ward.address,
        ward.label,
        ward.state,
        str(len(ward.servers) or ''),
    )


def _record(ward: 'wards.Ward') -> dict[str, ty.Any]:
    return {
        'id': ward.id,
        'known_by': survey.source(ward.id),
        'address': ward.address,
        'device': ward.label,
        'rule': ward.rule,
        'provider': ward.provider,
        'provider_name': ward.provider_name,
        'state': ward.state,
        'marks': sorted(ward.marks),
        'reasons': list(ward.reasons),
        'in_service': ward.in_service,
        'servers': list(ward.servers),
    }


def _report(
    args: argparse.Namespace,
    ward: 'wards.Ward',
    more: collections.abc.Iterable[str],
    less: collections.abc.Iterable[str],
    failures: collections.abc.Iterable[str] = (),
) -> None:
    if args.format == 'json':
        document.dump(
            {
                'device': ward.id,
                'provider': ward.provider,
                'set': sorted(more),
                'unset': sorted(less),
                'failures': list(failures),
                'dry_run': args.dry_run,
            }
        )
        return
    would = 'would be ' if args.dry_run else ''
    for traits, what in ((more, 'set'), (less, 'taken back')):
        for trait in sorted(traits):
            print(f'{trait} {would}{what} on {ward.provider_name}')
    if not (more or less):
        print(f'{ward.id}: nothing to change')


def _rescan(here: 'visit.Visit', args: argparse.Namespace) -> int:
    code = outcome.OK if args.dry_run else tell(here, discover=True)
    if args.format == 'json':
        document.dump({'ok': code == outcome.OK, 'dry_run': args.dry_run})
    elif args.dry_run:
        print('nova-compute would look at all devices')
    return code


def tell(here: 'visit.Visit', discover: bool = False) -> int:
    """Have nova-compute go by what Placement says; 3 if it is silent."""
    failure = here.tell(discover, _ANSWER_SECONDS)
    if failure is None:
        return outcome.OK
    outcome.complain(
        f'nova-compute does not answer: {failure}; it obeys when it starts'
    )
    return NOT_TOLD
