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
"""What is held, and so what is free."""

import collections.abc
import dataclasses
import functools

from nova_accel.core.inventory import values
from nova_accel.core import naming


_Units = frozenset[str]


@dataclasses.dataclass(frozen=True)
class Holdings:
    """Claims, indexed once for all questions below.

    :ivar units: every unit that is held, through whichever provider.
    :ivar by_provider: provider uuid -> resource class -> units held.
    :ivar parts: stable id of a card -> what of it is held (a vGPU type id,
        'vf', or '' for the card as a whole) -> units held.
    :ivar claimed: the same, without what strangers hold.
    """

    units: _Units
    by_provider: collections.abc.Mapping[
        str, collections.abc.Mapping[str, _Units]
    ]
    parts: collections.abc.Mapping[str, collections.abc.Mapping[str, _Units]]
    claimed: collections.abc.Mapping[str, collections.abc.Mapping[str, _Units]]

    @classmethod
    def of(cls, claims: collections.abc.Iterable[values.Claim]) -> 'Holdings':
        claims = tuple(claims)
        named = [(read(claim.unit), claim) for claim in claims]
        return cls(
            frozenset(claim.unit for claim in claims),
            _index((c.provider, c.resource_class, c.unit) for c in claims),
            _index((u.device, u.part, c.unit) for u, c in named if u),
            _index(
                (u.device, u.part, c.unit)
                for u, c in named
                if u and c.provider
            ),
        )


def _index(
    rows: collections.abc.Iterable[tuple[str, str, str]],
) -> dict[str, dict[str, _Units]]:
    found: dict[str, dict[str, set[str]]] = {}
    for outer, inner, unit in rows:
        found.setdefault(outer, {}).setdefault(inner, set()).add(unit)
    return {
        outer: {inner: frozenset(units) for inner, units in group.items()}
        for outer, group in found.items()
    }


# Every update reads the same few hundred identifiers again.
@functools.lru_cache(maxsize=8192)
def read(text: str) -> naming.UnitId | None:
    """Read the identifier of a unit, None if it is not one of ours."""
    try:
        return naming.UnitId.parse(text)
    except ValueError:
        return None


def free(pool: values.Pool, stock: values.Stock, held: Holdings) -> _Units:
    """Units of a stock that a server could get now.

    Not those that are held, by whichever provider's claim, nor those whose
    card is in use as something else: another model on a card that takes
    one model at a time, the whole device, its virtual functions.
    """
    idle = stock.ids - held.units
    used = stock.devices.intersection(held.parts)
    part = stock.units[0].id.part
    shut = {device for device in used if _is_shut(pool, device, part, held)}
    if shut:
        idle = frozenset(
            unit for unit in idle if stock.by_id[unit].id.device not in shut
        )
    if stock.model is None or not used:
        return idle
    idle -= _crowded_out(stock, held, idle)
    return idle - _left_over(pool, stock, held, idle)


def _is_shut(
    pool: values.Pool, device: str, part: str, held: Holdings
) -> bool:
    """Tell whether a card in use as something else excludes this part."""
    others = held.parts[device].keys() - {part}
    if not pool.exclusive or pool.parts:
        others &= {'', naming.UnitId.VF}
    return bool(others)


def _left_over(
    pool: values.Pool, stock: values.Stock, held: Holdings, idle: _Units
) -> _Units:
    """Slots that GPUs busy with other models cannot have.

    Of each model as few GPUs as can be are taken to be busy. What the
    hypervisor has made of it is told apart, by what strangers hold.
    """
    first = stock.units[0].id
    if not pool.parts:
        return frozenset()
    claimed = held.claimed.get(first.device, {})
    busy = sum(
        -(-len(claimed.get(other.units[0].id.part, ())) // _each(pool, other))
        for other in pool.stocks
        if other is not stock
    )
    room = _each(pool, stock) * max(0, pool.parts - busy)
    room -= len(claimed.get(first.part, ()))
    names = [name for name in stock.by_id if name in idle]
    return frozenset(names[max(0, room) :]) if busy else frozenset()


def _each(pool: values.Pool, stock: values.Stock) -> int:
    """How many of a model one of several GPUs holds."""
    return max(1, len(stock.units) // pool.parts)


def _crowded_out(stock: values.Stock, held: Holdings, idle: _Units) -> _Units:
    """Slots whose room is taken by slots that exist no more.

    Where a card got fewer slots, servers may still hold the old ones.
    """
    first = stock.units[0].id
    mine = held.parts[first.device].get(first.part, frozenset())
    beyond = len(mine - stock.ids)
    if not beyond:
        return frozenset()
    names = [name for name in stock.by_id if name in idle]
    return frozenset(names[max(0, len(names) - beyond) :])
