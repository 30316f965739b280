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
"""The connection of the functional tests, and what nova makes of it."""

import contextlib

from nova.tests.fixtures import libvirt as fakelibvirt
from nova.virt.libvirt import config as vconfig
import testtools

from nova_accel.backends import base
from nova_accel.backends import libvirt as backend
from nova_accel import exception
from nova_accel.testing import connection
from nova_accel.testing import nodes

UUID = '7d7ff1b5-0b75-4e2c-b6a9-7a4fcd3a5ab3'
DOMAIN = """<domain type='kvm'><name>{name}</name><uuid>{uuid}</uuid>
<vcpu>1</vcpu><memory>1</memory><os><type>hvm</type></os>
<devices>{devices}</devices></domain>"""


class HybridTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.connection = connection.HybridConnection(nodes.uri('t4'))
        self.backend = backend.LibvirtBackend(lambda: self.connection)
        devices = self.backend.discover().devices
        self.t4, self.other = (d for d in devices if d.models)
        self.vgpu = base.Assignment('unit', self.t4, UUID, 'nvidia-233')
        self.whole = base.Assignment('unit', self.other)
        self.connection.calls.clear()

    def domain(self, *assignments, name='one'):
        rendered = (self.backend.render(one).to_xml() for one in assignments)
        return self.connection.defineXML(
            DOMAIN.format(
                name=name, uuid=f'uuid-{name}', devices=''.join(rendered)
            )
        )

    @contextlib.contextmanager
    def refused(self, text):
        try:
            yield
        except fakelibvirt.libvirtError as error:
            self.assertIn(text, str(error))
        else:
            self.fail('It was not refused')


class RenderTest(HybridTest):
    def test_mediated_device_is_nova_s(self):
        config = self.backend.render(self.vgpu)
        self.assertIsInstance(config, vconfig.LibvirtConfigGuestHostdevMDEV)
        self.assertEqual(
            (UUID, 'vfio-pci', 'no'),
            (config.uuid, config.model, config.managed),
        )

    def test_function_is_nova_s(self):
        config = self.backend.render(self.whole)
        self.assertIsInstance(config, vconfig.LibvirtConfigGuestHostdevPCI)
        xml = config.to_xml()
        self.assertIn('managed="yes"', xml)
        self.assertIn('domain="0x0000" bus="0xaf" slot="0x00"', xml)
        self.assertIn('function="0x0"', xml)

    def test_operator_binds_the_driver(self):
        whole = base.Assignment('unit', self.other, managed=False)
        self.assertIn('managed="no"', self.backend.render(whole).to_xml())

    def test_nova_recognises_its_own(self):
        config = self.backend.render(self.whole)
        copy = vconfig.LibvirtConfigGuestHostdevPCI()
        copy.parse_str(config.to_xml())
        self.assertEqual(copy, config)


class DomainTest(HybridTest):
    def test_starts_with_devices_that_exist(self):
        self.backend.prepare(self.vgpu)
        domain = self.domain(self.vgpu, self.whole)
        domain.create()
        self.assertIn(UUID, domain.XMLDesc(0))

    def test_does_not_start_without(self):
        with self.refused('not found'):
            self.domain(self.vgpu).create()

    def test_device_in_use_is_not_released(self):
        self.backend.prepare(self.vgpu)
        domain = self.domain(self.vgpu)
        domain.create()
        self.assertRaises(
            exception.DeviceUnavailable, self.backend.release, self.vgpu
        )
        domain.destroy()
        self.backend.release(self.vgpu)
        self.assertEqual((), self.backend.discover().mdevs)

    def test_device_of_another_domain(self):
        self.backend.prepare(self.vgpu)
        for number, assignment in enumerate((self.vgpu, self.whole)):
            self.domain(assignment, name=f'first-{number}').create()
            with self.refused('in use by domain first'):
                self.domain(assignment, name='second').create()

    def test_transient_domain(self):
        xml = DOMAIN.format(
            name='t', uuid='t', devices=self.backend.render(self.vgpu).to_xml()
        )
        with self.refused('not found'):
            self.connection.createXML(xml, 0)

    def test_attach_and_detach(self):
        self.backend.prepare(self.vgpu)
        domain = self.domain()
        domain.create()
        live = fakelibvirt.VIR_DOMAIN_AFFECT_LIVE
        for assignment in (self.vgpu, self.whole):
            xml = self.backend.render(assignment).to_xml()
            domain.attachDeviceFlags(xml, live)
            self.assertEqual(1, len(domain.held()))
            self.assertIn('<hostdev', domain.XMLDesc(0))
            domain.detachDeviceFlags(xml, live)
            self.assertEqual([], domain.held())


