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
"""What the whitelist offers of the devices that are there."""

import collections.abc
import dataclasses
import itertools
import math
import operator

import os_resource_classes
import os_traits

from nova_accel.core import conflict
from nova_accel.core import device
from nova_accel.core import identity
from nova_accel.core.inventory import values
from nova_accel.core import models
from nova_accel.core import naming
from nova_accel.core import topology
from nova_accel.core import whitelist
from nova_accel import exception


Elsewhere = collections.abc.Callable[[device.Device], str | None]
"""Says what else, outside of the whitelist, gives a device to servers."""


def nowhere(_dev: device.Device) -> str | None:
    """Nothing but the whitelist gives devices to servers."""
    return None


def offer(
    node: values.Node,
    rules: whitelist.Whitelist,
    devices: collections.abc.Iterable[device.Device],
    in_use: identity.InUse = identity.NOTHING,
    elsewhere: Elsewhere = nowhere,
) -> values.Offer:
    """Work out what the whitelist offers of the devices that are there.

    The order of ``devices`` does not matter.

    :param in_use: stable ids that providers or claims already go by.
    """
    listed = sorted(devices, key=topology.order)
    cards = topology.cards(listed)
    identities = identity.establish(node.name, cards, in_use)
    matches = _matches(rules, listed)
    shared = conflict.of_groups(listed, matches)
    identities = dataclasses.replace(
        identities, faults={**identities.faults, **shared}
    )
    outcomes = [
        outcome
        for card in cards
        for outcome in _outcomes(card, matches, identities, elsewhere)
    ]
    pools = [entry for entry in outcomes if isinstance(entry, values.Pool)]
    pools += _pools_of(o for o in outcomes if isinstance(o, _Whole))
    pools.sort(key=lambda pool: topology.order(pool.devices[0]))
    withheld = [
        entry for entry in outcomes if isinstance(entry, values.Withheld)
    ]
    withheld.sort(key=lambda entry: topology.order(entry.device))
    used = {dev.name for pool in pools for dev in pool.devices}
    used.update(entry.device.name for entry in withheld)
    busy = {rule.name for found in matches.values() for rule in found}
    return values.Offer(
        pools=tuple(pools),
        withheld=tuple(withheld),
        unlisted=tuple(dev for dev in listed if dev.name not in used),
        idle_rules=tuple(r for r in rules.rules if r.name not in busy),
        rules=rules.rules,
        cards=identities.cards,
        present=identities.present,
        contested=identities.contested,
    )


def _matches(
    rules: whitelist.Whitelist,
    devices: collections.abc.Collection[device.Device],
) -> conflict.Matches:
    """Find the rules of each device.

    GPUs that a hypervisor gives out as one have their vGPUs together, and
    are passed through one by one.
    """
    grouped = {address for dev in devices for address in dev.members}
    found = {}
    for dev in devices:
        fitting = rules.matching(dev)
        if dev.members or dev.address in grouped:
            vgpu = bool(dev.members)
            fitting = tuple(
                rule
                for rule in fitting
                if (rule.kind == whitelist.KIND_VGPU) == vgpu
            )
        if fitting:
            found[dev.name] = fitting
    return found


@dataclasses.dataclass(frozen=True)
class _Whole:
    """A whole device on its way into a pool."""

    pool: str
    rule: whitelist.Rule
    unit: values.Unit


def _outcomes(
    card: topology.Card,
    matches: conflict.Matches,
    identities: identity.Identities,
    elsewhere: Elsewhere,
) -> collections.abc.Iterator[values.Pool | _Whole | values.Withheld]:
    named = [dev for dev in card.members if dev.name in matches]
    mine = {}
    for dev in named:
        if dev.class_id[:2] in device.HOST_CLASSES:
            yield values.Withheld(dev, matches[dev.name], _HOST_DEVICE)
        else:
            mine[dev.name] = matches[dev.name]
    if not mine:
        return
    try:
        used = _use(card, mine, identities)
        _check_owner(used, elsewhere)
        yield used
    except exception.NotOffered as error:
        rules = conflict.rules_of(card, mine)
        for dev in named:
            if dev.name in mine:
                yield values.Withheld(dev, rules, str(error))


