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
"""Node files: what libvirt's test driver reads, and a little more.

An element ``<sysfs xmlns='urn:nova-accel:sysfs'>`` of a device, which
libvirt skips, says what libvirt does not tell and sysfs would: attributes
``slot``, ``subsystem_vendor`` and ``subsystem_device``, and an element
``<type id='...'>`` with the driver's description of a vGPU type.
"""

import collections.abc
import os
import tempfile
import urllib.parse

import libvirt
from lxml import etree

from nova_accel.backends.libvirt import nodedev
from nova_accel.backends.libvirt import sysfs

_SYSFS = '{urn:nova-accel:sysfs}'
_DEVICES = 'bus/pci/devices'


def read(path: str) -> dict[str, str]:
    """Return name -> XML of each device, as the real libvirt formats it."""
    connection = libvirt.open(f'test://{urllib.parse.quote(path)}')
    try:
        handles = connection.listAllDevices(0)
        return {handle.name(): handle.XMLDesc(0) for handle in handles}
    finally:
        connection.close()


def normalise(xmls: collections.abc.Iterable[str]) -> dict[str, str]:
    """Return name -> XML of loose devices, as libvirt formats them."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'node.xml')
        with open(path, 'w', encoding='utf-8') as file:
            file.write('<node>{}</node>'.format('\n'.join(xmls)))
        return read(path)


def limits(path: str) -> dict[str, dict[str, int]]:
    """Return device -> type -> how many the card holds, where it is said."""
    found: dict[str, dict[str, int]] = {}
    for device in etree.parse(path).iterfind('device'):
        name = device.findtext('name')
        for mdev_type in device.iterfind(f'{_SYSFS}sysfs/{_SYSFS}type'):
            described = sysfs.Description.parse(mdev_type.text or '')
            if described.capacity is not None:
                figures = found.setdefault(name, {})
                figures[mdev_type.get('id')] = described.capacity
    return found


def write_sysfs(path: str, root: str) -> None:
    """Lay out below ``root`` what sysfs would show of the devices."""
    addresses = {}
    for element in etree.parse(path).iterfind('device'):
        found = nodedev.parse(etree.tostring(element, encoding='unicode'))
        if isinstance(found, nodedev.Function):
            addresses[found.name] = str(found.address)
            extra = element.find(f'{_SYSFS}sysfs')
            if extra is not None:
                _write_function(root, addresses[found.name], extra)
        elif isinstance(found, nodedev.Interface):
            function = os.path.join(_DEVICES, addresses[found.upstream])
            os.makedirs(os.path.join(root, function, 'net', found.devname))


def _write_function(root: str, address: str, extra: etree._Element) -> None:
    for key in ('subsystem_vendor', 'subsystem_device'):
        if key in extra.attrib:
            text = f'0x{extra.attrib[key]}'
            _write(text, root, _DEVICES, address, key)
    if 'slot' in extra.attrib:
        slot = extra.attrib['slot']
        _write(address[:-2], root, 'bus/pci/slots', slot, 'address')
    types = os.path.join('class/mdev_bus', address, 'mdev_supported_types')
    for mdev_type in extra.iterfind(f'{_SYSFS}type'):
        text = mdev_type.text or ''
        _write(text, root, types, mdev_type.attrib['id'], 'description')


def _write(text: str, *path: str) -> None:
    target = os.path.join(*path)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(target, 'w', encoding='utf-8') as file:
        file.write(f'{text}\n')
