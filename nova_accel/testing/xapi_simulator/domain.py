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
"""What a VM holds while it runs: taken at its start, given back at its end."""

from nova_accel.testing.xapi_simulator import disks
from nova_accel.testing.xapi_simulator import failure
from nova_accel.testing.xapi_simulator import gpu
from nova_accel.testing.xapi_simulator import guest
from nova_accel.testing.xapi_simulator import pci
from nova_accel.testing.xapi_simulator import scheduling
from nova_accel.testing.xapi_simulator import store as stores
from nova_accel.testing.xapi_simulator import world

NULL = stores.NULL


def build(one: world.World, vm: str, host: str, state: str) -> None:
    """Make the domain of a VM whose needs are reserved: the second phase.

    :param state: Running or Paused.
    :raises Failure: Xen refuses; the caller tears down.
    """
    store = one.store
    disks.take(one, vm)
    pci.take(one, vm, host)
    for vgpu in gpu.vgpus(store, vm):
        _plug_vgpu(one, vgpu, host)
    for cls, field in (('VIF', 'VIFs'), ('VUSB', 'VUSBs')):
        for device in store.get('VM', vm, field):
            store.set(cls, device, currently_attached=True)
    store.set(
        'VM',
        vm,
        power_state=state,
        domid=one.next_domid,
        resident_on=host,
        scheduled_to_be_resident_on=NULL,
    )
    one.next_domid += 1
    _add_console(one, vm, host)
    guest.boot(one, vm)
    _note_start(store, vm)


def _plug_vgpu(one: world.World, vgpu: str, host: str) -> None:
    store = one.store
    record = store.record('VGPU', vgpu)
    pgpu = record['scheduled_to_be_resident_on']
    device = store.get('PGPU', pgpu, 'PCI')
    address = store.get('PCI', device, 'pci_id').lower()
    if pci.held(one, host).get(address, record['VM']) != record['VM']:
        raise failure.Failure(
            'INTERNAL_ERROR',
            f'xenopsd internal error: PCI device {address} is in use',
        )
    whole = gpu.is_passthrough(store, record['type'])
    if whole:
        attached = store.get('VM', record['VM'], 'attached_PCIs')
        store.set('VM', record['VM'], attached_PCIs=[*attached, device])
    store.set(
        'VGPU',
        vgpu,
        resident_on=pgpu,
        scheduled_to_be_resident_on=NULL,
        currently_attached=True,
        PCI=device if whole else NULL,
    )


def _add_console(one: world.World, vm: str, host: str) -> None:
    store = one.store
    if not store.get('VM', vm, 'consoles'):
        console = store.create('console', VM=vm, protocol='rfb')
        url = one.urls.get(host, '')
        store.set('console', console, location=f'{url}/console?ref={console}')


def _note_start(store: stores.Store, vm: str) -> None:
    record = store.record('VM', vm)
    vcpus = record['VCPUs_at_startup']
    store.set(
        'VM_metrics',
        record['metrics'],
        start_time=stores.now(),
        last_updated=stores.now(),
        memory_actual=record['memory_dynamic_max'],
        VCPUs_number=vcpus,
        VCPUs_CPU={number: number for number in range(vcpus)},
        hvm=True,
        current_domain_type='hvm',
    )


def leave(one: world.World, vm: str, state: str) -> None:
    """End the domain: everything is given back, whatever was taken."""
    store = one.store
    guest.leave(store, vm)
    scheduling.release(one, vm)
    pci.give_back(one, vm)
    for vgpu in gpu.vgpus(store, vm):
        store.set(
            'VGPU', vgpu, resident_on=NULL, currently_attached=False, PCI=NULL
        )
    for cls, field in (('VBD', 'VBDs'), ('VIF', 'VIFs'), ('VUSB', 'VUSBs')):
        for device in store.get('VM', vm, field):
            store.set(cls, device, currently_attached=False)
    for console in store.get('VM', vm, 'consoles'):
        store.delete('console', console)
    store.set('VM', vm, power_state=state, domid=-1, resident_on=NULL)
