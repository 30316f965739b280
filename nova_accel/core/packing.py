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
"""Which free units a claim gets.

A stock is cut into regions: the blocks of a card's levels, or the boards
that whole devices sit on. Every region with room proposes plans, and the
plan that a table of comparators likes best wins. Best fit, keeping blocks
whole and staying behind one bridge are rows of a table, not branches.
"""

import collections.abc
import dataclasses
import functools

from nova_accel.core.inventory import values
from nova_accel.core import naming
from nova_accel import exception


@dataclasses.dataclass(frozen=True, eq=False)
class _Region:
    """Units that belong together, by their place in the stock.

    :ivar free: places that are free, ascending.
    """

    size: int
    free: tuple[int, ...]

    @property
    def is_whole(self) -> bool:
        return len(self.free) == self.size


@dataclasses.dataclass(frozen=True)
class _Level:
    """One cut of the stock. The first holds one region: everything."""

    regions: tuple[_Region, ...]
    home: tuple[int, ...]
    """Place -> index of its region."""

    def touched(self, places: collections.abc.Iterable[int]) -> list[_Region]:
        return [self.regions[i] for i in {self.home[p] for p in places}]


@dataclasses.dataclass(frozen=True)
class _Plan:
    taken: tuple[int, ...]
    touched: tuple[list[_Region], ...]
    """Regions it takes from, at each level, largest first."""


# What comes first weighs most, and smaller is better.


def _whole_used(plan: _Plan) -> list[int]:
    return [sum(r.is_whole for r in regions) for regions in plan.touched]


def _spread(plan: _Plan) -> list[int]:
    return [len(regions) for regions in plan.touched]


def _room(plan: _Plan) -> list[int]:
    return [sum(len(r.free) for r in regions) for regions in plan.touched]


def _place(plan: _Plan) -> tuple[int, ...]:
    return plan.taken


@dataclasses.dataclass(frozen=True)
class _Policy:
    """How to judge a plan, and which region a plan fills next.

    :ivar table: comparators of plans.
    :ivar fill: (free in a region, still needed) -> rank of that region.
    """

    table: tuple[collections.abc.Callable[[_Plan], object], ...]
    fill: collections.abc.Callable[[int, int], tuple[int, ...]]

    def rank(self, plan: _Plan) -> tuple[object, ...]:
        return tuple(comparator(plan) for comparator in self.table)


# Slots of a card are alike: what counts is that large blocks stay whole.
_SLOTS = _Policy(
    table=(_whole_used, _spread, _room, _place),
    fill=lambda free, needed: (free,),
)
# Devices of one server talk to each other: what counts is one board; a
# server that outgrows a board takes the emptiest one.
_BOARDS = _Policy(
    table=(_spread, _room, _place),
    fill=lambda free, needed: (0, free) if free >= needed else (1, -free),
)


def choose(
    pool: values.Pool,
    stock: values.Stock,
    free: collections.abc.Set[str],
    amount: int,
) -> tuple[values.Unit, ...]:
    """Pick units for one claim. The same question gets the same answer.

    An amount that is one of the pool's blocks gets one aligned block. Any
    other amount goes where it spoils least.

    :param free: identifiers of units that may be taken.
    :returns: as many units as asked for, in slot order.
    :raises NotEnoughUnits: too few are free, or no aligned block is.
    """
    refuse = functools.partial(
        exception.NotEnoughUnits,
        provider=pool.stable_id,
        resource_class=stock.resource_class,
        amount=amount,
    )
    open_ = [i for i, name in enumerate(stock.by_id) if name in free]
    if len(open_) < amount:
        raise refuse(reason=f'{len(open_)} free, {amount} asked')
    policy = _BOARDS if naming.is_pool(pool.stable_id) else _SLOTS
    levels = _levels(pool, stock, open_)
    plans = [
        _Plan(taken, tuple(level.touched(taken) for level in levels))
        for taken in _proposals(pool, levels, policy, amount)
    ]
    if not plans:
        raise refuse(
            reason=f'no aligned block of {amount} is free; {len(open_)} free '
            f'in pieces'
        )
    best = min(plans, key=policy.rank)
    return tuple(stock.units[place] for place in best.taken)


def _levels(
    pool: values.Pool, stock: values.Stock, open_: list[int]
) -> tuple[_Level, ...]:
    places = range(len(stock.units))
    if naming.is_pool(pool.stable_id):
        # A device of which no bridge is known is a board of its own.
        keys = [
            unit.function.upstream or f'/{unit.id.device}'
            for unit in stock.units
        ]
        cuts: list[list[object]] = [[0 for _ in places], [*keys]]
    else:
        # A level of single units says nothing; a stock of one unit is whole.
        blocks = (size for size in pool.blocks if size > 1)
        sizes = dict.fromkeys((len(stock.units), *blocks))
        cuts = [[place // size for place in places] for size in sizes]
    return tuple(_cut(keys, open_) for keys in cuts)


def _cut(keys: collections.abc.Sequence[object], open_: list[int]) -> _Level:
    index = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    home = tuple(index[key] for key in keys)
    sizes = [0] * len(index)
    free: list[list[int]] = [[] for _ in index]
    for region in home:
        sizes[region] += 1
    for place in open_:
        free[home[place]].append(place)
    regions = map(_Region, sizes, map(tuple, free))
    return _Level(tuple(regions), home)


def _proposals(
    pool: values.Pool,
    levels: tuple[_Level, ...],
    policy: _Policy,
    amount: int,
) -> collections.abc.Iterator[tuple[int, ...]]:
    aligned = amount > 1 and amount in pool.blocks
    for depth, level in enumerate(levels, start=1):
        for region in level.regions:
            if len(region.free) < amount:
                continue
            if aligned and region.size != amount:
                continue
            # Part by part, or by the parts of its parts.
            for below in range(depth, max(depth + 1, len(levels))):
                taken = _fill(region.free, levels[below:], policy, amount)
                yield tuple(sorted(taken))


def _fill(
    free: tuple[int, ...],
    below: tuple[_Level, ...],
    policy: _Policy,
    amount: int,
) -> tuple[int, ...]:
    """Take an amount out of one region, part by part."""
    if not below or len(free) == amount:
        return free[:amount]
    parts: dict[int, list[int]] = {}
    for place in free:
        parts.setdefault(below[0].home[place], []).append(place)
    taken: tuple[int, ...] = ()
    while (needed := amount - len(taken)) > 0:
        best = min(
            parts, key=lambda i: (*policy.fill(len(parts[i]), needed), i)
        )
        part = tuple(parts.pop(best))
        taken += _fill(part, below[1:], policy, min(needed, len(part)))
    return taken
