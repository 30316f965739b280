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
import ddt
import testtools

from nova_accel.core import device
from nova_accel import exception
from tests.unit.core import hosts


@ddt.ddt
class PciAddressTest(testtools.TestCase):
    @ddt.data(
        ('0000:3b:00.0', device.PciAddress(0, 0x3B, 0, 0)),
        ('ffff:ff:1f.7', device.PciAddress(0xFFFF, 0xFF, 0x1F, 7)),
        # Domains beyond 16 bits exist: Intel's VMD makes them.
        ('00010000:01:00.0', device.PciAddress(0x10000, 1, 0, 0)),
    )
    @ddt.unpack
    def test_round_trip(self, text, address):
        self.assertEqual(address, device.PciAddress.parse(text))
        self.assertEqual(address, device.PciAddress.parse(text.upper()))
        self.assertEqual(address, device.PciAddress.parse(str(address)))

    def test_text_is_what_the_kernel_prints(self):
        self.assertEqual(
            '0000:3b:1f.7', str(device.PciAddress(0, 0x3B, 0x1F, 7))
        )
        self.assertEqual(
            '10000:01:00.0', str(device.PciAddress(0x10000, 1, 0, 0))
        )

    @ddt.data(
        '',
        '3b:00.0',
        '0000:3b:00',
        '0000:3b:20.0',
        '0000:3b:00.8',
        '0000:3b:00.0\n',
        ' 0000:3b:00.0',
        '0000-3b-00.0',
        '0000:3g:00.0',
        '٠000:3b:00.0',
    )
    def test_anything_else_is_refused(self, text):
        error = self.assertRaises(
            exception.InvalidAddress, device.PciAddress.parse, text
        )
        self.assertIn(repr(text), str(error))

    def test_sorts_as_numbers(self):
        texts = ['0000:0a:00.0', '0000:09:01.0', '0000:09:00.1']
        addresses = sorted(map(device.PciAddress.parse, texts))
        self.assertEqual(texts[::-1], [str(a) for a in addresses])


class UsbAddressTest(testtools.TestCase):
    def test_sorts_after_pci_and_as_numbers(self):
        texts = ['1-2', '1-10', '2-1', '2-1.4']
        addresses = [device.UsbAddress(text) for text in texts]
        pci = device.PciAddress(0, 0xFF, 0, 0)
        for shuffled in ([*addresses, pci], [pci, *addresses[::-1]]):
            self.assertEqual([pci, *addresses], sorted(shuffled))

    def test_is_no_address_of_pci(self):
        self.assertEqual('usb:1-2', str(device.UsbAddress('1-2')))
        self.assertNotEqual(
            device.UsbAddress('1-2'), device.PciAddress(0, 1, 2, 0)
        )


@ddt.ddt
class LabelTest(testtools.TestCase):
    @ddt.data(
        ({'vendor_name': 'NVIDIA', 'product_name': 'T4'}, 'NVIDIA T4'),
        ({'product_name': 'T4'}, 'T4'),
        ({}, '10de:20b5'),
    )
    @ddt.unpack
    def test_label(self, names, label):
        self.assertEqual(label, hosts.pci(1, **names).label)
