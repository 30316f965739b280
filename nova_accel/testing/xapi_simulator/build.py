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
"""A topology becomes a pool."""

import ipaddress

from nova_accel import exception
from nova_accel.testing.xapi_simulator import allowed
from nova_accel.testing.xapi_simulator import build_gpu
from nova_accel.testing.xapi_simulator import domain
from nova_accel.testing.xapi_simulator import facts
from nova_accel.testing.xapi_simulator import failure
from nova_accel.testing.xapi_simulator import memory
from nova_accel.testing.xapi_simulator import parts
from nova_accel.testing.xapi_simulator import pci
from nova_accel.testing.xapi_simulator import scheduling
from nova_accel.testing.xapi_simulator import usb
from nova_accel.testing.xapi_simulator import vif
from nova_accel.testing.xapi_simulator import vm as vms
from nova_accel.testing.xapi_simulator import world

MIB = memory.MIB
GIB = 2**30

_DOM0 = 2048 * MIB
_LISTED = ('01', '02', '03')
_CPU = {
    'cpu_count': '16',
    'socket_count': '2',
    'vendor': 'GenuineIntel',
    'speed': '2400.000',
    'modelname': 'Simulated CPU @ 2.40GHz',
    'family': '6',
    'model': '85',
    'stepping': '4',
    'flags': 'fpu de tsc msr pae mce cx8 apic sep mtrr vmx',
}
_SOFTWARE = {
    'product_brand': 'nova-accel XAPI simulator',
    'product_version': '8.3.0',
    'xapi': '25.0',
    'platform_version': '3.4.0',
}


def build(found: parts.Topology, first: str) -> world.World:
    """Return the pool of a topology.

    :param first: address of the first host that has none of its own; the
        others follow.
    :raises InvalidTopology: a VM of it does not start.
    """
    one = world.World()
    one.users[found.user] = found.password
    one.targets = found.targets
    one.guest_tools = found.guest_tools
    store = one.store
    pool = store.create('pool', name_label='pool', name_description='')
    hosts: dict[str, str] = {}
    for number, host in enumerate(found.hosts.values()):
        address = ipaddress.ip_address(first) + number
        hosts[host.name] = _host(one, host, host.address or str(address))
    store.set('pool', pool, master=next(iter(hosts.values())))
    cards = {**build_gpu.shipped(), **found.cards}
    build_gpu.add(one, found.hosts.values(), hosts, cards)
    for host in found.hosts.values():
        # After the GPUs, whose audio functions are among them.
        for device in host.pci:
            _pci(one, hosts[host.name], device)
    for network in found.networks.values():
        _network(one, network, hosts)
    for storage in found.storage.values():
        _storage(one, storage, hosts)
    for kind in sorted({storage.type for storage in found.storage.values()}):
        store.create(
            'SM',
            type=kind,
            name_label=kind,
            supported_image_formats=['raw', 'vhd'],
        )
    allowed.install(one)
    _template(one)
    for vm in found.vms.values():
        try:
            _vm(one, vm, hosts[vm.host])
        except failure.Failure as error:
            one.close()
            raise _no_start(found, vm, error) from error
    for fault in found.faults:
        one.faults.arm(fault)
    one.initial = frozenset(row.ref for row in store.rows())
    return one


def _no_start(
    found: parts.Topology, vm: parts.Vm, error: failure.Failure
) -> exception.InvalidTopology:
    place = found.places[vm.name]
    code, *parameters = error.details
    named = ', '.join(
        f'{name} {value}'
        for name, value in zip(
            facts.load().errors[code], parameters, strict=True
        )
    )
    return exception.InvalidTopology(
        [
            exception.Problem(
                place.file,
                place.line,
                f'vms.{vm.name}',
                f'does not start: {code} ({named})',
            )
        ]
    )


def _host(one: world.World, host: parts.Host, address: str) -> str:
    store = one.store
    metrics = store.create(
        'host_metrics', live=True, memory_total=host.memory * MIB
    )
    ref = store.create(
        'host',
        name_label=host.name,
        hostname=host.name,
        address=address,
        enabled=True,
        metrics=metrics,
        memory_overhead=_DOM0,
        API_version_major=2,
        API_version_minor=21,
        API_version_vendor='XenSource',
        capabilities=['xen-3.0-x86_64', 'hvm-3.0-x86_64'],
        cpu_info={**_CPU, 'cpu_count': str(host.cpus)},
        software_version=_SOFTWARE,
        chipset_info={'iommu': 'true' if host.iommu else 'false'},
        virtual_hardware_platform_versions=[0, 1, 2],
    )
    for number in range(host.cpus):
        store.create(
            'host_cpu',
            host=ref,
            number=number,
            vendor=_CPU['vendor'],
            modelname=_CPU['modelname'],
            speed=2400,
            family=6,
            model=85,
        )
    _dom0(one, ref)
    for usb_device in host.usb:
        _usb(one, ref, usb_device)
    return ref


