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
"""What the scheduler decides about vGPU models. Needs no nova.

The traits of a provider say which models a card has, the class says which
of them one gets. Placement does not connect the two, and looks for a trait
that an image requires in the group without a suffix only.
"""

import collections.abc
import re
import typing as ty

import os_resource_classes

from nova_accel.core import naming
from nova_accel.core import request
from nova_accel import exception
from nova_accel.objects import vgpu_capabilities

# What stands before a model's name in its trait and in its class.
_TRAIT = naming.model_trait('')
_CLASS = naming.vgpu_class('')
_WHOLE_DEVICE = re.compile('CUSTOM_PCI_[0-9A-F]{4}_[0-9A-F]{4}')

Candidate = collections.abc.Mapping[str, ty.Any]
"""As nova has it: 'allocations' by provider, 'mappings' by group suffix."""


def model_traits(traits: collections.abc.Iterable[str]) -> frozenset[str]:
    """Return those of the traits that name a vGPU model."""
    return frozenset(trait for trait in traits if trait.startswith(_TRAIT))


def wants_vgpu(asked: request.Request) -> bool:
    return any(_classes(group) for group in asked.groups)


def _classes(group: request.RequestGroup) -> tuple[str, ...]:
    """Return the classes of a group that may be vGPUs.

    What a class of the operator's own is, only the node knows.
    """
    return tuple(
        rc
        for rc, _amount in group.resources
        if rc == os_resource_classes.VGPU
        or rc.startswith(os_resource_classes.CUSTOM_NAMESPACE)
        and not _WHOLE_DEVICE.fullmatch(rc)
    )


def settled_by_groups(
    asked: request.Request,
    image_models: collections.abc.Iterable[str],
    is_trait: collections.abc.Callable[[str], bool],
    **names: str,
) -> frozenset[str]:
    """Return the image's model traits that groups with a suffix fulfil.

    Placement is not to look for them again in the group without a suffix.

    :param asked: what the flavor says.
    :param is_trait: tells whether Placement knows a trait: so whether a
        class CUSTOM_VGPU_X is of model X or the operator's own word.
    :param names: 'image' and 'flavor', for messages.
    :raises ModelRefused: the flavor can never give what the image requires.
    """
    groups = [group for group in asked.groups if _classes(group)]
    if not groups:
        raise exception.ImageNeedsVGPU(
            trait=', '.join(sorted(image_models)), **names
        )
    return frozenset(
        trait
        for trait in sorted(image_models)
        if _group_of(trait, groups, is_trait, names)
    )


def _group_of(
    trait: str,
    groups: list[request.RequestGroup],
    is_trait: collections.abc.Callable[[str], bool],
    names: dict[str, str],
) -> str:
    """Return the suffix of the group that gives the model."""
    own = _CLASS + trait.removeprefix(_TRAIT)
    for group in groups:
        if trait in group.required or group.amount(own):
            return group.suffix
    able = [
        group
        for group in groups
        if not all(_is_of_a_model(rc, is_trait) for rc in _classes(group))
    ]
    if not able:
        raise exception.ImageNeedsOtherModel(
            trait=trait, resource_class=_classes(groups[0])[0], **names
        )
    if not any(group.suffix == '' for group in able):
        raise exception.ImageModelInGroup(
            trait=trait, suffix=able[0].suffix, **names
        )
    return ''


def _is_of_a_model(
    rc: str, is_trait: collections.abc.Callable[[str], bool]
) -> bool:
    return rc.startswith(_CLASS) and is_trait(_TRAIT + rc.removeprefix(_CLASS))


def obstacle(
    capabilities: vgpu_capabilities.VGPUCapabilities,
    asked: request.Request,
    candidate: Candidate,
    used_otherwise: collections.abc.Callable[[str, str], bool],
) -> str | None:
    """Return why a host cannot serve a candidate, None if it may.

    Providers that are not among the cards are not judged.

    :param asked: what the flavor says and the image requires.
    :param used_otherwise: (provider, class) -> whether allocations use the
        provider's other classes now.
    """
    cards = {card.provider: card for card in capabilities.cards}
    for group in asked.groups:
        given = [
            (cards.get(provider), rc)
            for provider, rc in _given(group, candidate)
        ]
        for card, rc in given:
            if card is None:
                continue
            if rc not in card.types:
                return f'{card.stable_id} does not offer {rc} any more'
            if _is_blocked(card, rc) and used_otherwise(card.provider, rc):
                return f'{card.stable_id} holds another model than {rc}'
        missing = model_traits(group.required) - {
            naming.model_trait(capabilities.model_of(card, rc) or '')
            for card, rc in given
            if card is not None
        }
        if given and missing and all(card for card, _rc in given):
            return f'the classes of group {group.suffix!r} are not {missing}'
    return None


def _given(
    group: request.RequestGroup, candidate: Candidate
) -> collections.abc.Iterator[tuple[str, str]]:
    for provider in candidate['mappings'].get(group.suffix, ()):
        allocation = candidate['allocations'].get(provider, {})
        for rc in _classes(group):
            if rc in allocation.get('resources', ()):
                yield provider, rc


def _is_blocked(card: vgpu_capabilities.VGPUCardCapability, rc: str) -> bool:
    """Tell whether the card, when last asked, held another model only."""
    return not card.mixed and bool(set(card.held) - {card.types[rc]})
