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
"""Which stable id each card goes by.

The rules, in this order:

1. An id that a provider or a claim already goes by stays, as long as this
   card alone carries it: a serial number before a place, and of two places
   the one that a claim names.
2. Otherwise the first id, best source first, that no other card carries.
3. Where an operator has said that what is found as one id is what went by
   another (``nova-accel remap``), it goes by that one, and nothing else does.
4. Two cards that cannot be told apart have none: ambiguity is refused,
   never guessed. The same holds for a card that shares the id by which a
   provider already goes: either could be the one that is in use.

A serial number says who a device is, among those of its make. A slot, a
path and an address say only where it is: such an id names the make as well,
and the serial number if there is one that tells nothing, so that another
device in the same place never inherits it. An address changes whenever cards
are added; it serves where no other card of the host is of the same make.

Virtual functions of a listed physical function need no id of their own:
they are numbered within it.
"""

import collections
import collections.abc
import dataclasses

from nova_accel.core import device
from nova_accel.core import naming
from nova_accel.core import topology

_NAMED = 4
_ADDRESS = 'pci'
# Ids that say where a device is, and not who it is.
_PLACES = frozenset({'slot', 'path', _ADDRESS})

_Ids = frozenset[str]
_NONE: _Ids = frozenset()


@dataclasses.dataclass(frozen=True)
class Identities:
    """What ``establish`` found.

    :ivar cards: stable id -> the card that goes by it.
    :ivar ids: ``Device.name`` of a card -> its stable id.
    :ivar faults: ``Device.name`` of a card without an id -> why.
    :ivar present: every id that any card here carries, used or not.
    :ivar contested: known ids of cards that carry several of them. What
        becomes of those depends on what is held.
    :ivar doubts: ``Device.name`` of a card with an id -> why nobody else
        may get it.
    """

    cards: collections.abc.Mapping[str, topology.Card]
    ids: collections.abc.Mapping[str, str]
    faults: collections.abc.Mapping[str, str]
    present: _Ids
    contested: _Ids = _NONE
    doubts: collections.abc.Mapping[str, str] = dataclasses.field(
        default_factory=dict
    )


@dataclasses.dataclass(frozen=True)
class InUse:
    """Stable ids that are never changed again.

    :ivar known: those that a provider or a claim goes by.
    :ivar held: those of them that a claim names.
    :ivar who: short id -> hash of what was said of the device that goes by
        it, as ``naming.read_who`` gives them. Of whom another thing is said
        is another device, though it may tell the same serial number or be in
        the same place.
    """

    known: _Ids = _NONE
    held: _Ids = _NONE
    who: collections.abc.Mapping[str, str] = dataclasses.field(
        default_factory=dict
    )
    remaps: collections.abc.Mapping[str, tuple[str, str]] = dataclasses.field(
        default_factory=dict
    )

    def knows(self, stable_id: str) -> bool:
        """Tell whether something went by an id; pools keep short ones."""
        return (
            stable_id in self.known or naming.short_id(stable_id) in self.who
        )


NOTHING = InUse()


def establish(
    node_name: str,
    cards: collections.abc.Iterable[topology.Card],
    in_use: InUse = NOTHING,
) -> Identities:
    """Give each card its stable id."""
    return _Work(node_name, tuple(cards), in_use).done()


def make(dev: device.Device) -> str:
    """Name what a device is, whichever of its kind.

    >>> make(t4)  # doctest: +SKIP
    '10de-1eb8-10de-12a2'
    """
    parts = [dev.vendor_id, dev.product_id]
    if dev.is_usb:
        parts.insert(0, 'usb')
    if dev.subsystem_vendor_id:
        parts += [dev.subsystem_vendor_id, dev.subsystem_product_id]
    return '-'.join(parts)


def is_place(stable_id: str) -> bool:
    """Tell an id that says where a device is, and not who it is."""
    return stable_id.partition(':')[0] in _PLACES


def place_of(stable_id: str) -> str:
    """Return the part of an id that says where, '' if none does."""
    return stable_id.rpartition(':')[0] if is_place(stable_id) else ''


def make_of(stable_id: str) -> str:
    """Return the make that an id of a place names, '' of any other."""
    if not is_place(stable_id):
        return ''
    return stable_id.rpartition(':')[2].partition('@')[0]


def carried(dev: device.Device) -> tuple[str, ...]:
    """Return the ids of a device, best source first, made unmistakable.

    A device that was known by its place before its serial number could be
    read carries that id, too.
    """
    kinds = [make(dev)]
    if dev.serial:
        kinds.insert(0, f'{kinds[0]}@{naming.short_id(dev.serial)}')
    found: dict[str, None] = {}
    for stable_id in dev.ids:
        if is_place(stable_id):
            found.update((f'{stable_id}:{kind}', None) for kind in kinds)
        else:
            found[stable_id] = None
    return tuple(found)


def who(stable_id: str, dev: device.Device) -> str:
    """Return all that tells a device from a stranger with the same id."""
    return f'{make(dev)} {dev.serial}' if is_place(stable_id) else make(dev)


def may_be(stable_id: str, dev: device.Device, in_use: InUse) -> bool:
    """Tell whether a device is the one that an id was given to.

    One that tells a serial number today and told none, or told one and tells
    none today, is not recognised: another card may have taken its place.
    """
    remembered = in_use.who.get(naming.short_id(stable_id))
    if remembered is not None:
        return remembered == naming.short_id(who(stable_id, dev))
    # An id of a place without a serial number was given to a mute card.
    return not (is_place(stable_id) and dev.serial and '@' not in stable_id)


