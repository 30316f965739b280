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
import tempfile

import ddt
import libvirt
import testtools

from nova_accel.backends.libvirt import nodedev
from nova_accel.testing import machine
from nova_accel.testing import node_xml
from nova_accel.testing import nodedevs
from nova_accel.testing import nodes

FIRST, SECOND = 'pci_0000_18_00_0', 'pci_0000_af_00_0'
Q8, Q16 = 'nvidia-233', 'nvidia-234'
UUID = '7d7ff1b5-0b75-4e2c-b6a9-7a4fcd3a5ab{}'


def xml(number=0, type_id=Q8, parent=FIRST):
    return (
        f'<device><parent>{parent}</parent>'
        f"<capability type='mdev'><type id='{type_id}'/>"
        f'<uuid>{UUID.format(number)}</uuid></capability></device>'
    )


class MachineTest(testtools.TestCase):
    mixed = False

    def setUp(self):
        super().setUp()
        self.machine = machine.Machine(nodes.path('t4'), mixed=self.mixed)
        self.heard = []
        self.machine.listen(lambda *event: self.heard.append(event))

    def available(self, name=FIRST):
        found = nodedev.parse(self.machine.describe(name))
        return {t.id: t.available for t in found.mdev_types}

    def refused(self, code, function, *args):
        refusal = self.assertRaises(machine.Refusal, function, *args)
        self.assertEqual(code, refusal.code)


class HomogeneousTest(MachineTest):
    def test_devices_are_those_of_the_real_library(self):
        connection = libvirt.open(nodes.uri('t4'))
        real = {d.name(): d.XMLDesc(0) for d in connection.listAllDevices(0)}
        ours = {n: self.machine.describe(n) for n, _ in self.machine.names()}
        self.assertEqual(real, ours)

    def test_what_is_left(self):
        self.machine.create(xml())
        self.assertEqual(1, self.available()[Q8])
        self.assertEqual({Q8}, {t for t, n in self.available().items() if n})
        self.assertEqual(2, self.available(SECOND)[Q8])

    def test_full_and_empty_again(self):
        before = self.available()
        names = [self.machine.create(xml(n)) for n in range(2)]
        self.assertEqual(0, sum(self.available().values()))
        for name in names:
            self.machine.destroy(name)
        self.assertEqual(before, self.available())

    def test_refusals(self):
        self.machine.create(xml())
        create = self.machine.create
        self.refused('INTERNAL_ERROR', create, xml())
        self.refused('INTERNAL_ERROR', create, xml(1, Q16))
        self.refused('INTERNAL_ERROR', create, xml(1, 'nvidia-1'))
        self.refused(
            'INTERNAL_ERROR', create, xml(1, parent='pci_0000_17_00_0')
        )
        self.refused('NO_NODE_DEVICE', create, xml(1, parent='pci_x'))
        self.refused('NO_NODE_DEVICE', self.machine.describe, 'pci_x')
        self.refused('NO_NODE_DEVICE', self.machine.destroy, FIRST)

    def test_device_in_use(self):
        name = self.machine.create(xml())
        self.machine.busy = lambda uuid: uuid == UUID.format(0)
        self.refused('INTERNAL_ERROR', self.machine.destroy, name)
        self.assertTrue(self.machine.has_mdev(UUID.format(0)))

    def test_events(self):
        name = self.machine.create(xml())
        self.machine.destroy(name)
        expected = [(machine.CREATED, name), (machine.DELETED, name)]
        self.assertEqual(expected, self.heard)

    def test_persistent(self):
        name = self.machine.define(xml())
        self.assertFalse(self.machine.has_mdev(UUID.format(0)))
        self.assertIn((name, 'mdev'), self.machine.names(active=False))
        self.assertNotIn((name, 'mdev'), self.machine.names(active=True))
        self.assertEqual(2, self.available()[Q8])
        self.machine.start(name)
        self.assertEqual(1, self.available()[Q8])
        self.machine.reboot()
        self.assertFalse(self.machine.has_mdev(UUID.format(0)))
        self.assertIn((name, 'mdev'), self.machine.names(active=False))
        self.machine.undefine(name)
        self.assertNotIn((name, 'mdev'), self.machine.names())

    def test_running_one_is_made_persistent(self):
        name = self.machine.create(xml())
        self.assertEqual(name, self.machine.define(xml()))
        self.machine.destroy(name)
        self.assertEqual([(name, 'mdev')], self.machine.names(active=False))

    def test_reboot_loses_what_is_transient(self):
        self.machine.create(xml())
        self.machine.reboot()
        self.assertEqual(2, self.available()[Q8])

    def test_unplug_takes_what_is_on_it(self):
        name = self.machine.create(xml())
        self.machine.unplug(FIRST)
        self.assertEqual(
            [(machine.DELETED, name), (machine.DELETED, FIRST)], self.heard[1:]
        )
        self.refused('NO_NODE_DEVICE', self.machine.describe, FIRST)

    def test_plug(self):
        found = nodedev.parse(self.machine.describe(FIRST))
        self.machine.unplug(FIRST)
        self.machine.plug(
            node_xml.function(
                '0000:18:00.0',
                node_xml.BENCH_GPU,
                types=[node_xml.VgpuType(Q8, 'GRID T4-8Q', 2)],
            )
        )
        self.assertEqual({Q8: 2}, self.available())
        self.assertNotEqual(found, nodedev.parse(self.machine.describe(FIRST)))
        self.assertEqual((machine.CREATED, FIRST), self.heard[-1])


