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
"""What ``-f json`` prints: plain data, the same at every run.

Keys are only ever added. Ids are lower-case hexadecimal strings, amounts
integers, and what is not known is null.
"""

import collections.abc
import dataclasses
import json
import sys
import typing as ty
import warnings

from nova_accel.cli import flavors
from nova_accel.cli import survey as surveys
from nova_accel.core import device
from nova_accel.core import inventory
from nova_accel.core import whitelist

VERSION = 1

Document = dict[str, ty.Any]


def dump(found: Document) -> None:
    """Print a document of any command."""
    json.dump({'version': VERSION, **found}, sys.stdout, indent=2)
    print()


def header(survey: surveys.Survey, ok: bool) -> Document:
    """What every document begins with."""
    problems = [dataclasses.asdict(p) for p in survey.problems]
    return {
        'ok': ok,
        'connection': survey.uri,
        'node': {
            'name': survey.node.name,
            'uuid': survey.node.uuid if survey.node_uuid_known else None,
        },
        'files': list(survey.files),
        'problems': problems,
        'failure': survey.failure or None,
    }


def devices(
    survey: surveys.Survey, chosen: collections.abc.Iterable[device.Device]
) -> list[Document]:
    return [_device(survey, dev) for dev in chosen]


def _device(survey: surveys.Survey, dev: device.Device) -> Document:
    stable_id = survey.stable_id(dev)
    verdict = survey.verdicts[dev.name]
    return {
        'name': dev.name,
        'address': str(dev.address),
        'id': stable_id or None,
        'id_source': surveys.source(stable_id) or None,
        'ids': list(dev.ids),
        'unknown': list(surveys.unknown(dev)),
        **{key: getattr(dev, key) or None for key in _TEXTS},
        'numa_node': dev.numa_node,
        'iommu_group': dev.iommu_group,
        'parent': None if dev.parent is None else str(dev.parent),
        'vf_index': dev.vf_index,
        'models': [dataclasses.asdict(model) for model in dev.models],
        'mixed': dev.mixed,
        'state': verdict.state,
        'rules': [rule.name for rule in verdict.rules],
        'provider': verdict.pool and verdict.pool.stable_id,
        'resource_classes': list(verdict.classes),
        'reason': verdict.reason or None,
    }


_TEXTS = (
    'vendor_id',
    'product_id',
    'subsystem_vendor_id',
    'subsystem_product_id',
    'class_id',
    'vendor_name',
    'product_name',
    'driver',
    'devname',
    'slot',
    'serial',
    'path',
    'dev_type',
)


def rules(survey: surveys.Survey) -> list[Document]:
    return [_rule(survey, rule) for rule in survey.offer.rules]


def _rule(survey: surveys.Survey, rule: whitelist.Rule) -> Document:
    return {
        'name': rule.name,
        'kind': rule.kind,
        **_place(rule),
        'idle': rule in survey.offer.idle_rules,
        'providers': [
            pool.stable_id
            for pool in survey.offer.pools
            if pool.rule.name == rule.name
        ],
    }


def providers(survey: surveys.Survey) -> list[Document]:
    return [_provider(survey, each) for each in survey.providers]


def _provider(
    survey: surveys.Survey, provider: inventory.Provider
) -> Document:
    pool = survey.pools[provider.stable_id]
    return {
        'name': provider.name,
        'uuid': provider.uuid if survey.node_uuid_known else None,
        'stable_id': provider.stable_id,
        'rule': pool.rule.name,
        'numa_node': pool.numa_node,
        'devices': [str(dev.address) for dev in pool.devices],
        'exclusive': pool.exclusive,
        'blocks': list(pool.blocks),
        'inventories': {
            name: dataclasses.asdict(record)
            for name, record in provider.inventories.items()
        },
        'traits': sorted(provider.traits),
    }


def withheld(survey: surveys.Survey) -> list[Document]:
    return [
        {
            'address': str(entry.device.address),
            'rules': [
                {'name': rule.name, **_place(rule)} for rule in entry.rules
            ],
            'reason': entry.reason,
        }
        for entry in survey.offer.withheld
    ]


def _place(rule: whitelist.Rule) -> Document:
    return {'file': rule.place.file, 'line': rule.place.line}


def flavor(found: flavors.Flavor) -> Document:
    return {
        'rule': found.rule,
        'resource_class': found.resource_class,
        'model': found.model or None,
        'amount': found.amount,
        'purpose': found.purpose,
        'properties': dict(found.properties),
        'command': flavors.command(found),
    }


def capabilities(survey: surveys.Survey) -> Document | None:
    """The versioned object as nova-compute would publish it.

    None for a host without vGPUs: the library behind it takes most of a
    second to import.
    """
    stocks = (stock for pool in survey.offer.pools for stock in pool.stocks)
    if not any(stock.model for stock in stocks):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        from nova_accel.objects import vgpu_capabilities
    found = vgpu_capabilities.from_offer(survey.node, survey.offer, ())
    primitive: Document = found.obj_to_primitive()
    return primitive
