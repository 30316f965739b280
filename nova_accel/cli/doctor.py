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
"""``nova-accel doctor``: does everybody say the same about this host?"""

import argparse
import collections.abc
import dataclasses
import functools
import sys
import typing as ty

from nova_accel.cli import document
from nova_accel.cli import onhost
from nova_accel.cli import outcome
from nova_accel.cli import text
from nova_accel.core import facts
from nova_accel.core import invariant

if ty.TYPE_CHECKING:
    from nova_accel.cli import visit

NAME = 'doctor'
HELP = 'find out where nova, Placement, guests and devices disagree'
DESCRIPTION = """\
Ask four witnesses about this compute host and show where they disagree:
nova's records (what each server holds), Placement (what is allocated and
offered), the hypervisor's guests (what is attached), and the devices. All is
well when every allocation has exactly one claim, every claim one device in
one guest, every mediated device of ours a claim, every claim a server, and
the amounts in Placement follow from claims and devices.

To be run on the compute host, as a user who may read nova.conf and talk to
libvirt (nova or root): it uses the message bus, the credentials and the
whitelist that nova-compute uses there. nova-compute may be running or not.
It reads only, unless --fix is given. Servers that nova is at work on are left
out, and whatever is found is looked at twice.
"""
EPILOG = """\
what --fix repairs:
  mdev-without-claim            destroys the mediated device
  allocation-of-deleted-server  deletes what the server had allocated
  request-spec-differs          lets it ask for what is attached
Everything else is left, and the output says why: nova-compute does it by
itself, or a server would be affected.

examples:
  nova-accel doctor
  nova-accel doctor --fix
  nova-accel doctor -f json | jq '.findings[].kind'
  nova-accel doctor --nova-conf /etc/nova/nova-cpu.conf

exit codes:
  0  healthy, or everything found was repaired
  1  findings
  2  cannot look: nova.conf or the whitelist is wrong, or libvirt, Placement
     or nova-conductor does not answer; wrong usage
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--fix',
        action='store_true',
        help='repair what is safe, and say what was left and why',
    )
    parser.add_argument(
        '--timeout',
        metavar='SECONDS',
        type=_seconds,
        default=onhost.SECONDS,
        help='give up after that long (default: %(default)s)',
    )
    onhost.add_arguments(parser)


def _seconds(value: str) -> int:
    if not value.isdecimal() or not int(value):
        raise argparse.ArgumentTypeError(f'{value!r} is no number above 0')
    return int(value)


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """What was found on a host, and what became of it.

    :ivar outcomes: one for each finding under --fix, else none.
    """

    facts: facts.Facts
    findings: tuple[invariant.Finding, ...]
    outcomes: tuple[invariant.Outcome, ...] = ()

    @property
    def healthy(self) -> bool:
        """Nothing was found, or nothing of it is left."""
        done = {each.finding for each in self.outcomes if each.done}
        return done.issuperset(self.findings)


def run(args: argparse.Namespace) -> int:
    """Look; 1 if anything is not well, 2 if nothing could be seen."""
    return onhost.run(
        args,
        perform,
        read_only=not args.fix,
        seconds=args.timeout,
        blind=functools.partial(_blind, args),
    )


def perform(here: 'visit.Visit', args: argparse.Namespace) -> int:
    """Do what the arguments say on a host."""
    return show(examine(here, args.fix), args.format)


def _blind(args: argparse.Namespace, reason: str) -> int:
    if args.format == 'json':
        document.dump({'ok': False, 'failure': reason, 'findings': []})
    return onhost.cannot_look(reason)


def examine(here: 'visit.Visit', fix: bool) -> Diagnosis:
    """Look at a host, and repair what is safe if that is wanted."""
    found, findings = here.findings()
    outcomes = here.treat(findings) if fix else ()
    return Diagnosis(found, findings, outcomes)


def show(diagnosis: Diagnosis, form: str) -> int:
    """Print a diagnosis and return the exit code."""
    if form == 'json':
        document.dump(_document(diagnosis))
    else:
        _print(diagnosis)
    return outcome.OK if diagnosis.healthy else outcome.PROBLEM


def _document(diagnosis: Diagnosis) -> dict[str, ty.Any]:
    found = diagnosis.facts
    return {
        'ok': diagnosis.healthy,
        'failure': None,
        'node': {'name': found.node.name, 'uuid': found.node.uuid},
        'seen': _seen(found),
        'findings': [
            {
                **dataclasses.asdict(finding),
                'provider_name': _provider(found, finding) or None,
                'advice': finding.advice,
                'repair': _repair(diagnosis, finding),
            }
            for finding in diagnosis.findings
        ],
    }


def _seen(found: facts.Facts) -> dict[str, int]:
    return {
        'servers': sum(bool(server.claims) for server in found.servers),
        'providers': len(found.providers),
        'guests': len(found.guests),
        'mdevs': len(found.ours),
    }


def _provider(found: facts.Facts, finding: invariant.Finding) -> str:
    placed = found.providers.get(finding.provider)
    return placed.name if placed else finding.provider


def _repair(
    diagnosis: Diagnosis, finding: invariant.Finding
) -> dict[str, ty.Any] | None:
    for each in diagnosis.outcomes:
        if each.finding == finding:
            return {'done': each.done, 'text': each.text}
    return None


_TITLES = ('#', 'Finding', 'Device', 'Server', 'Provider', 'Repair')


def _print(diagnosis: Diagnosis) -> None:
    from nova_accel.cli import render

    found, findings = diagnosis.facts, diagnosis.findings
    screen = render.Screen(sys.stdout)
    seen = _seen(found)
    screen.line(
        f'Host {found.node.name}: '
        f'{text.count(seen["providers"], "provider")}, '
        f'{text.count(seen["servers"], "server")} with claims, '
        f'{text.count(seen["guests"], "guest")}, '
        f'{text.count(seen["mdevs"], "mediated device")} of ours.'
    )
    if not findings:
        screen.line('Healthy: they all say the same.')
        return
    screen.line()
    screen.table(_TITLES, _rows(diagnosis))
    for number, finding in enumerate(findings, 1):
        screen.line()
        screen.line(f'{number}. {finding.text}.')
        screen.line(f'   {_what_next(diagnosis, finding)}.')
    screen.line()
    screen.line(_summary(diagnosis))


def _rows(
    diagnosis: Diagnosis,
) -> collections.abc.Iterator[tuple[str, ...]]:
    for number, finding in enumerate(diagnosis.findings, 1):
        repair = _repair(diagnosis, finding)
        yield (
            str(number),
            finding.kind,
            finding.device,
            finding.server,
            _provider(diagnosis.facts, finding),
            '' if repair is None else ('done' if repair['done'] else 'left'),
        )


def _what_next(diagnosis: Diagnosis, finding: invariant.Finding) -> str:
    repair = _repair(diagnosis, finding)
    if repair is None:
        return f'To do: {finding.advice}'
    if repair['done']:
        return f'Done: {repair["text"]}'
    return f'Left, since {repair["text"]}. To do: {finding.advice}'


def _summary(diagnosis: Diagnosis) -> str:
    number = text.count(len(diagnosis.findings), 'finding')
    if not diagnosis.outcomes:
        return f'{number}. Nothing was changed; --fix repairs what is safe.'
    done = sum(each.done for each in diagnosis.outcomes)
    return f'{number}, {done} repaired, {len(diagnosis.outcomes) - done} left.'
