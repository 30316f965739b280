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
import os

import ddt
import fixtures
import testtools

from nova_accel.backends.libvirt import sysfs
from nova_accel.core import device

AT = device.PciAddress.parse('0000:3b:00.0')


@ddt.ddt
class DescriptionTest(testtools.TestCase):
    def test_nvidia(self):
        found = sysfs.Description.parse(
            'num_heads=4, frl_config=60, framebuffer=8192M, '
            'max_resolution=7680x4320, max_instance=2'
        )
        self.assertEqual(sysfs.Description(2, 8192, 4, (7680, 4320)), found)

    def test_intel(self):
        found = sysfs.Description.parse(
            'low_gm_size: 128MB\nhigh_gm_size: 512MB\nfence: 4\n'
            'resolution: 1920x1200\nweight: 4\n'
        )
        self.assertEqual(sysfs.Description(max_resolution=(1920, 1200)), found)

    @ddt.data(
        '',
        'no idea',
        'max_instance=many, framebuffer=lots, max_resolution=big',
        'max_instance=, num_heads=-1',
        '=' * 5000,
    )
    def test_what_says_nothing(self, text):
        self.assertEqual(sysfs.UNKNOWN, sysfs.Description.parse(text))

    def test_gigabytes(self):
        found = sysfs.Description.parse('framebuffer=8G')
        self.assertEqual(8192, found.framebuffer_mib)


class SysfsTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.root = self.useFixture(fixtures.TempDir()).path

    def write(self, path, text):
        path = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'w') as file:
            file.write(text)

    def test_reads(self):
        self.write('bus/pci/devices/0000:3b:00.0/subsystem_vendor', '0x10DE\n')
        self.write('bus/pci/devices/0000:3b:00.0/subsystem_device', '0x12a2\n')
        self.write('bus/pci/devices/0000:3b:00.0/net/ens3/mtu', '1500')
        self.write('bus/pci/slots/4/address', '0000:3b:00\n')
        self.write(
            'class/mdev_bus/0000:3b:00.0/mdev_supported_types/nvidia-233/'
            'description',
            'max_instance=2\n',
        )
        found = sysfs.Sysfs(self.root)
        self.assertEqual(('10de', '12a2'), found.subsystem(AT))
        self.assertEqual('ens3', found.devname(AT))
        self.assertEqual({'0000:3b:00': '4'}, found.slots())
        self.assertEqual(2, found.description(AT, 'nvidia-233').capacity)

    def test_slots_that_share_a_name(self):
        # Seen on a real kernel: firmware that calls every slot 0.
        for number, name in enumerate(('0', '0-1', '0-2', '7', '2-1')):
            path = f'bus/pci/slots/{name}/address'
            self.write(path, f'0000:0{number}:00\n')
        found = sysfs.Sysfs(self.root).slots()
        self.assertEqual({'0000:03:00': '7', '0000:04:00': '2-1'}, found)

    def test_what_is_not_there_is_unknown(self):
        for root in (None, self.root, '/nonexistent'):
            found = sysfs.Sysfs(root)
            self.assertEqual(('', ''), found.subsystem(AT))
            self.assertEqual('', found.devname(AT))
            self.assertEqual({}, found.slots())
            self.assertEqual(sysfs.UNKNOWN, found.description(AT, 'x'))

    def test_false_where_it_is_another_machines(self):
        self.assertFalse(sysfs.Sysfs(None))
        self.assertTrue(sysfs.Sysfs(self.root))

    def test_bytes_that_are_no_text(self):
        path = 'bus/pci/devices/0000:3b:00.0/subsystem_vendor'
        self.write(path, '')
        with open(os.path.join(self.root, path), 'wb') as file:
            file.write(b'\xff\xfe' * 9000)
        self.assertEqual(('', ''), sysfs.Sysfs(self.root).subsystem(AT))
