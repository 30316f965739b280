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
"""Mediated devices of stock nova that servers run on when we take over.

Such a device keeps the uuid that stock nova gave it, and stands for a unit
of ours until it is released. Nothing stores which: the claims of a server
and the definition of its guest tell, at every start anew.
"""

import collections.abc
import dataclasses

from nova_accel.core import device
from nova_accel.core import inventory
from nova_accel.core import naming
from nova_accel.core import snapshot


@dataclasses.dataclass(frozen=True)
class Guest:
    """A server of this host.

    :ivar mdevs: uuids of the mediated devices in its guest's definition.
    :ivar claims: units that its record names.
    """

    server: str
    mdevs: frozenset[str]
    claims: frozenset[inventory.Claim] = frozenset()


@dataclasses.dataclass(frozen=True)
class Adopted:
    """A mediated device, and the unit that it stands for.

    :ivar new: the record of the server does not name the unit yet.
    """

    server: str
    mdev: str
    claim: inventory.Claim
    new: bool = False


@dataclasses.dataclass(frozen=True)
class Misfit:
    """A mediated device that can stand for no unit, and why."""

    server: str
    mdev: device.Mdev
    reason: str

    def __str__(self) -> str:
        return (
            f'server {self.server} has mediated device {self.mdev.uuid} on '
            f'{self.mdev.parent}: {self.reason}'
        )


Outcome = tuple[tuple[Adopted, ...], tuple[Misfit, ...]]


def adopt(
    now: snapshot.Snapshot,
    guests: collections.abc.Iterable[Guest],
    held: frozenset[inventory.Claim] = frozenset(),
) -> Outcome:
    """Find the unit that each mediated device of stock nova stands for.

    Devices on cards that the whitelist does not offer are nobody's concern.

    :param held: every unit that a server holds by its record.
    :returns: the same for the same, whatever the order of ``guests``.
    """
    work = _Work(now, held)
    ordered = sorted(guests, key=lambda guest: guest.server)
    for guest in ordered:
        work.recognise(guest)
    # What is known is settled before anything is chosen.
    for guest in ordered:
        work.choose(guest)
    return tuple(work.adopted), tuple(work.misfits)


def unserved(
    guest: Guest, known: collections.abc.Container[str] = ()
) -> list[inventory.Claim]:
    """Units of a server that no mediated device of ours serves.

    :param known: uuids that exist, besides those of its guest.
    """
    found = []
    for claim in sorted(guest.claims):
        unit = inventory.read_unit(claim.unit)
        if unit is None or not unit.is_vgpu:
            continue
        uuid = naming.mdev_uuid(claim.provider, claim.unit)
        if uuid not in guest.mdevs and uuid not in known:
            found.append(claim)
    return found


_Offered = tuple[str, inventory.Pool, inventory.Stock]


class _Work:
    """One run of ``adopt``."""

    def __init__(
        self, now: snapshot.Snapshot, held: frozenset[inventory.Claim]
    ) -> None:
        self._now = now
        self._held = set(held)
        self._mdevs = {mdev.uuid: mdev for mdev in now.view.mdevs}
        self._stocks = _stocks(now.index)
        self.adopted: list[Adopted] = []
        self.misfits: list[Misfit] = []

    def recognise(self, guest: Guest) -> None:
        """Pair devices with units that the record of the server names."""
        claims = unserved(guest)
        for uuid in sorted(guest.mdevs, key=self._presence):
            claim = next((c for c in claims if self._may_serve(uuid, c)), None)
            if claim is not None and not self._is_own(uuid):
                claims.remove(claim)
                self.adopted.append(Adopted(guest.server, uuid, claim))

    def _presence(self, uuid: str) -> tuple[bool, str]:
        return uuid not in self._mdevs, uuid

    def _is_own(self, uuid: str) -> bool:
        mdev = self._mdevs.get(uuid)
        if mdev is None:
            return uuid in self._now.index.by_mdev
        return self._now.index.claim_of(mdev) is not None

    def _may_serve(self, uuid: str, claim: inventory.Claim) -> bool:
        mdev = self._mdevs.get(uuid)
        if mdev is None:
            # It did not come back when the host was rebooted, and is made
            # anew; its unit tells what it was.
            return True
        unit = naming.UnitId.parse(claim.unit)
        function = self._now.offer.locate(unit)
        return function is not None and (mdev.type_id, mdev.parent) == (
            unit.part,
            function.name,
        )

    def choose(self, guest: Guest) -> None:
        """Find units for the devices that no record speaks of."""
        done = {one.mdev for one in self.adopted}
        for uuid in sorted(guest.mdevs - done):
            mdev = self._mdevs.get(uuid)
            if (
                mdev is not None
                and mdev.parent in self._stocks
                and not self._is_own(uuid)
            ):
                self._choose(guest.server, mdev)

    def _choose(self, server: str, mdev: device.Mdev) -> None:
        offered = self._stocks[mdev.parent]
        found = [one for one in offered if _type_of(one[2]) == mdev.type_id]
        if not found:
            self.misfits.append(Misfit(server, mdev, _other(mdev, offered)))
            return
        provider, pool, stock = found[0]
        free = inventory.free(pool, stock, inventory.Holdings.of(self._held))
        units = self._places(pool, stock, mdev, free) if free else []
        if not units:
            self.misfits.append(Misfit(server, mdev, _full(pool, stock)))
            return
        claim = inventory.Claim(provider, stock.resource_class, units[0])
        self._held.add(claim)
        self.adopted.append(Adopted(server, mdev.uuid, claim, new=True))

    def _places(
        self,
        pool: inventory.Pool,
        stock: inventory.Stock,
        mdev: device.Mdev,
        free: collections.abc.Container[str],
    ) -> list[str]:
        """Units that a mediated device may stand for, by where it is.

        A virtual function is its own slot, also one that no server would
        get because the card holds fewer; then another one stays free.
        """
        card = self._now.offer.cards[pool.stable_id]
        if mdev.parent == card.device.name:
            return [unit for unit in stock.by_id if unit in free]
        taken = {claim.unit for claim in self._held}
        units = [
            str(naming.UnitId(pool.stable_id, mdev.type_id, number))
            for number, function in card.numbered.items()
            if function.name == mdev.parent
        ]
        return [unit for unit in units if unit not in taken]


def _type_of(stock: inventory.Stock) -> str:
    return stock.model.type_id if stock.model else ''


def _stocks(index: snapshot.Index) -> dict[str, list[_Offered]]:
    """What is offered of each function that creates mediated devices."""
    found: dict[str, list[_Offered]] = {}
    for provider, pool in index.pools.items():
        for stock in pool.stocks:
            if stock.model is not None:
                # Functions that are spare are among them.
                for dev in pool.devices:
                    found.setdefault(dev.name, []).append(
                        (provider, pool, stock)
                    )
    return found


def _other(
    mdev: device.Mdev, offered: collections.abc.Sequence[_Offered]
) -> str:
    rule = offered[0][1].rule
    models = ' and '.join(_type_of(stock) for _rp, _pool, stock in offered)
    return (
        f'it is a {mdev.type_id}, and rule {rule.name!r} ({rule.place}) '
        f'offers {models} there; name {mdev.type_id} in models'
    )


def _full(pool: inventory.Pool, stock: inventory.Stock) -> str:
    rule = pool.rule
    return (
        f'rule {rule.name!r} ({rule.place}) offers {len(stock.units)} of '
        f'{stock.resource_class} there, and no more of them can be had; '
        f'correct max_slots and match'
    )
