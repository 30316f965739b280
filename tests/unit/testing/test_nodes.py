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
"""The node files that ship, as the real libvirt reads them.

``golden/<name>.txt`` holds what discovery makes of each, with its sysfs.
"""

import os
import pathlib

import ddt
import fixtures
import libvirt
import testtools

from nova_accel.backends.libvirt import backend
from nova_accel.core import device
from nova_accel.testing import node_file
from nova_accel.testing import nodes

GOLDEN = pathlib.Path(__file__).parent / 'golden'


def summary(view):
    """One line a device that is not the host itself, one a model."""
    for one in view.devices:
        if one.class_id[:2] not in device.HOST_CLASSES:
            yield ' '.join(
                (
                    f'{one.address} {one.vendor_id}:{one.product_id}',
                    f'class={one.class_id} {one.dev_type}',
                    f'subsystem={one.subsystem_vendor_id}'
                    f':{one.subsystem_product_id}',
                    f'numa={one.numa_node} vf={one.vf_index}',
                    f'devname={one.devname} group={one.iommu_group}',
                    f'upstream={one.upstream}',
                )
            )
            yield f'  {one.label}'
            yield f'  {" ".join(one.ids)}'
            for model in one.models:
                size = 'x'.join(map(str, model.max_resolution or ()))
                yield (
                    f'  {model.type_id} {model.name!r} x{model.capacity} '
                    f'{model.framebuffer_mib} MiB {model.max_heads} heads '
                    f'{size}'
                )


@ddt.ddt
class ShippedTest(testtools.TestCase):
    def discover(self, name, **options):
        connection = libvirt.open(nodes.uri(name))
        self.addCleanup(connection.close)
        found = backend.LibvirtBackend(lambda: connection, **options)
        view = found.discover()
        self.assertIs(view, found.discover())
        self.assertIs(view, found.discover(full=True))
        return view

    @ddt.data(*nodes.NAMES)
    def test_golden(self, name):
        root = self.useFixture(fixtures.TempDir()).path
        node_file.write_sysfs(nodes.path(name), root)
        view = self.discover(name, sysfs_root=root)
        expected = (GOLDEN / f'{name}.txt').read_text().splitlines()
        self.assertEqual(expected, list(summary(view)))

    @ddt.data(*nodes.NAMES)
    def test_every_device_is_read(self, name):
        view = self.discover(name)
        text = pathlib.Path(nodes.path(name)).read_text()
        self.assertEqual(
            text.count("<capability type='pci'>"), len(view.devices)
        )

    @ddt.data(*nodes.NAMES)
    def test_file_is_what_libvirt_would_write(self, name):
        """Every fact of the file survives libvirt, but for the driver."""
        read = node_file.read(nodes.path(name))
        text = pathlib.Path(nodes.path(name)).read_text()
        for xml in read.values():
            for line in xml.splitlines():
                self.assertIn(line.strip(), text)

    @ddt.data(*nodes.NAMES)
    def test_bridges_lead_to_every_device(self, name):
        view = self.discover(name)
        names = {one.name for one in view.devices} | {'computer'}
        self.assertEqual(
            [], [d for d in view.devices if d.upstream not in names]
        )

    def test_all_files_are_listed(self):
        folder = os.path.dirname(nodes.path('t4'))
        self.assertEqual(
            {f'{name}.xml' for name in nodes.NAMES}, set(os.listdir(folder))
        )

    def test_no_such_file(self):
        self.assertRaises(ValueError, nodes.path, '../../etc/passwd')
