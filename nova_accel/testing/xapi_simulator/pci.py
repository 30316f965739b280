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
"""PCI devices that a VM gets by address: other_config:pci."""

import re

from nova_accel.testing.xapi_simulator import failure
from nova_accel.testing.xapi_simulator import store as stores
from nova_accel.testing.xapi_simulator import world

_ENTRY = re.compile(
    r'\d+/([0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])', re.ASCII | re.I
)


def wanted(store: stores.Store, vm: str) -> list[str]:
    """Return the addresses, without a word about what is malformed."""
    text = store.get('VM', vm, 'other_config').get('pci', '')
    matches = map(_ENTRY.fullmatch, text.split(','))
    return [match[1].lower() for match in matches if match]


def by_address(store: stores.Store, host: str) -> dict[str, str]:
    """Return the devices of a host that XAPI lists."""
    return {
        store.get('PCI', pci, 'pci_id').lower(): pci
        for pci in store.get('host', host, 'PCIs')
    }


def has_iommu(store: stores.Store, host: str) -> bool:
    config = store.get('host', host, 'chipset_info')
    return bool(config.get('iommu') == 'true')


def take(one: world.World, vm: str, host: str) -> None:
    """Give a VM its devices; XAPI checks nothing before, Xen refuses now.

    :raises Failure: INTERNAL_ERROR: there is no such device, or another
        VM has it.
    """
    addresses = wanted(one.store, vm)
    if addresses and not has_iommu(one.store, host):
        raise failure.Failure(
            'INTERNAL_ERROR', 'xenopsd internal error: the host has no IOMMU'
        )
    listed = by_address(one.store, host)
    known = listed.keys() | one.hidden_pci.get(host, frozenset())
    taken = held(one, host)
    for address in addresses:
        if address not in known or taken.get(address, vm) != vm:
            why = 'is in use' if address in known else 'does not exist'
            raise failure.Failure(
                'INTERNAL_ERROR',
                f'xenopsd internal error: PCI device {address} {why}',
            )
    one.holding_pci[vm] = (host, frozenset(addresses))
    attached = [listed[name] for name in addresses if name in listed]
    one.store.set('VM', vm, attached_PCIs=attached)


def held(one: world.World, host: str) -> dict[str, str]:
    """Return address -> VM, of devices and of whole GPUs."""
    store = one.store
    found = {
        address: vm
        for vm, (where, addresses) in one.holding_pci.items()
        if where == host
        for address in addresses
    }
    for vgpu in store.refs('VGPU'):
        pci = store.get('VGPU', vgpu, 'PCI')
        if store.exists(pci) and store.get('PCI', pci, 'host') == host:
            address = store.get('PCI', pci, 'pci_id').lower()
            found[address] = store.get('VGPU', vgpu, 'VM')
    return found


def give_back(one: world.World, vm: str) -> None:
    one.holding_pci.pop(vm, None)
    one.store.set('VM', vm, attached_PCIs=[])
