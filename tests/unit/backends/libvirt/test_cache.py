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
import os
import pathlib
import shutil

import fixtures

from nova_accel.backends.libvirt import cache
from nova_accel.backends.libvirt import nodedev
from nova_accel.backends.libvirt import sysfs
from nova_accel.core import device
from nova_accel.testing import node_file
from nova_accel.testing import node_xml
from nova_accel.testing import nodes
from tests.unit.backends.libvirt import common
from tests.unit.backends.libvirt import test_config_space

GPU = node_xml.BENCH_GPU
NIC = node_xml.Product('8086', '1572', '020000', driver='i40e')
TYPE = node_xml.VgpuType('nvidia-233', 'GRID T4-8Q', 2)
FIRST, SECOND = '0000:3b:00.0', '0000:3c:00.0'


class CacheTest(common.TestCase):
    def setUp(self):
        super().setUp()
        self.cache = cache.Cache(sysfs.Sysfs(None))

    def put(self, address, product=GPU, **options):
        name = node_xml.name_of(address)
        self.cache.put(name, node_xml.function(address, product, **options))
        return name

    def names(self):
        return [one.name for one in self.cache.view().devices]

    def only(self):
        (one,) = self.cache.view().devices
        return one

    def test_starts_empty(self):
        self.assertEqual(device.HostView(), self.cache.view())
        self.assertEqual(0, len(self.cache.names))

    def test_the_same_view_while_nothing_changes(self):
        self.put(FIRST)
        view = self.cache.view()
        self.put(FIRST)
        self.assertIs(view, self.cache.view())
        self.cache.recheck()
        self.assertIs(view, self.cache.view(settled=True))

    def test_the_same_view_when_a_change_means_nothing(self):
        self.put(FIRST, types=[TYPE])
        view = self.cache.view(settled=True)
        self.put(FIRST, types=[TYPE], available={'nvidia-233': 1})
        self.assertIs(view, self.cache.view())

    def test_what_did_not_change_stays_the_same_object(self):
        self.put(FIRST)
        self.put(SECOND)
        before = self.cache.view()
        self.put(FIRST, numa=1)
        after = self.cache.view()
        self.assertEqual(1, after.devices[0].numa_node)
        self.assertIs(before.devices[1], after.devices[1])

    def test_ordered_by_address(self):
        late = self.put(SECOND)
        self.cache.view()
        self.assertEqual([self.put(FIRST), late], self.names())

    def test_drop(self):
        self.put(FIRST)
        name = self.put(SECOND)
        self.cache.view()
        self.cache.drop(node_xml.name_of(FIRST))
        self.assertEqual([name], self.names())
        self.assertIsNone(self.cache.by_name(node_xml.name_of(FIRST)))
        self.cache.drop('never heard of')

    def test_malformed_device_is_withheld_alone(self):
        name = self.put(SECOND)
        self.cache.put('pci_0000_3b_00_0', '<device/>')
        self.cache.put('pci_0000_3d_00_0', '<device><nonsense')
        self.assertEqual([name], self.names())
        self.assertIn('Ignoring node device pci_0000_3d', self.log.output)

    def test_malformed_device_is_reported_once(self):
        for _ in range(3):
            self.cache.put('pci_0000_3d_00_0', '<device><nonsense')
        self.assertEqual(1, self.log.output.count('Ignoring'))

    def test_device_that_becomes_malformed_is_withheld(self):
        self.cache.put(self.put(FIRST), '<device><nonsense')
        self.assertEqual([], self.names())

    def test_unreadable_device_stays_what_it_was(self):
        name = self.put(FIRST)
        self.cache.withhold(name)
        self.cache.withhold('pci_0000_3d_00_0')
        self.assertEqual([name], self.names())
        self.assertIn('pci_0000_3d_00_0', self.cache.names)

    def test_handle_counts_and_not_the_name_inside(self):
        self.cache.put('pci_alias', node_xml.function(FIRST, GPU))
        self.assertEqual(['pci_alias'], self.names())
        self.cache.drop('pci_alias')
        self.assertEqual([], self.names())

    def test_virtual_functions_follow_their_physical_one(self):
        virtual = self.put('0000:3b:00.4', physical=FIRST)
        self.assertIsNone(self.only().vf_index)
        self.put(FIRST, serial='S1', virtual=['0000:3b:00.4'])
        self.cache.view()
        self.assertEqual('sn:S1.vf0', self.cache.by_name(virtual).ids[0])
        self.put(FIRST, serial='S2', virtual=['0000:3b:00.4'])
        self.cache.view()
        self.assertEqual('sn:S2.vf0', self.cache.by_name(virtual).ids[0])
        self.cache.drop(node_xml.name_of(FIRST))
        self.assertEqual(('pci:0000:3b:00.4',), self.only().ids[-1:])
        self.assertEqual('', self.only().serial)

    def test_interfaces(self):
        self.put(FIRST, NIC)
        self.put(SECOND, NIC)
        xml = node_xml.interface('ens3', '52:54:00:00:00:01', FIRST)
        self.cache.put('net_ens3', xml)
        named = [one.devname for one in self.cache.view().devices]
        self.assertEqual(['ens3', ''], named)
        self.cache.drop('net_ens3')
        named = [one.devname for one in self.cache.view().devices]
        self.assertEqual(['', ''], named)

    def test_mdevs_do_not_touch_devices(self):
        self.put(FIRST, types=[TYPE])
        before = self.cache.view(settled=True)
        made = nodedev.Mediated('mdev_1', 'u1', 'nvidia-233', 'pci_x')
        self.cache.put_mdev(made)
        after = self.cache.view()
        self.assertEqual(
            (device.Mdev('u1', 'nvidia-233', 'pci_x'),), after.mdevs
        )
        self.assertIs(before.devices, after.devices)
        self.assertEqual(made, self.cache.mdev('u1'))
        self.assertTrue(self.cache.is_mdev('mdev_1'))
        self.cache.drop('mdev_1')
        self.assertEqual(before, self.cache.view())
        self.assertIsNone(self.cache.mdev('u1'))

    def test_what_libvirt_says_of_our_own_mdev_changes_nothing(self):
        self.put(FIRST, types=[TYPE])
        uuid = '7d7ff1b5-0b75-4e2c-b6a9-7a4fcd3a5ab3'
        xml = node_xml.mdev(uuid, 'nvidia-233', FIRST)
        self.cache.put_mdev(nodedev.parse(xml))
        view = self.cache.view()
        self.cache.put(nodedev.parse(xml).name, xml)
        self.assertIs(view, self.cache.view())

    def test_path_from_the_chain_of_parents(self):
        bridge = node_xml.function('0000:00:03.0', node_xml.ROOT_PORT)
        self.cache.put('pci_0000_00_03_0', _without_path(bridge))
        gpu = node_xml.function(FIRST, GPU, ['0000:00:03.0'])
        self.cache.put('pci_0000_3b_00_0', _without_path(gpu))
        self.assertEqual(
            'path:0000-03.0-00.0', self.cache.view().devices[1].ids[0]
        )

    def test_parents_in_a_circle(self):
        for address, above in ((FIRST, SECOND), (SECOND, FIRST)):
            xml = node_xml.function(address, GPU, [above])
            self.cache.put(node_xml.name_of(address), _without_path(xml))
        self.assertEqual(2, len(self.cache.view().devices))

    def test_device_in_use_keeps_what_the_whitelist_matches(self):
        name = self.put(FIRST, NIC, serial='S1')
        xml = node_xml.interface('ens3', '52:54:00:00:00:01', FIRST)
        self.cache.put('net_ens3', xml)
        view = self.cache.view()
        self.put(FIRST, _bound_to_vfio(NIC), serial='S1')
        self.cache.drop('net_ens3')
        self.assertIs(view, self.cache.view())
        self.cache.recheck()
        self.assertIs(view, self.cache.view(settled=True))
        self.put(FIRST, dataclasses.replace(NIC, driver='ixgbe'), serial='S1')
        self.cache.view()
        self.assertEqual('ixgbe', self.cache.by_name(name).driver)

    def test_another_device_in_its_place_does_not(self):
        name = self.put(FIRST, NIC)
        self.cache.view()
        self.put(FIRST, _bound_to_vfio(GPU))
        self.cache.view()
        self.assertEqual('vfio-pci', self.cache.by_name(name).driver)

    def test_device_bound_to_vfio_from_the_start(self):
        self.put(FIRST, _bound_to_vfio(NIC))
        self.assertEqual('vfio-pci', self.only().driver)