def is_undecided(stable_id: str, dev: device.Device, in_use: InUse) -> bool:
    """Tell whether nobody can say if a device is the one in its place.

    It has gained a serial number, or lost one. Of two that are told and
    differ there is no doubt.
    """
    if may_be(stable_id, dev, in_use):
        return False
    mute = dataclasses.replace(dev, serial='')
    return not dev.serial or may_be(stable_id, mute, in_use)


_IN_DOUBT = (
    'it goes by {!r}, and a server holds {!r}, which may be this very device: '
    'delete or move that server, or say with nova-accel remap that it is'
)


class _Remaps:
    """What operators have said of ids.

    :ivar olds: ids that go to whom an operator has named, and nobody else.
    """

    def __init__(self, in_use: InUse) -> None:
        self._by_new: dict[tuple[str, str], str] = {}
        if in_use.remaps:
            for stable_id in in_use.known:
                found = in_use.remaps.get(naming.short_id(stable_id))
                if found is not None:
                    self._by_new[found] = stable_id
        self.olds = frozenset(self._by_new.values())

    def old(
        self, dev: device.Device, ids: collections.abc.Iterable[str]
    ) -> str | None:
        """Return the id that a card has by an operator's word."""
        if not self._by_new:
            return None
        hits = (
            self._by_new.get(
                (naming.short_id(i), naming.short_id(who(i, dev)))
            )
            for i in ids
        )
        return next((old for old in hits if old is not None), None)


class _Work:
    """One run of ``establish``."""

    def __init__(
        self,
        node_name: str,
        cards: tuple[topology.Card, ...],
        in_use: InUse,
    ) -> None:
        self._in_use = in_use
        self._held = in_use.held
        self._cards = cards
        self._carried = [
            tuple(naming.fit(node_name, i) for i in carried(card.device))
            for card in cards
        ]
        self._remaps = _Remaps(in_use)
        self._ids = [
            self._fitting(card.device, ids)
            for card, ids in zip(cards, self._carried, strict=True)
        ]
        self._carriers: dict[str, list[device.Device]] = {}
        for card, ids in zip(cards, self._ids, strict=True):
            for stable_id in ids:
                self._carriers.setdefault(stable_id, []).append(card.device)
        self._makes = collections.Counter(make(card.device) for card in cards)

    def _fitting(
        self, dev: device.Device, ids: tuple[str, ...]
    ) -> tuple[str, ...]:
        """Return the ids by which a card may go, best first."""
        own = tuple(
            i
            for i in ids
            if i not in self._remaps.olds and may_be(i, dev, self._in_use)
        )
        old = self._remaps.old(dev, ids)
        return own if old is None else (old, *own)

    def done(self) -> Identities:
        chosen: dict[str, topology.Card] = {}
        faults: dict[str, str] = {}
        doubts: dict[str, str] = {}
        contested: set[str] = set()
        for card, ids, all_ids in zip(
            self._cards, self._ids, self._carried, strict=True
        ):
            name = card.device.name
            known = [i for i in ids if self._in_use.knows(i)]
            if len(known) > 1:
                contested.update(known)
            choice = self._choose(card.device, ids, known)
            if choice is None:
                faults[name] = self._fault(card.device, ids)
                continue
            chosen[choice] = card
            others = [
                i
                for i in all_ids
                if i in self._held
                and i != choice
                and i not in self._remaps.olds
                and self._may_be(i, card)
            ]
            if others:
                doubts[name] = _IN_DOUBT.format(choice, others[0])
        names = {card.device.name: i for i, card in chosen.items()}
        return Identities(
            chosen,
            names,
            faults,
            frozenset(self._carriers),
            frozenset(contested),
            doubts,
        )

    def _may_be(self, stable_id: str, card: topology.Card) -> bool:
        """Tell whether a card could be what goes by an id, after all."""
        return may_be(stable_id, card.device, self._in_use) or is_undecided(
            stable_id, card.device, self._in_use
        )

    def _choose(
        self, dev: device.Device, ids: tuple[str, ...], known: list[str]
    ) -> str | None:
        if ids and ids[0] in self._remaps.olds:
            # Said by an operator: no other of its ids will do.
            return ids[0] if len(self._carriers[ids[0]]) == 1 else None
        sure = [i for i in known if not is_place(i)]
        held = [i for i in known if i in self._held]
        usable = sure or held or known or ids
        return next((i for i in usable if self._is_unique(dev, i)), None)

    def _is_unique(self, dev: device.Device, stable_id: str) -> bool:
        if len(self._carriers[stable_id]) > 1:
            return False
        at_an_address = stable_id.startswith(f'{_ADDRESS}:')
        return not at_an_address or self._makes[make(dev)] == 1

    def _fault(self, dev: device.Device, ids: tuple[str, ...]) -> str:
        shared = next((i for i in ids if len(self._carriers[i]) > 1), None)
        if shared is not None:
            return self._twins(dev, self._carriers[shared], repr(shared))
        if not ids:
            return 'the hypervisor gives no stable id for it'
        alike = [
            card.device
            for card in self._cards
            if make(card.device) == make(dev)
        ]
        return self._twins(dev, alike, '')

    @staticmethod
    def _twins(
        dev: device.Device,
        alike: collections.abc.Iterable[device.Device],
        shared: str,
    ) -> str:
        twins = [twin for twin in alike if twin.name != dev.name]
        names = ', '.join(f'{t.label} at {t.address}' for t in twins[:_NAMED])
        more = ' and others' if len(twins) > _NAMED else ''
        why = (
            f'all carry the id {shared}'
            if shared
            else 'only their addresses differ, and those change'
        )
        return (
            f'it cannot be told from {names}{more}: {why}; remove one of '
            f'them, or put them into slots that the firmware numbers'
        )
