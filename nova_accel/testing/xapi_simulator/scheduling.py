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
"""Whether a host can run a VM: assert_can_boot_here.

Checks come in the order of xen-api's xapi_vm_helpers. Each raises the precise
error of what is missing.
"""

from nova_accel.testing.xapi_simulator import failure
from nova_accel.testing.xapi_simulator import gpu
from nova_accel.testing.xapi_simulator import memory
from nova_accel.testing.xapi_simulator import network
from nova_accel.testing.xapi_simulator import pci
from nova_accel.testing.xapi_simulator import sr
from nova_accel.testing.xapi_simulator import usb
from nova_accel.testing.xapi_simulator import world

_SRIOV = 'nvidia_sriov'


def is_well_formed(one: world.World, vm: str, host: str) -> None:
    """VM.create checks nothing: that is left for the start."""
    record = one.store.record('VM', vm)
    check_vcpus(record['VCPUs_at_startup'], record['VCPUs_max'])
    memory.check_order(record)


def check_vcpus(at_startup: int, maximum: int) -> None:
    for name, value, limit in (
        ('VCPUs_max', maximum, maximum),
        ('VCPUs_at_startup', at_startup, maximum),
    ):
        if not 1 <= value <= limit:
            raise failure.Failure('INVALID_VALUE', name, value)


def host_is_up(one: world.World, vm: str, host: str) -> None:
    if host in one.offline:
        raise failure.Failure('HOST_NOT_LIVE')
    if not one.store.get('host', host, 'enabled'):
        raise failure.Failure('HOST_DISABLED', host)


def host_has_cpus(one: world.World, vm: str, host: str) -> None:
    vcpus = one.store.get('VM', vm, 'VCPUs_at_startup')
    cpus = len(one.store.get('host', host, 'host_CPUs'))
    if vcpus > cpus:
        raise failure.Failure('HOST_NOT_ENOUGH_PCPUS', vcpus, cpus)


def sees_disks(one: world.World, vm: str, host: str) -> None:
    store = one.store
    for vbd in store.get('VM', vm, 'VBDs'):
        vdi = store.get('VBD', vbd, 'VDI')
        if store.exists(vdi):
            place = store.get('VDI', vdi, 'SR')
            if not sr.is_attached(store, place, host):
                raise failure.Failure('VM_REQUIRES_SR', vm, place)


def sees_networks(one: world.World, vm: str, host: str) -> None:
    store = one.store
    for vif in store.get('VM', vm, 'VIFs'):
        wire = store.get('VIF', vif, 'network')
        if store.exists(wire) and not network.is_seen(store, wire, host):
            raise failure.Failure('VM_REQUIRES_NETWORK', vm, wire)


def has_functions(one: world.World, vm: str, host: str) -> None:
    """A VIF on an SR-IOV network needs a free virtual function."""
    store = one.store
    wanted: dict[str, int] = {}
    for vif in store.get('VM', vm, 'VIFs'):
        wire = store.get('VIF', vif, 'network')
        if network.is_sriov(store, wire):
            wanted[wire] = wanted.get(wire, 0) + 1
    for wire, count in wanted.items():
        if network.free_functions(one, wire, host, without=vm) < count:
            raise failure.Failure('NETWORK_SRIOV_INSUFFICIENT_CAPACITY', wire)


def has_iommu(one: world.World, vm: str, host: str) -> None:
    """For vGPUs that are a PCI device; other_config:pci is not looked at."""
    store = one.store
    needed = any(
        gpu.is_pci(store, store.get('VGPU', vgpu, 'type'))
        for vgpu in gpu.vgpus(store, vm)
    )
    if needed and not pci.has_iommu(store, host):
        raise failure.Failure('VM_REQUIRES_IOMMU', host)


def has_gpus(one: world.World, vm: str, host: str) -> None:
    plan_gpus(one, vm, host)


