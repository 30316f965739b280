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
"""The whole desired provider tree.

==========================================  ===============================
a provider is                               then
==========================================  ===============================
offered                                     in service; units that no server
                                            may get now are reserved
not offered, units of it held               kept, what is not held reserved;
                                            MISSING if no device is here
not offered, idle, its device is away       kept for its return, all
                                            reserved, MISSING
not offered, idle, its device is here, or   retired
no rule would make it
==========================================  ===============================

A pool remembers each device that it has lost by a trait. While a server
holds the lost device it is in use; after that it is reserved.
"""

import collections.abc
import dataclasses
import itertools
import types

import os_traits

from nova_accel.core import identity
from nova_accel.core.inventory import holdings
from nova_accel.core.inventory import offering
from nova_accel.core.inventory import service as services
from nova_accel.core.inventory import values
from nova_accel.core import naming
from nova_accel.core import states
from nova_accel.core import whitelist


_Held = collections.abc.Mapping[str, frozenset[str]]
_Records = dict[str, tuple[values.Inventory, frozenset[str]]]

Members = collections.abc.Mapping[str, frozenset[str]]
"""Stable id of a pool -> stable ids of the devices it has had."""

_NONE: Members = types.MappingProxyType({})
_MISMATCH = states.trait(states.MISMATCH)
_PLAIN = frozenset({naming.MANAGED, os_traits.OWNER_NOVA})


@dataclasses.dataclass(frozen=True)
class _Host:
    """What every provider is worked out from."""

    node: values.Node
    offer: values.Offer
    held: holdings.Holdings
    seen: Members
    service: services.Service
    faults: services.Faults


def joined(seen: Members, offer: values.Offer) -> Members:
    """Add the devices that the pools of an offer have."""
    found = dict(seen)
    for pool in offer.pools:
        if naming.is_pool(pool.stable_id):
            before = found.get(pool.stable_id, frozenset())
            found[pool.stable_id] = before | pool.cards
    return found


def desired(
    node: values.Node,
    offer: values.Offer,
    claims: collections.abc.Iterable[values.Claim],
    known: collections.abc.Mapping[str, values.KnownProvider],
    seen: Members = _NONE,
    faults: services.Faults = types.MappingProxyType({}),
) -> tuple[values.Provider, ...]:
    """Return every provider of this node as it should be.

    :param claims: units that servers and migrations of this host hold.
    :param known: provider uuid -> what Placement has of ours now.
    :param seen: the devices that pools have had in this process. Those
        that a pool has lost are remembered by a trait.
    :param faults: devices to be quarantined.
    :returns: offered providers in the order of their devices, then others
        by stable id. Claims on a provider that is neither offered, nor
        known, nor recomputable from the unit's name are left out.
    """
    service = services.service(node, offer, known, faults)
    held = holdings.Holdings.of(service.out.union(claims))
    host = _Host(node, offer, held, seen, service, faults)
    pools = {
        naming.provider_uuid(node.uuid, pool.stable_id): pool
        for pool in offer.pools
    }
    others = {rp: known[rp] for rp in known if rp not in pools}
    others.update(_recomputed(host, pools.keys() | known.keys()))
    ordered = sorted(others.items(), key=lambda item: item[1].stable_id)
    return (
        *(_offered(host, rp, p, known.get(rp)) for rp, p in pools.items()),
        *(_other(host, rp, memory) for rp, memory in ordered),
    )


def _recomputed(
    host: _Host, seen: collections.abc.Container[str]
) -> collections.abc.Iterator[tuple[str, values.KnownProvider]]:
    """Find the cards whose provider Placement has lost."""
    for rp, here in host.held.by_provider.items():
        if rp in seen:
            continue
        for stable_id in _cards(here):
            if naming.provider_uuid(host.node.uuid, stable_id) == rp:
                yield rp, values.KnownProvider(stable_id, {}, _PLAIN)


def _cards(here: _Held) -> set[str]:
    """Stable ids of the cards that held units are parts of."""
    units = map(holdings.read, itertools.chain.from_iterable(here.values()))
    return {unit.device for unit in units if unit is not None}


