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
"""The whole desired provider tree."""

import collections.abc
import functools
import itertools

import os_traits

from nova_accel.core.inventory import holdings
from nova_accel.core.inventory import offering
from nova_accel.core.inventory import values
from nova_accel.core import naming
from nova_accel.core import whitelist


def desired(
    node: values.Node,
    current: values.Offer,
    claims: collections.abc.Iterable[values.Claim],
    known: collections.abc.Mapping[str, values.KnownProvider],
    former: values.Offer | None = None,
) -> tuple[values.Provider, ...]:
    """Return every provider of this node as it should be.

    :param claims: units that servers and migrations of this host hold.
    :param known: provider uuid -> what Placement has of ours now.
    :param former: an offer made earlier in this process. Devices that a
        pool has lost since then are remembered by a trait.
    :returns: offered providers in the order of their devices, then others
        by stable id. Claims on a provider that is neither offered, nor
        known, nor recomputable from the unit's name are left out.
    """
    held = holdings.Holdings.of(claims)
    lost = _lost(current, former)
    pools = {
        naming.provider_uuid(node.uuid, pool.stable_id): pool
        for pool in current.pools
    }
    gone = {
        rp: provider.stable_id
        for rp, provider in known.items()
        if rp not in pools
    }
    gone.update(_recomputed(node, held, pools.keys() | known.keys()))
    build = functools.partial(_build, node, current, held, known, lost)
    return (
        *(build(rp, pool.stable_id, pool) for rp, pool in pools.items()),
        *(
            build(rp, stable_id, None)
            for rp, stable_id in sorted(gone.items(), key=lambda kv: kv[1])
        ),
    )


def _lost(
    current: values.Offer, former: values.Offer | None
) -> collections.abc.Mapping[str, frozenset[str]]:
    """Traits for devices that pools of an earlier offer have lost."""
    if former is None or former is current:
        return {}
    return {
        pool.stable_id: frozenset(
            naming.missing_trait(unit.id.device)
            for stock in pool.stocks
            for unit in stock.units
            if unit.id.device not in current.present
        )
        for pool in former.pools
    }


def _recomputed(
    node: values.Node,
    held: holdings.Holdings,
    seen: collections.abc.Container[str],
) -> collections.abc.Iterator[tuple[str, str]]:
    """Find the cards whose provider Placement has lost."""
    for rp, classes in held.by_provider.items():
        if rp in seen:
            continue
        for text in itertools.chain.from_iterable(classes.values()):
            unit = holdings.read(text)
            if unit and naming.provider_uuid(node.uuid, unit.device) == rp:
                yield rp, unit.device
                break


def _build(
    node: values.Node,
    current: values.Offer,
    held: holdings.Holdings,
    known: collections.abc.Mapping[str, values.KnownProvider],
    lost: collections.abc.Mapping[str, frozenset[str]],
    rp: str,
    stable_id: str,
    pool: values.Pool | None,
) -> values.Provider:
    memory = known.get(rp) or values.KnownProvider(stable_id, {}, _PLAIN)
    here = held.by_provider.get(rp, {})
    remembered = memory.traits | lost.get(stable_id, frozenset())
    missing, ghosts = _missing(stable_id, here, remembered, current)
    if pool is None:
        records = _withdrawn(memory.inventories, here)
        traits = frozenset(
            t for t in memory.traits if not naming.is_missing_trait(t)
        )
        if _is_absent(stable_id, here, current):
            traits |= {naming.MISSING}
    else:
        records = _in_service(pool, memory, here, held, ghosts)
        traits = pool.traits
    return values.Provider(
        uuid=rp,
        name=naming.provider_name(node.name, stable_id),
        stable_id=stable_id,
        inventories={rc: inventory for rc, (inventory, _u) in records.items()},
        traits=traits | missing,
        units={rc: units for rc, (_i, units) in records.items()},
        retired=pool is None
        and not here
        and not _is_awaited(stable_id, current),
    )


_PLAIN = frozenset({naming.MANAGED, os_traits.OWNER_NOVA})

_Held = collections.abc.Mapping[str, frozenset[str]]
_Records = dict[str, tuple[values.Inventory, frozenset[str]]]


def _in_service(
    pool: values.Pool,
    memory: values.KnownProvider,
    here: _Held,
    held: holdings.Holdings,
    ghosts: int,
) -> _Records:
    """Records of what is offered, and of what is held beyond that.

    :param ghosts: devices that the pool has lost and that nobody holds.
    """
    records = {}
    for stock in pool.stocks:
        mine = here.get(stock.resource_class, frozenset())
        units = stock.ids if mine <= stock.ids else stock.ids | mine
        total = len(units) + ghosts
        reserved = total - len(mine) - len(holdings.free(pool, stock, held))
        records[stock.resource_class] = (
            values.Inventory(total, reserved, total),
            units,
        )
    beyond = {rc: units for rc, units in here.items() if rc not in records}
    known = {
        rc: inventory
        for rc, inventory in memory.inventories.items()
        if rc in beyond
    }
    return {**records, **_withdrawn(known, beyond)}


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
    stable_id: str,
    here: _Held,
    remembered: collections.abc.Set[str],
    current: values.Offer,
) -> tuple[frozenset[str], int]:
    """Traits for the devices a pool has lost, and how many nobody holds."""
    if not naming.is_pool(stable_id):
        return frozenset(), 0
    taken = {
        naming.missing_trait(unit.device)
        for unit in map(
            holdings.read, itertools.chain.from_iterable(here.values())
        )
        if unit is not None and unit.device not in current.present
    }
    idle = {
        trait
        for trait in remembered
        if naming.is_missing_trait(trait) and trait != naming.MISSING
    } - taken
    if idle:
        idle -= {naming.missing_trait(i) for i in current.present}
    return frozenset(taken | idle), len(idle)


def _is_absent(stable_id: str, here: _Held, current: values.Offer) -> bool:
    """Tell whether nothing of a provider that is not offered is here."""
    if not naming.is_pool(stable_id):
        return stable_id not in current.present
    units = map(holdings.read, itertools.chain.from_iterable(here.values()))
    ids = {unit.device for unit in units if unit is not None}
    return current.present.isdisjoint(ids) and not _has_kin(stable_id, current)


def _is_awaited(stable_id: str, current: values.Offer) -> bool:
    """Tell whether an idle provider waits for its devices to come back."""
    if not naming.is_pool(stable_id):
        return bool(current.rules) and stable_id not in current.present
    return any(
        _makes(rule, stable_id) for rule in current.rules
    ) and not _has_kin(stable_id, current)


def _makes(rule: whitelist.Rule, stable_id: str) -> bool:
    """Tell whether a rule makes pools such as this one."""
    wide = stable_id.endswith(f':{naming.HOST_WIDE}')
    return (
        rule.kind == whitelist.KIND_PCI
        and stable_id.startswith(naming.pool_prefix(rule.name))
        and rule.pool == (whitelist.POOL_HOST if wide else whitelist.POOL_NUMA)
    )


def _has_kin(stable_id: str, current: values.Offer) -> bool:
    """Tell whether a device is here that would belong to this pool."""
    return any(
        offering.pool_id(rule, dev) == stable_id
        for rule in current.rules
        if _makes(rule, stable_id)
        for dev in current.devices
    )
