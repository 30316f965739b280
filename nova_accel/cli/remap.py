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
"""``nova-accel remap``: an operator says which device is which."""

import argparse
import typing as ty

from nova_accel.cli import device
from nova_accel.cli import document
from nova_accel.cli import onhost
from nova_accel.cli import outcome
from nova_accel.cli import text
from nova_accel.core import remapping
from nova_accel import exception

if ty.TYPE_CHECKING:
    from nova_accel.cli import visit

NAME = 'remap'
HELP = 'say that a device that is here is one that seems to be lost'
DESCRIPTION = """\
Let the card that is found as NEW go by OLD from now on: the card that gained
a serial number or lost it, sits in another slot and has no serial number, or
was put in the place of one that broke. Servers that hold OLD get that card
when they are started. Provider, inventories, allocations and claims stay; a
trait of the provider of OLD says so, and outlives a restart and the loss of
the host's disk. A card that tells OLD itself is a new device after that.

Checked before anything is written: OLD is remembered and not here, NEW is
here, of the same make, told from others by more than its address, named by
the whitelist, and held by nobody; it has all that servers hold of OLD; and
none of these servers runs.

Without --apply it only says what would be done. To be run on the compute
host, as a user who may read nova.conf and talk to libvirt (nova or root).
nova-compute is told at once; if it does not answer, it obeys when it starts.
"""
EPILOG = """\
OLD is a stable id of "nova-accel identify", or the beginning of one; NEW a
stable id or a PCI address of today.

examples:
  nova-accel remap slot:3:10de-20b0 sn:1322621070001
  nova-accel remap sn:1322621070001 0000:3b:00.0 --apply

exit codes:
  0  done, or could be
  1  it must not be; the message says why
  2  cannot look: nova.conf or the whitelist is wrong, or libvirt, Placement
     or nova-conductor does not answer; wrong usage
  3  written, but nova-compute did not answer
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('old', metavar='OLD', help='the id that seems lost')
    parser.add_argument('new', metavar='NEW', help='the card that it is')
    parser.add_argument(
        '--apply',
        action='store_true',
        help='write it; without, only say what would be written',
    )
    onhost.add_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Check, and write if that is wanted."""
    return onhost.run(args, perform)


def perform(here: 'visit.Visit', args: argparse.Namespace) -> int:
    """Do what the arguments say on a host."""
    try:
        plan = remapping.plan(*here.recognised(), args.old, args.new)
        changes = here.remap(plan, dry_run=not args.apply)
    except (
        exception.NoSuchDevice,
        exception.NotRemapped,
        exception.NotWritten,
    ) as error:
        outcome.complain(str(error))
        return outcome.PROBLEM
    _report(args, plan, changes)
    return device.tell(here) if args.apply else outcome.OK


def _report(
    args: argparse.Namespace,
    plan: remapping.Plan,
    changes: dict[str, tuple[frozenset[str], frozenset[str]]],
) -> None:
    if args.format == 'json':
        document.dump(
            {
                'old': plan.old,
                'new': plan.new,
                'address': plan.address,
                'device': plan.label,
                'provider': plan.provider,
                'provider_name': plan.provider_name,
                'servers': list(plan.servers),
                'changes': {
                    provider: {'set': sorted(more), 'unset': sorted(less)}
                    for provider, (more, less) in changes.items()
                },
                'applied': args.apply,
            }
        )
        return
    goes = 'goes' if args.apply else 'would go'
    print(f'{plan.label} at {plan.address}, found as {plan.new},')
    print(f'{goes} by {plan.old}.')
    print(f'Provider {plan.provider_name} and all claims stay.')
    for server in plan.servers:
        print(f'Server {server} gets it when it is started.')
    if not args.apply:
        number = sum(bool(more | less) for more, less in changes.values())
        print(
            f'Nothing was written; --apply writes the traits of '
            f'{text.count(number, "provider")}.'
        )