def _offered(
    host: _Host,
    rp: str,
    pool: values.Pool,
    memory: values.KnownProvider | None,
) -> values.Provider:
    here = host.held.by_provider.get(rp, {})
    in_use, idle = _missing(host, pool.stable_id, here, memory)
    records: _Records = {}
    for stock in pool.stocks:
        mine = here.get(stock.resource_class, frozenset())
        units = stock.ids if mine <= stock.ids else stock.ids | mine
        total = len(units) + len(idle)
        usable = len(mine) + len(holdings.free(pool, stock, host.held))
        records[stock.resource_class] = (
            values.Inventory(total, total - usable, _most(stock, total)),
            units,
        )
    # Classes that are held but offered no more.
    beyond = {rc: here[rc] for rc in here if rc not in records}
    before = memory.inventories if memory else {}
    known = {rc: before[rc] for rc in before if rc in beyond}
    records.update(_withdrawn(known, beyond))
    traits = pool.traits | in_use | idle | _marks(host, pool, memory)
    traits |= _spent(host, pool, here)
    if memory is not None:
        traits |= set(_away(host, memory))
    if host.node.hotplug:
        traits |= {naming.HOTPLUG}
    return _provider(host, rp, pool.stable_id, records, traits)


def _marks(
    host: _Host, pool: values.Pool, memory: values.KnownProvider | None
) -> set[str]:
    """Return the traits that say which devices are out of service."""
    is_pool = naming.is_pool(pool.stable_id)
    found = {
        states.trait(word, stable_id if is_pool else '')
        for stable_id in pool.cards
        for word in host.service.own[stable_id]
    }
    if memory is not None and is_pool:
        said = states.marks(memory.traits) & states.SAID
        found.update(map(states.trait, said))
    return found


def _spent(host: _Host, pool: values.Pool, here: _Held) -> set[str]:
    """Return the traits of units to be cleaned before anybody gets them."""
    cleaning = host.service.cleaning
    found = {
        states.trait(mark, name)
        for stock in pool.stocks
        for name in cleaning.keys() & stock.ids
        for mark in cleaning[name] | {states.CLEANING}
    }
    if pool.rule.one_time_use:
        found.update(
            states.trait(states.CLEANING, name)
            for name in itertools.chain.from_iterable(here.values())
        )
    return found


def _most(stock: values.Stock, total: int) -> int:
    """How many units one server may have: the same, whatever is in use."""
    allowed = (stock.model or stock.units[0].function).per_server
    return total if allowed is None else min(total, allowed)


def _other(
    host: _Host, rp: str, memory: values.KnownProvider
) -> values.Provider:
    stable_id = memory.stable_id
    here = host.held.by_provider.get(rp, {})
    in_use, idle = _missing(host, stable_id, here, memory)
    traits = in_use | idle
    traits |= {
        t
        for t in memory.traits
        if not naming.is_missing_trait(t) and not t.startswith(_MISMATCH)
    }
    if _is_absent(host.offer, stable_id, here):
        traits |= {naming.MISSING}
        if here and _is_taken(host, stable_id, memory):
            traits |= {_MISMATCH}
    wrong = host.faults.get(stable_id, frozenset())
    traits |= set(map(states.trait, wrong))
    if wrong:
        traits |= {states.trait(states.QUARANTINED)}
    provider = _provider(
        host, rp, stable_id, _withdrawn(memory.inventories, here), traits
    )
    retired = not (
        here
        or wrong
        or _is_awaited(host.offer, stable_id)
        or _is_spoken_of(host.offer, memory)
        or _is_disputed(host.offer, memory)
    )
    return dataclasses.replace(provider, retired=retired)


def _provider(
    host: _Host,
    rp: str,
    stable_id: str,
    records: _Records,
    traits: frozenset[str],
) -> values.Provider:
    return values.Provider(
        uuid=rp,
        name=naming.provider_name(host.node.name, stable_id),
        stable_id=stable_id,
        inventories={rc: inventory for rc, (inventory, _u) in records.items()},
        traits=traits,
        units={rc: units for rc, (_i, units) in records.items()},
    )


def _withdrawn(
    known: collections.abc.Mapping[str, values.Inventory], here: _Held
) -> _Records:
    """Records of what is no longer offered: nobody else may take it."""
    records = {}
    for resource_class in sorted(known.keys() | here.keys()):
        units = here.get(resource_class, frozenset())
        before = known.get(resource_class)
        total = max(before.total if before else 0, len(units))
        records[resource_class] = (
            values.Inventory(total, total - len(units), total),
            units,
        )
    return records


