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

import ddt
import testtools

from nova_accel.backends.libvirt import nodedev
from nova_accel.core import device
from nova_accel import exception
from nova_accel.testing import node_xml

T4 = node_xml.Product(
    *('10DE', '1EB8', '030200'),
    vendor='NVIDIA & Co',
    name='TU104GL [Tesla T4]',
    driver='nvidia',
)
TYPE = node_xml.VgpuType('nvidia-233', 'GRID T4-8Q', 2)
UUID = '7d7ff1b5-0b75-4e2c-b6a9-7a4fcd3a5ab3'


def address(text):
    return device.PciAddress.parse(text)


def t4(**options):
    return node_xml.function('0000:3b:00.0', T4, ['0000:00:03.0'], **options)


_MDEV = node_xml.mdev(UUID, 'x', '0000:3b:00.0')
_MALFORMED = {
    'nothing': '',
    'cut_off': t4()[:200],
    'no_bus': t4().replace('<bus>59</bus>', ''),
    'word_for_bus': t4().replace('<bus>59<', '<bus>many<'),
    'bus_beyond_255': t4().replace('<bus>59<', '<bus>256<'),
    'negative_slot': t4().replace('<slot>0<', '<slot>-1<'),
    'no_vendor': t4().replace('vendor', 'seller'),
    'word_for_vendor': t4().replace("'0x10DE'", "'0xNOPE'"),
    'long_vendor': t4().replace("'0x10DE'", "'0x10DE0'"),
    'long_class': t4().replace('0x030200', '0x03020000'),
    'no_name': t4().replace('name>', 'nom>'),
    'encoding_in_text': f"<?xml version='1.0' encoding='utf-8'?>{t4()}",
    'type_without_figure': t4(types=[TYPE]).replace('availableInst', 'inst'),
    'type_without_id': t4(types=[TYPE]).replace(" id='nvidia-233'", ''),
    'function_beyond_7': t4(virtual=['0000:3b:00.4']).replace("'0x4'", "'8'"),
    'mdev_without_type': _MDEV.replace("<type id='x'/>", ''),
    'mdev_without_parent': _MDEV.replace('parent>', 'kin>'),
    'mdev_without_uuid': _MDEV.replace('uuid>', 'id>').replace('7d7f', 'x'),
}


