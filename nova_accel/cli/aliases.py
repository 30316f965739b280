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
"""What flavors become: aliases of PCI devices turn into resource classes."""

import collections
import collections.abc
import dataclasses
import re

from nova_accel.cli import novaconf
from nova_accel.cli import planning
from nova_accel.core import device

ALIAS = 'pci_passthrough:alias'
_RESOURCE = re.compile(r'resources\w*:(\w+)')

Properties = collections.abc.Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Flavor:
    """One flavor, and what of it changes.

    :ivar drop: keys that must go.
    :ivar add: extra specs that take their place.
    :ivar problems: why it cannot be told what takes their place.
    """

    name: str
    drop: tuple[str, ...] = ()
    add: tuple[tuple[str, str], ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def changes(self) -> bool:
        return bool(self.drop or self.problems)


def convert(
    name: str,
    properties: Properties,
    aliases: collections.abc.Iterable[novaconf.Alias],
    plan: planning.Plan,
) -> Flavor:
    """Return what a flavor must say once the whitelist is in place.

    What asks for a resource class already stays as it is.
    """
    if ALIAS not in properties:
        return Flavor(name)
    amounts: collections.Counter[str] = collections.Counter()
    traits: set[str] = set()
    problems = []
    for alias, amount in _requests(properties[ALIAS]):
        meant = [one for one in aliases if one.name == alias]
        classes = {rc for one in meant for rc in _classes(one, plan)}
        if len(classes) == 1:
            amounts[classes.pop()] += amount
            for one in meant:
                traits.update(planning.traits(one.fields.get('traits')))
        else:
            problems.append(_problem(alias, meant, classes))
    if problems:
        return Flavor(name, problems=tuple(problems))
    for key, value in properties.items():
        found = _RESOURCE.fullmatch(key)
        if found and found[1] in amounts and value.isdecimal():
            amounts[found[1]] += int(value)
    return Flavor(
        name,
        (ALIAS,),
        (
            *(
                (f'resources:{rc}', str(n))
                for rc, n in sorted(amounts.items())
            ),
            *((f'trait:{trait}', 'required') for trait in sorted(traits)),
        ),
    )


def _requests(text: str) -> collections.abc.Iterator[tuple[str, int]]:
    """Read ``a100:2, nvme``."""
    for part in text.split(','):
        name, _, amount = part.strip().partition(':')
        if name:
            yield name, int(amount) if amount.strip().isdecimal() else 1


def _classes(alias: novaconf.Alias, plan: planning.Plan) -> set[str]:
    """Resource classes of the devices of the plan that an alias means."""
    named = alias.fields.get('resource_class')
    return {
        given.resource_class
        for rule in plan.rules
        for given in rule.given
        if any(_is_meant(alias, dev) for dev in given.functions)
        and (
            not named
            or planning.resource_class(str(named)) == given.resource_class
        )
    }


def _is_meant(alias: novaconf.Alias, dev: device.Device) -> bool:
    wanted = {
        'vendor_id': dev.vendor_id,
        'product_id': dev.product_id,
        'device_type': dev.dev_type,
    }
    return all(
        str(alias.fields[key]).lower() == value.lower()
        for key, value in wanted.items()
        if alias.fields.get(key)
    )


def _problem(
    alias: str,
    meant: collections.abc.Sequence[novaconf.Alias],
    classes: collections.abc.Collection[str],
) -> str:
    if not meant:
        return f'there is no [pci]alias {alias!r} in the files read'
    if not classes:
        return (
            f'alias {alias!r} means no device that this host will offer; it '
            f'stays as it is if other hosts go on to serve it'
        )
    return (
        f'alias {alias!r} means devices of {" and ".join(sorted(classes))}: '
        f'make a flavor for each, or give their rules one resource_class'
    )
