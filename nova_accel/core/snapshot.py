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
"""One consistent view of rules and hardware, and the indexes into it."""

import collections.abc
import dataclasses
import functools

from nova_accel.core import device
from nova_accel.core import identity
from nova_accel.core import inventory
from nova_accel.core import naming
from nova_accel.core import whitelist


@dataclasses.dataclass(frozen=True)
class Index:
    """An offer, and ways into it. Outlives changes of what is in use."""

    node: inventory.Node
    offer: inventory.Offer

    @functools.cached_property
    def pools(self) -> dict[str, inventory.Pool]:
        """Pools by the uuid of their provider."""
        return {
            naming.provider_uuid(self.node.uuid, pool.stable_id): pool
            for pool in self.offer.pools
        }

    @functools.cached_property
    def by_mdev(self) -> dict[str, inventory.Claim]:
        """The unit that each possible mediated device of ours serves."""
        return {
            naming.mdev_uuid(rp, unit): inventory.Claim(
                rp, stock.resource_class, unit
            )
            for rp, pool in self.pools.items()
            for stock in pool.stocks
            if stock.model
            for unit in stock.ids
        }

    @functools.cached_property
    def _cards(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Function -> stable id of its card, and the slots it may serve."""
        found = {}
        for stable_id, card in self.offer.cards.items():
            found[card.device.name] = (stable_id, _SLOTS)
            for slot, function in card.numbered.items():
                found[function.name] = (stable_id, (slot,))
        return found

    def claim_of(self, mdev: device.Mdev) -> inventory.Claim | None:
        """Return the unit that a mediated device serves, None if not ours.

        A unit that is offered no more is recognised too, by the uuid that
        nobody else's would have; its resource class is not known, and ''.
        """
        claim = self.by_mdev.get(mdev.uuid)
        if claim is not None or mdev.parent not in self._cards:
            return claim
        stable_id, slots = self._cards[mdev.parent]
        provider = naming.provider_uuid(self.node.uuid, stable_id)
        unit = naming.unit_of_mdev(
            mdev.uuid, provider, stable_id, mdev.type_id, slots
        )
        return None if unit is None else inventory.Claim(provider, '', unit)


# More than any card holds that creates mediated devices itself.
_SLOTS = tuple(range(128))


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """One consistent view of rules and hardware."""

    node: inventory.Node
    rules: whitelist.Whitelist
    view: device.HostView
    ids: identity.InUse
    index: Index
    adopted: collections.abc.Mapping[str, inventory.Claim] = dataclasses.field(
        default_factory=dict
    )
    """Units that mediated devices of somebody else's make stand for."""

    def serves(
        self,
        node: inventory.Node,
        rules: whitelist.Whitelist,
        ids: identity.InUse,
    ) -> bool:
        """Tell whether the same devices would make the same offer.

        Ids that it has chosen anyway change nothing, and what is held only
        matters to a card that goes by several.
        """
        return (
            (self.node, self.rules) == (node, rules)
            and ids.remaps == self.ids.remaps
            and ids.known - self.ids.known <= self.offer.cards.keys()
            and (ids.held ^ self.ids.held).isdisjoint(self.offer.contested)
            and self._fits(ids)
        )

    def _fits(self, ids: identity.InUse) -> bool:
        """Tell whether what is remembered now makes no card another."""
        old, new = self.ids.who, ids.who
        if old == new:
            return True
        if not old.keys() <= new.keys():
            return False
        changed = {short for short in new if old.get(short) != new[short]}
        cards = self.offer.cards
        return all(
            stable_id in cards
            and identity.may_be(stable_id, cards[stable_id].device, ids)
            for stable_id in self.offer.present
            if naming.short_id(stable_id) in changed
        )

    @property
    def offer(self) -> inventory.Offer:
        return self.index.offer

    @functools.cached_property
    def ours(self) -> dict[str, inventory.Claim]:
        """Units that mediated devices of ours serve, by uuid."""
        return {
            mdev.uuid: claim
            for mdev in self.view.mdevs
            if (claim := self._claim_of(mdev)) is not None
        }

    def _claim_of(self, mdev: device.Mdev) -> inventory.Claim | None:
        return self.adopted.get(mdev.uuid) or self.index.claim_of(mdev)

    def mdev_of(self, claim: inventory.Claim) -> str:
        """Return the uuid of the mediated device that serves a unit."""
        made = naming.mdev_uuid(claim.provider, claim.unit)
        return self._stand_ins.get((claim.provider, claim.unit), made)

    def without(
        self, adopted: frozenset[str] | set[str], destroyed: bool = False
    ) -> 'Snapshot':
        """Return the same with fewer adopted mediated devices.

        :param destroyed: they exist no more.
        """
        mdevs = tuple(m for m in self.view.mdevs if m.uuid not in adopted)
        return dataclasses.replace(
            self,
            adopted={
                uuid: claim
                for uuid, claim in self.adopted.items()
                if uuid not in adopted
            },
            view=(
                dataclasses.replace(self.view, mdevs=mdevs)
                if destroyed
                else self.view
            ),
        )

    @functools.cached_property
    def _stand_ins(self) -> dict[tuple[str, str], str]:
        return {
            (claim.provider, claim.unit): uuid
            for uuid, claim in self.adopted.items()
        }

    @functools.cached_property
    def strangers(self) -> frozenset[inventory.Claim]:
        """Units whose place somebody else's mediated device takes."""
        foreign = [m for m in self.view.mdevs if m.uuid not in self.ours]
        return inventory.occupied(self.offer, foreign) | inventory.lacking(
            self.offer, self.view.lacking
        )


_NOWHERE = inventory.Node('', '')
NOTHING = Snapshot(
    _NOWHERE,
    whitelist.Whitelist(),
    device.HostView(),
    identity.NOTHING,
    Index(_NOWHERE, inventory.Offer()),
)
