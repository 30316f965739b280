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
"""The steps from stock nova to a whitelist, in their order."""

import collections.abc
import dataclasses

from nova_accel.cli import options
from nova_accel.cli import planning
from nova_accel.cli import text
from nova_accel.cli import usage
from nova_accel.core import whitelist

VGPU = whitelist.KIND_VGPU
PCI = whitelist.KIND_PCI


@dataclasses.dataclass(frozen=True)
class Step:
    """One step.

    :ivar commands: to be typed as they stand; lines that start with '#'
        explain.
    """

    title: str
    text: str = ''
    commands: tuple[str, ...] = ()


def of(
    node: str,
    plan: planning.Plan,
    found: usage.Usage,
    report_in_placement: bool,
) -> tuple[Step, ...]:
    """Return the steps for one host."""
    return tuple(
        step
        for step in (
            _quiet(node, plan),
            _free(plan, found),
            _stop(),
            _idle(found),
            _options(plan, report_in_placement),
            _install(),
            _start(node, plan),
            _verify(node),
            _scheduler(),
            _enable(node),
            _back(),
        )
        if step is not None
    )


def _quiet(node: str, plan: planning.Plan) -> Step:
    return Step(
        'Keep new servers away and let what is under way end',
        'Servers need not be drained'
        + (' for their vGPUs' if plan.has(PCI) else '')
        + '. Confirm or revert resizes and cold migrations from and to this '
        'host, and wait until no server is being built here.',
        (
            f'openstack compute service set --disable {node} nova-compute',
            f'openstack server list --all-projects --host {node} '
            f'--status VERIFY_RESIZE',
        ),
    )


def _free(plan: planning.Plan, found: usage.Usage) -> Step | None:
    if not plan.has(PCI):
        return None
    held = sorted({use.server for use in found.blocked})
    return Step(
        'Free the PCI devices',
        'Their requests stand in the records of each server, where '
        'nova-compute cannot take them out: while a server holds one of '
        'these devices, nova-compute does not start. Resize such servers to '
        'the new flavor on a host that has been changed over, or, on the '
        'last one, leave the devices that are held in [pci]device_spec and '
        'out of the whitelist until they are free.',
        tuple(
            f'openstack server resize --flavor <new flavor> {server}'
            for server in held
        )
        or ('# none of them is held now',),
    )


def _stop() -> Step:
    return Step(
        'Stop nova-compute and keep a copy of its configuration',
        'Servers run on.',
        (
            'systemctl stop nova-compute',
            'cp -a /etc/nova /etc/nova.before-accel',
            f'nova-accel migrate plan -f yaml > {planning.FILE}',
        ),
    )


def _idle(found: usage.Usage) -> Step | None:
    if not found.idle:
        return None
    return Step(
        'Remove mediated devices that no server has',
        'Stock nova keeps them for later. Their room would stay reserved.',
        tuple(
            f'virsh nodedev-{verb} {name}'
            for name in found.idle
            for verb in ('destroy', 'undefine')
        ),
    )


def _options(plan: planning.Plan, report_in_placement: bool) -> Step:
    lines = [f'# remove {option}' for option in plan.gone]
    lines += [
        f'# keep {kept.option}: {kept.reason}'
        for kept in plan.kept
        if kept.reason != planning.NOTHING
    ]
    if plan.has(PCI) and report_in_placement:
        lines.append(
            '# keep [pci]report_in_placement = true: without it nova does '
            'not remove its own providers, and does not start'
        )
    lines.append('# [DEFAULT]compute_driver = accel.LibvirtAccelDriver')
    return Step('Change nova.conf', '', tuple(lines))


def _install() -> Step:
    return Step(
        'Install the whitelist and check it',
        'Resource classes that flavors ask for are the same as before: '
        'where you change one, nova-compute does not start while servers '
        'hold the old one.',
        (
            f'install -m 644 {planning.FILE} {options.CONFIG}',
            'nova-accel check --strict',
            'nova-accel status upgrade check',
        ),
    )


def _start(node: str, plan: planning.Plan) -> Step:
    return Step(
        'Start nova-compute',
        (
            'Servers keep the mediated devices that they have, under their '
            f'old uuids; what they have allocated of {node}_pci_... moves '
            'to our providers in one request, and then their records name '
            'their units. If a device cannot be taken over, nova-compute '
            'says why and stops, and nothing has changed.'
            if plan.has(VGPU)
            else 'Nova removes its own providers of these devices, and ours '
            'appear.'
        ),
        ('systemctl start nova-compute',),
    )


def _verify(node: str) -> Step:
    return Step(
        'Verify',
        f'No provider is named {node}_pci_... or {node}_<address> any more, '
        'and each server has as much allocated as before.',
        (
            f'openstack resource provider list --in-tree <uuid of {node}>',
            'openstack resource provider show --allocations <uuid of a child>',
        ),
    )


def _scheduler() -> Step:
    return Step(
        'Once for the cloud: let the scheduler use our filter',
        'Without it, a request for a model that a card cannot serve fails on '
        'the host and is rescheduled. "Scheduler" in the guide says how.',
    )


def _enable(node: str) -> Step:
    return Step(
        'Let new servers come',
        '',
        (f'openstack compute service set --enable {node} nova-compute',),
    )


def _back() -> Step:
    return Step(
        'To go back',
        'Before nova-compute has started with the whitelist, or if it has '
        'refused to: put the old configuration back and start it; nothing '
        'has changed. After that, the records of servers name our '
        'providers, and stock nova does not start with them: delete or move '
        'those servers first, as "Uninstalling" in the guide says.',
        (
            'systemctl stop nova-compute',
            'cp -a /etc/nova.before-accel/. /etc/nova/',
            f'rm {options.CONFIG}',
            'systemctl start nova-compute',
        ),
    )


def lines(
    steps: collections.abc.Iterable[Step],
) -> collections.abc.Iterator[str]:
    """Write steps for a person."""
    for number, step in enumerate(steps, start=1):
        yield f'{number}. {step.title}'
        if step.text:
            yield from text.wrapped(step.text, '   ')
        for command in step.commands:
            yield f'     {command}'
        yield ''
