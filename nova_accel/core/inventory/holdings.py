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

from nova_accel.core.inventory import values
from nova_accel.core import naming


@dataclasses.dataclass(frozen=True)
class Holdings:
    """Claims, indexed once for all questions below.

    :ivar units: every unit that is held, through whichever provider.
    :ivar by_provider: provider uuid -> resource class -> units held.
    :ivar parts: stable id of a card -> what its held units are parts of:
        vGPU type ids, 'vf', or '' for the card as a whole.
    """

    units: frozenset[str]
    by_provider: collections.abc.Mapping[
        str, collections.abc.Mapping[str, frozenset[str]]
    ]
    parts: collections.abc.Mapping[str, frozenset[str]]

    @classmethod
    def of(cls, claims: collections.abc.Iterable[values.Claim]) -> 'Holdings':
        by_provider: dict[str, dict[str, set[str]]] = {}
        parts: dict[str, set[str]] = {}
        for claim in claims:
            classes = by_provider.setdefault(claim.provider, {})
            classes.setdefault(claim.resource_class, set()).add(claim.unit)
            unit = read(claim.unit)
            if unit is not None:
                parts.setdefault(unit.device, set()).add(unit.part)
        return cls(
            frozenset(
                u for c in by_provider.values() for s in c.values() for u in s
            ),
            {
                rp: {rc: frozenset(units) for rc, units in classes.items()}
                for rp, classes in by_provider.items()
            },
            {dev: frozenset(found) for dev, found in parts.items()},
        )


def read(text: str) -> naming.UnitId | None:
    try:
        return naming.UnitId.parse(text)
    except ValueError:
        return None


def free(
    pool: values.Pool, stock: values.Stock, held: Holdings
) -> frozenset[str]:
    """Units of a stock that a server could get now.

    Not those that are held, by whichever provider's claim, nor those whose
    card is in use as something else: another model on a card that takes
    one model at a time, the whole device, its virtual functions.
    """
    idle = stock.ids - held.units
    if not any(unit.id.device in held.parts for unit in stock.units):
        return idle
    return frozenset(u for u in idle if _fits(pool, stock.by_id[u].id, held))


def _fits(pool: values.Pool, unit: naming.UnitId, held: Holdings) -> bool:
    others = held.parts.get(unit.device, frozenset()) - {unit.part}
    if not pool.exclusive and unit.is_vgpu:
        others &= {'', naming.UnitId.VF}
    return not others
