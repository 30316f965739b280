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
"""What the definition of a guest says about its devices."""

import contextlib

from lxml import etree

from nova_accel.core import device

# As libvirt wants them that are not its own.
_DRIVE = 'ua-accel-nvme-'

_PATHS = (
    'devices/hostdev/source/address',
    "devices/interface[@type='hostdev']/source/address",
)


def parse(uuid: str, running: bool, xml: str) -> device.Guest:
    """Read the XML of a domain."""
    root = etree.fromstring(xml)
    found = (address for path in _PATHS for address in root.iterfind(path))
    devices = frozenset(filter(None, map(_device, found)))
    return device.Guest(uuid, running, devices)


def named(serial: str, function: int) -> str:
    """Return the alias by which a guest's definition says which drive it has.

    :param function: number of the function: each has an alias of its own.
    """
    return f'{_DRIVE}{function}-{serial.encode().hex()}'


def is_named(alias: str) -> bool:
    """Tell an alias that ``named`` made."""
    return alias.startswith(_DRIVE)


def drives(xml: str) -> dict[device.PciAddress, str]:
    """Return address -> serial number of the drives of a running guest."""
    found = {}
    for hostdev in etree.fromstring(xml).iterfind('devices/hostdev'):
        alias, address = map(hostdev.find, ('alias', 'source/address'))
        name = '' if alias is None else str(alias.get('name'))
        where = None if address is None else _device(address)
        if where is None or not is_named(name):
            continue
        with contextlib.suppress(ValueError):
            serial = bytes.fromhex(name.rpartition('-')[2]).decode()
            found[device.PciAddress.parse(where)] = serial
    return found


def _device(address: etree._Element) -> str | None:
    """Name a mediated device or PCI function; None for anything else."""
    if address.get('uuid'):
        return str(address.get('uuid'))
    try:
        domain, bus, slot, function = (
            int(address.attrib[key], 16)
            for key in ('domain', 'bus', 'slot', 'function')
        )
    except (KeyError, ValueError):
        # A USB or SCSI device has an address of its own kind.
        return None
    return str(device.PciAddress(domain, bus, slot, function))