def _without_path(xml):
    return '\n'.join(line for line in xml.splitlines() if '<path>' not in line)


def _bound_to_vfio(product):
    return dataclasses.replace(product, driver='vfio-pci')


class LocalTest(common.TestCase):
    """With a sysfs beside it."""

    def setUp(self):
        super().setUp()
        self.root = self.useFixture(fixtures.TempDir()).path

    def view(self, path):
        node_file.write_sysfs(path, self.root)
        found = cache.Cache(sysfs.Sysfs(self.root))
        for device_name, xml in node_file.read(path).items():
            found.put(device_name, xml)
        self.cache = found
        found.recheck()
        return found.view(settled=True)

    def test_slot_and_subsystem(self):
        view = self.view(nodes.path('t4'))
        gpu = common.by_address(view, '0000:af:00.0')
        self.assertEqual(
            ('sn:1324419052502', 'slot:5', 'path:0000:ae-00.0-00.0'),
            gpu.ids[:3],
        )
        subsystem = (gpu.subsystem_vendor_id, gpu.subsystem_product_id)
        self.assertEqual(('10de', '12a2'), subsystem)

    def test_capacity_of_a_card_with_virtual_functions(self):
        described = node_xml.VgpuType('nvidia-562', 'A40-8Q', 6, 8192)
        virtual = ['0000:3b:00.4', '0000:3b:00.5']
        physical = node_xml.function(FIRST, GPU, virtual=virtual)
        functions = (
            node_xml.function(one, GPU, physical=FIRST, types=[described])
            for one in virtual
        )
        text = node_xml.node([physical, *functions])
        view = self.view(self.write(text))
        for function in view.devices[1:]:
            (model,) = function.models
            self.assertEqual(6, model.capacity)
            self.assertEqual(8192, model.framebuffer_mib)
            self.assertEqual((7680, 4320), model.max_resolution)

    def test_interface_that_was_renamed(self):
        self.view(nodes.path('infiniband'))
        net = os.path.join(self.root, 'bus/pci/devices/0000:5e:00.0/net')
        os.rename(f'{net}/ibp94s0f0', f'{net}/ib0')
        self.cache.recheck_interfaces()
        port = common.by_address(self.cache.view(), '0000:5e:00.0')
        self.assertEqual('ib0', port.devname)


