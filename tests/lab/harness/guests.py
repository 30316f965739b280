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
"""What runs in the servers, and how its report is read."""

import dataclasses
import pathlib
import struct
import uuid

from tests.lab.harness import process
from tests.lab.harness import settings

_VENDOR_SPECIFIC = 0x09
# Offset of the serial's record is found, not known: the data is a list of
# two-letter keys with a length.
_SERIAL = b'SN'


def tiny_image(folder: pathlib.Path) -> pathlib.Path:
    """Assemble the guest of one boot sector; return it as qcow2."""
    target = folder / 'tiny.qcow2'
    source = settings.LAB / 'guests' / 'tiny.S'
    made = folder / 'tiny.o'
    raw = folder / 'tiny.raw'
    folder.mkdir(parents=True, exist_ok=True)
    process.run('as', '--32', '-o', str(made), str(source))
    process.run(
        *('ld', '-m', 'elf_i386', '-Ttext', '0x7c00'),
        *('--oformat', 'binary', '-o', str(raw), str(made)),
    )
    with raw.open('ab') as file:
        file.truncate(1 << 20)
    # Glance takes a raw boot sector for a partition table.
    process.run(*('qemu-img', 'convert', '-O', 'qcow2', str(raw), str(target)))
    return target


@dataclasses.dataclass(frozen=True)
class Seen:
    """One PCI function as a guest sees it.

    :ivar id: ``vendor:product``.
    :ivar subsystem: ``vendor:product``; of a vGPU of ours the product is
        the number of its type.
    :ivar mdev_uuid: of a vGPU of ours.
    :ivar serial: out of its vital product data.
    """

    id: str
    subsystem: str
    mdev_uuid: str = ''
    serial: str = ''


def read_report(console: str) -> list[Seen]:
    """Read the last complete report of the tiny guest."""
    before = console.rpartition('GUEST-UP')[0] or console
    seen: list[Seen] = []
    for line in before.splitlines():
        key, *words = line.split()[:24] or ['']
        if key == 'PCI' and len(words) == 8:
            seen.append(_function([int(word, 16) for word in words]))
        elif key == 'VPD' and seen:
            data = b''.join(struct.pack('<I', int(w, 16)) for w in words)
            seen[-1] = dataclasses.replace(seen[-1], serial=_serial(data))
    return seen


def _function(words: list[int]) -> Seen:
    _address, device, subsystem, *capability = words
    found = ''
    if capability[0] & 0xFF == _VENDOR_SPECIFIC:
        # The kernel keeps a uuid with its first three fields swapped.
        raw = b''.join(struct.pack('<I', word) for word in capability)[4:20]
        found = str(uuid.UUID(bytes_le=raw.ljust(16, b'\0')))
    return Seen(_pair(device), _pair(subsystem), found)


def _pair(word: int) -> str:
    return f'{word & 0xFFFF:04x}:{word >> 16:04x}'


def _serial(data: bytes) -> str:
    at = data.find(_SERIAL)
    if at < 0 or at + 3 > len(data):
        return ''
    length = data[at + 2]
    return data[at + 3 : at + 3 + length].decode('ascii', 'replace')