_HOST_DEVICE = (
    'it is a bridge or a system device of the host itself, which the host '
    'cannot run without'
)


def _check_owner(used: values.Pool | _Whole, elsewhere: Elsewhere) -> None:
    devices = (
        used.devices
        if isinstance(used, values.Pool)
        else (used.unit.function,)
    )
    for dev in devices:
        owner = elsewhere(dev)
        if owner is not None:
            raise exception.NotOffered(
                reason=f'rule {conflict.name([used.rule])} and {owner} both '
                f'claim {dev.address}; take it out of one of them'
            )


def _use(
    card: topology.Card,
    mine: conflict.Matches,
    identities: identity.Identities,
) -> values.Pool | _Whole:
    reason = conflict.of_card(card, mine)
    if reason is None:
        reason = identities.faults.get(card.device.name)
    if reason is None:
        reason = identities.doubts.get(card.device.name)
    if reason is not None:
        raise exception.NotOffered(reason=reason)
    stable_id = identities.ids[card.device.name]
    (rule,) = conflict.rules_of(card, mine)
    if rule.kind == whitelist.KIND_VGPU:
        return _vgpus(card, rule, mine, stable_id)
    if card.device.name in mine:
        return _whole(card.device, rule, stable_id)
    return _functions(card, rule, mine, stable_id)


def _vgpus(
    card: topology.Card,
    rule: whitelist.Rule,
    mine: conflict.Matches,
    stable_id: str,
) -> values.Pool:
    parents = models.parents(card, mine)
    chosen = models.select(rule, parents)
    stocks = tuple(
        values.Stock(
            _vgpu_class(rule, model),
            tuple(
                values.Unit(
                    naming.UnitId(stable_id, model.type_id, slot), function
                )
                for slot, function in models.slots(rule, model, parents)
            ),
            model,
        )
        for model in chosen
    )
    _check_classes(stocks)
    serving = {function.name for _slot, function in parents}
    return values.Pool(
        stable_id,
        rule,
        stocks,
        _traits(rule, (card.device,), chosen)
        | _memory(stable_id, card.device),
        devices=_members(card, serving | mine.keys()),
        numa_node=card.device.numa_node,
        exclusive=not any(dev.mixed for dev in card.members),
        parts=len(card.device.members),
        blocks=_blocks(rule, stocks),
    )


def _members(
    card: topology.Card, names: collections.abc.Container[str]
) -> tuple[device.Device, ...]:
    return (card.device, *(f for f in card.functions if f.name in names))


def _vgpu_class(rule: whitelist.Rule, model: device.VgpuModel) -> str:
    if rule.resource_class is not None:
        return rule.resource_class
    if rule.mode == whitelist.MODE_FIXED and len(rule.models) <= 1:
        return str(os_resource_classes.VGPU)
    return naming.vgpu_class(model.name)


def _check_classes(stocks: tuple[values.Stock, ...]) -> None:
    first: dict[str, values.Stock] = {}
    for stock in stocks:
        twin = first.setdefault(stock.resource_class, stock)
        if twin is not stock and twin.model and stock.model:
            raise exception.NotOffered(
                reason=f'models {twin.model.type_id} and '
                f'{stock.model.type_id} would both be '
                f'{stock.resource_class}, and a class stands for one '
                f'model; name just one of them in models'
            )


def _blocks(
    rule: whitelist.Rule, stocks: tuple[values.Stock, ...]
) -> tuple[int, ...]:
    """Amounts placed aligned, from the rule's levels."""
    counts = [count for _level, count in rule.levels]
    if not counts:
        return (1,)
    for stock in stocks:
        if len(stock.units) != math.prod(counts):
            written = ' x '.join(f'{c} {level}' for level, c in rule.levels)
            raise exception.NotOffered(
                reason=f'levels of rule {rule.name!r} make '
                f'{math.prod(counts)} slots ({written}), and it has '
                f'{len(stock.units)} of {stock.resource_class}; correct '
                f'levels or give max_slots'
            )
    sizes = itertools.accumulate(reversed(counts), operator.mul, initial=1)
    return tuple(sorted(set(sizes), reverse=True))


