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

import dataclasses
import functools

from nova_accel.core import device
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


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """One consistent view of rules and hardware."""

    node: inventory.Node
    rules: whitelist.Whitelist
    view: device.HostView
    known_ids: frozenset[str]
    index: Index

    def serves(
        self,
        node: inventory.Node,
        rules: whitelist.Whitelist,
        ids: frozenset[str],
    ) -> bool:
        """Tell whether the same devices would make the same offer.

        Ids that it has chosen anyway change nothing.
        """
        return (self.node, self.rules) == (node, rules) and (
            ids - self.known_ids <= self.offer.cards.keys()
        )

    @property
    def offer(self) -> inventory.Offer:
        return self.index.offer

    @functools.cached_property
    def strangers(self) -> frozenset[inventory.Claim]:
        """Units whose place somebody else's mediated device takes."""
        ours = self.index.by_mdev
        foreign = [m for m in self.view.mdevs if m.uuid not in ours]
        return inventory.occupied(self.offer, foreign)


_NOWHERE = inventory.Node('', '')
NOTHING = Snapshot(
    _NOWHERE,
    whitelist.Whitelist(),
    device.HostView(),
    frozenset(),
    Index(_NOWHERE, inventory.Offer()),
)