class SerialTest(common.TestCase):
    """Serial numbers that only a configuration space tells."""

    SPACE = test_config_space.space((0x100, 3, 0, test_config_space.NUMBER))
    TEXT = test_config_space.TEXT

    def setUp(self):
        super().setUp()
        self.root = self.useFixture(fixtures.TempDir()).path
        self.asked = []
        self.space = self.SPACE
        self.cache = cache.Cache(sysfs.Sysfs(self.root, self.ask))

    def ask(self, addresses):
        self.asked.append(sorted(addresses))
        return dict.fromkeys(addresses, self.space.hex())

    def put(self, address, product=GPU, **kwargs):
        path = pathlib.Path(self.root, 'bus/pci/devices', address)
        path.mkdir(parents=True, exist_ok=True)
        path.joinpath('config').write_bytes(self.SPACE[:64])
        xml = node_xml.function(address, product, **kwargs)
        self.cache.put(node_xml.name_of(address), xml)

    def ids(self, address=FIRST):
        view = self.cache.view()
        return common.by_address(view, address).ids

    def test_it_comes_after_vital_product_data_and_before_places(self):
        self.put(FIRST)
        self.put(SECOND, serial='42')
        self.assertEqual(f'dsn:{self.TEXT}', self.ids()[0])
        self.assertEqual(
            ['sn:42', f'dsn:{self.TEXT}'], list(self.ids(SECOND)[:2])
        )
        first, second = (
            common.by_address(self.cache.view(), each).serial
            for each in (FIRST, SECOND)
        )
        self.assertEqual((self.TEXT, '42'), (first, second))

    def test_all_that_is_new_is_asked_about_at_once(self):
        self.put(FIRST)
        self.put(SECOND)
        self.cache.view()
        self.assertEqual([[FIRST, SECOND]], self.asked)
        # What changes about a card asks nothing.
        self.put(FIRST, _bound_to_vfio(GPU))
        self.assertEqual(f'dsn:{self.TEXT}', self.ids()[0])
        self.assertEqual(1, len(self.asked))

    def test_another_card_at_an_address_is_asked(self):
        self.put(FIRST)
        self.cache.view()
        self.cache.drop(node_xml.name_of(FIRST))
        self.space = bytes(4096)
        self.put(FIRST)
        self.assertTrue(self.ids()[0].startswith('path:'), self.ids())

    def test_everything_is_asked_again_with_everything_else(self):
        self.put(FIRST)
        self.cache.view()
        self.space = bytes(4096)
        self.cache.recheck()
        self.assertTrue(self.ids()[0].startswith('path:'), self.ids())
        self.assertEqual(2, len(self.asked))

    def test_who_does_not_answer_again_is_who_it_was(self):
        self.put(FIRST)
        before = self.ids()

        def silent(_addresses):
            raise OSError('no answer')

        self.cache._files._privileged = silent
        self.cache.recheck()
        self.assertEqual(before, self.ids())

    def test_virtual_functions_and_bridges_are_not_asked(self):
        virtual = '0000:3b:00.4'
        self.put(FIRST, virtual=[virtual])
        self.put(virtual, physical=FIRST)
        self.put(SECOND, dataclasses.replace(GPU, class_id='060400'))
        self.assertEqual(f'dsn:{self.TEXT}.vf0', self.ids(virtual)[0])
        self.assertEqual([[FIRST]], self.asked)


