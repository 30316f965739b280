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
import hashlib
import pathlib
import struct
import uuid

from tests.lab.harness import archive
from tests.lab.harness import kernel
from tests.lab.harness import process
from tests.lab.harness import settings
from tests.lab.harness import vmlinux

_VENDOR_SPECIFIC = b'\x09'
# Offset of the serial's record is found, not known: the data is a list of
# two-letter keys with a length.
_SERIAL = b'SN'
# Name of the image
LINUX = 'linux'
# MiB. The kernel needs 88 to start.
LINUX_RAM = 112
# What takes long in an emulator and serves nobody here is off: names of all
# functions that can be traced, checks of the kernel's own pages.
LINUX_COMMAND = (
    'console=ttyS0 quiet loglevel=1 tsc=reliable no_timer_check nowatchdog '
    'mitigations=off init_on_alloc=0 randomize_kstack_offset=off '
    'security=none audit=0 cryptomgr.notests rodata=off initcall_blacklist='
    'ftrace_check_for_weak_functions,trace_eval_init,tracer_init_tracefs'
)
# PCI hotplug is in the kernel itself.
_MODULES = ('xhci_pci',)


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
class Linux:
    """The files that the Linux guest boots from."""

    kernel: pathlib.Path
    initrd: pathlib.Path


def linux_files(linux: kernel.Kernel, folder: pathlib.Path) -> Linux:
    """Make the Linux guest; its kernel is kept for the next time."""
    folder.mkdir(parents=True, exist_ok=True)
    code = pathlib.Path(vmlinux.__file__).read_bytes()
    digest = hashlib.sha256(code).hexdigest()[:8]
    image = folder / f'vmlinux-{linux.version}-{digest}'
    if not image.exists():
        elf = vmlinux.unpack(linux.image.read_bytes())
        part = image.with_suffix('.part')
        part.write_bytes(vmlinux.pack(elf))
        part.rename(image)
    initrd = folder / 'initrd'
    modules = linux.with_dependencies(*_MODULES)
    initrd.write_bytes(
        _linux_initrd([_stripped(file, folder) for file in modules])
    )
    return Linux(image, initrd)


def _stripped(module: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    """Leave out what takes time to load: signature and types."""
    target = folder / module.name
    process.run('strip', '-g', '-R', '.BTF', '-o', str(target), str(module))
    return target


def _linux_initrd(modules: list[pathlib.Path]) -> bytes:
    """Not compressed: to unpack it takes the guest longer than to read."""
    cpio = archive.Cpio()
    for name in ('bin', 'modules'):
        cpio.folder(name)
    busybox = pathlib.Path('/bin/busybox').read_bytes()
    cpio.file('bin/busybox', busybox, 0o755)
    for number, file in enumerate(modules):
        cpio.file(f'modules/{number:02}-{file.name}', file.read_bytes())
    init = settings.LAB / 'guests' / 'linux-init'
    cpio.file('init', init.read_bytes(), 0o755)
    return cpio.finish()


@dataclasses.dataclass(frozen=True)
class Seen:
    """One PCI function or USB device as a guest sees it.

    :ivar id: ``vendor:product``.
    :ivar subsystem: ``vendor:product``; of a vGPU of ours the product is
        the number of its type.
    :ivar mdev_uuid: of a vGPU of ours.
    :ivar serial: out of its vital product data or its USB descriptor.
    :ivar address: in the guest, or the USB port; only a Linux guest tells
        this and the next.
    :ivar klass: PCI class code, six digits.
    """

    id: str
    subsystem: str = ''
    mdev_uuid: str = ''
    serial: str = ''
    address: str = ''
    klass: str = ''


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


def read_linux_report(console: str) -> list[Seen]:
    """Read the last complete report of the Linux guest."""
    before, mark, _begun = console.rpartition('GUEST-UP')
    report = before.rpartition('GUEST-UP')[2] if mark else ''
    seen: list[Seen] = []
    for line in report.splitlines():
        words = line.split(maxsplit=7)
        if words[:2] == ['DEV', 'PCI'] and len(words) == 8:
            seen.append(_linux_function(*words[2:]))
        elif words[:2] == ['DEV', 'USB'] and len(words) >= 5:
            seen.append(_linux_usb(*line.split(maxsplit=4)[2:]))
    return seen


def _linux_function(
    ids: str, subsystem: str, klass: str, address: str, start: str, vpd: str
) -> Seen:
    return Seen(
        ids,
        subsystem,
        _mdev_uuid(_bytes(start)),
        _serial(_bytes(vpd)),
        address,
        klass,
    )


def _linux_usb(ids: str, port: str, serial: str) -> Seen:
    return Seen(ids, serial='' if serial == '-' else serial, address=port)


def _bytes(text: str) -> bytes:
    return b'' if text == '-' else bytes.fromhex(text)


def _function(words: list[int]) -> Seen:
    _address, device, subsystem, *start = words
    raw = b''.join(struct.pack('<I', word) for word in start)
    return Seen(_pair(device), _pair(subsystem), _mdev_uuid(raw))


def _mdev_uuid(start: bytes) -> str:
    """Find the uuid in configuration space from 0x40 on."""
    if start[:1] != _VENDOR_SPECIFIC:
        return ''
    # The kernel keeps a uuid with its first three fields swapped.
    return str(uuid.UUID(bytes_le=start[4:20].ljust(16, b'\0')))


def _pair(word: int) -> str:
    return f'{word & 0xFFFF:04x}:{word >> 16:04x}'


def _serial(data: bytes) -> str:
    at = data.find(_SERIAL)
    if at < 0 or at + 3 > len(data):
        return ''
    length = data[at + 2]
    return data[at + 3 : at + 3 + length].decode('ascii', 'replace')
