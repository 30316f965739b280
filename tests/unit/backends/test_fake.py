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
import dataclasses

import testtools

from nova_accel.backends import base
from nova_accel.backends import fake
from nova_accel.core import device
from nova_accel import exception

Q8 = device.VgpuModel('nvidia-233', 'GRID T4-8Q', 2)
Q16 = device.VgpuModel('nvidia-234', 'GRID T4-16Q', 1)


def gpu(bus, **facts):
    address = device.PciAddress(0, bus, 0, facts.pop('function', 0))
    return device.Device(
        **{
            'name': f'pci_{address}',
            'ids': (f'pci:{address}',),
            'address': address,
            'vendor_id': '10de',
            'product_id': '1eb8',
            'models': (Q8, Q16),
            **facts,
        }
    )


def vgpu(parent, number=0, type_id='nvidia-233'):
    uuid = f'7d7ff1b5-0b75-4e2c-b6a9-7a4fcd3a5ab{number}'
    return base.Assignment(f'unit{number}', parent, uuid, type_id)


class FakeBackendTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.first, self.second = gpu(1), gpu(2)
        self.backend = fake.FakeBackend([self.second, self.first])

    def refused(self, assignment, verb='prepare'):
        error = self.assertRaises(
            exception.DeviceUnavailable,
            getattr(self.backend, verb),
            assignment,
        )
        return str(error)

    def test_same_view_while_nothing_changes(self):
        view = self.backend.discover()
        self.assertEqual((self.first, self.second), view.devices)
        self.assertIs(view, self.backend.discover(full=True))
        self.backend.plug(self.first)
        self.assertIs(view, self.backend.discover())

    def test_plug_and_unplug(self):
        self.backend.prepare(vgpu(self.first))
        self.backend.unplug(self.first.name)
        self.assertEqual(
            device.HostView((self.second,)), self.backend.discover()
        )
        self.backend.plug(self.first)
        self.assertEqual(2, len(self.backend.discover().devices))

    def test_prepare_and_release(self):
        wanted = vgpu(self.first)
        for _ in range(2):
            self.backend.prepare(wanted)
        mdev = device.Mdev(wanted.mdev_uuid, 'nvidia-233', self.first.name)
        self.assertEqual((mdev,), self.backend.discover().mdevs)
        self.assertEqual({'unit0': wanted}, self.backend.prepared)
        for _ in range(2):
            self.backend.release(wanted)
        self.assertEqual((), self.backend.discover().mdevs)
        self.assertEqual({}, self.backend.prepared)

    def test_whole_device(self):
        wanted = base.Assignment('unit0', self.first)
        self.backend.prepare(wanted)
        self.assertIs(wanted, self.backend.render(wanted))
        self.backend.release(wanted)

    def test_full(self):
        self.backend.prepare(vgpu(self.first, 0))
        self.backend.prepare(vgpu(self.first, 1))
        self.assertIn('full', self.refused(vgpu(self.first, 2)))
        self.backend.prepare(vgpu(self.second, 2))

    def test_one_type_a_card(self):
        self.backend.prepare(vgpu(self.first, 0))
        refusal = self.refused(vgpu(self.first, 1, 'nvidia-234'))
        self.assertIn('holds nvidia-233', refusal)

    def test_unless_it_mixes(self):
        mixed = dataclasses.replace(self.first, mixed=True)
        self.backend.plug(mixed)
        self.backend.prepare(vgpu(mixed, 0))
        self.backend.prepare(vgpu(mixed, 1, 'nvidia-234'))

    def test_one_a_virtual_function(self):
        functions = [
            gpu(3, function=n, parent=device.PciAddress(0, 3, 0, 0))
            for n in (4, 5, 6)
        ]
        self.backend.plug(*functions)
        self.backend.prepare(vgpu(functions[0], 0))
        self.assertIn('full', self.refused(vgpu(functions[0], 1)))
        self.backend.prepare(vgpu(functions[1], 1))
        self.assertIn('full', self.refused(vgpu(functions[2], 2)))

    def test_refusals(self):
        self.assertIn('not there', self.refused(vgpu(gpu(9))))
        other = dataclasses.replace(self.first, product_id='20b0')
        self.assertIn('another device', self.refused(vgpu(other)))
        self.assertIn(
            'nvidia-1', self.refused(vgpu(self.first, type_id='nvidia-1'))
        )
        self.backend.prepare(vgpu(self.first))
        self.assertIn('elsewhere', self.refused(vgpu(self.second)))
        self.backend.broken[self.second.name] = 'it smokes'
        self.assertIn('it smokes', self.refused(vgpu(self.second, 1)))

    def test_in_use(self):
        wanted = vgpu(self.first)
        self.backend.prepare(wanted)
        self.backend.busy.add(wanted.mdev_uuid)
        self.assertIn('in use', self.refused(wanted, 'release'))
        self.assertEqual(1, len(self.backend.discover().mdevs))
        self.backend.reboot()
        self.assertEqual((), self.backend.discover().mdevs)

    def test_unreachable(self):
        self.backend.unreachable = 'libvirtd is down'
        self.assertRaises(exception.BackendUnavailable, self.backend.discover)
