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
"""``nova-accel migrate plan``: from stock nova's options to a whitelist."""

import argparse
import collections.abc
import dataclasses
import json
import sys
import typing as ty

from nova_accel.cli import look
from nova_accel.cli import options
from nova_accel.cli import outcome
from nova_accel.cli import text
from nova_accel import exception

if ty.TYPE_CHECKING:
    from nova_accel.cli import aliases
    from nova_accel.cli import planning
    from nova_accel.cli import render
    from nova_accel.cli import steps
    from nova_accel.cli import usage

NAME = 'migrate'
HELP = "plan the way from stock nova's vGPUs and PCI devices to a whitelist"
DESCRIPTION = """\
Read nova.conf and the host, and print a whitelist that offers what stock
nova offers on it now, who has these devices, each step from here to there
and back, and what becomes of flavors. Reads only.

  [devices]enabled_mdev_types   servers keep their vGPUs and need not be
                                drained; flavors stay as they are
  [pci]device_spec              servers have to give the devices back first;
                                aliases in flavors turn into resource classes
"""
EPILOG = """\
examples:
  nova-accel migrate plan
  nova-accel migrate plan -f yaml > accel.yaml   the whitelist alone
  nova-accel migrate plan --flavor gpu1 pci_passthrough:alias=a100:1
  openstack flavor list --all --long -f json |
      nova-accel migrate plan --flavors -

exit codes:
  0  the host can be changed over as it stands
  1  it cannot, or not all of it: the messages say why
  2  wrong usage
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('what', choices=('plan',), help='what to do')
    parser.add_argument(
        '-f',
        '--format',
        choices=('text', 'yaml', 'json'),
        default='text',
        help='how to print; yaml is the whitelist alone (default: '
        '%(default)s)',
    )
    options.add_nova_conf(parser, options.NOVA_CONF)
    parser.add_argument(
        '--flavor',
        metavar=('NAME', 'KEY=VALUE'),
        action='append',
        nargs='+',
        default=[],
        help='a flavor and its extra specs; may be given several times',
    )
    parser.add_argument(
        '--flavors',
        metavar='FILE',
        type=argparse.FileType(),
        help='flavors, from "openstack flavor list --all --long -f json"; '
        '- reads standard input',
    )
    options.add_host(parser)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """All that is to be said about one host."""

    node: str
    files: tuple[str, ...]
    plan: 'planning.Plan'
    rows: tuple['planning.Row', ...]
    usage: 'usage.Usage'
    steps: tuple['steps.Step', ...]
    flavors: tuple['aliases.Flavor', ...]
    problems: tuple[str, ...]


class _Failure(Exception):
    """What keeps us from planning anything."""


def run(args: argparse.Namespace) -> int:
    """Plan; 1 if the host cannot be changed over as it stands."""
    try:
        found = _plan(args)
    except (_Failure, exception.BackendUnavailable) as error:
        outcome.complain(str(error))
        return outcome.PROBLEM
    if args.format == 'yaml':
        sys.stdout.write(found.plan.whitelist)
    elif args.format == 'json':
        from nova_accel.cli import document

        document.dump(_document(found))
    else:
        from nova_accel.cli import render

        _print(render.Screen(sys.stdout), found)
    for problem in found.problems:
        outcome.complain(problem)
    return outcome.PROBLEM if found.problems else outcome.OK


def _plan(args: argparse.Namespace) -> Outcome:
    from nova_accel.cli import aliases
    from nova_accel.cli import novaconf
    from nova_accel.cli import planning
    from nova_accel.cli import steps
    from nova_accel.cli import usage
    from nova_accel.core import identity
    from nova_accel.core import inventory
    from nova_accel.core import snapshot

    try:
        conf = novaconf.read(args.nova_conf)
    except novaconf.Unreadable as error:
        raise _Failure(str(error)) from error
    name, view, guests = look.read_host(args, guests=True)
    plan = planning.plan(conf, view)
    rules, problems = planning.read(plan)
    node = inventory.Node(name, args.node_uuid or look.NO_UUID)
    offer = inventory.offer(node, rules, view.devices)
    now = snapshot.Snapshot(
        node, rules, view, identity.NOTHING, snapshot.Index(node, offer)
    )
    found = usage.find(now, guests)
    rows = tuple(planning.compare(plan, offer))
    flavors = tuple(
        aliases.convert(*flavor, conf.aliases, plan)
        for flavor in _flavors(args)
    )
    problems += planning.problems(rows)
    problems += [
        f'server {use.server} has {use.device} of {use.where}: {use.reason}'
        for use in found.blocked
    ]
    problems += [
        f'flavor {each.name}: {problem}'
        for each in flavors
        for problem in each.problems
    ]
    return Outcome(
        name,
        conf.files,
        plan,
        rows,
        found,
        steps.of(name, plan, found, conf.report_in_placement),
        flavors,
        tuple(problems),
    )


def _flavors(
    args: argparse.Namespace,
) -> collections.abc.Iterator[tuple[str, dict[str, str]]]:
    for name, *words in args.flavor:
        for word in words:
            if '=' not in word:
                raise _Failure(f'--flavor {name}: {word} is not KEY=VALUE')
        yield name, dict(word.split('=', 1) for word in words)
    if args.flavors is None:
        return
    try:
        for entry in json.load(args.flavors):
            yield str(entry['Name']), dict(entry.get('Properties') or {})
    except (KeyError, TypeError, ValueError) as error:
        raise _Failure(
            f'{args.flavors.name}: not what "openstack flavor list --all '
            f'--long -f json" writes: {error!r}'
        ) from error


def _document(found: Outcome) -> dict[str, ty.Any]:
    return {
        'ok': not found.problems,
        'node': found.node,
        'nova_conf': list(found.files),
        'whitelist': found.plan.whitelist,
        'offers': [
            {
                'address': str(row.given.card.address),
                'resource_class': row.given.resource_class,
                'nova': row.given.units,
                'whitelist': row.ours,
                'rule': row.rule,
                'note': row.note or None,
            }
            for row in found.rows
        ],
        'options': {
            'remove': list(found.plan.gone),
            'keep': [dataclasses.asdict(kept) for kept in found.plan.kept],
        },
        'servers': [dataclasses.asdict(use) for use in found.usage.uses],
        'idle_mdevs': list(found.usage.idle),
        'steps': [dataclasses.asdict(step) for step in found.steps],
        'flavors': [
            {
                'name': each.name,
                'drop': list(each.drop),
                'add': dict(each.add),
                'problems': list(each.problems),
            }
            for each in found.flavors
        ],
        'problems': list(found.problems),
    }


OFFER_TITLES = ('Card', 'Device', 'Class', 'Nova', 'Whitelist', 'Rule', 'Note')
USE_TITLES = ('Server', 'Guest', 'Device', 'Becomes', 'Then')


def _print(screen: 'render.Screen', found: Outcome) -> None:
    from nova_accel.cli import planning
    from nova_accel.cli import steps

    screen.line(f'Host       {found.node}')
    screen.line(f'Nova       {", ".join(found.files)}')
    screen.line()
    screen.heading(f'The whitelist, {planning.FILE}')
    for line in found.plan.whitelist.splitlines():
        screen.line(line)
    screen.line()
    if found.rows:
        screen.heading('What it offers')
        screen.table(OFFER_TITLES, map(_offer_row, found.rows))
        screen.line()
    idle = [k for k in found.plan.kept if k.reason == planning.NOTHING]
    for kept in idle:
        screen.line(f'No use here: {kept.option}: {kept.reason}.')
    _print_uses(screen, found)
    screen.heading('Steps')
    for line in steps.lines(found.steps):
        screen.line(line)
    _print_flavors(screen, found)


def _offer_row(row: 'planning.Row') -> tuple[str, ...]:
    return (
        str(row.given.card.address),
        text.product(row.given.card),
        row.given.resource_class,
        str(row.given.units),
        str(row.ours),
        row.rule,
        row.note,
    )


def _print_uses(screen: 'render.Screen', found: Outcome) -> None:
    screen.heading('Who has these devices now')
    screen.table(
        USE_TITLES,
        (
            (
                use.server,
                'runs' if use.running else 'is off',
                use.device,
                use.where,
                'stays' if use.stays else 'must leave',
            )
            for use in found.usage.uses
        ),
    )
    if not found.usage.uses:
        screen.line('Nobody.')
    screen.line()


def _print_flavors(screen: 'render.Screen', found: Outcome) -> None:
    if not found.flavors:
        return
    screen.heading('Flavors')
    for flavor in found.flavors:
        if not flavor.changes:
            screen.line(f'{flavor.name}: stays as it is')
        for problem in flavor.problems:
            screen.line(f'{flavor.name}: {problem}')
        if flavor.add:
            screen.line(f'{flavor.name}: make a new one with')
            for key, value in flavor.add:
                screen.line(f'    --property {key}={value}')
            screen.line(f'  and without {", ".join(flavor.drop)}')
