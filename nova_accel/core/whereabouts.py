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

"""What is where in a host, and why.

A device goes by an id that Placement remembers. Where the hardware leaves
open which is which, candidates are named; ``core/remapping.py`` works out
what to write when an operator has decided.
"""

import collections
import collections.abc
import dataclasses
import functools

from nova_accel.core import device
from nova_accel.core import facts
from nova_accel.core import identity
from nova_accel.core import inventory
from nova_accel.core import naming
from nova_accel.core import states
from nova_accel.core import topology

HERE = 'here'
WITHHELD = 'withheld'
AWAY = 'away'


@dataclasses.dataclass(frozen=True)
class Entry:
    """One device: one that is here, or one that is remembered.

    :ivar id: '' for a card that has none, or of which it is not known.
    :ivar place: ``HERE``, ``WITHHELD`` (here, and nobody gets it) or
        ``AWAY``.
    :ivar address: today's, '' if it is not here.
    :ivar before: where Placement saw it last, '' if it does not say.
    :ivar state: in words.
    :ivar why: what keeps it from being given out, as far as it is known.
    :ivar candidates: what it may be now, by what ``remap`` takes.
    """

    id: str
    place: str
    address: str = ''
    before: str = ''
    label: str = ''
    state: str = ''
    provider: str = ''
    provider_name: str = ''
    servers: tuple[str, ...] = ()
    why: str = ''
    candidates: tuple[str, ...] = ()


def entries(
    found: facts.Facts, service: inventory.Service
) -> tuple[Entry, ...]:
    """Describe every device that a rule names or that is remembered.

    Those that are here come first, by address.
    """
    host = Host(found, service)
    here = [*host.offered(), *host.withheld()]
    here.sort(key=lambda entry: entry.address)
    return (*here, *host.away(), *host.forgotten())


