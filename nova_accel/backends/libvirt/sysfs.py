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
"""What sysfs knows about PCI devices and libvirt does not tell.

Only for a libvirt that runs on this machine. World-readable files only, but
for the configuration space, which root alone can read as a whole. A file that
is missing or unreadable is an answer ('unknown'), not an error.
"""

import collections
import collections.abc
import dataclasses
import logging
import os
import re

from nova_accel.backends.libvirt import config_space
from nova_accel.backends.libvirt import nodedev
from nova_accel.core import device
from nova_accel.core import upkeep

LOG = logging.getLogger(__name__)

Privileged = collections.abc.Callable[
    [list[str]], collections.abc.Mapping[str, str]
]
"""Reads configuration spaces as root: address -> hex digits."""

# What anybody may read of it.
_PUBLIC = 64

_RESOLUTION = re.compile(r'(\d+)x(\d+)', re.ASCII)
_PAIR = re.compile(r'(\w+)\s*[=:]\s*([^,\n]+)')
_SIZE = re.compile(r'(\d+)\s*([MG]?)', re.ASCII)
_IFF_UP = 1
# Lanes that a PCI Express link may have.
_WIDEST = 32
_KERNEL_SUFFIX = re.compile(r'-\d+$', re.ASCII)


@dataclasses.dataclass(frozen=True)
class Description:
    """What a driver says about one vGPU type. None: it does not say.

    :ivar capacity: how many the whole card holds.
    """

    capacity: int | None = None
    framebuffer_mib: int | None = None
    max_heads: int | None = None
    max_resolution: tuple[int, int] | None = None

    @classmethod
    def parse(cls, text: str) -> 'Description':
        """Read NVIDIA's ``num_heads=4, framebuffer=8192M, ...``.

        Intel's lines of ``key: value`` are understood as far as they go;
        words that mean nothing to us are skipped.
        """
        if not text:
            return UNKNOWN
        facts = dict(_PAIR.findall(text))
        resolution = facts.get('max_resolution') or facts.get('resolution')
        return cls(
            capacity=_integer(facts.get('max_instance')),
            framebuffer_mib=_mebibytes(facts.get('framebuffer')),
            max_heads=_integer(facts.get('num_heads')),
            max_resolution=_pixels(resolution),
        )


UNKNOWN = Description()


def _integer(text: str | None) -> int | None:
    text = (text or '').strip()
    return int(text) if text.isdecimal() else None


def _mebibytes(text: str | None) -> int | None:
    match = _SIZE.match(text or '')
    if match is None:
        return None
    return int(match[1]) * (1024 if match[2] == 'G' else 1)


def _pixels(text: str | None) -> tuple[int, int] | None:
    match = _RESOLUTION.match(text or '')
    return (int(match[1]), int(match[2])) if match else None


