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
"""What the machine boots from: busybox, modules, our programs, /etc."""

import gzip
import pathlib
import struct

from tests.lab.harness import archive
from tests.lab.harness import kernel
from tests.lab.harness import settings

_MODULES = (
    *('virtio_pci', '9p', '9pnet_virtio', 'virtio_net'),
    # ext4 names crc32c by what it computes, not by the module
    *('virtio_blk', 'crc32c_generic', 'ext4'),
)
_ETC = (
    *('passwd', 'group', 'shadow', 'nsswitch.conf', 'protocols', 'services'),
    *('ld.so.cache', 'ld.so.conf', 'ld.so.conf.d', 'alternatives', 'udev'),
    *('libvirt', 'sasl2', 'ssl/openssl.cnf', 'ssl/certs/ca-certificates.crt'),
    *('login.defs', 'selinux', 'modprobe.d', 'iproute2', 'mime.types'),
)


def build(linux: kernel.Kernel, target: pathlib.Path) -> None:
    cpio = archive.Cpio()
    for folder in ('bin', 'modules', 'etc', 'lab'):
        cpio.folder(folder)
    busybox = pathlib.Path('/bin/busybox').read_bytes()
    cpio.file('bin/busybox', busybox, 0o755)
    for number, file in enumerate(linux.with_dependencies(*_MODULES)):
        cpio.file(f'modules/{number:02}-{file.name}', file.read_bytes())
    cpio.file('etc.tar', archive.tar_of(pathlib.Path('/etc'), _ETC))
    for file in sorted((settings.LAB / 'inside').iterdir()):
        if file.is_file():
            cpio.file(f'lab/{file.name}', file.read_bytes(), 0o755)
    cpio.file('init', (settings.LAB / 'inside/init').read_bytes(), 0o755)
    # Without the time, the same content is the same file.
    packed = gzip.compress(cpio.finish(), compresslevel=1, mtime=0)
    # An uncompressed archive in front may override ACPI tables.
    target.write_bytes(_early() + packed)


def _early() -> bytes:
    cpio = archive.Cpio()
    for folder in ('kernel', 'kernel/firmware', 'kernel/firmware/acpi'):
        cpio.folder(folder)
    cpio.file('kernel/firmware/acpi/dmar.aml', dmar())
    return cpio.finish()


def dmar() -> bytes:
    """The IOMMU's table with INCLUDE_PCI_ALL set.

    QEMU's own lists only QEMU's devices; ours, on root buses that the
    module makes, would get no IOMMU group and could not be passed through.
    """
    ioapic = struct.pack('<BBHBBBB', 3, 8, 0, 0, 0xFF, 0, 0)
    unit = struct.pack('<HHBBHQ', 0, 24, 1, 0, 0, 0xFED90000) + ioapic
    body = struct.pack('<BB10x', 38, 1) + unit
    head = struct.pack('<4sIBB', b'DMAR', 36 + len(body), 1, 0)
    maker = b'BOCHS BXPC    ' + struct.pack('<I4sI', 2, b'BXPC', 1)
    table = bytearray(head + maker + body)
    table[9] = -sum(table) & 0xFF
    return bytes(table)
