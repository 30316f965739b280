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
"""Hosts made of values, for the tests of the rules."""

import dataclasses
import random

from nova_accel.core import device
from nova_accel.core import identity
from nova_accel.core import inventory
from nova_accel.core import naming
from nova_accel.core import whitelist

NODE = inventory.Node('host1', '5f2f0b4e-6a0c-4ac7-8f0f-2d1f7c6a9d11')

T4_1Q = device.VgpuModel('nvidia-222', 'GRID T4-1Q', 16, 1024, 4, (5120, 2880))
T4_8Q = device.VgpuModel('nvidia-233', 'GRID T4-8Q', 2, 8192, 4, (7680, 4320))
A40_4Q = device.VgpuModel('nvidia-558', 'NVIDIA A40-4Q', 12, 4096, 4)
A40_8Q = device.VgpuModel('nvidia-559', 'NVIDIA A40-8Q', 6, 8192, 4)


@dataclasses.dataclass(frozen=True)
class Buses:
    """Holds for devices on these buses, of these types if any are given."""

    buses: frozenset[int]
    dev_types: frozenset[str] = frozenset()

    def __call__(self, dev):
        return dev.address.bus in self.buses and (
            not self.dev_types or dev.dev_type in self.dev_types
        )


def rule(name, *buses, kind='vgpu', dev_types=(), **kwargs):
    """A rule for what sits on some buses."""
    test = Buses(frozenset(buses), frozenset(dev_types))
    place = whitelist.Place('accel.yaml', 3)
    return whitelist.Rule(name, place, kind, (('address', test),), **kwargs)


def pci(bus, slot=0, function=0, **kwargs):
    """A device that is known by its serial, its path and its address."""
    address = device.PciAddress(0, bus, slot, function)
    fields = {
        'name': f'pci_{address}',
        'ids': (f'sn:{bus}', f'path:{bus}', f'addr:{address}'),
        'address': address,
        'vendor_id': '10de',
        'product_id': '20b5',
        'class_id': '030200',
        'numa_node': 0,
    }
    return device.Device(**(fields | kwargs))


def t4(bus, **kwargs):
    """A card that creates mediated devices itself."""
    fields = {'product_id': '1eb8', 'models': (T4_1Q, T4_8Q)}
    return pci(bus, **(fields | kwargs))


def usb(path, serial='', **kwargs):
    """A USB device that is known by its serial, if it has one, and port."""
    own = (f'sn:usb-096e-0006-{serial}',) if serial else ()
    fields = {
        'name': f'usb:{path}',
        'ids': (*own, f'path:usb-{path}'),
        'address': device.UsbAddress(path),
        'vendor_id': '096e',
        'product_id': '0006',
        'serial': serial,
        'path': path,
        'dev_type': device.TYPE_USB,
        'per_server': 6,
    }
    return device.Device(**(fields | kwargs))


def sriov(bus, count, models=(), function=None, **kwargs):
    """A physical function with virtual functions, in listing order.

    :param function: fields of the virtual functions.
    """
    head = pci(bus, dev_type=device.TYPE_PF, **kwargs)
    return (
        head,
        *(
            pci(
                bus,
                slot=4 + index // 8,
                function=index % 8,
                # As the PCI specification has it: its parent's serial.
                **{
                    'ids': (f'sn:{bus}', f'path:{bus}/{index}'),
                    'dev_type': device.TYPE_VF,
                    'parent': head.address,
                    'vf_index': index,
                    'models': models,
                    'product_id': '20b6',
                    **(function or {}),
                },
            )
            for index in range(count)
        ),
    )


def offer(
    rules,
    devices,
    known_ids=frozenset(),
    node=NODE,
    elsewhere=inventory.nowhere,
):
    return inventory.offer(
        node,
        whitelist.Whitelist(tuple(rules)),
        devices,
        identity.InUse(frozenset(known_ids)),
        elsewhere,
    )


def provider_of(stable_id, node=NODE):
    return naming.provider_uuid(node.uuid, stable_id)


def known(providers):
    """What Placement says once these have been written."""
    return {
        provider.uuid: inventory.KnownProvider(
            provider.stable_id, provider.inventories, provider.traits
        )
        for provider in providers
        if not provider.retired
    }


def random_host(rng: random.Random):
    """Rules and devices as they may come, conflicts and twins included.

    Buses of one shape have the same remainder, and most rules suit the
    shape that they are for.
    """
    last = rng.randint(1, 16)
    devices = [
        dev for bus in range(1, last + 1) for dev in _random_card(rng, bus)
    ]
    rules = []
    for number in range(rng.randint(0, 6)):
        buses = range(1 + number % 4, last + 1, 4)
        if number > 3:
            buses = [rng.randint(1, 16)]
        rules.append(_random_rule(rng, f'rule{number}', number % 4, buses))
    return rules, devices


def _random_card(rng, bus):
    fields = {
        'numa_node': rng.choice([None, 0, 1]),
        'class_id': rng.choice(['030200'] * 9 + ['060400']),
        'upstream': rng.choice(['', 'bridge1', 'bridge2']),
        'mixed': rng.random() < 0.3,
    }
    if rng.random() < 0.1:
        fields['ids'] = (f'sn:{rng.randint(1, 2)}', f'path:{bus % 3}')
    models = tuple(
        rng.sample([A40_4Q, A40_8Q, T4_1Q, T4_8Q], rng.randint(1, 3))
    )
    shape = bus % 4 if rng.random() < 0.9 else rng.randrange(4)
    if shape == 0:
        return (pci(bus, **fields),)
    if shape == 1:
        return (t4(bus, models=models, **fields),)
    function = {'class_id': fields['class_id']}
    count = rng.choice([0, 4, 12, 13])
    if shape == 2:
        return sriov(bus, count, function=function, **fields)
    return sriov(bus, count, models, function=function, **fields)


def _random_rule(rng, name, number, buses):
    kind, dev_types = [
        ('vgpu', ()),
        ('pci', (device.TYPE_VF,)),
        ('vgpu', rng.choice([(), (device.TYPE_PF,), (device.TYPE_VF,)])),
        ('pci', rng.choice([(), (device.TYPE_PCI,), (device.TYPE_PF,)])),
    ][number if rng.random() < 0.9 else rng.randrange(4)]
    fields = {}
    if kind == 'vgpu':
        fields['mode'] = rng.choice(['fixed', 'dynamic', 'dynamic'])
        fields['models'] = rng.choice(
            [
                (),
                ('nvidia-558',),
                ('GRID T4-8Q', 'nvidia-558', 'nvidia-559'),
            ]
        )
    else:
        fields['pool'] = rng.choice(['numa', 'device', 'host'])
    if rng.random() < 0.1:
        fields['max_slots'] = 4
        fields['levels'] = rng.choice([(), (('region', 2), ('slot', 2))])
    return rule(name, *buses, kind=kind, dev_types=dev_types, **fields)


def random_claims(rng: random.Random, host_offer, node=NODE):
    """Claims that a correct manager could have made on an offer."""
    claims = []
    for pool in host_offer.pools:
        stocks = list(pool.stocks)
        if pool.exclusive:
            stocks = [rng.choice(stocks)]
        for stock in stocks:
            for unit in stock.by_id:
                if rng.random() < 0.5:
                    claims.append(
                        inventory.Claim(
                            provider_of(pool.stable_id, node),
                            stock.resource_class,
                            unit,
                        )
                    )
    return frozenset(claims)
