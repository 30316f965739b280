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

from nova_accel.backends.libvirt import assemble
from nova_accel.backends.libvirt import nodedev
from nova_accel.core import device


def address(text):
    return device.PciAddress.parse(text)


def function(at, **facts):
    name = 'pci_' + at.replace(':', '_').replace('.', '_')
    return nodedev.Function(name, address(at), '10de', '1eb8', **facts)


@ddt.ddt
class PathTest(testtools.TestCase):
    @ddt.data(
        (
            '/sys/devices/pci0000:00/0000:00:03.0/0000:3b:00.0',
            '0000-03.0-00.0',
        ),
        # The sockets of a machine look the same but for their roots.
        (
            '/sys/devices/pci0000:80/0000:80:03.0/0000:84:00.0',
            '0000:80-03.0-00.0',
        ),
        # Intel's VMD numbers its domains as it finds them.
        (
            '/sys/devices/pci0000:00/0000:00:0e.0/pci10000:00/10000:00:02.0'
            '/10000:01:00.0',
            '0000-0e.0-02.0-00.0',
        ),
        ('/sys/devices/pci0000:00/0000:00:02.0', '0000-02.0'),
        ('', ''),
        ('/sys/devices/virtual/thing', ''),
    )
    @ddt.unpack
    def test_path(self, syspath, expected):
        self.assertEqual(expected, assemble.path(assemble.bridges(syspath)))

    def test_bus_numbers_below_the_root_do_not_matter(self):
        shifted = '/sys/devices/pci0000:00/0000:00:03.0/0000:3c:00.0'
        self.assertEqual(
            '0000-03.0-00.0', assemble.path(assemble.bridges(shifted))
        )


class DeviceTest(testtools.TestCase):
    place = assemble.Place(path='0000-03.0-00.0', slot='4')

    def test_ids_best_first(self):
        one = function('0000:3b:00.0', serial='S1')
        found = assemble.whole(one, self.place, (), False)
        self.assertEqual(
            ('sn:S1', 'slot:4', 'path:0000-03.0-00.0', 'pci:0000:3b:00.0'),
            found.ids,
        )
        self.assertEqual('4', found.slot)
        self.assertEqual('S1', found.serial)

    def test_functions_of_one_card_share_serial_and_slot(self):
        one = function('0000:3b:00.1', serial='S1')
        found = assemble.whole(
            one, assemble.Place('0000-03.0-00.1', '4'), (), False
        )
        self.assertEqual(('sn:S1.1', 'slot:4.1'), found.ids[:2])
        self.assertEqual('4', found.slot)

    def test_sources_that_are_missing_are_left_out(self):
        found = assemble.whole(
            function('0000:3b:00.0'), assemble.Place(), (), False
        )
        self.assertEqual(('pci:0000:3b:00.0',), found.ids)

    def test_physical_function_is_one_even_without_virtual_ones(self):
        one = function('0000:3b:00.0', virtual=())
        found = assemble.whole(one, self.place, (), False)
        self.assertEqual(device.TYPE_PF, found.dev_type)

    def test_virtual_function_goes_by_its_physical_one(self):
        card = function('0000:3b:00.0', serial='S1', virtual=())
        physical = assemble.whole(card, self.place, (), False)
        one = function('0000:3b:00.7', physical=card.address)
        found = assemble.virtual(
            one, assemble.Place('0000-03.0-00.7'), physical, 3, (), False
        )
        self.assertEqual(
            (
                'sn:S1.vf3',
                'slot:4.vf3',
                'path:0000-03.0-00.0.vf3',
                'pci:0000:3b:00.7',
            ),
            found.ids,
        )
        self.assertEqual(device.TYPE_VF, found.dev_type)
        self.assertEqual(card.address, found.parent)
        self.assertEqual(3, found.vf_index)
        self.assertEqual('S1', found.serial)
        self.assertEqual('4', found.slot)
        self.assertEqual('0000-03.0-00.0.vf3', found.path)

    def test_virtual_function_without_its_physical_one(self):
        one = function('0000:3b:00.7', physical=address('0000:3b:00.0'))
        found = assemble.virtual(
            one, assemble.Place('0000-03.0-00.7'), None, None, (), False
        )
        self.assertEqual(
            ('path:0000-03.0-00.7', 'pci:0000:3b:00.7'), found.ids
        )
        self.assertIsNone(found.vf_index)
