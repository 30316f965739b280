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
import collections.abc
import dataclasses

from nova_accel.backends.libvirt import nodedev
from nova_accel.backends.libvirt import sysfs
from nova_accel.core import device

Kind = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Card:
    """All mediated-device parents of one card, and what exists on them.

    :ivar kind: what identical cards have in common.
    """

    address: device.PciAddress
    kind: Kind
    parents: tuple[nodedev.Function, ...]
    mdevs: tuple[nodedev.Mediated, ...] = ()


@dataclasses.dataclass
class _Figures:
    """What is known of one card, by type."""

    kind: Kind
    described: dict[str, sysfs.Description] = dataclasses.field(
        default_factory=dict
    )
    counted: dict[str, int] = dataclasses.field(default_factory=dict)
    mixed: bool = False


class Capacities:
    """The figures of all cards, as far as anyone could tell so far.

    The capacity of a type is, first that is known: what the driver says;
    what could be counted on the card, now or earlier; what an identical card
    showed.
    """

    def __init__(self, files: sysfs.Sysfs) -> None:
        self._files = files
        self._cards: dict[device.PciAddress, _Figures] = {}
        self._twins: dict[Kind, dict[str, int]] = collections.defaultdict(dict)

    def learn(
        self, cards: collections.abc.Collection[Card], settled: bool
    ) -> None:
        """Take note of what cards show.

        :param settled: all parents of all cards are given, and they were
            read as one with the mediated devices, so that they can be added
            up. Otherwise only a figure that is missing altogether is taken,
            for want of a better one.
        """
        for card in cards:
            known = self._cards.get(card.address)
            if known is None or known.kind != card.kind:
                known = self._cards[card.address] = _Figures(card.kind)
            self._describe(card, known, settled)
            self._count(card, known, settled)
        for card in cards if settled else ():
            known = self._cards[card.address]
            known.mixed |= self._shows_a_mix(card, known)

    def _describe(self, card: Card, known: _Figures, settled: bool) -> None:
        asked = set() if settled else set(known.described)
        for parent in card.parents:
            for mdev_type in parent.mdev_types:
                if mdev_type.id not in asked:
                    asked.add(mdev_type.id)
                    facts = self._files.description(
                        parent.address, mdev_type.id
                    )
                    if facts != sysfs.UNKNOWN:
                        known.described[mdev_type.id] = facts

    def _count(self, card: Card, known: _Figures, settled: bool) -> None:
        used = collections.Counter(mdev.type_id for mdev in card.mdevs)
        for parent in card.parents:
            # A virtual function creates one at most: its figure says
            # nothing about the card.
            if parent.physical is None:
                for mdev_type in parent.mdev_types:
                    if not used or set(used) == {mdev_type.id}:
                        total = mdev_type.available + used[mdev_type.id]
                        self._take(known, mdev_type.id, total, settled)

    def _take(
        self, known: _Figures, type_id: str, total: int, settled: bool
    ) -> None:
        # A card that shows nothing although nothing is on it is out of
        # order for now; that does not make it smaller.
        if total and (settled or not known.counted.get(type_id)):
            known.counted[type_id] = total
            self._twins[known.kind][type_id] = total
        known.counted.setdefault(type_id, total)

    def _shows_a_mix(self, card: Card, known: _Figures) -> bool:
        # Types of one size share a card even where sizes may not mix; a
        # type that is merely offered beside them proves nothing unless its
        # size is known to differ.
        if not card.mdevs:
            return False
        types = {mdev.type_id for mdev in card.mdevs}
        used = {self._size(known, type_id) for type_id in types}
        offered = {
            self._size(known, mdev_type.id)
            for parent in card.parents
            for mdev_type in parent.mdev_types
            if mdev_type.available
        }
        if len(types) > 1 and (len(used) > 1 or None in used):
            return True
        return None not in used and bool(offered - used - {None})

    def _size(self, known: _Figures, type_id: str) -> int | None:
        facts = known.described.get(type_id, sysfs.UNKNOWN)
        return facts.framebuffer_mib or self._capacity(known, type_id)

    def _capacity(self, known: _Figures, type_id: str) -> int | None:
        described = known.described.get(type_id, sysfs.UNKNOWN).capacity
        if described is not None:
            return described
        counted = known.counted.get(type_id)
        if counted is not None:
            return counted
        return self._twins[known.kind].get(type_id)

    def mixed(self, address: device.PciAddress) -> bool:
        """Tell whether the card was seen to hold different models at once."""
        known = self._cards.get(address)
        return known is not None and known.mixed

    def models(
        self, function: nodedev.Function
    ) -> tuple[device.VgpuModel, ...]:
        """Return the models that one function can create."""
        known = self._cards.get(function.card)
        if known is None:
            return ()
        return tuple(
            self._model(known, mdev_type) for mdev_type in function.mdev_types
        )

    def _model(
        self, known: _Figures, mdev_type: nodedev.MdevType
    ) -> device.VgpuModel:
        facts = known.described.get(mdev_type.id, sysfs.UNKNOWN)
        return device.VgpuModel(
            type_id=mdev_type.id,
            name=mdev_type.name,
            capacity=self._capacity(known, mdev_type.id),
            framebuffer_mib=facts.framebuffer_mib,
            max_heads=facts.max_heads,
            max_resolution=facts.max_resolution,
        )
