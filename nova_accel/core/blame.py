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
"""Which errors of a hypervisor blame the device itself.

An error counts if it names the device and says what only a device, or the
kernel's driver of it, gives as a reason. Everything else (no memory, a
device that is in use, a hypervisor that does not answer) says nothing
about the health of a device.
"""

import collections.abc
import re

_REASONS = re.compile(
    r'Input/output error|No such device|Connection timed out'
    r'|vfio[ -:][^\n]*(failed|error|fatal|cannot|not viable)',
    re.IGNORECASE,
)
_INNOCENT = re.compile(
    r'in use|Cannot allocate memory|Permission denied|not managed|RLIMIT',
    re.IGNORECASE,
)


def blames(text: str, names: collections.abc.Iterable[str] = ()) -> bool:
    """Tell whether an error is the fault of a device.

    :param text: what libvirt or QEMU says.
    :param names: of the device: its address, the uuid of its mediated
        device. None: the error is of this device for certain.
    """
    names = tuple(names)
    if names and not any(name in text for name in names):
        return False
    return bool(_REASONS.search(text)) and not _INNOCENT.search(text)
