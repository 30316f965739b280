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
"""Dynamic VHD images, read and written.

Footer, header, a table of blocks, blocks of 2 MiB each after a bitmap of its
sectors, footer again. All numbers are big-endian; offsets count sectors.
Source: Microsoft's Virtual Hard Disk Image Format Specification 1.0.
"""

import collections.abc
import struct
import tempfile
import typing as ty
import uuid

from nova_accel.testing.xapi_simulator import failure
from nova_accel.testing.xapi_simulator import images

SECTOR = 512
BLOCK = 2 * 2**20
_COOKIE = b'conectix'
_HEADER_COOKIE = b'cxsparse'
_DYNAMIC = 3
_UNUSED = 0xFFFFFFFF
_BITMAP = SECTOR
_FOOTER = struct.Struct('>8sIIQI4sI4sQQIII16sB427x')
_HEADER = struct.Struct('>8sQQIIII16sI4x512x192x256x')
_NOWHERE = 0xFFFFFFFFFFFFFFFF

Pieces: ty.TypeAlias = collections.abc.Iterator[bytes]


class Decoder:
    """Takes the bytes of a VHD image; writes the disk that it describes."""

    def __init__(self, target: images.Images, vdi: str, size: int) -> None:
        self._target = target
        self._vdi = vdi
        self._size = size
        self._spool = tempfile.TemporaryFile()

    def write(self, data: bytes) -> None:
        self._spool.write(data)

    def finish(self) -> None:
        """Write the disk.

        :raises Failure: it is no dynamic VHD, or larger than the disk.
        """
        with self._spool as stream:
            self._decode(stream)

    def _decode(self, stream: ty.IO[bytes]) -> None:
        footer = _FOOTER.unpack(_read(stream, 0, _FOOTER.size))
        header = _HEADER.unpack(_read(stream, SECTOR, _HEADER.size))
        if footer[0] != _COOKIE or header[0] != _HEADER_COOKIE:
            raise failure.Failure(
                'INTERNAL_ERROR', 'vhd-tool: not a dynamic VHD'
            )
        size, offset, entries, block = (
            footer[9],
            header[2],
            header[4],
            header[5],
        )
        if size > self._size:
            raise failure.Failure(
                'INTERNAL_ERROR', 'vhd-tool: No space left on device'
            )
        if not 0 < block <= 2**26 or entries * block < size:
            raise failure.Failure(
                'INTERNAL_ERROR', 'vhd-tool: the VHD is damaged'
            )
        bitmap = -(-block // SECTOR // 8 // SECTOR) * SECTOR
        table = _read(stream, offset, 4 * entries)
        for number, (sector,) in enumerate(struct.iter_unpack('>I', table)):
            if sector != _UNUSED:
                data = _read(stream, sector * SECTOR + bitmap, block)
                room = max(self._size - number * block, 0)
                self._target.write(self._vdi, number * block, data[:room])


def _read(stream: ty.IO[bytes], offset: int, size: int) -> bytes:
    stream.seek(offset)
    data = stream.read(size)
    if len(data) < size:
        raise failure.Failure(
            'INTERNAL_ERROR', 'vhd-tool: the VHD ends too early'
        )
    return data


def encode(
    disk: collections.abc.Callable[[], Pieces], size: int
) -> tuple[int, Pieces]:
    """Return the length of the image of a disk, and its bytes.

    :param disk: yields the bytes of the disk; asked for twice.
    """
    used = [
        number
        for number, block in enumerate(_blocks(disk()))
        if not images.is_zero(block)
    ]
    entries = -(-size // BLOCK)
    table = -(-4 * entries // SECTOR) * SECTOR
    start = SECTOR + _HEADER.size + table
    length = start + len(used) * (_BITMAP + BLOCK) + SECTOR
    return length, _image(disk, size, used, entries, table, start)


def _image(
    disk: collections.abc.Callable[[], Pieces],
    size: int,
    used: list[int],
    entries: int,
    table: int,
    start: int,
) -> Pieces:
    places = [_UNUSED] * entries
    for index, number in enumerate(used):
        places[number] = (start + index * (_BITMAP + BLOCK)) // SECTOR
    footer = _footer(size)
    yield footer
    yield _header(entries)
    yield struct.pack(f'>{entries}I', *places).ljust(table, b'\xff')
    wanted = frozenset(used)
    for number, block in enumerate(_blocks(disk())):
        if number in wanted:
            yield b'\xff' * _BITMAP
            yield block.ljust(BLOCK, b'\0')
    yield footer


def _blocks(pieces: Pieces) -> Pieces:
    block = b''
    for piece in pieces:
        block += piece
        while len(block) >= BLOCK:
            yield block[:BLOCK]
            block = block[BLOCK:]
    if block:
        yield block


def _footer(size: int) -> bytes:
    fields: list[ty.Any] = [
        _COOKIE,
        2,
        0x10000,
        SECTOR,
        0,
        b'xapi',
        0x10000,
        b'Wi2k',
        size,
        size,
        _geometry(size),
        _DYNAMIC,
        0,
        uuid.uuid4().bytes,
        0,
    ]
    fields[12] = _checksum(_FOOTER.pack(*fields))
    return _FOOTER.pack(*fields)


def _geometry(size: int) -> int:
    """Cylinders, heads and sectors, as large disks have them."""
    cylinders = min(size // SECTOR // (16 * 255), 65535)
    return cylinders << 16 | 16 << 8 | 255


def _header(entries: int) -> bytes:
    fields: list[ty.Any] = [
        _HEADER_COOKIE,
        _NOWHERE,
        SECTOR + _HEADER.size,
        0x10000,
        entries,
        BLOCK,
        0,
        bytes(16),
        0,
    ]
    fields[6] = _checksum(_HEADER.pack(*fields))
    return _HEADER.pack(*fields)


def _checksum(data: bytes) -> int:
    return ~sum(data) & 0xFFFFFFFF