class Sysfs:
    """Reads below one root.

    :param root: ``/sys``; None for a libvirt on another machine, about
        which nothing is known here.
    :param privileged: asked for what we may not read ourselves.
    """

    def __init__(
        self, root: str | None, privileged: Privileged | None = None
    ) -> None:
        self._root = root
        self._privileged = privileged

    def __bool__(self) -> bool:
        return self._root is not None

    def subsystem(self, address: device.PciAddress) -> tuple[str, str]:
        """Return (vendor, product) of the subsystem, '' where unknown."""
        where = f'bus/pci/devices/{address}/subsystem_'
        return self._hex4(f'{where}vendor'), self._hex4(f'{where}device')

    def slots(self) -> dict[str, str]:
        """Return ``0000:3b:00`` -> name of the physical slot.

        Slots that share a name are left out. The kernel tells them apart by
        a suffix (``0``, ``0-1``, ``0-2``) in the order in which it meets
        them, which is no identity: one more card changes it.
        """
        found = {}
        for name in _unambiguous(self._list('bus/pci/slots')):
            address = self._read(f'bus/pci/slots/{name}/address')
            if address:
                found[address] = name
        return found

    def device_serials(
        self, addresses: collections.abc.Iterable[device.PciAddress]
    ) -> dict[device.PciAddress, str]:
        """Return the Device Serial Number of functions, '' if one has none.

        Those of which nobody may read it are left out. One question for all
        of them to whoever is privileged, if there is any.
        """
        asked = tuple(addresses)
        spaces = {at: self._config(at) for at in asked}
        shut = [str(at) for at in asked if len(spaces[at]) == _PUBLIC]
        if shut and self._privileged is not None:
            for address, digits in self._ask(shut).items():
                at = device.PciAddress.parse(address)
                spaces[at] = bytes.fromhex(digits)
        return {
            at: config_space.serial(space)
            for at, space in spaces.items()
            if len(space) > _PUBLIC
        }

    def drive_serial(self, address: device.PciAddress) -> str:
        """Return the serial number of an NVMe drive.

        '' if it has none, or has not the kernel's driver, which alone can
        read it.
        """
        where = f'bus/pci/devices/{address}/nvme'
        told = (
            nodedev.real_serial(self._read(f'{where}/{name}/serial'))
            for name in sorted(self._list(where))
        )
        return next(filter(None, told), '')

    def _ask(self, addresses: list[str]) -> collections.abc.Mapping[str, str]:
        try:
            assert self._privileged is not None
            return self._privileged(addresses)
        except Exception as error:
            LOG.warning(
                'The serial numbers of %d PCI devices cannot be read: the '
                'privileged helper of nova does not answer: %s',
                len(addresses),
                error,
            )
            return {}

    def _config(self, address: device.PciAddress) -> bytes:
        if self._root is None:
            return b''
        path = f'bus/pci/devices/{address}/config'
        try:
            with open(os.path.join(self._root, path), 'rb') as file:
                return file.read()
        except OSError:
            return b''

    def devname(self, address: device.PciAddress) -> str:
        """Return the network interface of a function, '' if none."""
        names = self._list(f'bus/pci/devices/{address}/net')
        return min(names, default='')

    def reading(self, address: device.PciAddress) -> upkeep.Reading:
        """Return what tells about the health of a function."""
        where = f'bus/pci/devices/{address}'
        if self._root is None or not os.path.isdir(
            os.path.join(self._root, where)
        ):
            return upkeep.Reading()
        errors = {
            name: count
            for name in upkeep.COUNTERS
            if (count := self._count(where, name)) is not None
        }
        return upkeep.Reading(
            self._link(f'{where}/driver'), self._is_up(where), errors
        )

    def _is_up(self, where: str) -> bool | None:
        """Tell whether a link is up, None where there is none to speak of."""
        told = [
            self._read(f'{where}/net/{name}/operstate')
            for name in self._list(f'{where}/net')
            if _is_wanted_up(self._read(f'{where}/net/{name}/flags'))
        ]
        # Without a cable, or without a switch behind it.
        if {'down', 'lowerlayerdown'}.intersection(told):
            return False
        width = self._read(f'{where}/current_link_width')
        most = self._read(f'{where}/max_link_width')
        if width.isdecimal() and most not in ('', '0'):
            # All bits set: it does not answer any more.
            return 0 < int(width) <= _WIDEST
        return True if told else None

    def _count(self, where: str, name: str) -> int | None:
        """Return a total of PCI Express errors, None if none are counted."""
        text = self._read(f'{where}/{name.replace("aer_", "aer_dev_")}')
        figures = dict(
            line.rsplit(maxsplit=1)
            for line in text.splitlines()
            if len(line.split()) > 1
        )
        total = [v for k, v in figures.items() if k.startswith('TOTAL_')]
        return _integer(total[0]) if total else None

    def _link(self, path: str) -> str:
        """Return what a symbolic link leads to, '' if there is none."""
        try:
            found = os.readlink(os.path.join(self._root or '', path))
        except OSError:
            return ''
        return os.path.basename(found)

    def description(
        self, address: device.PciAddress, type_id: str
    ) -> Description:
        """Return what the driver says about one type on one parent."""
        return Description.parse(
            self._read(
                f'class/mdev_bus/{address}/mdev_supported_types/'
                f'{type_id}/description'
            )
        )

    def _hex4(self, path: str) -> str:
        text = self._read(path).removeprefix('0x').lower()
        return text if len(text) == 4 else ''

    def _read(self, path: str) -> str:
        if self._root is None:
            return ''
        try:
            with open(os.path.join(self._root, path), 'rb') as file:
                return file.read(4096).decode(errors='replace').strip()
        except OSError:
            return ''

    def _list(self, path: str) -> list[str]:
        if self._root is None:
            return []
        try:
            return os.listdir(os.path.join(self._root, path))
        except OSError:
            return []


def _is_wanted_up(flags: str) -> bool:
    """Tell whether an interface was set up, by its flags in hexadecimal."""
    try:
        return bool(int(flags, 16) & _IFF_UP)
    except ValueError:
        return False


def _unambiguous(names: list[str]) -> list[str]:
    """Leave out ``0`` and ``0-1``; keep ``2-1`` where there is no ``2``."""

    def shared(name: str) -> str:
        base = _KERNEL_SUFFIX.sub('', name)
        return base if base in names else name

    counted = collections.Counter(map(shared, names))
    return [name for name in names if counted[shared(name)] == 1]
