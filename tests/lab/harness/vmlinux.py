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
"""A kernel that a virtual machine enters directly.

Debian's image decompresses itself, which takes minutes where an emulator
runs under an emulator. QEMU starts the ELF file inside it by the entry that
its PVH note names.
"""

import lzma
import struct

from tests.lab.harness import errors

# Of the boot protocol: Documentation/arch/x86/boot.rst of the kernel
_SECTORS_AT = 0x1F1
_MAGIC_AT = 0x202
_PAYLOAD_AT = 0x248
_SECTOR = 512
# Of ELF, 64 bits
_HEADER = 64
_PROGRAM = struct.Struct('<IIQQQQQQ')
_SECTION = struct.Struct('<IIQQQQ24x')
_NOTE = 4
# The types of the kernel's own structures, for eBPF: they are read at every
# start, which takes a tenth of it.
_TYPES = (b'.BTF', b'.BTF_ids')


def unpack(image: bytes) -> bytes:
    """Return the ELF file that a bzImage holds.

    :raises LabError: it is no bzImage, or not compressed by xz.
    """
    if image[_MAGIC_AT : _MAGIC_AT + 4] != b'HdrS':
        raise errors.LabError('the kernel is no bzImage')
    # The number 0 stands for four sectors.
    setup = ((image[_SECTORS_AT] or 4) + 1) * _SECTOR
    start, length = struct.unpack_from('<II', image, _PAYLOAD_AT)
    payload = image[setup + start :][:length]
    try:
        # The decompressed length follows the stream.
        return lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(payload)
    except lzma.LZMAError as exc:
        raise errors.LabError(
            f'the kernel is not compressed by xz, as Debian 12 does: {exc}'
        ) from exc


def pack(elf: bytes) -> bytes:
    """Leave out of an ELF file all that is not loaded, and types.

    Zeros at the end of a segment go too: the loader fills them in.
    """
    elf = _without_types(elf)
    start = struct.unpack_from('<Q', elf, 32)[0]
    number = struct.unpack_from('<H', elf, 56)[0]
    head = bytearray(elf[:_HEADER])
    # Program headers follow; there are no sections.
    struct.pack_into('<QQ', head, 32, _HEADER, 0)
    struct.pack_into('<HHH', head, 58, 0, 0, 0)
    programs, data = b'', b''
    first = _HEADER + number * _PROGRAM.size
    for index in range(number):
        at = start + index * _PROGRAM.size
        kind, flags, offset, *where, size, room, align = _PROGRAM.unpack_from(
            elf, at
        )
        segment = elf[offset : offset + size]
        if kind != _NOTE:
            segment = segment.rstrip(b'\0')
        programs += _PROGRAM.pack(
            *(kind, flags, first + len(data), *where),
            *(len(segment), room, align),
        )
        data += segment
    return bytes(head) + programs + data


def _without_types(elf: bytes) -> bytes:
    start = struct.unpack_from('<Q', elf, 40)[0]
    number, names = struct.unpack_from('<HH', elf, 60)
    sections = [
        _SECTION.unpack_from(elf, start + index * _SECTION.size)
        for index in range(number)
    ]
    blank = bytearray(elf)
    for name, _kind, _flags, _address, offset, size in sections:
        at = sections[names][4] + name
        if elf[at : elf.index(b'\0', at)] in _TYPES:
            blank[offset : offset + size] = bytes(size)
    return bytes(blank)
