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
"""From XAPI's objects to what this host has.

Everything here is about one host: what a pool says of a GPU group as a
whole is of no use to a compute node. A group, from which XAPI chooses by
itself, becomes one device with the PGPUs that this host has of it.
"""

import collections
import collections.abc
import dataclasses
import functools
import re

from nova_accel.backends.xapi import cache
from nova_accel.backends.xapi import marks
from nova_accel.backends.xapi import wire
from nova_accel.core import device
from nova_accel import exception

PASSTHROUGH = 'passthrough'
_UP = ('Running', 'Paused')

# XAPI's own figure: more are refused with TOO_MANY_VUSBS.
MAX_VUSBS = 6
_ODD = re.compile('[^A-Za-z0-9.-]')


@dataclasses.dataclass(frozen=True)
class Pgpu:
    """One GPU of this host.

    :ivar capacities: vGPU type -> how many, of those that are enabled.
    """

    ref: str
    uuid: str
    group: str
    pci: str
    address: device.PciAddress
    capacities: collections.abc.Mapping[str, int]


class Survey:
    """The objects of a pool, as one host sees them.

    :param host: reference of that host.
    """

    def __init__(self, objects: cache.Objects, host: str) -> None:
        self.objects = objects
        self.host = host

    @functools.cached_property
    def view(self) -> device.HostView:
        """Devices, our vGPUs, and what others keep us from having."""
        groups = [self._group(ref) for ref in self.groups]
        devices = [*self.pcis.values(), *self.usbs.values(), *groups]
        return device.HostView(
            tuple(sorted(devices, key=lambda dev: (dev.address, dev.name))),
            tuple(sorted(self._mdevs())),
            {
                **self._lacking_vgpus(),
                **self._lacking_pcis(),
                **self._lacking_usbs(),
            },
        )

    # PCI

    @functools.cached_property
    def pcis(self) -> dict[str, device.Device]:
        """PCI functions of this host, by reference."""
        found = {}
        for ref, record in self.objects['pci'].items():
            if record['host'] == self.host:
                dev = _pci(record)
                if dev is not None:
                    found[ref] = dev
        return found

    def siblings(self, address: device.PciAddress) -> tuple[str, ...]:
        """Return a function's address and those that must go with it."""
        for ref, dev in self.pcis.items():
            if dev.address == address:
                record = self.objects['pci'][ref]
                others = {
                    str(self.pcis[other].address)
                    for other in record['dependencies']
                    if other in self.pcis
                }
                return str(address), *sorted(others - {str(address)})
        return (str(address),)

    # USB

    @functools.cached_property
    def usbs(self) -> dict[str, device.Device]:
        """USB devices of this host, by reference of the PUSB."""
        return {
            ref: _usb(record)
            for ref, record in self.objects['pusb'].items()
            if record['host'] == self.host
            and record['USB_group'] in self._usb_groups
        }

    @functools.cached_property
    def _usb_groups(self) -> dict[str, str]:
        """Group -> the PUSB that is alone in it, as XAPI makes them."""
        found = collections.defaultdict(list)
        for ref, record in self.objects['pusb'].items():
            found[record['USB_group']].append(ref)
        return {
            group: refs[0]
            for group, refs in found.items()
            if len(refs) == 1 and wire.is_ref(group)
        }

    def vusbs(self, pusb: str) -> dict[str, wire.Record]:
        """Return what keeps a USB device, whether its machine runs or not."""
        group = self.objects['pusb'][pusb]['USB_group']
        return {
            ref: record
            for ref, record in self.objects['vusb'].items()
            if record['USB_group'] == group
        }

    def _lacking_usbs(self) -> dict[tuple[str, str], int]:
        return {
            (dev.name, ''): 1
            for ref, dev in self.usbs.items()
            for record in self.vusbs(ref).values()
            if not self.is_ours(record['VM'])
        }

    # GPUs

    @functools.cached_property
    def pgpus(self) -> dict[str, Pgpu]:
        """GPUs of this host, by reference."""
        found = {}
        for ref, record in self.objects['pgpu'].items():
            pci = self.pcis.get(record['PCI'])
            if record['host'] == self.host and pci is not None:
                capacities = record['supported_VGPU_max_capacities']
                found[ref] = Pgpu(
                    ref,
                    record['uuid'],
                    record['GPU_group'],
                    record['PCI'],
                    pci.pci,
                    {
                        vgpu_type: int(capacities[vgpu_type])
                        for vgpu_type in record['enabled_VGPU_types']
                        if vgpu_type in capacities
                        and self._is_model(vgpu_type)
                    },
                )
        return found

    def _is_model(self, vgpu_type: str) -> bool:
        record = self.objects['vgpu_type'].get(vgpu_type)
        return record is not None and record['implementation'] != PASSTHROUGH

    @functools.cached_property
    def groups(self) -> dict[str, list[Pgpu]]:
        """The GPUs that this host has of each group, by its reference."""
        found = collections.defaultdict(list)
        for pgpu in sorted(self.pgpus.values(), key=lambda p: p.address):
            if pgpu.group in self.objects['gpu_group'] and pgpu.capacities:
                found[pgpu.group].append(pgpu)
        return dict(found)

    def _group(self, ref: str) -> device.Device:
        members = self.groups[ref]
        first = self.pcis[members[0].pci]
        totals = self._totals(members)
        return dataclasses.replace(
            first,
            name=self._group_name(ref),
            ids=(self._group_name(ref),),
            models=tuple(
                self._model(vgpu_type, total)
                for vgpu_type, total in totals.items()
            ),
            members=tuple(pgpu.address for pgpu in members),
            narrow=' && '.join(map(_narrow, members))
            if len(totals) > 1
            else '',
        )

    def _group_name(self, ref: str) -> str:
        return f'gpu-group:{self.objects["gpu_group"][ref]["uuid"]}'

    def _totals(self, members: list[Pgpu]) -> dict[str, int]:
        """Capacity of several GPUs by vGPU type, largest type last."""
        totals: collections.Counter[str] = collections.Counter()
        for pgpu in members:
            totals.update(pgpu.capacities)
        return dict(
            sorted(
                totals.items(),
                key=lambda item: (
                    -item[1],
                    self.objects['vgpu_type'][item[0]]['model_name'],
                ),
            )
        )

    def _model(self, ref: str, total: int) -> device.VgpuModel:
        record = self.objects['vgpu_type'][ref]
        size = (
            int(record['max_resolution_x']),
            int(record['max_resolution_y']),
        )
        return device.VgpuModel(
            type_id=record['uuid'],
            name=record['model_name'] or record['uuid'],
            capacity=total,
            framebuffer_mib=int(record['framebuffer_size']) >> 20 or None,
            max_heads=int(record['max_heads']) or None,
            max_resolution=size if all(size) else None,
            per_server=None if ref in record['compatible_types_in_vm'] else 1,
        )

    # What is in use

    @functools.cached_property
    def residents(self) -> dict[str, list[wire.Record]]:
        """vGPUs that are on each GPU, or are about to be."""
        found = collections.defaultdict(list)
        for record in self.objects['vgpu'].values():
            on = record['resident_on']
            if not wire.is_ref(on):
                on = record['scheduled_to_be_resident_on']
            if on in self.pgpus:
                found[on].append(record)
        return found

    def is_ours(self, vm: str) -> bool:
        """Tell whether a virtual machine is a server of this host."""
        record = self.objects['vm'].get(vm)
        return record is not None and self.server_of(record) is not None

    def server_of(self, record: wire.Record) -> str | None:
        """Return the server that a VM of this host is, None if it is none."""
        config = record['other_config']
        here = self.objects['host'].get(self.host, {}).get('uuid')
        if config.get(marks.HOST) != here:
            return None
        server = config.get(marks.SERVER)
        return None if server is None else str(server)

    def _mdevs(self) -> collections.abc.Iterator[device.Mdev]:
        for record in self.objects['vgpu'].values():
            uuid = record['other_config'].get(marks.MDEV)
            vgpu_type = self.objects['vgpu_type'].get(record['type'])
            if (
                uuid is not None
                and vgpu_type is not None
                and record['GPU_group'] in self.groups
                and self.is_ours(record['VM'])
            ):
                group = self._group_name(record['GPU_group'])
                yield device.Mdev(uuid, vgpu_type['uuid'], group)

    def _lacking_vgpus(self) -> dict[tuple[str, str], int]:
        found = {}
        for ref, members in self.groups.items():
            for vgpu_type, total in self._totals(members).items():
                had = sum(self._had(pgpu, vgpu_type) for pgpu in members)
                if had < total:
                    uuid = self.objects['vgpu_type'][vgpu_type]['uuid']
                    found[self._group_name(ref), uuid] = total - had
        return found

    def _had(self, pgpu: Pgpu, vgpu_type: str) -> int:
        """How many of a type servers of ours have there or could have.

        XAPI's own rule: all vGPUs of one GPU are of one type.
        """
        capacity = pgpu.capacities.get(vgpu_type, 0)
        residents = self.residents.get(pgpu.ref, [])
        if pgpu.pci in self.taken and not residents:
            return 0
        if any(record['type'] != vgpu_type for record in residents):
            return 0
        foreign = sum(not self.is_ours(each['VM']) for each in residents)
        return max(0, capacity - foreign)

    @functools.cached_property
    def taken(self) -> dict[str, str]:
        """PCI functions that running machines have: reference -> machine.

        Of two that claim one, either.
        """
        addresses = {str(dev.address): ref for ref, dev in self.pcis.items()}
        found = {}
        for vm, record in self.objects['vm'].items():
            if self.is_here(record) and record['power_state'] in _UP:
                for address in pci_of(record):
                    if address in addresses:
                        found[addresses[address]] = vm
        for ref, residents in self.residents.items():
            for record in residents:
                if not self._is_model(record['type']):
                    found[self.pgpus[ref].pci] = record['VM']
        return found

    def is_here(self, record: wire.Record) -> bool:
        """Tell whether a virtual machine runs, or is to run, on this host."""
        places = (record['resident_on'], record['scheduled_to_be_resident_on'])
        return self.host in places or self.server_of(record) is not None

    def _lacking_pcis(self) -> dict[tuple[str, str], int]:
        found = {
            (self.pcis[ref].name, ''): 1
            for ref, vm in self.taken.items()
            if not self.is_ours(vm)
        }
        for ref, residents in self.residents.items():
            if any(not self.is_ours(each['VM']) for each in residents):
                found[self.pcis[self.pgpus[ref].pci].name, ''] = 1
        return found

    # Guests

    def guests(self) -> collections.abc.Iterator[device.Guest]:
        """Return every machine of this host, and the devices it has."""
        for record in self.objects['vm'].values():
            if (
                record['is_a_template']
                or record['is_a_snapshot']
                or record['is_control_domain']
                or not self.is_here(record)
            ):
                continue
            yield device.Guest(
                self.server_of(record) or record['uuid'],
                record['power_state'] in _UP,
                frozenset(
                    [
                        *self._vgpus_of(record),
                        *pci_of(record),
                        *self._usbs_of(record),
                    ]
                ),
            )

    def _vgpus_of(self, record: wire.Record) -> collections.abc.Iterator[str]:
        for ref in record['VGPUs']:
            vgpu = self.objects['vgpu'].get(ref)
            if vgpu is not None:
                yield vgpu['other_config'].get(marks.MDEV, vgpu['uuid'])

    def _usbs_of(self, record: wire.Record) -> collections.abc.Iterator[str]:
        for ref in record['VUSBs']:
            vusb = self.objects['vusb'].get(ref, {})
            pusb = self._usb_groups.get(vusb.get('USB_group', ''))
            if pusb in self.usbs:
                yield str(self.usbs[pusb].address)


