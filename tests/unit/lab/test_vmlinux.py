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
import lzma
import struct

import ddt
import testtools

from tests.lab.harness import errors
from tests.lab.harness import vmlinux

_SETUP = 2
_LOAD, _NOTE = 1, 4


def _bzimage(payload: bytes) -> bytes:
    image = bytearray((_SETUP + 1) * 512)
    image[0x1F1] = _SETUP
    image[0x202:0x206] = b'HdrS'
    struct.pack_into('<II', image, 0x248, 16, len(payload))
    return bytes(image) + b'\xee' * 16 + payload + b'\xee' * 16


def _elf(*segments: tuple[int, int, bytes]) -> bytes:
    """Make one of segments (kind, offset, content), 1024 to 1028 a .BTF."""
    names = b'\0.BTF\0.names\0'
    sections = ((0, 0, 0), (1, 1024, 4), (6, 512, len(names)))
    data = bytearray(4096)
    data[:4] = b'\x7fELF'
    # Program headers first; sections; sizes and numbers of both
    struct.pack_into('<QQ', data, 32, 64, 600)
    struct.pack_into('<HHHHH', data, 54, 56, len(segments), 64, 3, 2)
    data[512 : 512 + len(names)] = names
    for index, (name, offset, size) in enumerate(sections):
        row = (name, 1, 0, 0, offset, size)
        struct.pack_into('<IIQQQQ', data, 600 + 64 * index, *row)
    for index, (kind, offset, content) in enumerate(segments):
        size = len(content)
        row = (kind, 7, offset, 0xFFFF0000, 0x1000 * index, size, 4096, 64)
        struct.pack_into('<IIQQQQQQ', data, 64 + 56 * index, *row)
        data[offset : offset + size] = content
    return bytes(data)


def _segments(elf: bytes) -> list[tuple[int, int, int, bytes]]:
    """Return (kind, physical address, size in memory, content) of all."""
    (start,) = struct.unpack_from('<Q', elf, 32)
    size, number = struct.unpack_from('<HH', elf, 54)
    rows = [
        struct.unpack_from('<IIQQQQQQ', elf, start + size * index)
        for index in range(number)
    ]
    return [(r[0], r[4], r[6], elf[r[2] :][: r[5]]) for r in rows]


@ddt.ddt
class UnpackTest(testtools.TestCase):
    def test_payload_ends_before_its_length(self):
        payload = lzma.compress(b'\x7fELF and more') + struct.pack('<I', 13)
        self.assertEqual(
            b'\x7fELF and more', vmlinux.unpack(_bzimage(payload))
        )

    @ddt.data(b'', b'\x7fELF' + bytes(4096))
    def test_no_bzimage(self, image):
        self.assertRaises(errors.LabError, vmlinux.unpack, image)

    def test_other_compression(self):
        image = _bzimage(b'\x1f\x8b\x08' + bytes(64))
        found = self.assertRaises(errors.LabError, vmlinux.unpack, image)
        self.assertIn('not compressed by xz', str(found))


class PackTest(testtools.TestCase):
    ELF = _elf(
        (_LOAD, 1020, b'textBTF!more\0\0\0'),
        (_LOAD, 2048, b'\0data'),
        (_LOAD, 3072, bytes(512)),
        (_NOTE, 1028, b'more\0\0'),
    )

    def test_what_is_loaded_stays_the_same_but_for_types(self):
        self.assertEqual(
            [
                (_LOAD, 0, 4096, b'text\0\0\0\0more'),
                (_LOAD, 0x1000, 4096, b'\0data'),
                (_LOAD, 0x2000, 4096, b''),
                (_NOTE, 0x3000, 4096, b'more\0\0'),
            ],
            _segments(vmlinux.pack(self.ELF)),
        )

    def test_nothing_else_is_left(self):
        packed = vmlinux.pack(self.ELF)
        self.assertEqual(64 + 4 * 56 + 12 + 5 + 6, len(packed))
        self.assertEqual(b'\x7fELF', packed[:4])
        sections = struct.unpack_from('<Q', packed, 40)
        self.assertEqual((0,), sections)
        self.assertEqual((0, 0, 0), struct.unpack_from('<HHH', packed, 58))
