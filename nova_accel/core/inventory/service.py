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
"""Which devices of an offer are in service, by what Placement remembers."""

import collections.abc
import dataclasses
import functools
import types

from nova_accel.core import identity
from nova_accel.core.inventory import values
from nova_accel.core import naming
from nova_accel.core import states
from nova_accel.core import whitelist

_Known = collections.abc.Mapping[str, values.KnownProvider]
Faults = collections.abc.Mapping[str, states.Marks]
"""Stable id of a device -> reasons to quarantine it, found just now."""

_NONE: Faults = types.MappingProxyType({})


@dataclasses.dataclass(frozen=True)
class Service:
    """The state of every device that is offered.

    :ivar marks: stable id of a device -> its marks, those of its pool
        included.
    :ivar own: the same without those of its pool.
    :ivar out: units that nobody may get, as claims of no provider.
    :ivar cleaning: each unit under ``one_time_use`` that a server has had,
        still held or not -> the reasons why it was not cleaned.
    """

    marks: collections.abc.Mapping[str, states.Marks]
    own: collections.abc.Mapping[str, states.Marks]
    out: frozenset[values.Claim]
    cleaning: collections.abc.Mapping[str, states.Marks] = dataclasses.field(
        default_factory=dict
    )

    def state(
        self, stable_id: str, held: collections.abc.Container[str] = ()
    ) -> states.Marks:
        """Return the marks of a device and of its units.

        :param held: units that servers have.
        """
        found = self.marks.get(stable_id, frozenset())
        for name, reasons in self.cleaning.items():
            if name in held:
                continue
            if naming.UnitId.parse(name).device == stable_id:
                found |= reasons | {states.CLEANING}
        return found


def service(
    node: values.Node,
    offer: values.Offer,
    known: _Known,
    faults: Faults = _NONE,
) -> Service:
    """Work out who is in service.

    :param known: provider uuid -> what Placement has of ours.
    """
    memory = _Memory(offer, known)
    cleaning = _cleaning(offer, known)
    marks: dict[str, states.Marks] = {}
    own: dict[str, states.Marks] = {}
    out: set[values.Claim] = set()
    for pool in offer.pools:
        mine = known.get(naming.provider_uuid(node.uuid, pool.stable_id))
        common = _common(pool, mine)
        for stable_id in pool.cards:
            found = states.after(memory.sight(pool, mine, stable_id))
            wrong = faults.get(stable_id)
            own[stable_id] = found | (wrong | _QUARANTINED if wrong else _WELL)
            marks[stable_id] = own[stable_id] | common
        out.update(
            values.Claim('', '', name)
            for stock in pool.stocks
            for name, unit in stock.by_id.items()
            if name in cleaning or not states.is_open(marks[unit.id.device])
        )
    return Service(marks, own, frozenset(out), cleaning)


_QUARANTINED = frozenset({states.QUARANTINED})
_WELL: states.Marks = frozenset()


def _cleaning(offer: values.Offer, known: _Known) -> dict[str, states.Marks]:
    """Return the units that servers have had, and what is said of each.

    They are known by their short ids, whichever provider they were part of.
    """
    said: dict[str, set[str]] = {}
    for one in known.values():
        for trait in one.traits:
            mark, short = states.read(trait) or ('', '')
            if short and mark in (states.CLEANING, states.CLEAN_FAILED):
                said.setdefault(short, set()).add(mark)
    if not said:
        return {}
    return {
        name: frozenset(found - {states.CLEANING})
        for pool in offer.pools
        for stock in pool.stocks
        for name in stock.by_id
        if states.CLEANING in (found := said.get(naming.short_id(name), set()))
    }


def _common(
    pool: values.Pool, mine: values.KnownProvider | None
) -> states.Marks:
    """Return what is said of a pool as a whole."""
    if mine is None or not naming.is_pool(pool.stable_id):
        return frozenset()
    return states.marks(mine.traits) & states.SAID - {states.READY}


class _Memory:
    """What Placement remembers, by device."""

    def __init__(self, offer: values.Offer, known: _Known) -> None:
        self._offer = offer
        found = [
            (who[0], one)
            for one in known.values()
            for trait in one.traits
            if (who := naming.read_who(trait)) is not None
        ]
        self._where = dict(found)
        self._registered = {(short, one.stable_id) for short, one in found}

    def sight(
        self,
        pool: values.Pool,
        mine: values.KnownProvider | None,
        stable_id: str,
    ) -> states.Sight:
        """Return what is known of a device that is here."""
        short = naming.short_id(stable_id)
        source = self._where.get(short)
        if mine is not None and (short, mine.stable_id) in self._registered:
            source = mine
        wants_word = pool.rule.new_devices == whitelist.NOT_READY
        wants_preparing = pool.rule.prepare is not None
        if source is None:
            return states.Sight(
                _said(mine, short),
                new=True,
                wants_word=wants_word,
                replaces=self._replaces(stable_id),
                wants_preparing=wants_preparing,
            )
        return states.Sight(
            _said(source, short),
            wants_word=wants_word,
            wants_preparing=wants_preparing,
        )

    @functools.cached_property
    def _away(self) -> list[values.KnownProvider]:
        """Providers of devices that are not in this host now.

        Another card in its place may carry the id of one, and goes by its own.
        """
        here = set(map(naming.short_id, self._offer.cards))
        return [one for short, one in self._where.items() if short not in here]

    def _replaces(self, stable_id: str) -> bool:
        """Tell whether a new device may be one we knew, or in its place.

        Where a device was that went by its serial number, or was part of a
        pool, is not asked. One that goes by its place may have been moved.
        """
        if not self._away:
            return False
        card = self._offer.cards[stable_id]
        mine = {'', *map(identity.place_of, identity.carried(card.device))}
        kind = identity.make(card.device)
        return any(
            identity.place_of(one.stable_id) in mine
            or identity.make_of(one.stable_id) == kind
            for one in self._away
        )


def _said(one: values.KnownProvider | None, short: str) -> states.Marks:
    if one is None:
        return frozenset()
    return states.marks(
        one.traits, short if naming.is_pool(one.stable_id) else ''
    )
