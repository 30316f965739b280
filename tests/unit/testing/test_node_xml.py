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
import testtools

from nova_accel.backends.libvirt import nodedev
from nova_accel.testing import node_file
from nova_accel.testing import node_xml


@ddt.ddt
class NodeXmlTest(testtools.TestCase):
    def read(self, *args, **options):
        with tempfile.NamedTemporaryFile('w', suffix='.xml') as file:
            file.write(node_xml.vgpu_host(*args, **options))
            file.flush()
            found = node_file.read(file.name)
        return [nodedev.parse(xml) for xml in found.values()]

    def test_cards(self):
        found = self.read(20, types=3)
        parents = [f for f in found if f.mdev_types]
        self.assertEqual(20, len(parents))
        self.assertEqual({3}, {len(f.mdev_types) for f in parents})
        self.assertEqual({0, 1}, {f.numa_node for f in parents})
        self.assertEqual(20, len({f.serial for f in parents}))

    def test_virtual_functions(self):
        found = self.read(2, 32, types=2)
        virtual = [f for f in found if f.physical]
        self.assertEqual(64, len(virtual))
        physical = [f for f in found if f.virtual]
        self.assertEqual(
            {f.address for f in virtual},
            {address for f in physical for address in f.virtual},
        )
        self.assertEqual({2}, {len(f.mdev_types) for f in virtual})

    def test_more_cards_than_a_domain_has_buses(self):
        found = self.read(500, types=1)
        self.assertEqual(500, sum(bool(f.mdev_types) for f in found))
        self.assertEqual({0, 1, 2}, {f.address.domain for f in found})

    @ddt.data((4, 0), (1, 4))
    @ddt.unpack
    def test_mediated_devices(self, cards, virtual):
        found = self.read(cards, virtual, types=2, mdevs=3)
        mdevs = [f for f in found if isinstance(f, nodedev.Mediated)]
        self.assertEqual(3, len(mdevs))
        functions = {f.name: f for f in found if f not in mdevs}
        for mdev in mdevs:
            first, second = functions[mdev.upstream].mdev_types
            self.assertEqual(first.id, mdev.type_id)
            self.assertEqual(0 if virtual else 15, first.available)
            self.assertEqual(0, second.available)
