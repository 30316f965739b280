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
"""Which vGPU models a card serves under a rule, and with which functions."""

import collections.abc

from nova_accel.core import device
from nova_accel.core import topology
from nova_accel.core import whitelist
from nova_accel import exception

_LISTED = 8

Slot = tuple[int, device.Device]
"""Number of a slot within its card, and the function that serves it."""


def parents(
    card: topology.Card, matched: collections.abc.Container[str]
) -> tuple[Slot, ...]:
    """Functions of a card that create mediated devices.

    The card's own device where it can, else its virtual functions: all if
    the rule names the card itself, else those that it names.

    :param matched: names of the devices that the rule matches.
    :returns: numbered virtual functions, or the card's device as slot 0.
    :raises NotOffered: the card creates none.
    """
    if card.device.models:
        return ((0, card.device),)
    whole = card.device.name in matched
    found = tuple(
        (number, function)
        for number, function in card.numbered.items()
        if function.models and (whole or function.name in matched)
    )
    if not found:
        raise exception.NotOffered(reason=_no_types(card))
    return found


def _no_types(card: topology.Card) -> str:
    hint = (
        ', and are its virtual functions enabled'
        if card.device.dev_type == device.TYPE_PF and not card.functions
        else ''
    )
    return (
        f"it offers no vGPU types; is the vendor's vGPU driver loaded "
        f'(driver: {card.device.driver or "none"}){hint}?'
    )


def select(
    rule: whitelist.Rule, slots: collections.abc.Collection[Slot]
) -> tuple[device.VgpuModel, ...]:
    """Models to offer, in the rule's order, or in the card's if it has none.

    :raises NotOffered: there is none, or too many for ``mode: fixed``.
    """
    offered = _offered(slots)
    wanted = _wanted(rule, offered)
    if not wanted:
        raise exception.NotOffered(
            reason=f'it offers none of models {_list(rule.models)}; it '
            f'offers {_describe(offered)}'
        )
    narrow = next((f.narrow for _slot, f in slots if f.narrow), '')
    if rule.mode == whitelist.MODE_FIXED and narrow and len(offered) > 1:
        raise exception.NotOffered(
            reason=f'the hypervisor may put any of {len(offered)} vGPU '
            f'types there, and rule {rule.name!r} is about one: run '
            f'{narrow.format(type=wanted[0].type_id)!r} '
            f'({wanted[0].name}), or set mode: dynamic'
        )
    if rule.mode == whitelist.MODE_FIXED and len(wanted) > 1:
        raise exception.NotOffered(
            reason=f'it offers {len(wanted)} models that rule '
            f'{rule.name!r} allows ({_describe(wanted)}); name one in '
            f'models, or set mode: dynamic'
        )
    return wanted


def _offered(
    slots: collections.abc.Iterable[Slot],
) -> tuple[device.VgpuModel, ...]:
    found: dict[str, device.VgpuModel] = {}
    for _number, function in slots:
        for model in function.models:
            found.setdefault(model.type_id, model)
    return tuple(found.values())


def _wanted(
    rule: whitelist.Rule, offered: tuple[device.VgpuModel, ...]
) -> tuple[device.VgpuModel, ...]:
    if not rule.models:
        return offered
    return tuple(
        dict.fromkeys(
            model for word in rule.models for model in _meant(word, offered)
        )
    )


def _meant(
    word: str, offered: tuple[device.VgpuModel, ...]
) -> collections.abc.Sequence[device.VgpuModel]:
    exact = [m for m in offered if word in (m.type_id, m.name)]
    folded = word.casefold()
    return exact or [
        m
        for m in offered
        if folded in (m.type_id.casefold(), m.name.casefold())
    ]


def slots(
    rule: whitelist.Rule,
    model: device.VgpuModel,
    parents: tuple[Slot, ...],
) -> tuple[Slot, ...]:
    """Slots of one model on one card.

    :raises NotOffered: nothing says how many, or it is none.
    """
    if parents[0][1].dev_type == device.TYPE_VF:
        total = _least(_capacity(model, parents), rule.max_slots)
        found = tuple(
            (number, function)
            for number, function in parents
            if any(m.type_id == model.type_id for m in function.models)
        )[:total]
    else:
        total = _least(model.capacity, rule.max_slots)
        if total is None:
            raise exception.NotOffered(
                reason=f'nothing tells how many {model.name!r} it holds; '
                f'give max_slots in rule {rule.name!r}'
            )
        found = tuple((slot, parents[0][1]) for slot in range(total))
    if not found:
        raise exception.NotOffered(reason=f'it has room for no {model.name!r}')
    return found


def _capacity(
    model: device.VgpuModel, parents: tuple[Slot, ...]
) -> int | None:
    # Each function repeats the card's figure; the careful one counts.
    return _least(
        *(
            m.capacity
            for _number, function in parents
            for m in function.models
            if m.type_id == model.type_id
        )
    )


def _least(*figures: int | None) -> int | None:
    return min((f for f in figures if f is not None), default=None)


def _describe(models: collections.abc.Sequence[device.VgpuModel]) -> str:
    return _list(
        [
            m.type_id if m.name == m.type_id else f'{m.type_id} ({m.name})'
            for m in models
        ]
    )


def _list(words: collections.abc.Sequence[str]) -> str:
    more = len(words) - _LISTED
    text = ', '.join(words[:_LISTED])
    return f'{text} and {more} more' if more > 0 else text