@ddt.ddt
class ParseTest(testtools.TestCase):
    def test_function(self):
        found = nodedev.parse(
            t4(
                numa=1,
                group=12,
                serial='1324419052501',
                types=[TYPE],
                virtual=['0000:3b:00.4', '0000:3b:00.5'],
            )
        )
        expected = nodedev.Function(
            name='pci_0000_3b_00_0',
            address=address('0000:3b:00.0'),
            vendor_id='10de',
            product_id='1eb8',
            upstream='pci_0000_00_03_0',
            syspath='/sys/devices/pci0000:00/0000:00:03.0/0000:3b:00.0',
            driver='nvidia',
            class_id='030200',
            vendor_name='NVIDIA & Co',
            product_name='TU104GL [Tesla T4]',
            serial='1324419052501',
            iommu_group=12,
            numa_node=1,
            virtual=(address('0000:3b:00.4'), address('0000:3b:00.5')),
            mdev_types=(nodedev.MdevType('nvidia-233', 'GRID T4-8Q', 2),),
        )
        self.assertEqual(expected, found)

    def test_what_a_function_does_not_have(self):
        bare = dataclasses.replace(T4, driver='')
        found = nodedev.parse(node_xml.function('0000:3b:00.0', bare))
        self.assertEqual('', found.driver)
        self.assertEqual('', found.serial)
        self.assertIsNone(found.numa_node)
        self.assertIsNone(found.iommu_group)
        self.assertIsNone(found.physical)
        self.assertIsNone(found.virtual)
        self.assertEqual((), found.mdev_types)

    def test_physical_function_without_virtual_ones(self):
        found = nodedev.parse(t4(virtual=[], max_virtual=16))
        self.assertEqual((), found.virtual)

    def test_virtual_function_belongs_to_the_card_of_its_physical_one(self):
        found = nodedev.parse(t4(physical='0000:3b:00.1'))
        self.assertEqual(address('0000:3b:00.1'), found.physical)
        self.assertEqual(address('0000:3b:00.1'), found.card)

    def test_no_numa_node_is_sometimes_minus_one(self):
        self.assertIsNone(nodedev.parse(t4(numa=-1)).numa_node)

    @ddt.data('0', '0000000', 'N/A', 'Unknown', '')
    def test_serials_that_name_nothing(self, serial):
        self.assertEqual('', nodedev.parse(t4(serial=serial)).serial)

    def test_type_without_a_name_goes_by_its_id(self):
        xml = t4(types=[TYPE]).replace('<name>GRID T4-8Q</name>', '')
        self.assertEqual('nvidia-233', nodedev.parse(xml).mdev_types[0].name)

    def test_mediated_device(self):
        found = nodedev.parse(
            node_xml.mdev(UUID, 'nvidia-233', '0000:3b:00.0')
        )
        expected = nodedev.Mediated(
            name='mdev_7d7ff1b5_0b75_4e2c_b6a9_7a4fcd3a5ab3_0000_3b_00_0',
            uuid=UUID,
            type_id='nvidia-233',
            upstream='pci_0000_3b_00_0',
        )
        self.assertEqual(expected, found)

    @ddt.data(
        'mdev_7d7ff1b5_0b75_4e2c_b6a9_7a4fcd3a5ab3',
        'mdev_7d7ff1b5_0b75_4e2c_b6a9_7a4fcd3a5ab3_0000_3b_00_0',
        'mdev_7d7ff1b5-0b75-4e2c-b6a9-7a4fcd3a5ab3',
    )
    def test_uuid_in_the_name(self, name):
        self.assertEqual(UUID, nodedev.uuid_of(name))

    def test_mediated_device_of_libvirt_before_7_3(self):
        xml = node_xml.mdev(UUID, 'nvidia-233', '0000:3b:00.0')
        xml = xml.replace(f'<uuid>{UUID}</uuid>', '')
        self.assertEqual(UUID, nodedev.parse(xml).uuid)

    def test_interface(self):
        found = nodedev.parse(
            node_xml.interface('ens3', '52:54:00:00:00:01', '0000:3b:00.0')
        )
        name = 'net_ens3_52_54_00_00_00_01'
        expected = nodedev.Interface(name, 'pci_0000_3b_00_0', 'ens3')
        self.assertEqual(expected, found)

    def test_other_kinds_do_not_concern_us(self):
        xml = (
            '<device><name>usb_1</name>'
            "<capability type='usb_device'><bus>1</bus></capability></device>"
        )
        self.assertIsNone(nodedev.parse(xml))

    @ddt.data(*_MALFORMED)
    def test_malformed(self, what):
        xml = _MALFORMED[what]
        self.assertRaises(exception.InvalidNodeDevice, nodedev.parse, xml)

    def test_error_names_the_device(self):
        xml = t4().replace('<bus>59</bus>', '')
        error = self.assertRaises(
            exception.InvalidNodeDevice, nodedev.parse, xml
        )
        self.assertIn('pci_0000_3b_00_0', str(error))
        self.assertIn("it has no 'bus'", str(error))

    def test_entities_are_refused(self):
        bomb = (
            '<!DOCTYPE device [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]>'
            + t4().replace('NVIDIA &amp; Co', '&b;')
        )
        self.assertRaises(exception.InvalidNodeDevice, nodedev.parse, bomb)

    def test_files_are_not_read(self):
        leak = (
            '<!DOCTYPE device [<!ENTITY f SYSTEM "file:///etc/hostname">]>'
            + t4().replace('NVIDIA &amp; Co', '&f;')
        )
        self.assertRaises(exception.InvalidNodeDevice, nodedev.parse, leak)