def _dom0(one: world.World, host: str) -> None:
    """The control domain, which list_instances must not show."""
    store = one.store
    name = store.get('host', host, 'name_label')
    dom0 = vms.make(
        store,
        name_label=f'Control domain on host: {name}',
        is_control_domain=True,
        VCPUs_max=1,
        VCPUs_at_startup=1,
    )
    store.set('VM', dom0, power_state='Running', domid=0, resident_on=host)
    store.set('host', host, control_domain=dom0)


def _template(one: world.World) -> None:
    """One of those that every host comes with, and no server is."""
    vms.make(
        one.store,
        name_label='Other install media',
        is_a_template=True,
        is_default_template=True,
        other_config={'default_template': 'true'},
        VCPUs_max=1,
        VCPUs_at_startup=1,
        **dict.fromkeys(memory.LIMITS, 256 * MIB),
    )


def _pci(one: world.World, host: str, device: parts.PciDevice) -> None:
    if not _is_listed(one, host, device):
        hidden = one.hidden_pci.get(host, frozenset())
        one.hidden_pci[host] = hidden | {device.address.lower()}
        return
    build_gpu.add_pci(
        one.store,
        host,
        device.address,
        class_id=device.class_id,
        vendor_id=device.vendor_id,
        device_id=device.device_id,
        vendor_name=device.vendor,
        device_name=device.device,
    )


def _is_listed(one: world.World, host: str, device: parts.PciDevice) -> bool:
    slot = device.address.rpartition('.')[0]
    return device.class_id[:2] in _LISTED or any(
        address.rpartition('.')[0] == slot
        for address in pci.by_address(one.store, host)
    )


def _usb(one: world.World, host: str, device: parts.UsbDevice) -> None:
    store = one.store
    pusb = store.create(
        'PUSB',
        host=host,
        path=device.path,
        vendor_id=device.vendor_id,
        product_id=device.product_id,
        serial=device.serial,
        vendor_desc='Vendor',
        product_desc=device.description,
        description=device.description,
        version='2.00',
        speed=480.0,
        passthrough_enabled=device.passthrough,
    )
    usb.join_group(store, pusb)


def _network(
    one: world.World, network: parts.Network, hosts: dict[str, str]
) -> None:
    store = one.store
    ref = store.create(
        'network',
        name_label=network.name,
        bridge=network.bridge or f'xapi-{network.name}',
        other_config=network.other_config,
    )
    if network.device:
        for name in network.hosts or hosts:
            _pif(one, network, ref, hosts[name])


def _pif(
    one: world.World, network: parts.Network, ref: str, host: str
) -> None:
    store = one.store
    values = {
        'device': network.device,
        'MTU': 1500,
        'host': host,
        'currently_attached': True,
        'VLAN': network.vlan,
        'network': ref,
        'physical': network.vlan < 0 and not network.functions,
        'MAC': vif.random_mac(),
    }
    first = not store.get('host', host, 'PIFs')
    if first:
        values['IP'] = store.get('host', host, 'address')
    pif = store.create('PIF', management=first, **values)
    if network.functions:
        physical = {**values, 'network': world.NULL, 'physical': True}
        sriov = store.create(
            'network_sriov',
            physical_PIF=store.create('PIF', **physical),
            logical_PIF=pif,
            configuration_mode='sysfs',
        )
        one.functions[sriov] = network.functions


def _storage(
    one: world.World, storage: parts.Storage, hosts: dict[str, str]
) -> None:
    store = one.store
    seen_by = storage.hosts or tuple(hosts)
    ref = store.create(
        'SR',
        name_label=storage.name,
        type=storage.type,
        content_type='iso' if storage.type == 'iso' else 'user',
        shared=len(seen_by) > 1 or storage.type == 'nfs',
        physical_size=storage.size * GIB,
    )
    for name in seen_by:
        store.create('PBD', SR=ref, host=hosts[name], currently_attached=True)
    if storage.default:
        store.set('pool', one.pool, default_SR=ref, suspend_image_SR=ref)


def _vm(one: world.World, vm: parts.Vm, host: str) -> None:
    store = one.store
    memory_size = vm.memory * MIB
    ref = vms.make(
        store,
        name_label=vm.name,
        VCPUs_max=vm.vcpus,
        VCPUs_at_startup=vm.vcpus,
        **dict.fromkeys(memory.LIMITS, memory_size),
    )
    for model in vm.vgpus:
        group, vgpu_type = build_gpu.find(store, host, model)
        store.create('VGPU', VM=ref, GPU_group=group, type=vgpu_type)
    if vm.state == 'Running':
        scheduling.reserve(one, ref, host)
        domain.build(one, ref, host, vm.state)
