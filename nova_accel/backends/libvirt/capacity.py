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
"""How many vGPUs of each type a card holds when it holds nothing else.

libvirt tells how many *more* fit at this moment. The figure we publish must
not move when mediated devices come and go, so it is derived once, from the
best source there is, and remembered.
"""

import collections
import dataclasses

from nova_accel.backends.libvirt import nodedev
from nova_accel.backends.libvirt import sysfs
from nova_accel.core import device

_Key = tuple[device.PciAddress, str]


@dataclasses.dataclass(frozen=True)
class Card:
    """All mediated-device parents of one card, and what exists on them.

    :ivar kind: what identical cards have in common.
    :ivar mdevs: read after the parents, hence surely counted in their
        ``available``.
    """

    address: device.PciAddress
    kind: tuple[str, ...]
    parents: tuple[nodedev.Function, ...]
    mdevs: tuple[nodedev.Mediated, ...] = ()

    @property
    def in_use(self) -> collections.Counter[str]:
        return collections.Counter(mdev.type_id for mdev in self.mdevs)


class Capacities:
    """The figures of all cards, as far as anyone could tell so far."""

    def __init__(self, files: sysfs.Sysfs) -> None:
        self._files = files
        self._described: dict[_Key, sysfs.Description] = {}
        self._counted: dict[_Key, int] = {}
        self._kinds: dict[tuple[tuple[str, ...], str], int] = {}
        self._mixed: set[device.PciAddress] = set()
        self._card_kinds: dict[device.PciAddress, tuple[str, ...]] = {}

    def learn(self, card: Card, settled: bool) -> None:
        """Take note of what a card shows.

        :param settled: parents and mediated devices were read as one, so
            that they can be added up. Otherwise only a figure that is
            missing altogether is taken, for want of a better one.
        """
        self._meet(card)
        for parent in card.parents:
            for mdev_type in parent.mdev_types:
                self._describe(card, parent, mdev_type)
                self._count(card, parent, mdev_type, settled)
        if settled and self._shows_a_mix(card):
            self._mixed.add(card.address)

    def _meet(self, card: Card) -> None:
        if self._card_kinds.get(card.address, card.kind) != card.kind:
            self._forget(card.address)
        self._card_kinds[card.address] = card.kind

    def _forget(self, address: device.PciAddress) -> None:
        self._mixed.discard(address)
        for facts in (self._described, self._counted):
            for key in [key for key in facts if key[0] == address]:
                del facts[key]

    def _describe(
        self,
        card: Card,
        parent: nodedev.Function,
        mdev_type: nodedev.MdevType,
    ) -> None:
        key = (card.address, mdev_type.id)
        if key not in self._described:
            self._described[key] = self._files.description(
                parent.address, mdev_type.id
            )

    def _count(
        self,
        card: Card,
        parent: nodedev.Function,
        mdev_type: nodedev.MdevType,
        settled: bool,
    ) -> None:
        # A virtual function creates one at most: its figure says nothing
        # about the card.
        if parent.physical is not None:
            return
        key = (card.address, mdev_type.id)
        in_use = card.in_use
        if set(in_use) - {mdev_type.id}:
            return
        total = mdev_type.available + in_use[mdev_type.id]
        if total and (settled or key not in self._counted):
            self._counted[key] = total
            self._kinds[card.kind, mdev_type.id] = total
        elif not total:
            self._counted.setdefault(key, 0)

    def _shows_a_mix(self, card: Card) -> bool:
        # Types of one size share a card even where sizes may not mix; a
        # type that is merely offered beside them proves nothing unless its
        # size is known to differ.
        used = {self._size(card, type_id) for type_id in card.in_use}
        offered = {
            self._size(card, mdev_type.id)
            for parent in card.parents
            for mdev_type in parent.mdev_types
            if mdev_type.available
        }
        several = len(used) > 1 or (None in used and len(card.in_use) > 1)
        others = offered - used - {None}
        return several or (bool(others) and bool(used - {None}))

    def _size(self, card: Card, type_id: str) -> int | None:
        facts = self.of(card.address, card.kind, type_id)
        return facts.framebuffer_mib or facts.capacity

    def mixed(self, address: device.PciAddress) -> bool:
        """Tell whether the card was seen to hold different models at once."""
        return address in self._mixed

    def of(
        self,
        address: device.PciAddress,
        kind: tuple[str, ...],
        type_id: str,
    ) -> sysfs.Description:
        """Return what is known about one type on one card.

        The capacity is, first that is known: what the driver says; what
        could be counted on the card; what an identical card showed.
        """
        key = (address, type_id)
        facts = self._described.get(key, _NOTHING)
        if facts.capacity is not None:
            return facts
        counted = self._counted.get(key, self._kinds.get((kind, type_id)))
        return dataclasses.replace(facts, capacity=counted)

    def model(
        self,
        address: device.PciAddress,
        kind: tuple[str, ...],
        mdev_type: nodedev.MdevType,
    ) -> device.VgpuModel:
        """Return the model that a type of one card is."""
        facts = self.of(address, kind, mdev_type.id)
        return device.VgpuModel(
            type_id=mdev_type.id,
            name=mdev_type.name,
            capacity=facts.capacity,
            framebuffer_mib=facts.framebuffer_mib,
            max_heads=facts.max_heads,
            max_resolution=facts.max_resolution,
        )


_NOTHING = sysfs.Description()
