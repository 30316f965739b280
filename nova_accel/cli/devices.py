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
"""``nova-accel devices``: what the host has, and what becomes of it."""

import argparse
import collections
import collections.abc
import sys
import typing as ty

from nova_accel.cli import look
from nova_accel.cli import options
from nova_accel.cli import outcome
from nova_accel.cli import survey as surveys
from nova_accel.cli import text
from nova_accel.core import device

if ty.TYPE_CHECKING:
    from nova_accel.cli import render

NAME = 'devices'
HELP = 'list what the host has, and why each device is or is not offered'
DESCRIPTION = """\
List the PCI devices of a host with their stable ids, the vGPU models they
can be split into, and what the whitelist makes of them:

  offered      by a rule, as a resource class
  spare        a virtual function of a card that holds no more vGPUs
  withheld     a rule names it, but it cannot be offered; the reason follows
  unlisted     no rule names it
  host device  a bridge or system device, which no rule can offer

A stable id says what it was made from: sn: the serial number in the vital
product data (VPD), dsn: the Device Serial Number, which root alone can read,
nvme: that of an NVMe drive, slot: the physical slot, path: the bridges above,
pci: only the address, which changes when cards are added. Its provider in
Placement is named after it.
"""
EPILOG = """\
examples:
  nova-accel devices                             this host
  nova-accel devices --connect test:////tmp/node.xml
  nova-accel devices --suggest > accel.yaml      a whitelist to start from

exit codes: 0 listed, 1 a whitelist file is wrong or the host cannot be
reached, 2 wrong usage
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--all',
        action='store_true',
        help='list bridges and system devices too, and each virtual function '
        'on a line of its own',
    )
    form = parser.add_mutually_exclusive_group()
    options.add_format(form)
    form.add_argument(
        '--suggest',
        action='store_true',
        help='print a whitelist that would offer the unlisted accelerators',
    )
    options.add_host(parser)
    options.add_whitelist(parser)


def run(args: argparse.Namespace) -> int:
    """List the devices; 1 if the files or the host cannot be read."""
    survey = look.look(args)
    outcome.complain_about(survey)
    code = outcome.PROBLEM if survey.problems or survey.failure else outcome.OK
    if args.format == 'json':
        _print_json(survey, code == outcome.OK)
    elif survey.failure:
        return code
    elif args.suggest:
        _print_suggestion(survey)
    else:
        _print_table(survey, args.all)
    return code


def _print_suggestion(survey: surveys.Survey) -> None:
    from nova_accel.cli import suggest

    rules = suggest.whitelist(survey)
    sys.stdout.write(rules)
    if not rules:
        outcome.complain('nothing to suggest: no unlisted accelerator here')


def _print_json(survey: surveys.Survey, ok: bool) -> None:
    from nova_accel.cli import document

    found = document.header(survey, ok)
    found['devices'] = document.devices(survey, survey.view.devices)
    document.dump(found)


def _print_table(survey: surveys.Survey, everything: bool) -> None:
    from nova_accel.cli import render

    screen = render.Screen(sys.stdout)
    shown = [
        dev
        for dev in survey.view.devices
        if everything or survey.verdicts[dev.name].state != surveys.HOST
    ]
    groups = [[dev] for dev in shown] if everything else _fold(survey, shown)
    screen.table(TITLES, (_row(survey, group) for group in groups))
    screen.line()
    _print_models(screen, shown)
    _print_reasons(screen, survey)
    for line in _notes(survey, shown):
        screen.line(line)


def _fold(
    survey: surveys.Survey, devices: collections.abc.Iterable[device.Device]
) -> list[list[device.Device]]:
    """Put virtual functions together that differ in nothing but number."""
    groups: dict[object, list[device.Device]] = {}
    for dev in devices:
        likeness = (
            (dev.parent, dev.product_id, dev.driver, dev.models)
            if dev.parent is not None
            else dev.name
        )
        verdict = survey.verdicts[dev.name]
        key = (likeness, verdict.state, str(verdict), verdict.reason)
        groups.setdefault(key, []).append(dev)
    return list(groups.values())


TITLES = (
    'Address',
    'Device',
    'Ids',
    'Class',
    'Driver',
    'NUMA',
    'Type',
    'Stable id',
    'Models',
    'Use',
    'Provider',
)


def _row(
    survey: surveys.Survey, group: list[device.Device]
) -> tuple[str, ...]:
    dev = group[0]
    stable_id = survey.stable_id(dev)
    verdict = survey.verdicts[dev.name]
    more = f' and {len(group) - 1} more' if len(group) > 1 else ''
    return (
        f'{dev.address}{more}',
        text.short_name(dev),
        f'{dev.vendor_id}:{dev.product_id}',
        text.class_name(dev.class_id),
        dev.driver,
        '' if dev.numa_node is None else str(dev.numa_node),
        dev.dev_type.removeprefix('type-'),
        f'{stable_id or "none"}{" ..." if more else ""}',
        str(len(dev.models) or ''),
        str(verdict),
        _provider(verdict, stable_id),
    )


def _provider(verdict: surveys.Verdict, stable_id: str) -> str:
    """Name the provider where it is not the device itself."""
    if verdict.pool is None or verdict.pool.stable_id == stable_id:
        return ''
    return verdict.pool.stable_id


def _print_models(
    screen: 'render.Screen', shown: collections.abc.Iterable[device.Device]
) -> None:
    """Print the vGPU models once for all devices that offer the same."""
    kinds: dict[tuple[str, tuple[device.VgpuModel, ...]], list[str]] = {}
    for dev in shown:
        if dev.models:
            kind = kinds.setdefault((text.product(dev), dev.models), [])
            kind.append(str(dev.address))
    for (product, models), addresses in kinds.items():
        screen.heading(f'vGPU models of {product} ({text.some(addresses)})')
        screen.table(MODEL_TITLES, map(_model_row, models))
        screen.line()


MODEL_TITLES = ('Type', 'Model', 'Per card', 'MiB', 'Heads', 'Resolution')


def _model_row(model: device.VgpuModel) -> tuple[str, ...]:
    size = model.max_resolution
    return (
        model.type_id,
        model.name,
        _known(model.capacity),
        _known(model.framebuffer_mib),
        _known(model.max_heads),
        '' if size is None else f'{size[0]}x{size[1]}',
    )


def _known(number: int | None) -> str:
    return '' if number is None else str(number)


def _print_reasons(screen: 'render.Screen', survey: surveys.Survey) -> None:
    for line in outcome.withheld(survey):
        screen.line(f'Withheld: {line}')


def _notes(
    survey: surveys.Survey, shown: collections.abc.Sequence[device.Device]
) -> collections.abc.Iterator[str]:
    hidden = len(survey.view.devices) - len(shown)
    listed = text.count(len(shown), 'device')
    if hidden:
        yield (
            f'{listed}; {hidden} bridges and system devices not shown '
            f'(--all shows them).'
        )
    else:
        yield f'{listed}.'
    lacking = collections.Counter(
        name for dev in shown for name in surveys.unknown(dev)
    )
    if lacking:
        what = ', '.join(
            f'{name} ({text.count(number, "device")})'
            for name, number in sorted(lacking.items())
        )
        yield f'Could not be established: {what}.'
        if not survey.local:
            yield (
                'libvirt alone tells no slots and no subsystem ids; run this '
                'on the host itself to see them.'
            )