def _missing(
    host: _Host,
    stable_id: str,
    here: _Held,
    memory: values.KnownProvider | None,
) -> tuple[frozenset[str], frozenset[str]]:
    """Traits for the devices a pool has lost: those in use, those idle."""
    if not naming.is_pool(stable_id):
        return frozenset(), frozenset()
    present = host.offer.present
    lost = _cards(here) - present
    in_use = frozenset(map(naming.missing_trait, lost)).union(
        states.trait(states.MISMATCH, each)
        for each in lost
        if _is_taken(host, each, memory)
    )
    idle = {
        trait
        for trait in (memory.traits if memory else ())
        if naming.is_missing_trait(trait) and trait != naming.MISSING
    }
    idle.update(map(naming.missing_trait, _lost(host, stable_id)))
    if memory is not None:
        idle.update(_unseen(host, memory))
    if idle:
        idle -= in_use | set(map(naming.missing_trait, present))
    return in_use, frozenset(idle)


def _away(
    host: _Host, memory: values.KnownProvider
) -> collections.abc.Iterator[str]:
    """Yield what is remembered of devices that no provider offers now."""
    offer = host.offer
    for trait in memory.traits:
        who = naming.read_who(trait) or naming.read_at(trait)
        short = who[0] if who is not None else states.kept(trait)
        if not short or short in offer.offered:
            continue
        if who is not None or short not in offer.offered_units:
            yield trait


def _unseen(
    host: _Host, memory: values.KnownProvider
) -> collections.abc.Iterator[str]:
    """Yield traits for the devices that a pool had before we started."""
    for trait in memory.traits:
        who = naming.read_who(trait)
        if who is not None and who[0] not in host.offer.present_short:
            yield f'{naming.MISSING}_{who[0]}'


def _lost(host: _Host, stable_id: str) -> frozenset[str]:
    """Stable ids of devices that a pool had earlier."""
    return host.seen.get(stable_id, frozenset()) - host.offer.present


def _is_absent(offer: values.Offer, stable_id: str, here: _Held) -> bool:
    """Tell whether nothing of a provider that is not offered is here."""
    if not naming.is_pool(stable_id):
        return stable_id not in offer.present
    return offer.present.isdisjoint(_cards(here)) and not _has_kin(
        offer, stable_id
    )


def _is_taken(
    host: _Host, stable_id: str, memory: values.KnownProvider | None
) -> bool:
    """Tell whether another device is where this one was."""
    place = identity.place_of(stable_id)
    if place:
        return place in map(identity.place_of, host.offer.present)
    # Addresses move: one that we know from elsewhere took nobody's place.
    short = naming.short_id(stable_id)
    strange = {
        str(card.device.address)
        for other, card in host.offer.cards.items()
        if states.NOT_READY in host.service.own.get(other, ())
    }
    return any(
        (at := naming.read_at(trait)) is not None
        and at[0] == short
        and at[1] in strange
        for trait in (memory.traits if memory else ())
    )


def _is_awaited(offer: values.Offer, stable_id: str) -> bool:
    """Tell whether an idle provider waits for its devices to come back."""
    if not naming.is_pool(stable_id):
        return bool(offer.rules) and stable_id not in offer.present
    made = any(_makes(rule, stable_id) for rule in offer.rules)
    return made and not _has_kin(offer, stable_id)


def _is_spoken_of(offer: values.Offer, memory: values.KnownProvider) -> bool:
    """Tell whether something is remembered of a card that cannot be offered.

    One whose driver is gone is drained still when it is loaded again.
    """
    if not any(map(states.is_word, memory.traits)):
        return False
    return memory.stable_id in map(offer.ids.get, offer.kept_back)


def _is_disputed(offer: values.Offer, memory: values.KnownProvider) -> bool:
    """Tell whether a card is withheld that took the place of one of its own.

    When it is offered, somebody has to remember that it is not that one.
    """
    if not offer.kept_back:
        return False
    whose = {who[0] for t in memory.traits if (who := naming.read_who(t))}
    return any(
        naming.short_id(stable_id) not in whose
        and not whose.isdisjoint(map(naming.short_id, identity.carried(dev)))
        for name, dev in offer.kept_back.items()
        if (stable_id := offer.ids.get(name)) is not None
    )


def _makes(rule: whitelist.Rule, stable_id: str) -> bool:
    """Tell whether a rule makes pools such as this one."""
    wide = stable_id.endswith(f':{naming.HOST_WIDE}')
    return (
        rule.kind in whitelist.WHOLE
        and stable_id.startswith(naming.pool_prefix(rule.name))
        and rule.pool == (whitelist.POOL_HOST if wide else whitelist.POOL_NUMA)
    )


def _has_kin(offer: values.Offer, stable_id: str) -> bool:
    """Tell whether a device is here that would belong to this pool."""
    return any(
        offering.pool_id(rule, dev) == stable_id
        for rule in offer.rules
        if _makes(rule, stable_id)
        for dev in offer.devices
    )