class CountTest(HybridTest):
    def test_calls_of_nova_s_own_code(self):
        domain = self.domain()
        domain.create()
        domain.name()
        domain.XMLDesc(0)
        self.connection.listAllDomains(1)
        self.connection.listDevices('pci', 0)
        self.assertEqual(
            {
                'defineXML': 1,
                'virDomain.create': 1,
                'virDomain.XMLDesc': 1,
                'listAllDomains': 1,
                'listDevices': 2,
            },
            dict(self.connection.calls),
        )

    def test_errors_bear_the_numbers_that_nova_sees(self):
        error = self.assertRaises(
            fakelibvirt.libvirtError,
            self.connection.nodeDeviceLookupByName,
            'x',
        )
        self.assertEqual(
            fakelibvirt.VIR_ERR_NO_NODE_DEVICE, error.get_error_code()
        )

    def test_flags_bear_the_numbers_that_nova_sees(self):
        flags = (
            fakelibvirt.VIR_CONNECT_LIST_NODE_DEVICES_CAP_MDEV
            | fakelibvirt.VIR_CONNECT_LIST_NODE_DEVICES_INACTIVE
        )
        self.backend.prepare(self.vgpu)
        self.assertEqual([], self.connection.listAllDevices(flags))
        name = self.connection.listDevices('mdev', 0)[0]
        device = self.connection.nodeDeviceLookupByName(name)
        xml = device.XMLDesc(0)
        self.connection.nodeDeviceDefineXML(xml, 0)
        device.destroy()
        (inactive,) = self.connection.listAllDevices(flags)
        self.assertEqual(name, inactive.name())


class RestartTest(HybridTest):
    def test_guests_and_devices_outlive_libvirtd(self):
        self.backend.prepare(self.vgpu)
        self.domain(self.vgpu).create()
        view = self.backend.discover()
        self.connection = self.connection.restarted()
        self.assertIs(view, self.backend.discover())
        self.assertRaises(
            exception.DeviceUnavailable, self.backend.release, self.vgpu
        )


class StockFixtureTest(testtools.TestCase):
    """nova's own fixture as it is: no events, no sysfs, odd numbers."""

    def test_discover(self):
        name = f'mdev_{UUID.replace("-", "_")}'
        stock = fakelibvirt.Connection(
            'qemu:///system',
            pci_info=fakelibvirt.HostPCIDevicesInfo(
                num_pci=1, num_pfs=1, num_vfs=4, num_mdevcap=1
            ),
            mdev_info=fakelibvirt.HostMdevDevicesInfo(
                {
                    name: fakelibvirt.FakeMdevDevice(
                        name, 'nvidia-11', 'pci_0000_81_01_0'
                    )
                }
            ),
        )
        found = backend.LibvirtBackend(lambda: stock)
        view = found.discover()
        self.assertEqual(
            ['type-PCI', 'type-PCI', 'type-PF', *['type-VF'] * 4],
            [one.dev_type for one in view.devices],
        )
        (mdev,) = view.mdevs
        self.assertEqual((UUID, 'nvidia-11'), (mdev.uuid, mdev.type_id))
        self.assertIs(view, found.discover())
        self.assertIs(view, found.discover(full=True))
