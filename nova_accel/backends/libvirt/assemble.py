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
"""From the facts about one function to the ``Device`` that core knows.

Stable ids come in this order: serial number (VPD, then Device Serial Number,
then that of an NVMe drive), physical slot, topological path, address. A
virtual function takes its ids from its physical function.
"""

import collections.abc
import dataclasses
import re

from nova_accel.backends.libvirt import nodedev
from nova_accel.core import device

_BRIDGE = re.compile(
    r'/([0-9a-f]{4,8}):([0-9a-f]{2}):([0-9a-f]{2}\.[0-7])(?=/|$)', re.ASCII
)


_NVME = 'nvme'


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a function sits, found out beside its own XML.

    :ivar path: topological path, '' if unknown.
    :ivar slot: name of the physical slot.
    :ivar subsystem: (vendor, product), '' where unknown.
    :ivar dsn: Device Serial Number, '' if there is none or nobody may read it.
    :ivar drive: serial number of an NVMe drive, '' of anything else.
    """

    path: str = ''
    slot: str = ''
    subsystem: tuple[str, str] = ('', '')
    devname: str = ''
    dsn: str = ''
    drive: str = ''


def path(addresses: collections.abc.Sequence[device.PciAddress]) -> str:
    """Name a place by the bridges that lead there, outermost first.

    Bus numbers shift when a card is added elsewhere, so they are left out,
    but for the root's, which firmware fixes and without which the sockets
    of a machine look the same.

    >>> path([PciAddress.parse(a) for a in ('0000:00:03.0', '0000:3b:00.0')])
    '0000-03.0-00.0'
    """
    if not addresses:
        return ''
    root = addresses[0]
    start = f'{root.domain:04x}' + (f':{root.bus:02x}' if root.bus else '')
    return '-'.join(
        [start, *(f'{at.slot:02x}.{at.function}' for at in addresses)]
    )


def bridges(syspath: str) -> list[device.PciAddress]:
    """Read the addresses from the root down to the device out of its path."""
    return [
        device.PciAddress.parse(match[0][1:])
        for match in _BRIDGE.finditer(syspath)
    ]


def whole(
    function: nodedev.Function,
    place: Place,
    models: tuple[device.VgpuModel, ...],
    mixed: bool,
) -> device.Device:
    """Return the device of a function that is not virtual."""
    dev_type = device.TYPE_PCI if function.virtual is None else device.TYPE_PF
    return _device(
        function,
        place,
        ids=_ids(function, place),
        slot=place.slot,
        serial=function.serial or place.dsn or place.drive,
        path=place.path,
        dev_type=dev_type,
        models=models,
        mixed=mixed,
    )


def tells_as_drive(dev: device.Device) -> bool:
    """Tell whether only the driver of a drive can read its serial number."""
    return dev.dev_type != device.TYPE_VF and any(
        stable_id.startswith(f'{_NVME}:') for stable_id in dev.ids
    )


def virtual(
    function: nodedev.Function,
    place: Place,
    physical: device.Device | None,
    index: int | None,
    models: tuple[device.VgpuModel, ...],
    mixed: bool,
) -> device.Device:
    """Return the device of a virtual function.

    :param physical: its physical function, None if that is not listed.
    :param index: position among the virtual functions, None if unknown.
    """
    ids = _ids(function, place)
    where = place.path
    if physical is not None and index is not None:
        ids = (*(f'{id_}.vf{index}' for id_ in physical.ids[:-1]), ids[-1])
        where = f'{physical.path}.vf{index}' if physical.path else ''
    return _device(
        function,
        place,
        ids=ids,
        slot=physical.slot if physical else '',
        serial=physical.serial if physical else '',
        path=where,
        dev_type=device.TYPE_VF,
        parent=function.physical,
        vf_index=index,
        models=models,
        mixed=mixed,
    )


def _ids(function: nodedev.Function, place: Place) -> tuple[str, ...]:
    # The functions of one card share its serial number and its slot.
    part = function.address.function
    suffix = f'.{part}' if part else ''
    # Drives tell theirs now and then only: where nothing better is known.
    drive = '' if function.serial or place.dsn else place.drive
    found = (
        ('sn', function.serial, suffix),
        ('dsn', place.dsn, suffix),
        (_NVME, drive, suffix),
        ('slot', place.slot, suffix),
        ('path', place.path, ''),
        ('pci', str(function.address), ''),
    )
    return tuple(f'{kind}:{text}{end}' for kind, text, end in found if text)


def _device(
    function: nodedev.Function, place: Place, **facts: object
) -> device.Device:
    vendor, product = place.subsystem
    return device.Device(
        name=function.name,
        address=function.address,
        vendor_id=function.vendor_id,
        product_id=function.product_id,
        class_id=function.class_id,
        subsystem_vendor_id=vendor,
        subsystem_product_id=product,
        vendor_name=function.vendor_name,
        product_name=function.product_name,
        driver=function.driver,
        devname=place.devname,
        numa_node=function.numa_node,
        upstream=function.upstream,
        iommu_group=function.iommu_group,
        **facts,  # type: ignore[arg-type]
    )
