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
"""What ``nova-accel check`` shows a person."""

import collections.abc

from nova_accel.cli import flavors
from nova_accel.cli import outcome
from nova_accel.cli import render
from nova_accel.cli import suggest
from nova_accel.cli import survey as surveys
from nova_accel.cli import text
from nova_accel.core import device
from nova_accel.core import inventory
from nova_accel.core import naming
from nova_accel.core import topology
from nova_accel.core import whitelist


def show(screen: render.Screen, survey: surveys.Survey, form: str) -> None:
    """Write all that check found out.

    :param form: ``tree`` or ``table``, for the providers.
    """
    _whitelist(screen, survey)
    if survey.offer.rules:
        screen.heading('Rules and devices')
        screen.table(MATCH_TITLES, _matches(survey))
        screen.line()
    if survey.providers:
        screen.heading('What Placement would be told')
        if form == 'tree':
            screen.tree(_tree(survey))
        else:
            screen.table(PROVIDER_TITLES, _provider_rows(survey))
        screen.line()
        _flavors(screen, survey)
    _findings(screen, survey)


def _whitelist(screen: render.Screen, survey: surveys.Survey) -> None:
    files = ', '.join(survey.files) or 'none'
    rules = text.count(len(survey.offer.rules), 'rule')
    screen.line(f'Whitelist  {files} ({rules})')
    screen.line(f'Host       {survey.node.name} ({survey.uri})')
    screen.line()


MATCH_TITLES = ('Rule', 'Kind', 'Where', 'Address', 'Device', 'Use')


def _matches(
    survey: surveys.Survey,
) -> collections.abc.Iterator[tuple[str, ...]]:
    for rule in survey.offer.rules:
        head = (rule.name, rule.kind, str(rule.place))
        rows = list(_devices_of(survey, rule))
        for address, name, use in rows or [('-', '', 'matches nothing here')]:
            yield (*head, address, name, use)


def _devices_of(
    survey: surveys.Survey, rule: whitelist.Rule
) -> collections.abc.Iterator[tuple[str, str, str]]:
    for pool in survey.offer.pools:
        if pool.rule is rule:
            classes = ', '.join(stock.resource_class for stock in pool.stocks)
            use = f'{surveys.OFFERED} as {classes}'
            yield from _cards(survey, pool.devices, use)
    withheld = [e.device for e in survey.offer.withheld if rule in e.rules]
    yield from _cards(survey, withheld, surveys.WITHHELD)


def _cards(
    survey: surveys.Survey,
    devices: collections.abc.Iterable[device.Device],
    use: str,
) -> collections.abc.Iterator[tuple[str, str, str]]:
    """One row a card, with the number of its virtual functions."""
    functions: dict[str, int] = {}
    for dev in devices:
        head = survey.heads[dev.name]
        functions.setdefault(head.name, 0)
        functions[head.name] += dev is not head
    for name, number in functions.items():
        head = survey.heads[name]
        below = f' ({text.count(number, "function")})' if number else ''
        yield f'{head.address}{below}', text.product(head), use


def _tree(survey: surveys.Survey) -> render.Branch:
    return render.Branch(
        survey.node.name,
        tuple(_branch(survey, each) for each in survey.providers),
        strong=True,
    )


def _branch(
    survey: surveys.Survey, provider: inventory.Provider
) -> render.Branch:
    pool = survey.pools[provider.stable_id]
    about = [f'rule {pool.rule.name}', _what(pool)]
    if pool.numa_node is not None:
        about.append(f'NUMA {pool.numa_node}')
    if pool.exclusive and len(pool.stocks) > 1:
        about.append('one model at a time')
    if len(pool.blocks) > 1:
        about.append(f'placed aligned: {", ".join(map(str, pool.blocks))}')
    leaves = [', '.join(about)]
    if survey.node_uuid_known:
        leaves.append(f'uuid {provider.uuid}')
    models = {s.resource_class: s.model for s in pool.stocks}
    for name, record in provider.inventories.items():
        model = models.get(name)
        leaves.append(
            f'{name}: total {record.total}, reserved {record.reserved}, '
            f'max_unit {record.max_unit}'
            + (f' ({model.name})' if model else '')
        )
    leaves.append('traits ' + ' '.join(_telling(provider.traits)))
    return render.Branch(
        provider.name, tuple(map(render.Branch, leaves)), strong=True
    )


def _what(pool: inventory.Pool) -> str:
    cards = topology.cards(pool.devices)
    places = text.some([str(card.device.address) for card in cards])
    return f'{text.product(cards[0].device)} at {places}'


PROVIDER_TITLES = (
    'Provider',
    'Uuid',
    'Rule',
    'Class',
    'Total',
    'Reserved',
    'Max unit',
    'Model',
    'NUMA',
    'Traits',
)


def _provider_rows(
    survey: surveys.Survey,
) -> collections.abc.Iterator[tuple[str, ...]]:
    for provider in survey.providers:
        pool = survey.pools[provider.stable_id]
        models = {s.resource_class: s.model for s in pool.stocks}
        for name, record in provider.inventories.items():
            model = models.get(name)
            yield (
                provider.name,
                provider.uuid if survey.node_uuid_known else '',
                pool.rule.name,
                name,
                str(record.total),
                str(record.reserved),
                str(record.max_unit),
                model.name if model else '',
                '' if pool.numa_node is None else str(pool.numa_node),
                ' '.join(_telling(provider.traits)),
            )


def _flavors(screen: render.Screen, survey: surveys.Survey) -> None:
    screen.heading('Flavors (vCPUs, RAM and disk are examples)')
    for flavor in flavors.of(survey.offer):
        what = flavor.model or flavor.resource_class
        amount = f'{flavor.amount} x ' if flavor.amount > 1 else ''
        screen.line(f'# {flavor.purpose}: {amount}{what}')
        for line in flavors.command(flavor, ' \\\n    ').splitlines():
            screen.line(line)
    screen.line()


def _findings(screen: render.Screen, survey: surveys.Survey) -> None:
    if not survey.files:
        where = ' and '.join(survey.searched)
        screen.line(f'There is no whitelist in {where}: nothing is offered.')
        screen.line()
    if survey.offer.withheld:
        screen.heading('Withheld')
        for line in outcome.withheld(survey):
            screen.line(line)
        screen.line()
    if not survey.offer.pools:
        _suggestion(screen, survey)
    if survey.view.mdevs:
        number = text.count(len(survey.view.mdevs), 'mediated device')
        screen.line(f'{number} exist here now; the amounts are without them.')
    screen.line(_summary(survey))


def _suggestion(screen: render.Screen, survey: surveys.Survey) -> None:
    rules = suggest.whitelist(survey)
    if rules:
        screen.heading('A whitelist that offers what is here')
        for line in rules.splitlines():
            screen.line(line)
        screen.line()


def _summary(survey: surveys.Survey) -> str:
    offer = survey.offer
    parts = [
        text.count(len(offer.pools), 'provider'),
        f'{text.count(len(offer.withheld), "device")} withheld',
        f'{text.count(len(offer.idle_rules), "rule")} without a device here',
    ]
    return f'{", ".join(parts)}.'


def _telling(
    traits: collections.abc.Iterable[str],
) -> collections.abc.Iterator[str]:
    """Yield the traits that tell devices apart: no memories of ours."""
    return (
        t
        for t in sorted(traits)
        if t != naming.HOTPLUG
        and naming.read_who(t) is None
        and naming.read_at(t) is None
    )