def _traits(
    rule: whitelist.Rule,
    devices: collections.abc.Iterable[device.Device],
    chosen: tuple[device.VgpuModel, ...] = (),
) -> frozenset[str]:
    traits = {naming.MANAGED, os_traits.OWNER_NOVA, *rule.traits}
    for dev in devices:
        ids, bus = (dev.vendor_id, dev.product_id), 'USB' * dev.is_usb
        traits.add(naming.vendor_trait(dev.vendor_id, bus))
        traits.add(naming.product_trait(*ids, bus))
    traits.update(naming.model_trait(model.name) for model in chosen)
    if len(chosen) == 1:
        traits.update(_display_traits(chosen[0]))
    return frozenset(traits)


def _memory(stable_id: str, dev: device.Device) -> set[str]:
    """Traits that remember who a device is, and where it was last."""
    return {
        naming.who_trait(stable_id, identity.who(stable_id, dev)),
        naming.at_trait(stable_id, dev.address),
    }


def _display_traits(
    model: device.VgpuModel,
) -> collections.abc.Iterator[str]:
    # Of several models a provider cannot say which has how many heads.
    found = []
    if model.max_heads is not None:
        found.append(naming.heads_trait(model.max_heads))
    if model.max_resolution is not None:
        found.append(naming.resolution_trait(*model.max_resolution))
    return (trait for trait in found if trait is not None)


def _functions(
    card: topology.Card,
    rule: whitelist.Rule,
    mine: conflict.Matches,
    stable_id: str,
) -> values.Pool:
    units = tuple(
        values.Unit(
            naming.UnitId(stable_id, naming.UnitId.VF, index), function
        )
        for index, function in card.numbered.items()
        if function.name in mine
    )[: rule.max_slots]
    stocks = (values.Stock(_pci_class(rule, units[0].function), units),)
    return values.Pool(
        stable_id,
        rule,
        stocks,
        _traits(rule, (unit.function for unit in units))
        | _memory(stable_id, card.device),
        devices=_members(card, mine),
        numa_node=card.device.numa_node,
        blocks=_blocks(rule, stocks),
    )


def _pci_class(rule: whitelist.Rule, dev: device.Device) -> str:
    name = naming.usb_class if dev.is_usb else naming.pci_class
    return rule.resource_class or name(dev.vendor_id, dev.product_id)


def _whole(dev: device.Device, rule: whitelist.Rule, stable_id: str) -> _Whole:
    for key in ('levels', 'max_slots'):
        if getattr(rule, key):
            raise exception.NotOffered(
                reason=f'rule {rule.name!r} gives {key}, which is about the '
                f'slots of one card, and it is a whole device; remove {key}'
            )
    pool = pool_id(rule, dev) or stable_id
    return _Whole(pool, rule, values.Unit(naming.UnitId(stable_id), dev))


def pool_id(rule: whitelist.Rule, dev: device.Device) -> str | None:
    """Stable id of the pool a device falls into, None for its own."""
    place = {
        whitelist.POOL_NUMA: naming.numa_place(dev.numa_node),
        whitelist.POOL_HOST: naming.HOST_WIDE,
    }.get(rule.pool)
    if place is None:
        return None
    return naming.pool_id(rule.name, dev.vendor_id, dev.product_id, place)


def _pools_of(
    wholes: collections.abc.Iterable[_Whole],
) -> collections.abc.Iterator[values.Pool]:
    groups: dict[str, list[_Whole]] = {}
    for whole in wholes:
        groups.setdefault(whole.pool, []).append(whole)
    for stable_id, group in groups.items():
        rule = group[0].rule
        units = tuple(whole.unit for whole in group)
        devices = tuple(unit.function for unit in units)
        nodes = {dev.numa_node for dev in devices}
        yield values.Pool(
            stable_id,
            rule,
            (values.Stock(_pci_class(rule, devices[0]), units),),
            _traits(rule, devices).union(
                *(_memory(unit.id.device, unit.function) for unit in units)
            ),
            devices=devices,
            numa_node=nodes.pop() if len(nodes) == 1 else None,
        )
