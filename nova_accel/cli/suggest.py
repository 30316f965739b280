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
"""A whitelist to start from: what a host has and no rule names yet.

One rule a kind of card. What the host may need itself (its console, its
disks) is written as a comment.
"""

import collections.abc
import dataclasses
import re

from nova_accel.cli import survey as surveys
from nova_accel.cli import text
from nova_accel.core import device
from nova_accel.core import topology
from nova_accel.core import whitelist as core_whitelist

# By the beginning of the PCI class.
_ACCELERATORS = ('0207', '03', '0b40', '12')
_DISKS = ('0108',)

# Makers of the graphics of server boards and of virtual machines.
_CONSOLES = frozenset(
    {'1013', '102b', '1234', '15ad', '1a03', '1af4', '1b36', '80ee', '8086'}
)


_NOTHING_READY = 'devices: {}  # remove the {} when you uncomment a rule'


@dataclasses.dataclass(frozen=True)
class Kind:
    """Cards of one product."""

    cards: tuple[topology.Card, ...]

    @property
    def head(self) -> device.Device:
        return self.cards[0].device

    @property
    def functions(self) -> tuple[device.Device, ...]:
        return tuple(f for card in self.cards for f in card.functions)

    @property
    def models(self) -> tuple[device.VgpuModel, ...]:
        members = (m for card in self.cards for m in card.members)
        return next((m.models for m in members if m.models), ())

    @property
    def doubt(self) -> str:
        """Why the host may need it itself, '' if it will not."""
        if self.models:
            return ''
        if self.head.class_id.startswith(_DISKS):
            return 'it may hold disks of the host itself'
        if (
            self.head.class_id.startswith('0300')
            and self.head.vendor_id in _CONSOLES
        ):
            return 'it is probably the console of the host itself'
        return ''


def whitelist(survey: surveys.Survey) -> str:
    """Return a file that offers what is here and unlisted; '' if nothing."""
    kinds = _kinds(survey)
    if not kinds:
        return ''
    taken = {rule.name for rule in survey.offer.rules}
    lines = ['version: 1']
    ready = [kind for kind in kinds if not kind.doubt]
    lines.append('devices:' if ready else _NOTHING_READY)
    for kind in kinds:
        name = _name(kind, taken)
        taken.add(name)
        lines += _rule(kind, name)
    return '\n'.join(lines) + '\n'


def _kinds(survey: surveys.Survey) -> list[Kind]:
    """Group unlisted accelerators by product.

    A product that some rule names is left alone: a rule for all of it would
    match those devices twice.
    """
    unlisted = {dev.name for dev in survey.offer.unlisted}
    listed = {
        (dev.vendor_id, dev.product_id)
        for dev in survey.view.devices
        if dev.name not in unlisted
    }
    groups: dict[tuple[str, str], list[topology.Card]] = {}
    for card in topology.cards(survey.offer.unlisted):
        product = (card.device.vendor_id, card.device.product_id)
        if _is_offerable(card) and product not in listed:
            groups.setdefault(product, []).append(card)
    return [Kind(tuple(cards)) for cards in groups.values()]


def _is_offerable(card: topology.Card) -> bool:
    return card.device.dev_type != device.TYPE_VF and (
        card.device.class_id.startswith(_ACCELERATORS + _DISKS)
        or any(member.models for member in card.members)
    )


def _name(kind: Kind, taken: collections.abc.Container[str]) -> str:
    words = re.findall('[a-z0-9]+', text.product(kind.head).lower())
    name = '-'.join(words)[:40].strip('-') or 'card'
    if name in taken:
        name = f'{name}-{kind.head.vendor_id}-{kind.head.product_id}'
    return name


def _rule(kind: Kind, name: str) -> collections.abc.Iterator[str]:
    mark = '  # ' if kind.doubt else '  '
    addresses = text.some([str(c.device.address) for c in kind.cards])
    number = text.count(len(kind.cards), 'card')
    yield ''
    yield f'  # {text.printable(kind.head.label)}: {number} at {addresses}.'
    if kind.doubt:
        yield f'  # Commented out: {kind.doubt}.'
    yield f'{mark}{name}:'
    for line in _body(kind):
        yield f'{mark}  {line}'


def _body(kind: Kind) -> collections.abc.Iterator[str]:
    if kind.models:
        yield f'kind: {core_whitelist.KIND_VGPU}'
        yield f'match: {_match(kind.head)}'
        yield from _model_lines(kind)
        return
    yield f'kind: {core_whitelist.KIND_PCI}'
    if kind.functions:
        yield '# Each virtual function on its own; dev_type: type-PF offers'
        yield '# the whole card instead.'
        yield f'match: {_match(kind.functions[0], device.TYPE_VF)}'
    else:
        yield f'match: {_match(kind.head)}'


def _match(dev: device.Device, dev_type: str = '') -> str:
    pairs = [f'vendor_id: "{dev.vendor_id}"']
    pairs.append(f'product_id: "{dev.product_id}"')
    if dev_type:
        pairs.append(f'dev_type: {dev_type}')
    return f'{{{", ".join(pairs)}}}'


def _model_lines(kind: Kind) -> collections.abc.Iterator[str]:
    yield '# One of:'
    for model in kind.models:
        holds = f', {model.capacity} a card' if model.capacity else ''
        yield f'#   {model.type_id}  {text.printable(model.name)}{holds}'
    chosen = _largest(kind.models)
    yield f'models: ["{chosen.type_id}"]'
    if chosen.capacity is None:
        yield '# Nothing here tells how many of it a card holds; the guide of'
        yield '# its maker does.'
        # Of functions there are as many as there are.
        yield 'max_slots: 1' if kind.head.models else '# max_slots: 1'


def _largest(models: tuple[device.VgpuModel, ...]) -> device.VgpuModel:
    """The largest model of which a card holds several."""
    several = [m for m in models if m.capacity and m.capacity > 1]
    return min(several, key=_capacity, default=models[0])


def _capacity(model: device.VgpuModel) -> int:
    return model.capacity or 0
