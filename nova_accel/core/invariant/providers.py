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
"""Our providers in Placement."""

from nova_accel.core.invariant import case as cases
from nova_accel.core.invariant import finding
from nova_accel.core import inventory


def agree(case: cases.Case) -> finding.Findings:
    """Placement has what claims and devices make, and nothing besides."""
    for rp, placed in case.facts.providers.items():
        if placed.known is None:
            text = (
                f'{placed.name} ({rp}) is named like a provider of ours and '
                f'is none'
            )
            yield finding.Finding(finding.NOT_OURS, text, provider=rp)
    for rp, wanted in case.desired.items():
        if rp not in case.unsettled:
            yield from _differing(case, rp, wanted)


def _differing(
    case: cases.Case, rp: str, wanted: inventory.Provider
) -> finding.Findings:
    known = case.known.get(rp)
    if wanted.retired:
        text = f'{wanted.name} stands for nothing that is offered or held'
        yield finding.Finding(finding.ORPHAN, text, provider=rp)
        return
    if known is None:
        text = f'Placement has no {wanted.name}'
        yield finding.Finding(finding.ABSENT, text, provider=rp)
        return
    for rc in sorted(wanted.inventories.keys() | known.inventories.keys()):
        right, there = wanted.inventories.get(rc), known.inventories.get(rc)
        if right != there:
            text = (
                f'{rc} of {wanted.name} is {_said(there)} in Placement, and '
                f'claims and devices make it {_said(right)}'
            )
            yield finding.Finding(finding.AMOUNTS, text, provider=rp)
    lacking = wanted.traits - known.traits
    if lacking:
        text = f'{wanted.name} lacks {", ".join(sorted(lacking))}'
        yield finding.Finding(finding.TRAITS, text, provider=rp)


def _said(record: inventory.Inventory | None) -> str:
    if record is None:
        return 'absent'
    return (
        f'total {record.total}, reserved {record.reserved}, '
        f'max_unit {record.max_unit}'
    )
