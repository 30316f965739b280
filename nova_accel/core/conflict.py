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
"""Which rules cannot hold for one card at the same time.

All of it depends on the hardware, so it withholds the card and never stops
a host. ``of_card`` runs a table of tests; the first that finds a conflict
says it.
"""

import collections.abc

from nova_accel.core import device
from nova_accel.core import topology
from nova_accel.core import whitelist

Matches = collections.abc.Mapping[str, tuple[whitelist.Rule, ...]]
"""``Device.name`` -> the rules that match it."""

_NAMED = 8


def rules_of(
    card: topology.Card, matches: Matches
) -> tuple[whitelist.Rule, ...]:
    """Every rule that matches a function of the card, each once."""
    return tuple(
        {
            rule.name: rule
            for member in card.members
            for rule in matches.get(member.name, ())
        }.values()
    )


def of_card(card: topology.Card, matches: Matches) -> str | None:
    """Say why the card's rules exclude each other, None if they do not."""
    return next(
        filter(None, (test(card, matches) for test in _TESTS)),
        None,
    )


def of_groups(
    devices: collections.abc.Collection[device.Device], matches: Matches
) -> dict[str, str]:
    """Say which GPUs are to be given whole and as shares, and why not.

    :returns: ``Device.name`` -> reason, of the group and of its members.
    """
    found = {}
    by_address = {d.address: d for d in devices if not d.members}
    for group in devices:
        taken = [
            by_address[address]
            for address in group.members
            if address in by_address and by_address[address].name in matches
        ]
        if not taken or group.name not in matches:
            continue
        rules = [*matches[group.name], *matches[taken[0].name]]
        reason = (
            f'rules {name(rules)} use one GPU ({taken[0].address}) both for '
            f'vGPUs and for passthrough; keep one of them'
        )
        found.update({dev.name: reason for dev in (group, *taken)})
    return found


def name(rules: collections.abc.Iterable[whitelist.Rule]) -> str:
    """Name rules and where they stand, for a message."""
    names = [f'{rule.name!r} ({rule.place})' for rule in rules]
    more = [f'{len(names) - _NAMED} more'] if len(names) > _NAMED else []
    return ' and '.join(names[:_NAMED] + more)


def _orphan(card: topology.Card, matches: Matches) -> str | None:
    if card.device.dev_type != device.TYPE_VF:
        return None
    parent = card.device.parent or 'unknown'
    return (
        f'it is a virtual function, and the hypervisor does not list its '
        f'physical function ({parent})'
    )


def _same_device(card: topology.Card, matches: Matches) -> str | None:
    for member in card.members:
        rules = matches.get(member.name, ())
        if len(rules) > 1:
            return (
                f'rules {name(rules)} all match {member.address}; narrow '
                f'their match keys so that one remains'
            )
    return None


def _two_uses(card: topology.Card, matches: Matches) -> str | None:
    rules = rules_of(card, matches)
    if len({rule.kind for rule in rules}) < 2:
        return None
    return (
        f'rules {name(rules)} use one card both for vGPUs and for '
        f'passthrough; keep one of them'
    )


def _function_and_parent(card: topology.Card, matches: Matches) -> str | None:
    above = matches.get(card.device.name, ())
    below = any(f.name in matches for f in card.functions)
    if not (above and below and above[0].kind == whitelist.KIND_PCI):
        return None
    rules = rules_of(card, matches)
    if len(rules) == 1:
        return (
            f'rule {name(rules)} matches both a physical function and its '
            f'virtual functions; add dev_type: {device.TYPE_PF} or '
            f'dev_type: {device.TYPE_VF} to its match'
        )
    return (
        f'rules {name(rules)} offer both a physical function and its '
        f'virtual functions; keep one of them'
    )


def _two_rules(card: topology.Card, matches: Matches) -> str | None:
    rules = rules_of(card, matches)
    if len(rules) < 2:
        return None
    return (
        f'rules {name(rules)} both name functions of one card; a card '
        f'takes one rule'
    )


_TESTS = (
    _orphan,
    _same_device,
    _two_uses,
    _function_and_parent,
    _two_rules,
)
