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
"""The PCI devices of this very machine, and dumps modelled on others.

Straight from sysfs, without libvirt; ``tests/functional/test_real_libvirtd``
reads the same through it.
"""

import pathlib
import re
import sys

import fixtures
import testtools

from nova_accel.backends.libvirt import assemble
from nova_accel.backends.libvirt import nodedev
from nova_accel.backends.libvirt import sysfs
from nova_accel.core import device
from nova_accel.core import identity
from nova_accel.core import topology
from tests.unit.backends.libvirt import test_config_space
from tests.unit.core import hosts

SYS = pathlib.Path('/sys')
NONE = (
    'NOT CHECKED: ids of real PCI devices, because this machine shows none '
    'in /sys/bus/pci/devices'
)


def read(root: pathlib.Path) -> list[device.Device]:
    """Assemble every function that a sysfs shows."""
    files = sysfs.Sysfs(str(root))
    slots = files.slots()
    found = []
    for folder in sorted(root.glob('bus/pci/devices/*')):
        address = device.PciAddress.parse(folder.name)
        syspath = str(folder.resolve())
        function = nodedev.Function(
            name=f'pci_{re.sub("[:.]", "_", folder.name)}',
            address=address,
            vendor_id=_hex(folder / 'vendor'),
            product_id=_hex(folder / 'device'),
            class_id=_hex(folder / 'class'),
            syspath=syspath[syspath.index('/devices/') :],
        )
        serials = files.device_serials([address])
        place = assemble.Place(
            assemble.path(assemble.bridges(function.syspath)),
            slots.get(folder.name.partition('.')[0], ''),
            files.subsystem(address),
            dsn=serials.get(address, ''),
        )
        found.append(assemble.whole(function, place, (), False))
    return found


def _hex(path: pathlib.Path) -> str:
    return path.read_text().strip().removeprefix('0x')


class ThisMachineTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.devices = read(SYS)
        if not self.devices:
            print(NONE, file=sys.stderr)
            self.skipTest(NONE)

    def test_each_has_an_id_of_its_own_or_is_told_why_not(self) -> None:
        cards = topology.cards(self.devices)
        found = identity.establish(hosts.NODE.name, cards)
        names = {card.device.name for card in cards}
        self.assertEqual(names, found.ids.keys() | found.faults.keys())
        self.assertEqual(set(), found.ids.keys() & found.faults.keys())
        self.assertEqual(len(found.ids), len(set(found.ids.values())))

    def test_a_place_is_named_without_the_bus_below_a_bridge(self) -> None:
        for dev in self.devices:
            way = dev.path.split('-')
            self.assertTrue(dev.path, dev.address)
            self.assertEqual(
                f'{dev.address.slot:02x}.{dev.address.function}', way[-1]
            )
        paths = [dev.path for dev in self.devices]
        self.assertEqual(len(paths), len(set(paths)))

    def test_what_was_remembered_is_recognised(self) -> None:
        cards = topology.cards(self.devices)
        first = identity.establish(hosts.NODE.name, cards)
        in_use = identity.InUse(frozenset(first.cards), frozenset(first.cards))
        again = identity.establish(hosts.NODE.name, cards[::-1], in_use)
        self.assertEqual(first.ids, again.ids)
        self.assertEqual({}, again.doubts)


# A node with eight GPUs as public descriptions have it: two sockets, four
# switches, below each two GPUs and a network card with two ports
# (besthub.dev, "Decoding GPU Server Topologies"; NVIDIA DGX A100 user guide).
# The functions of such a card tell one Device Serial Number, and their
# virtual functions follow with a stride (jaypipes/ghw, pull request 230).
GPU = ('10de', '20b2', '030200', '10de', '1463')
NIC = ('15b3', '101b', '020700', '15b3', '0007')
PORT = ('1000', 'c010', '060400', '1000', '100b')
ROOT = ('1022', '1483', '060400', '1022', '1453')


class Board:
    """Writes the sysfs of a machine, as firmware numbered its buses."""

    def __init__(self, root: str, spread: int, dsn: bool) -> None:
        self.root = pathlib.Path(root)
        self.spread = spread
        self.dsn = dsn
        self.cards = 0
        for socket in (0x00, 0x80):
            self.bus = socket
            for port in (1, 3):
                self.switch(socket, port)

    def switch(self, socket: int, port: int) -> None:
        top = f'pci0000:{socket:02x}/0000:{socket:02x}:{port:02x}.1'
        self.write(top, ROOT)
        self.bus += 1 + self.spread
        upstream = f'{top}/0000:{self.bus:02x}:00.0'
        self.write(upstream, PORT)
        self.bus += 1
        inner = self.bus
        for slot, functions, kind in (
            (0x00, 1, GPU),
            (0x04, 1, GPU),
            (0x10, 2, NIC),
        ):
            below = f'{upstream}/0000:{inner:02x}:{slot:02x}.0'
            self.write(below, PORT)
            self.bus += 1
            self.cards += 1
            for function in range(functions):
                self.write(
                    f'{below}/0000:{self.bus:02x}:00.{function}',
                    kind,
                    self.space(),
                )

    def space(self) -> bytes:
        if not self.dsn:
            return bytes(4096)
        number = bytes([self.cards]) + test_config_space.NUMBER[1:]
        return test_config_space.space((0x100, 3, 0, number))

    def write(
        self, path: str, kind: tuple[str, ...], space: bytes = bytes(64)
    ) -> None:
        folder = self.root / 'devices' / path
        folder.mkdir(parents=True)
        names = (
            'vendor',
            'device',
            'class',
            'subsystem_vendor',
            'subsystem_device',
        )
        for name, value in zip(names, kind, strict=True):
            (folder / name).write_text(f'0x{value}\n')
        (folder / 'config').write_bytes(space)
        link = self.root / 'bus/pci/devices' / folder.name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(folder)


class GpuServerTest(testtools.TestCase):
    def look(self, spread: int, dsn: bool) -> dict[str, device.Device]:
        """Number the buses in some way; return the cards by stable id."""
        root = self.useFixture(fixtures.TempDir()).path
        Board(root, spread, dsn)
        devices = [
            dev
            for dev in read(pathlib.Path(root))
            if dev.class_id[:2] not in device.HOST_CLASSES
        ]
        self.assertEqual(16, len(devices))
        found = identity.establish(hosts.NODE.name, topology.cards(devices))
        self.assertEqual({}, found.faults)
        return {i: card.device for i, card in found.cards.items()}

    def test_every_function_keeps_its_id_whatever_the_numbers(self) -> None:
        for dsn in (True, False):
            first, second = (self.look(spread, dsn) for spread in (0, 3))
            self.assertEqual(first.keys(), second.keys())
            moved = [i for i in first if first[i].address != second[i].address]
            self.assertEqual(16, len(moved))
            for stable_id, dev in first.items():
                self.assertEqual(dev.product_id, second[stable_id].product_id)
                self.assertEqual(
                    dev.address.function,
                    second[stable_id].address.function,
                )

    def test_the_source(self) -> None:
        told, mute = (self.look(0, dsn) for dsn in (True, False))
        self.assertEqual({'dsn'}, {i.partition(':')[0] for i in told})
        self.assertEqual({'path'}, {i.partition(':')[0] for i in mute})
        # Two ports of one card tell one number.
        ports = [i for i in told if i.endswith('.1')]
        self.assertEqual(4, len(ports))
        for port in ports:
            self.assertIn(port.removesuffix('.1'), told)
