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
import pathlib

import ddt
import fixtures
import testtools

from nova_accel.backends.libvirt import sysfs
from nova_accel.core import device
from nova_accel.core import upkeep
from tests.unit.backends.libvirt import test_config_space

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


class ReadingTest(testtools.TestCase):
    """What tells about the health of a device."""

    AT = device.PciAddress.parse('0000:3b:00.0')

    def setUp(self):
        super().setUp()
        self.root = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.folder = self.root / 'bus/pci/devices/0000:3b:00.0'
        self.folder.mkdir(parents=True)

    def write(self, **files):
        for name, text in files.items():
            path = self.folder / name.replace('__', '/')
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f'{text}\n')

    def read(self):
        return sysfs.Sysfs(str(self.root)).reading(self.AT)

    def test_nothing_is_told(self):
        self.assertEqual(upkeep.Reading(''), self.read())

    def test_it_is_not_there(self):
        self.folder.rmdir()
        self.assertEqual(upkeep.Reading(), self.read())
        self.assertEqual(upkeep.Reading(), sysfs.Sysfs(None).reading(self.AT))

    def test_driver(self):
        (self.folder / 'driver').symlink_to('../../../../bus/drivers/nvme')
        self.assertEqual('nvme', self.read().driver)

    def test_errors(self):
        self.write(
            aer_dev_fatal='Undefined 0\nDLP 2\nTOTAL_ERR_FATAL 2',
            aer_dev_correctable='RxErr 0\nTOTAL_ERR_COR 7',
            aer_dev_nonfatal='nonsense',
        )
        self.assertEqual(
            {'aer_fatal': 2, 'aer_correctable': 7}, self.read().errors
        )

    def test_lanes(self):
        for width, expected in (('16', True), ('0', False), ('63', False)):
            self.write(current_link_width=width, max_link_width='16')
            self.assertIs(expected, self.read().link)
        # What is part of the root complex has none.
        self.write(current_link_width='0', max_link_width='0')
        self.assertIsNone(self.read().link)

    def test_network_interface(self):
        for flags, state, expected in (
            ('0x1003', 'up', True),
            ('0x1003', 'down', False),
            ('0x1003', 'lowerlayerdown', False),
            # Nobody has set it up.
            ('0x1002', 'down', None),
            ('', 'down', None),
        ):
            self.write(net__ens1__flags=flags, net__ens1__operstate=state)
            self.assertIs(expected, self.read().link, (flags, state))


class SerialTest(testtools.TestCase):
    """Configuration spaces, as far as one may read them."""

    OTHER = device.PciAddress.parse('0000:5e:00.0')
    SPACE = test_config_space.space((0x100, 3, 0, test_config_space.NUMBER))

    def setUp(self):
        super().setUp()
        self.root = self.useFixture(fixtures.TempDir()).path
        self.asked = []

    def write(self, address, config):
        path = pathlib.Path(self.root, 'bus/pci/devices', str(address))
        path.mkdir(parents=True)
        path.joinpath('config').write_bytes(config)

    def ask(self, addresses):
        self.asked.append(addresses)
        return {addresses[0]: self.SPACE.hex()}

    def test_one_may_read_it(self):
        self.write(AT, self.SPACE)
        self.write(self.OTHER, bytes(256))
        found = sysfs.Sysfs(self.root, self.ask)
        self.assertEqual(
            {AT: test_config_space.TEXT, self.OTHER: ''},
            found.device_serials([AT, self.OTHER]),
        )
        self.assertEqual([], self.asked)

    def test_root_alone_may(self):
        for address in (AT, self.OTHER):
            self.write(address, self.SPACE[:64])
        found = sysfs.Sysfs(self.root, self.ask)
        # Once for all; what root cannot read either is left out.
        self.assertEqual(
            {AT: test_config_space.TEXT},
            found.device_serials([AT, self.OTHER]),
        )
        self.assertEqual([[str(AT), str(self.OTHER)]], self.asked)

    def test_nobody_is_there_to_ask(self):
        self.write(AT, self.SPACE[:64])
        found = sysfs.Sysfs(self.root)
        self.assertEqual({}, found.device_serials([AT]))

    def test_whoever_is_asked_does_not_answer(self):
        def broken(_addresses):
            raise OSError('sudo: a password is required')

        self.write(AT, self.SPACE[:64])
        logger = self.useFixture(fixtures.FakeLogger())
        found = sysfs.Sysfs(self.root, broken)
        self.assertEqual({}, found.device_serials([AT]))
        self.assertIn('a password is required', logger.output)

    def test_there_is_no_such_device(self):
        for root in (self.root, None):
            found = sysfs.Sysfs(root, self.ask)
            self.assertEqual({}, found.device_serials([AT]))
        self.assertEqual([], self.asked)