def plan_gpus(one: world.World, vm: str, host: str) -> dict[str, str]:
    """Return the GPU that each vGPU of a VM would get.

    :raises Failure: VM_REQUIRES_GPU for a whole GPU, VM_REQUIRES_VGPU for a
        share of one.
    """
    store = one.store
    plan: dict[str, str] = {}
    for vgpu in gpu.vgpus(store, vm):
        group = store.get('VGPU', vgpu, 'GPU_group')
        vgpu_type = store.get('VGPU', vgpu, 'type')
        pgpu = gpu.choose(store, group, host, vgpu_type, plan)
        if pgpu is None and gpu.is_passthrough(store, vgpu_type):
            raise failure.Failure('VM_REQUIRES_GPU', vm, group)
        if pgpu is None:
            raise failure.Failure('VM_REQUIRES_VGPU', vm, group, vgpu_type)
        plan[vgpu] = pgpu
    return plan


def has_usb(one: world.World, vm: str, host: str) -> None:
    store = one.store
    for vusb in store.get('VM', vm, 'VUSBs'):
        group = store.get('VUSB', vusb, 'USB_group')
        if not usb.is_here(store, group, host):
            raise failure.Failure(
                'OPERATION_NOT_ALLOWED',
                f'VUSB {vusb} is not available on Host {host}',
            )


def memory_is_pinned(one: world.World, vm: str, host: str) -> None:
    """vGPUs on virtual functions forbid ballooning."""
    store = one.store
    sriov = any(
        store.get(
            'VGPU_type', store.get('VGPU', vgpu, 'type'), 'implementation'
        )
        == _SRIOV
        for vgpu in gpu.vgpus(store, vm)
    )
    values = store.record('VM', vm)
    limits = {values[name] for name in memory.LIMITS[1:]}
    if sriov and len(limits) > 1:
        raise failure.Failure(
            'MEMORY_CONSTRAINT_VIOLATION_MAXPIN',
            'dynamic_min, dynamic_max and static_max must be equal with a '
            'vGPU on a virtual function',
        )


def has_memory(one: world.World, vm: str, host: str) -> None:
    wanted = memory.needed(one.store, vm)
    left = memory.free(one.store, host, without=vm)
    if wanted > left:
        raise failure.Failure('HOST_NOT_ENOUGH_FREE_MEMORY', wanted, left)


CHECKS = (
    is_well_formed,
    host_is_up,
    sees_disks,
    sees_networks,
    has_iommu,
    has_gpus,
    has_usb,
    has_functions,
    memory_is_pinned,
    has_memory,
    host_has_cpus,
)


def check(one: world.World, vm: str, host: str) -> None:
    """:raises Failure: the first thing that the host lacks."""
    one.store.row('VM', vm)
    one.store.row('host', host)
    for assertion in CHECKS:
        assertion(one, vm, host)


def reserve(one: world.World, vm: str, host: str) -> None:
    """Take what the VM needs of a host: the first phase of a start.

    All or nothing. Called under the lock, as the pool's master does it.

    :raises Failure: what the host lacks.
    """
    check(one, vm, host)
    store = one.store
    for vgpu, pgpu in plan_gpus(one, vm, host).items():
        store.set('VGPU', vgpu, scheduled_to_be_resident_on=pgpu)
    store.set('VM', vm, scheduled_to_be_resident_on=host)


def release(one: world.World, vm: str) -> None:
    """Give back what was reserved."""
    store = one.store
    for vgpu in gpu.vgpus(store, vm):
        store.set('VGPU', vgpu, scheduled_to_be_resident_on=world.NULL)
    store.set('VM', vm, scheduled_to_be_resident_on=world.NULL)


def possible_hosts(call: world.Call, vm: str) -> list[str]:
    found = []
    for host in call.store.refs('host'):
        try:
            check(call.world, vm, host)
        except failure.Failure:
            continue
        found.append(host)
    return found


def assert_can_boot_here(call: world.Call, vm: str, host: str) -> None:
    check(call.world, vm, host)


def choose_host(call: world.Call, vm: str) -> str:
    """:raises Failure: NO_HOSTS_AVAILABLE, whatever the reason."""
    found = possible_hosts(call, vm)
    if not found:
        raise failure.Failure('NO_HOSTS_AVAILABLE')
    affinity = call.store.get('VM', vm, 'affinity')
    return affinity if affinity in found else found[0]


MESSAGES: world.Messages = {
    'assert_can_boot_here': assert_can_boot_here,
    'get_possible_hosts': possible_hosts,
}