def pci_of(record: wire.Record) -> list[str]:
    """Return the PCI addresses that a virtual machine is to have."""
    entries = record['other_config'].get(marks.PCI, '').split(',')
    addresses = (entry.strip().rpartition('/')[2] for entry in entries)
    return [address.lower() for address in addresses if address]


def _pci(record: wire.Record) -> device.Device | None:
    try:
        address = device.PciAddress.parse(record['pci_id'])
    except exception.InvalidAddress:
        return None
    return device.Device(
        name=f'pci:{address}',
        ids=(f'addr:{address}',),
        address=address,
        vendor_id=record['vendor_id'].lower(),
        product_id=record['device_id'].lower(),
        class_id=record['class_id'].lower().ljust(6, '0'),
        subsystem_vendor_id=record['subsystem_vendor_id'].lower(),
        subsystem_product_id=record['subsystem_device_id'].lower(),
        vendor_name=record['vendor_name'],
        product_name=record['device_name'],
        driver=record['driver_name'],
    )


def _usb(record: wire.Record) -> device.Device:
    vendor, product = record['vendor_id'].lower(), record['product_id'].lower()
    path, serial = record['path'], record['serial']
    ids = [f'path:usb-{path}']
    if serial:
        ids.insert(0, f'sn:usb-{vendor}-{product}-{_ODD.sub("_", serial)}')
    return device.Device(
        name=f'usb:{path}',
        ids=tuple(ids),
        address=device.UsbAddress(path),
        vendor_id=vendor,
        product_id=product,
        vendor_name=record['vendor_desc'],
        product_name=record['product_desc'],
        serial=serial,
        path=path,
        dev_type=device.TYPE_USB,
        per_server=MAX_VUSBS,
    )


def _narrow(pgpu: Pgpu) -> str:
    return f'xe pgpu-param-set uuid={pgpu.uuid} enabled-VGPU-types={{type}}'