class Host:
    """One look at a host.

    :ivar heads: every card, by the ``Device.name`` of what stands for it.
    :ivar known: what Placement has of our providers, by uuid.
    """

    def __init__(self, found: facts.Facts, service: inventory.Service) -> None:
        self.found = found
        self.offer = found.offer
        self._service = service
        self.known = {
            rp: placed.known
            for rp, placed in found.providers.items()
            if placed.known is not None
        }
        self.heads = {
            card.device.name: card
            for card in topology.cards(found.offer.devices)
        }

    def id_of(self, dev: device.Device) -> str:
        """Return the id that a card goes by, '' if it has none."""
        return self.offer.ids.get(dev.name, '')

    # What is where

    def offered(self) -> collections.abc.Iterator[Entry]:
        for pool in self.offer.pools:
            for stable_id in sorted(pool.cards):
                dev = self.offer.cards[stable_id].device
                marks = self._service.marks[stable_id]
                yield self._entry(
                    stable_id,
                    HERE,
                    dev,
                    pool.stable_id,
                    states.describe(marks),
                    '' if states.is_open(marks) else _WHY_CLOSED,
                )

    def withheld(self) -> collections.abc.Iterator[Entry]:
        for entry in self.offer.withheld:
            dev = entry.device
            if dev.name in self.heads:
                stable_id = self.id_of(dev)
                yield self._entry(
                    stable_id, WITHHELD, dev, stable_id, WITHHELD, entry.reason
                )

    def away(self) -> collections.abc.Iterator[Entry]:
        for stable_id in self.lost:
            provider = self.provider_of(stable_id)
            yield Entry(
                stable_id,
                AWAY,
                before=self._before.get(naming.short_id(stable_id), ''),
                state=self._state_of(stable_id, provider),
                provider=provider,
                provider_name=self.name_of(provider),
                servers=self.holders.get(stable_id, ()),
                why=self._why_away(stable_id),
                candidates=tuple(self._candidates(stable_id)),
            )

    def forgotten(self) -> collections.abc.Iterator[Entry]:
        """Yield what a pool had and nobody holds.

        Of such a device Placement keeps a short id, and no other.
        """
        lost = set(map(naming.short_id, self.lost))
        lost |= self.offer.present_short
        for provider, one in sorted(self.known.items()):
            if not naming.is_pool(one.stable_id):
                continue
            whos = filter(None, map(naming.read_who, one.traits))
            for short in sorted({short for short, _who in whos} - lost):
                marks = states.marks(one.traits, short) | {states.MISSING}
                yield Entry(
                    '',
                    AWAY,
                    before=self._before.get(short, ''),
                    state=states.describe(marks),
                    provider=provider,
                    provider_name=self.name_of(provider),
                    why=f'no card of this host tells its id, whose short '
                    f'form in traits is {short}',
                )

    def _entry(
        self,
        stable_id: str,
        place: str,
        dev: device.Device,
        provider_id: str,
        state: str,
        why: str,
    ) -> Entry:
        node = self.found.node
        at = str(dev.address)
        before = self._before.get(naming.short_id(stable_id), '')
        provider = naming.provider_uuid(node.uuid, provider_id)
        return Entry(
            stable_id,
            place,
            at,
            before if before != at else '',
            dev.label,
            state,
            provider if provider in self.known else '',
            self.name_of(provider),
            self.holders.get(stable_id, ()),
            why,
        )

    @functools.cached_property
    def _before(self) -> dict[str, str]:
        """Where Placement saw devices last, by short id."""
        traits = (t for one in self.known.values() for t in one.traits)
        return dict(filter(None, map(naming.read_at, traits)))

    @functools.cached_property
    def _who(self) -> dict[str, str]:
        traits = (t for one in self.known.values() for t in one.traits)
        return dict(filter(None, map(naming.read_who, traits)))

    @functools.cached_property
    def claims(self) -> dict[str, list[tuple[str, inventory.Claim]]]:
        """Device -> who holds what of it."""
        found = collections.defaultdict(list)
        for server in self.found.servers:
            for claim in sorted(server.claims):
                unit = inventory.read_unit(claim.unit)
                if unit is not None:
                    found[unit.device].append((server.uuid, claim))
        return found

    @functools.cached_property
    def holders(self) -> dict[str, tuple[str, ...]]:
        return {
            stable_id: tuple(sorted({server for server, _ in held}))
            for stable_id, held in self.claims.items()
        }

    @functools.cached_property
    def lost(self) -> tuple[str, ...]:
        """Ids that are remembered or held, and that no card goes by."""
        whole = {
            one.stable_id
            for one in self.known.values()
            if not naming.is_pool(one.stable_id)
        }
        return tuple(
            sorted((whole | self.claims.keys()) - self.offer.cards.keys())
        )

    def provider_of(self, stable_id: str) -> str:
        """Return the uuid of the provider that a lost device is of."""
        for _server, claim in self.claims.get(stable_id, ()):
            return claim.provider
        return naming.provider_uuid(self.found.node.uuid, stable_id)

    def name_of(self, provider: str) -> str:
        placed = self.found.providers.get(provider)
        return placed.name if placed else ''

    def _state_of(self, stable_id: str, provider: str) -> str:
        memory = self.known.get(provider)
        if memory is None:
            return states.describe(frozenset({states.MISSING}))
        pool = naming.is_pool(memory.stable_id)
        short = naming.short_id(stable_id) if pool else ''
        return states.describe(
            states.marks(memory.traits, short) | {states.MISSING}
        )

    def _why_away(self, stable_id: str) -> str:
        carriers = [
            str(card.device.address)
            for card in self.heads.values()
            if stable_id in identity.carried(card.device)
        ]
        if len(carriers) > 1:
            return f'{" and ".join(carriers)} both tell it'
        if carriers:
            return (
                f'{carriers[0]} is where it was, and a serial number has '
                f'come or gone: it may be another card'
            )
        place = identity.place_of(stable_id)
        there = [
            str(card.device.address)
            for card in self.heads.values()
            if place
            and place in map(identity.place_of, identity.carried(card.device))
        ]
        if there:
            return f'another card is in its place, at {there[0]}'
        return 'no card of this host tells it'

    def _candidates(self, old: str) -> collections.abc.Iterator[str]:
        """Yield what a lost device may be: cards that nobody may get."""
        place = identity.place_of(old)
        fitting = [
            card.device
            for card in self.heads.values()
            if self._is_closed(card.device)
            and self.is_make(old, card.device)
            and not self.holders.get(self.id_of(card.device))
        ]

        def elsewhere(dev: device.Device) -> tuple[bool, str]:
            places = map(identity.place_of, identity.carried(dev))
            return not place or place not in places, str(dev.address)

        for dev in sorted(fitting, key=elsewhere):
            yield self.id_of(dev) or str(dev.address)

    def _is_closed(self, dev: device.Device) -> bool:
        if dev in (entry.device for entry in self.offer.withheld):
            return True
        marks = self._service.marks.get(self.id_of(dev))
        return marks is not None and states.NOT_READY in marks

    def is_make(self, old: str, dev: device.Device) -> bool:
        """Tell whether a card is of the make that a lost device was of."""
        kind = identity.make(dev)
        if identity.is_place(old):
            return identity.make_of(old) == kind
        remembered = self._who.get(naming.short_id(old))
        return remembered in (None, naming.short_id(kind))


_WHY_CLOSED = 'nova-accel device enable opens it'
