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
"""What was measured, and whether it is good enough."""

import collections.abc
import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Target:
    """What our figure must be, given stock nova's."""

    text: str
    is_met: collections.abc.Callable[[float, float], bool]


def at_most(limit: float) -> Target:
    return Target(f'<= {limit:,}', lambda ours, stock: ours <= limit)


def at_most_more(limit: float) -> Target:
    return Target(
        f'<= {limit:,} more', lambda ours, stock: ours <= stock + limit
    )


def times_less(factor: float) -> Target:
    return Target(
        f'>= {factor:,} x less', lambda ours, stock: ours * factor <= stock
    )


@dataclasses.dataclass(frozen=True)
class Row:
    """One figure of both sides.

    :ivar target: None for a figure that is only shown.
    :ivar lacking: why it could not be measured on this machine.
    """

    name: str
    workload: str
    unit: str
    ours: float
    stock: float
    target: Target | None = None
    lacking: str = ''

    @property
    def ratio(self) -> float:
        """How many times less ours is; infinite where ours is nothing."""
        if not self.ours:
            return math.inf if self.stock else 1.0
        return self.stock / self.ours

    @property
    def met(self) -> bool:
        if self.target is None or self.lacking:
            return True
        return self.target.is_met(self.ours, self.stock)


def exponent(few: float, many: float, growth: float) -> float:
    """Return by which power of the size a figure grows.

    :param growth: how many times larger the second size is.
    """
    return math.log(many / few) / math.log(growth)


def document(
    rows: collections.abc.Iterable[Row],
) -> dict[str, dict[str, object]]:
    """Return what goes into the JSON file: rows that have a target."""
    return {
        row.name: {
            'ours': None if row.lacking else row.ours,
            'stock': None if row.lacking else row.stock,
            'target': row.target.text,
            'met': None if row.lacking else row.met,
        }
        for row in rows
        if row.target is not None
    }
