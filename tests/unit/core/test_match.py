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

from nova_accel.conf import composer
from nova_accel.core import device
from nova_accel.core import whitelist

GPU = device.Device(
    name='pci_0000_3b_00_0',
    ids=('sn:1322621070001',),
    address=device.PciAddress.parse('0000:3b:00.0'),
    vendor_id='10de',
    product_id='1eb8',
    class_id='030200',
    subsystem_vendor_id='1028',
    subsystem_product_id='12a2',
    driver='nvidia',
    numa_node=1,
    slot='7',
    serial='1322621070001',
    path='0000:3a-00.0-00.0',
)
PF = device.Device(
    name='pci_10000_af_1f_2',
    ids=('addr:af',),
    address=device.PciAddress.parse('10000:af:1f.2'),
    vendor_id='15b3',
    product_id='101b',
    class_id='020700',
    devname='ibp175s31f2',
    dev_type=device.TYPE_PF,
)
VF = device.Device(
    name='pci_10000_af_1f_3',
    ids=('addr:af3',),
    address=device.PciAddress.parse('10000:af:1f.3'),
    vendor_id='15b3',
    product_id='101c',
    class_id='020700',
    dev_type=device.TYPE_VF,
    parent=PF.address,
    vf_index=0,
)
DEVICES = {'gpu': GPU, 'pf': PF, 'vf': VF}


def matching(match):
    """Return the names of the devices that a match is for."""
    text = f'version: 1\ndevices: {{a: {{kind: pci, match: {match}}}}}'
    found = whitelist.parse([composer.compose('f', text.encode())]).rules[0]
    return ' '.join(n for n, dev in DEVICES.items() if found.matches(dev))


@ddt.ddt
class MatchTest(testtools.TestCase):
    @ddt.data(
        ('{vendor_id: "10de"}', 'gpu'),
        ('{vendor_id: "0x10DE"}', 'gpu'),
        ('{vendor_id: ["10de", "15B3"]}', 'gpu pf vf'),
        ('{vendor_id: "*", product_id: "101c"}', 'vf'),
        ('{vendor_id: ["8086", "*"], product_id: "101c"}', 'vf'),
        ('{product_id: ["101b", "101c"]}', 'pf vf'),
        ('{subsystem_vendor_id: "1028"}', 'gpu'),
        ('{subsystem_product_id: "12a2"}', 'gpu'),
        ('{subsystem_vendor_id: "*", product_id: "101b"}', 'pf'),
        ('{class: "03"}', 'gpu'),
        ('{class: "0207"}', 'pf vf'),
        ('{class: ["030200", "030000"]}', 'gpu'),
        ('{class: "0300"}', ''),
        ('{devname: ibp175s31f2}', 'pf'),
        ('{driver: [vfio-pci, nvidia]}', 'gpu'),
        ('{driver: nvidi}', ''),
        ('{numa_node: 1}', 'gpu'),
        ('{numa_node: [0, 1]}', 'gpu'),
        ('{numa_node: 0}', ''),
        ('{slot: "7"}', 'gpu'),
        ('{serial: "1322621070001"}', 'gpu'),
        ('{path: "0000:3a-00.0-00.0"}', 'gpu'),
        ('{path: "0000:3a-*"}', 'gpu'),
        ('{path: "0000:3[ab]-??.0-*"}', 'gpu'),
        ('{path: ":3a*"}', ''),
        ('{path: "**", serial: "1322621070001"}', 'gpu'),
        ('{dev_type: type-PCI}', 'gpu'),
        ('{dev_type: [type-PF, type-VF]}', 'pf vf'),
    )
    @ddt.unpack
    def test_keys(self, match, expected) -> None:
        self.assertEqual(expected, matching(match))

    @ddt.data(
        ('"0000:3b:00.0"', 'gpu'),
        ('"0000:3B:00.0"', 'gpu'),
        ('"0000:3b:00.1"', ''),
        ('"0000:3b:00.*"', 'gpu'),
        ('"0000:3b:00"', 'gpu'),
        ('"3b:00.0"', 'gpu'),
        ('":3b:."', 'gpu'),
        ('"*:3a-3c:[0-1f].[0-0]"', 'gpu'),
        ('"0000:[3b-af]:*.*"', 'gpu'),
        ('"10000:*:*.*"', 'pf vf'),
        ('"*:af:1f.[2-3]"', 'pf vf'),
        ('"*:af:1f.[3-7]"', 'vf'),
        ('["0000:3b:00.0", "*:af:1f.3"]', 'gpu vf'),
    )
    @ddt.unpack
    def test_addresses(self, address, expected) -> None:
        self.assertEqual(expected, matching(f'{{address: {address}}}'))

    @ddt.data(
        ('{bus: "3b"}', 'gpu'),
        ('{bus: "3B|AF"}', 'gpu pf vf'),
        ('{domain: "0000"}', 'gpu'),
        # As in nova, from the start and not to the end.
        ('{bus: a}', 'pf vf'),
        ('{bus: f}', ''),
        ('{slot: "1", function: "[^2]"}', 'vf'),
        ('[{bus: "3b"}, "*:af:1f.3"]', 'gpu vf'),
    )
    @ddt.unpack
    def test_regular_expressions(self, address, expected) -> None:
        self.assertEqual(expected, matching(f'{{address: {address}}}'))

    def test_address_of_a_physical_function_stands_for_its_functions(
        self,
    ) -> None:
        self.assertEqual('pf vf', matching('{address: "10000:af:1f.2"}'))
        self.assertEqual('vf', matching('{address: "10000:af:1f.3"}'))

    def test_dev_type_tells_them_apart(self) -> None:
        address = 'address: "10000:af:1f.2"'
        for dev_type, expected in {'type-PF': 'pf', 'type-VF': 'vf'}.items():
            match = f'{{{address}, dev_type: {dev_type}}}'
            self.assertEqual(expected, matching(match))

    def test_a_pattern_of_addresses_stands_for_itself_only(self) -> None:
        self.assertEqual('pf', matching('{address: "*:af:1f.2"}'))
        self.assertEqual('pf', matching('{address: {function: "2"}}'))
