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
"""The initial file system of the machine, written without any tool."""

import io
import pathlib
import stat
import tarfile

_MAGIC = '070701'
_TRAILER = 'TRAILER!!!'


class Cpio:
    """A cpio archive of the "newc" kind, which is what the kernel reads."""

    def __init__(self) -> None:
        self._out = io.BytesIO()
        self._inode = 0

    def folder(self, name: str) -> None:
        self._add(name, stat.S_IFDIR | 0o755, b'')

    def file(self, name: str, data: bytes, mode: int = 0o644) -> None:
        self._add(name, stat.S_IFREG | mode, data)

    def finish(self) -> bytes:
        self._add(_TRAILER, 0, b'')
        return self._out.getvalue()

    def _add(self, name: str, mode: int, data: bytes) -> None:
        self._inode += 1
        raw = name.encode() + b'\0'
        fields = (
            *(self._inode, mode, 0, 0, 1, 0, len(data)),
            *(0, 0, 0, 0, len(raw), 0),
        )
        head = _MAGIC + ''.join(f'{field:08X}' for field in fields)
        self._pad(self._out.write(head.encode() + raw))
        self._pad(self._out.write(data))

    def _pad(self, _written: int) -> None:
        self._out.write(b'\0' * (-self._out.tell() % 4))


def tar_of(base: pathlib.Path, names: tuple[str, ...]) -> bytes:
    """Pack what exists of some entries of a folder."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode='w') as tar:
        for name in names:
            if (base / name).exists():
                tar.add(base / name, arcname=name, filter=_no_domains)
    return out.getvalue()


def _no_domains(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Leave out the domains and networks that the host itself defines."""
    parts = pathlib.PurePath(entry.name).parts
    inside = parts[:1] == ('libvirt',) and entry.name.endswith('.xml')
    return None if inside and 'nwfilter' not in parts else entry
