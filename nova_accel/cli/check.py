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
"""``nova-accel check``: what a whitelist means on a host."""

import argparse
import collections.abc
import json
import sys
import typing as ty

from nova_accel.cli import flavors
from nova_accel.cli import look
from nova_accel.cli import options
from nova_accel.cli import outcome
from nova_accel.cli import survey as surveys
from nova_accel.cli import text
from nova_accel.core import inventory
from nova_accel.core import topology
from nova_accel.core import whitelist

if ty.TYPE_CHECKING:
    from nova_accel.cli import render

NAME = 'check'
HELP = 'show what a whitelist offers on a host, and what is wrong with it'
DESCRIPTION = """\
Read the whitelist as nova-compute would, look at the host, and show which
device matches which rule, the resource providers, inventories and traits
that would be reported to Placement, and the flavors that ask for them. The
amounts are those of an empty host.
"""
EPILOG = """\
examples:
  nova-accel check                               this host, installed files
  nova-accel check --config new.yaml             try a file before it goes live
  nova-accel check --connect qemu+ssh://host1/system
  nova-accel check --strict -f json              in a pipeline

exit codes:
  0  clean
  1  an error in a file, a device that is withheld, or a host that cannot be
     reached; with --strict also a rule that matches nothing
  2  wrong usage
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--strict',
        action='store_true',
        help='fail on a rule that matches nothing on this host, too',
    )
    parser.add_argument(
        '-f',
        '--format',
        choices=('tree', 'table', 'json'),
        default='tree',
        help='how to print (default: %(default)s)',
    )
    options.add_whitelist(parser)
    options.add_host(parser)


def run(args: argparse.Namespace) -> int:
    """Check; 1 if anything is not well."""
    survey = look.look(args)
    outcome.complain_about(survey)
    ok = _is_clean(survey, args.strict)
    if args.format == 'json':
        _print_json(survey, ok)
        _complain(survey, args.strict, everything=True)
    elif not survey.problems and not survey.failure:
        _print(survey, args.format)
        _complain(survey, args.strict, everything=False)
    return outcome.OK if ok else outcome.PROBLEM


def _is_clean(survey: surveys.Survey, strict: bool) -> bool:
    return not (
        survey.problems
        or survey.failure
        or survey.offer.withheld
        or (strict and survey.idle)
    )


def _complain(survey: surveys.Survey, strict: bool, everything: bool) -> None:
    """Say on standard error why the exit code is 1.

    :param everything: standard output did not tell a person.
    """
    withheld = survey.offer.withheld
    if withheld and everything:
        for line in outcome.withheld(survey):
            outcome.complain(f'withheld: {line}')
    elif withheld:
        outcome.complain(f'{text.count(len(withheld), "device")} withheld')
    if strict:
        for rule in survey.offer.idle_rules:
            outcome.complain(
                f'{rule.place}: rule {rule.name!r} matches nothing here'
            )
        if not survey.files:
            outcome.complain('there is no whitelist')


def _print_json(survey: surveys.Survey, ok: bool) -> None:
    from nova_accel.cli import document

    found = document.header(survey, ok)
    found['rules'] = document.rules(survey)
    found['devices'] = document.devices(survey, survey.view.devices)
    found['providers'] = document.providers(survey)
    found['withheld'] = document.withheld(survey)
    found['flavors'] = [
        document.flavor(each) for each in flavors.of(survey.offer)
    ]
    found['capabilities'] = document.capabilities(survey)
    json.dump(found, sys.stdout, indent=2)
    print()


def _print(survey: surveys.Survey, form: str) -> None:
    from nova_accel.cli import render

    screen = render.Screen(sys.stdout)
    _print_whitelist(screen, survey)
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
        _print_flavors(screen, survey)
    _print_findings(screen, survey)


def _print_whitelist(screen: 'render.Screen', survey: surveys.Survey) -> None:
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
            yield from _cards_of(pool)
    for entry in survey.offer.withheld:
        if rule in entry.rules:
            dev = entry.device
            yield str(dev.address), text.product(dev), surveys.WITHHELD


def _cards_of(
    pool: inventory.Pool,
) -> collections.abc.Iterator[tuple[str, str, str]]:
    classes = ', '.join(stock.resource_class for stock in pool.stocks)
    use = f'{surveys.OFFERED} as {classes}'
    for card in topology.cards(pool.devices):
        number = len(card.functions)
        address = str(card.device.address)
        if number:
            address += f' ({text.count(number, "function")})'
        yield address, text.product(card.device), use


def _tree(survey: surveys.Survey) -> 'render.Branch':
    from nova_accel.cli import render

    return render.Branch(
        survey.node.name,
        tuple(_branch(survey, each) for each in survey.providers),
        strong=True,
    )


def _branch(
    survey: surveys.Survey, provider: inventory.Provider
) -> 'render.Branch':
    from nova_accel.cli import render

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
    leaves.append('traits ' + ' '.join(sorted(provider.traits)))
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
                ' '.join(sorted(provider.traits)),
            )


def _print_flavors(screen: 'render.Screen', survey: surveys.Survey) -> None:
    screen.heading('Flavors (vCPUs, RAM and disk are examples)')
    for flavor in flavors.of(survey.offer):
        what = flavor.model or flavor.resource_class
        amount = f'{flavor.amount} x ' if flavor.amount > 1 else ''
        screen.line(f'# {flavor.purpose}: {amount}{what}')
        for line in flavors.command(flavor, ' \\\n    ').splitlines():
            screen.line(line)
    screen.line()


def _print_findings(screen: 'render.Screen', survey: surveys.Survey) -> None:
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
        _print_suggestion(screen, survey)
    if survey.view.mdevs:
        number = text.count(len(survey.view.mdevs), 'mediated device')
        screen.line(f'{number} exist here now; the amounts are without them.')
    screen.line(_summary(survey))


def _print_suggestion(screen: 'render.Screen', survey: surveys.Survey) -> None:
    from nova_accel.cli import suggest

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
