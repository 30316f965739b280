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
"""Which flavors ask for what a host offers.

Two for each thing on offer: for one unit, and for all that the host has.
"""

import collections.abc
import dataclasses
import re

from nova_accel.core import inventory
from nova_accel.core import request

ONE = 'one unit'
CARD = 'one provider'
HOST = 'the whole host'

# Placement tries every provider for every numbered group: N groups over N
# providers are N ** N candidates, and six of them take seconds a boot.
MAX_GROUPS = 5

_GROUPED = re.compile('resources|trait')

Part = tuple[inventory.Pool, inventory.Stock]


@dataclasses.dataclass(frozen=True)
class Flavor:
    """A flavor's extra specs, and what they are good for.

    :ivar model: name of the vGPU model, '' for whole devices.
    :ivar amount: units that one server gets.
    """

    name: str
    rule: str
    resource_class: str
    model: str
    purpose: str
    amount: int
    properties: tuple[tuple[str, str], ...]


def of(offer: inventory.Offer) -> tuple[Flavor, ...]:
    """Return the flavors for all that is on offer."""
    things: dict[object, list[Part]] = {}
    for pool in offer.pools:
        for stock in pool.stocks:
            # Same rule, class and traits: any of them will do.
            properties = tuple(request.flavor_properties(pool, stock))
            thing = (pool.rule.name, properties, _model(stock))
            things.setdefault(thing, []).append((pool, stock))
    return tuple(
        flavor for parts in things.values() for flavor in _flavors(parts)
    )


def _model(stock: inventory.Stock) -> str:
    return '' if stock.model is None else stock.model.name


def _flavors(parts: list[Part]) -> collections.abc.Iterator[Flavor]:
    """Flavors for one thing that several providers may hold."""
    yield _flavor(ONE, parts[:1], [1])
    amounts = [len(stock.units) for _pool, stock in parts]
    if sum(amounts) == 1:
        return
    if len(parts) <= MAX_GROUPS:
        yield _flavor(HOST, parts, amounts)
    elif max(amounts) > 1:
        yield _flavor(CARD, parts[:1], [max(amounts)])


def _flavor(purpose: str, parts: list[Part], amounts: list[int]) -> Flavor:
    pool, stock = parts[0]
    return Flavor(
        name=_name(pool, stock, sum(amounts)),
        rule=pool.rule.name,
        resource_class=stock.resource_class,
        model=_model(stock),
        purpose=purpose,
        amount=sum(amounts),
        properties=tuple(_properties(parts, amounts)),
    )


def _name(pool: inventory.Pool, stock: inventory.Stock, amount: int) -> str:
    words = [pool.rule.name]
    if len(pool.stocks) > 1:
        words.append(stock.resource_class.removeprefix('CUSTOM_').lower())
    if amount > 1:
        words.append(f'x{amount}')
    return '.'.join(words)


def _properties(
    parts: list[Part], amounts: list[int]
) -> collections.abc.Iterator[tuple[str, str]]:
    if len(parts) == 1:
        yield from request.flavor_properties(*parts[0], amounts[0])
        return
    for group, (part, amount) in enumerate(
        zip(parts, amounts, strict=True), start=1
    ):
        for key, value in request.flavor_properties(*part, amount):
            yield _GROUPED.sub(rf'\g<0>{group}', key, count=1), value
    yield 'group_policy', 'isolate'


def command(flavor: Flavor, separator: str = ' ') -> str:
    """Return the line that creates a flavor; its sizes are examples.

    :param separator: before each property, to break the line there.
    """
    words = [
        'openstack flavor create --vcpus 4 --ram 8192 --disk 40',
        *(f'--property {key}={value}' for key, value in flavor.properties),
    ]
    return f'{separator.join(words)} {flavor.name}'
