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
"""Reads the Device Serial Number out of a function's configuration space.

PCI Express Base Specification, 7.6.2 (extended capabilities) and 7.9.3
(Device Serial Number): an EUI-64, which the vendor gives to the device.
"""

import struct

_FIRST = 0x100
_SIZE = 0x1000
_DEVICE_SERIAL_NUMBER = 0x0003
# Each is a dword at least, so that there are no more.
_MOST = (_SIZE - _FIRST) // 4

# What cards tell that were given none, or all of a make the same.
_NONE = frozenset(
    {
        '00-00-00-00-00-00-00-00',
        'ff-ff-ff-ff-ff-ff-ff-ff',
        # Realtek's network cards, as they come.
        '01-00-00-00-68-4c-e0-00',
    }
)


def serial(config: bytes) -> str:
    """Return the serial number as lspci writes it, '' if there is none.

    :param config: as sysfs has it; without the right to read it all it ends
        after 64 bytes, and of a conventional device after 256.
    """
    offset = _FIRST
    for _ in range(_MOST):
        if not _FIRST <= offset <= len(config) - 4 or offset % 4:
            return ''
        (header,) = struct.unpack_from('<I', config, offset)
        # A device that does not answer reads as ones.
        if header in (0, 0xFFFFFFFF):
            return ''
        if header & 0xFFFF == _DEVICE_SERIAL_NUMBER:
            return _read(config[offset + 4 : offset + 12])
        offset = header >> 20
    return ''


def _read(number: bytes) -> str:
    if len(number) < 8:
        return ''
    text = number[::-1].hex('-')
    return '' if text in _NONE else text