class MixedTest(MachineTest):
    mixed = True

    def test_types_share_the_memory(self):
        self.machine.create(xml())
        left = self.available()
        self.assertEqual(1, left[Q8])
        self.assertEqual(0, left[Q16])
        self.assertEqual(8, left['nvidia-222'])


@ddt.ddt
class FileWithMdevsTest(testtools.TestCase):
    """The file says what is left; the machine must know what there is."""

    @ddt.data(0, 4)
    def test_capacity_is_found_again(self, virtual):
        used, empty = (self.machine(virtual, mdevs) for mdevs in (1, 0))
        (name,) = [n for n, kind in used.names() if kind == 'mdev']
        used.destroy(name)
        for one, _kind in empty.names():
            self.assertEqual(empty.describe(one), used.describe(one))

    def machine(self, virtual, mdevs):
        text = node_xml.vgpu_host(2, virtual, types=3, mdevs=mdevs)
        with tempfile.NamedTemporaryFile('w', suffix='.xml') as file:
            file.write(text)
            file.flush()
            return machine.Machine(file.name)


class NodeDevicesTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.connection = nodedevs.NodeDevices(
            machine.Machine(nodes.path('t4'))
        )

    def test_errors_are_libvirts(self):
        error = self.assertRaises(
            libvirt.libvirtError, self.connection.nodeDeviceLookupByName, 'x'
        )
        self.assertEqual(
            libvirt.VIR_ERR_NO_NODE_DEVICE, error.get_error_code()
        )
        real = libvirt.open(nodes.uri('t4'))
        expected = self.assertRaises(
            libvirt.libvirtError, real.nodeDeviceLookupByName, 'x'
        )
        self.assertEqual(str(expected), str(error))
        self.assertEqual(expected.get_error_code(), error.get_error_code())

    def test_answers_are_those_of_the_real_library(self):
        real = libvirt.open(nodes.uri('t4'))
        for flags in (0, 2, 16, 1 << 14, 2 | 1 << 14):
            names, expected = (
                sorted(one.name() for one in connection.listAllDevices(flags))
                for connection in (self.connection, real)
            )
            self.assertEqual(expected, names, flags)
        for kind in ('pci', 'mdev', 'mdev_types', 'net'):
            self.assertEqual(
                sorted(real.listDevices(kind)),
                sorted(self.connection.listDevices(kind)),
            )
        ours, theirs = (
            connection.nodeDeviceLookupByName(FIRST)
            for connection in (self.connection, real)
        )
        self.assertEqual(theirs.parent(), ours.parent())
        self.assertEqual(theirs.XMLDesc(0), ours.XMLDesc(0))
        self.assertEqual('pci', ours.listCaps()[0])

    def test_every_call_is_counted(self):
        (device, *_) = self.connection.listAllDevices(0)
        device.name()
        device.XMLDesc(0)
        device.listCaps()
        self.connection.isAlive()
        self.assertEqual(
            {
                'listAllDevices': 1,
                'virNodeDevice.XMLDesc': 1,
                'virNodeDevice.listCaps': 2,
            },
            dict(self.connection.calls),
        )

    def test_dead_line(self):
        heard = []
        self.connection.nodeDeviceEventRegisterAny(
            None, 0, lambda *event: heard.append(event), None
        )
        self.connection.break_off()
        self.assertFalse(self.connection.isAlive())
        self.assertRaises(
            libvirt.libvirtError, self.connection.listAllDevices, 0
        )
        self.connection.machine.create(xml())
        self.assertEqual([], heard)
