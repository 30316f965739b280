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
"""Who has the devices now, and what becomes of them at the first start."""

import collections.abc
import dataclasses

from nova_accel.core import adoption
from nova_accel.core import device
from nova_accel.core import inventory
from nova_accel.core import snapshot


@dataclasses.dataclass(frozen=True)
class Use:
    """One device that one guest has.

    :ivar device: uuid of a mediated device, or PCI address.
    :ivar where: the unit that it becomes, or that it has to leave.
    :ivar stays: the guest keeps it; otherwise nova-compute does not start.
    :ivar reason: why it does not stay, '' if it does.
    """

    server: str
    running: bool
    device: str
    where: str
    stays: bool = True
    reason: str = ''


@dataclasses.dataclass(frozen=True)
class Usage:
    """All that is in use of what a plan is about.

    :ivar idle: libvirt's names of mediated devices that no guest has.
    """

    uses: tuple[Use, ...] = ()
    idle: tuple[str, ...] = ()

    @property
    def blocked(self) -> tuple[Use, ...]:
        return tuple(use for use in self.uses if not use.stays)


def find(
    now: snapshot.Snapshot, guests: collections.abc.Iterable[device.Guest]
) -> Usage:
    """Find out who has what, and what becomes of it.

    :param now: the host under the rules of the plan.
    """
    ordered = sorted(guests, key=lambda guest: guest.server)
    running = {guest.server: guest.running for guest in ordered}
    adopted, misfits = adoption.adopt(
        now, [adoption.Guest(g.server, g.devices) for g in ordered]
    )
    uses = [
        Use(one.server, running[one.server], one.mdev, one.claim.unit)
        for one in adopted
    ]
    uses += [
        Use(
            one.server,
            running[one.server],
            one.mdev.uuid,
            one.mdev.parent,
            False,
            one.reason,
        )
        for one in misfits
    ]
    uses += _functions(now.offer, ordered)
    return Usage(
        tuple(sorted(uses, key=lambda use: (use.server, use.device))),
        tuple(_idle(now, ordered)),
    )


_REASON = (
    'it came with a PCI request (an alias of the flavor, or a port), which '
    'nova alone can take back: resize the server to the new flavor first'
)


def _functions(
    offer: inventory.Offer, guests: collections.abc.Sequence[device.Guest]
) -> collections.abc.Iterator[Use]:
    given = {
        str(unit.function.address): stock.resource_class
        for pool in offer.pools
        for stock in pool.stocks
        if stock.model is None
        for unit in stock.units
    }
    for guest in guests:
        for address in sorted(guest.devices & given.keys()):
            yield Use(
                guest.server,
                guest.running,
                address,
                given[address],
                False,
                _REASON,
            )


def _idle(
    now: snapshot.Snapshot, guests: collections.abc.Sequence[device.Guest]
) -> collections.abc.Iterator[str]:
    """Mediated devices of our cards that take room and serve nobody."""
    used = {name for guest in guests for name in guest.devices}
    cards = {
        dev.name
        for pool in now.offer.pools
        if any(stock.model for stock in pool.stocks)
        for dev in pool.devices
    }
    for mdev in sorted(now.view.mdevs):
        if mdev.parent in cards and mdev.uuid not in used:
            parent = mdev.parent.removeprefix('pci_')
            yield f'mdev_{mdev.uuid.replace("-", "_")}_{parent}'