class DriveTest(common.TestCase):
    """Serial numbers that only the driver of a drive can read."""

    NVME = node_xml.Product('144d', 'a80a', '010802')

    def setUp(self):
        super().setUp()
        self.root = self.useFixture(fixtures.TempDir()).path
        self.cache = cache.Cache(sysfs.Sysfs(self.root))

    def put(self, address=FIRST, driver='nvme', told='S64GNX0', **kwargs):
        where = pathlib.Path(self.root, 'bus/pci/devices', address, 'nvme')
        shutil.rmtree(where, ignore_errors=True)
        if driver == 'nvme':
            where.joinpath('nvme0').mkdir(parents=True)
            where.joinpath('nvme0/serial').write_text(f'{told:20}\n')
        product = dataclasses.replace(self.NVME, driver=driver)
        xml = node_xml.function(address, product, **kwargs)
        self.cache.put(node_xml.name_of(address), xml)

    def look(self, told=None):
        """Return addresses of those that do not tell, after a look."""
        mute = self.cache.listen()
        found = {at: (told or {}).get(str(at), '') for at in mute}
        self.cache.hear(found)
        self.view = self.cache.view()
        return set(map(str, mute))

    def drive(self, address=FIRST):
        return common.by_address(self.view, address)

    def assert_known(self, serial='S64GNX0'):
        self.assertEqual(f'nvme:{serial}', self.drive().ids[0])
        self.assertEqual(serial, self.drive().serial)

    def assert_unknown(self):
        self.assertTrue(self.drive().ids[0].startswith('path:'))
        self.assertEqual('', self.drive().serial)

    def test_it_comes_before_places(self):
        self.put()
        self.assertEqual(set(), self.look())
        self.assert_known()
        self.assertTrue(self.drive().ids[1].startswith('path:'))

    def test_it_comes_after_what_all_may_read(self):
        self.put(serial='42')
        self.look()
        self.assertEqual('sn:42', self.drive().ids[0])
        self.assertNotIn('nvme:', ' '.join(self.drive().ids))
        self.assertEqual('42', self.drive().serial)

    def test_a_drive_that_is_lent_is_who_it_was(self):
        self.put()
        self.look()
        self.put(driver='vfio-pci')
        self.assertEqual(set(), self.look())
        self.assert_known()
        self.cache.recheck()
        self.assertEqual(set(), self.look())
        self.assert_known()

    def test_its_guest_tells(self):
        self.put(driver='vfio-pci')
        self.assertEqual({FIRST}, self.look({FIRST: 'S64GNX0'}))
        self.assert_known()
        # Nobody is asked again.
        self.cache.recheck()
        self.assertEqual(set(), self.look())
        self.assert_known()

    def test_nobody_tells(self):
        self.put(driver='vfio-pci')
        self.assertEqual({FIRST}, self.look())
        self.assert_unknown()
        # It does not become another one when it comes back.
        self.put()
        self.cache.recheck()
        self.assertEqual(set(), self.look())
        self.assert_unknown()
        self.cache.drop(node_xml.name_of(FIRST))
        self.put()
        self.look()
        self.assert_known()

    def test_another_drive_in_its_place(self):
        self.put()
        self.look()
        self.put(told='S64GNX1')
        self.cache.recheck()
        self.look()
        self.assert_known('S64GNX1')

    def test_a_driver_that_comes_later(self):
        self.put(driver='')
        self.assertEqual(set(), self.look())
        self.assert_unknown()
        self.put()
        self.look()
        self.assert_known()

    def test_numbers_that_say_nothing(self):
        for told in ('', '0' * 20, 'n/a', 'S64\x07', 'Seriennr\u00e4'):
            self.put(told=told)
            self.cache.recheck()
            self.assertEqual(set(), self.look())
            self.assert_unknown()

    def test_virtual_functions_have_that_of_their_drive(self):
        virtual = '0000:3b:00.4'
        self.put(virtual=[virtual])
        self.put(virtual, driver='vfio-pci', physical=FIRST)
        self.assertEqual(set(), self.look())
        self.assertEqual('nvme:S64GNX0.vf0', self.drive(virtual).ids[0])

    def test_other_devices_and_other_hosts_are_not_asked(self):
        self.put(driver='vfio-pci')
        self.cache = cache.Cache(sysfs.Sysfs(None))
        self.put(driver='vfio-pci')
        self.assertEqual(set(), self.look())
        self.cache = cache.Cache(sysfs.Sysfs(self.root))
        xml = node_xml.function(FIRST, _bound_to_vfio(GPU))
        self.cache.put(node_xml.name_of(FIRST), xml)
        self.assertEqual(set(), self.look())
