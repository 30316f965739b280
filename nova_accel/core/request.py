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
"""What a server asks for: extra specs and allocations, as values."""

import collections.abc
import dataclasses
import re
import typing as ty

import os_resource_classes

from nova_accel.core.inventory import values
from nova_accel.core import naming
from nova_accel import exception

# As nova reads them: nova.scheduler.utils.ResourceRequest.XS_KEYPAT.
_KEY = re.compile(
    r'(?P<what>resources|trait)(?P<suffix>[a-zA-Z0-9_-]{1,64})?:(?P<name>.*)'
)
_SYMBOL = re.compile(r'[A-Z0-9_]{1,255}', re.ASCII)
_GROUP_POLICY = 'group_policy'
_POLICIES = ('none', 'isolate')

Amounts = collections.abc.Mapping[str, collections.abc.Mapping[str, int]]
"""Provider uuid -> resource class -> amount."""

Allocations = collections.abc.Mapping[
    str, collections.abc.Mapping[str, ty.Any]
]
"""As nova has them: provider uuid -> ``{'resources': {class: amount}}``."""


@dataclasses.dataclass(frozen=True)
class RequestGroup:
    """Resources and traits that one provider must have.

    :ivar suffix: ``_GPU`` of ``resources_GPU:``; '' for the one group
        whose parts may come from several providers of the host.
    :ivar resources: (resource class, amount), by class; no amount is 0.
    """

    suffix: str = ''
    resources: tuple[tuple[str, int], ...] = ()
    required: frozenset[str] = frozenset()
    forbidden: frozenset[str] = frozenset()

    def amount(self, resource_class: str) -> int:
        return dict(self.resources).get(resource_class, 0)


@dataclasses.dataclass(frozen=True)
class Request:
    """All groups of a flavor, by suffix, and how they share providers.

    :ivar group_policy: ``none``, ``isolate``, or None if the flavor does
        not say.
    """

    groups: tuple[RequestGroup, ...] = ()
    group_policy: str | None = None

    def amount(self, resource_class: str) -> int:
        """Return how much of a class all groups ask for."""
        return sum(group.amount(resource_class) for group in self.groups)


def parse(
    extra_specs: collections.abc.Mapping[str, str],
    image_traits: collections.abc.Iterable[str] = (),
) -> Request:
    """Read the request groups of a flavor. Other extra specs are ignored.

    :param image_traits: traits that the image requires; they join the
        group without a suffix, as in nova.
    :raises InvalidRequest: a value is not what its key needs.
    """
    resources: dict[str, dict[str, int]] = {}
    traits: dict[str, dict[str, set[str]]] = {}
    for key, value in extra_specs.items():
        match = _KEY.fullmatch(key)
        if match is None:
            continue
        suffix, name = match['suffix'] or '', match['name']
        _check_symbol(key, value, name)
        if match['what'] == 'resources':
            amount = _amount(key, value)
            if amount:
                resources.setdefault(suffix, {})[name] = amount
        else:
            word = _one_of(key, value, ('required', 'forbidden'))
            by_word = traits.setdefault(suffix, {})
            by_word.setdefault(word, set()).add(name)
    for trait in image_traits:
        traits.setdefault('', {}).setdefault('required', set()).add(trait)
    return Request(
        tuple(
            _group(suffix, resources.get(suffix, {}), traits.get(suffix, {}))
            for suffix in sorted(resources.keys() | traits.keys())
        ),
        _policy(extra_specs.get(_GROUP_POLICY)),
    )


def _group(
    suffix: str,
    resources: collections.abc.Mapping[str, int],
    traits: collections.abc.Mapping[str, set[str]],
) -> RequestGroup:
    return RequestGroup(
        suffix,
        tuple(sorted(resources.items())),
        frozenset(traits.get('required', ())),
        frozenset(traits.get('forbidden', ())),
    )


def _check_symbol(key: str, value: str, name: str) -> None:
    if _SYMBOL.fullmatch(name) is None:
        raise exception.InvalidRequest(
            key=key,
            value=value,
            reason=f'{name!r} is not a name that Placement knows; use '
            f'upper-case letters, digits and underscores',
        )


def _amount(key: str, value: str) -> int:
    # int() would also take '1_0', '+1' and digits of other scripts.
    if not (value.isascii() and value.isdecimal()):
        raise exception.InvalidRequest(
            key=key, value=value, reason='an amount is a whole number'
        )
    return int(value)


def _one_of(key: str, value: str, words: tuple[str, ...]) -> str:
    if value not in words:
        raise exception.InvalidRequest(
            key=key, value=value, reason=f'write {" or ".join(words)}'
        )
    return value


def _policy(value: str | None) -> str | None:
    return None if value is None else _one_of(_GROUP_POLICY, value, _POLICIES)


@dataclasses.dataclass(frozen=True)
class Wants:
    """An allocation, split by who serves it.

    :ivar ours: what this project must find units for.
    :ivar rest: everything else, as it came.
    """

    ours: Amounts
    rest: Allocations


def wants(
    allocations: Allocations | None,
    ours: collections.abc.Container[str],
) -> Wants:
    """Split what nova hands to a claim.

    :param ours: uuids of our providers.
    """
    given = allocations or {}
    return Wants(
        {rp: dict(a['resources']) for rp, a in given.items() if rp in ours},
        {rp: allocation for rp, allocation in given.items() if rp not in ours},
    )


def flavor_properties(
    pool: values.Pool, stock: values.Stock, amount: int = 1
) -> list[tuple[str, str]]:
    """Return the extra specs that ask for an amount of one stock.

    A trait is named only where the class is one of the standard ones, that
    many kinds of devices share.
    """
    properties = [(f'resources:{stock.resource_class}', str(amount))]
    if stock.resource_class.startswith(os_resource_classes.CUSTOM_NAMESPACE):
        return properties
    if stock.model is not None:
        trait = naming.model_trait(stock.model.name)
    else:
        served = stock.units[0].function
        trait = naming.product_trait(served.vendor_id, served.product_id)
    return [*properties, (f'trait:{trait}', 'required')]
