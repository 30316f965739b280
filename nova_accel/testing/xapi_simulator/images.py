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
"""The bytes of virtual disks: sparse files in a folder of our own."""

import collections.abc
import os
import pathlib
import shutil
import tempfile

from nova_accel.testing.xapi_simulator import failure

CHUNK = 1024 * 1024
_ZEROS = bytes(CHUNK)


def is_zero(data: bytes) -> bool:
    """Whether all bytes are zero; as fast as memory is read."""
    return data == bytes(len(data))


class Images:
    """Disks by the reference of their VDI. What was never written is zero."""

    def __init__(self) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def _path(self, vdi: str) -> pathlib.Path:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix='xapi-')
        return pathlib.Path(self._folder.name, vdi.rpartition(':')[2])

    def write(self, vdi: str, offset: int, data: bytes) -> None:
        """Write a piece; zeros leave a hole."""
        if is_zero(data):
            return
        handle = os.open(self._path(vdi), os.O_WRONLY | os.O_CREAT, 0o600)
        with open(handle, 'wb') as stream:
            stream.seek(offset)
            stream.write(data)

    def read(self, vdi: str, size: int) -> collections.abc.Iterator[bytes]:
        """Yield a whole disk of that size, in pieces."""
        path = self._path(vdi)
        with open(path if path.exists() else os.devnull, 'rb') as stream:
            left = size
            while left > 0:
                piece = stream.read(min(CHUNK, left))
                yield piece or _ZEROS[: min(CHUNK, left)]
                left -= len(piece) or min(CHUNK, left)

    def copy(self, source: str, target: str) -> None:
        if self._path(source).exists():
            shutil.copyfile(self._path(source), self._path(target))

    def erase(self, vdi: str) -> None:
        if self._folder is not None:
            self._path(vdi).unlink(missing_ok=True)

    def close(self) -> None:
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


class Writer:
    """Takes the bytes of a raw disk, one after the other."""

    def __init__(self, images: Images, vdi: str, size: int) -> None:
        self._images = images
        self._vdi = vdi
        self._size = size
        self._offset = 0

    def write(self, data: bytes) -> None:
        """:raises Failure: the disk is too small."""
        if self._offset + len(data) > self._size:
            raise failure.Failure(
                'INTERNAL_ERROR', 'vhd-tool: No space left on device'
            )
        self._images.write(self._vdi, self._offset, data)
        self._offset += len(data)

    def finish(self) -> None:
        """The rest of the disk is zero."""
