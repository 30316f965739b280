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
import contextlib

import libvirt
import testtools

from nova_accel.backends.libvirt import backend
from nova_accel.backends.libvirt import guest
from nova_accel.core import device

UUID = '0b4b44d5-4ce2-4d4f-9b6f-3f5f7c3f1a11'
MDEV = 'c2177883-f1bb-47f0-914d-32a22e3a8804'
XML = f"""
<domain type='test'>
  <name>one</name>
  <uuid>{UUID}</uuid>
  <memory>8192</memory>
  <os><type>hvm</type></os>
  <devices>
    <hostdev mode='subsystem' type='mdev' model='vfio-pci'>
      <source><address uuid='{MDEV}'/></source>
      <address type='pci' domain='0x0000' bus='0x07' slot='0x00'
       function='0x0'/>
    </hostdev>
    <hostdev mode='subsystem' type='pci' managed='yes'>
      <source>
        <address domain='0x0000' bus='0x3b' slot='0x1f' function='0x7'/>
      </source>
    </hostdev>
    <hostdev mode='subsystem' type='usb'>
      <source><address bus='1' device='2'/></source>
    </hostdev>
    <interface type='hostdev' managed='yes'>
      <mac address='52:54:00:6d:90:02'/>
      <source>
        <address type='pci' domain='0x0000' bus='0x65' slot='0x00'
         function='0x4'/>
      </source>
    </interface>
    <interface type='bridge'><source bridge='br0'/></interface>
  </devices>
</domain>
"""
FOUND = frozenset({MDEV, '0000:3b:1f.7', '0000:65:00.4'})


class ParseTest(testtools.TestCase):
    def test_devices(self):
        self.assertEqual(
            device.Guest(UUID, True, FOUND), guest.parse(UUID, True, XML)
        )

    def test_mediated_devices(self):
        self.assertEqual({MDEV}, guest.parse(UUID, True, XML).mdevs)


class DrivesTest(testtools.TestCase):
    AT = device.PciAddress.parse('0000:3b:1f.7')
    SOURCE = '<source>\n        <address domain='

    def drives(self, alias):
        return guest.drives(
            XML.replace(self.SOURCE, f"<alias name='{alias}'/>{self.SOURCE}")
        )

    def test_what_was_named(self):
        for serial in ('S64GNX0', 'a b/<c>', 'x' * 20):
            alias = guest.named(serial, 7)
            self.assertTrue(guest.is_named(alias))
            self.assertRegex(alias, '^ua-[a-zA-Z0-9_-]+$')
            self.assertEqual({self.AT: serial}, self.drives(alias))

    def test_each_function_has_a_name_of_its_own(self):
        self.assertNotEqual(guest.named('S', 0), guest.named('S', 1))

    def test_what_others_named(self):
        for alias in ('hostdev0', 'ua-mine', 'ua-accel-nvme-0-xyz', ''):
            self.assertEqual({}, self.drives(alias))
        self.assertEqual({}, guest.drives(XML))


class GuestsTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        # It would print what we handle.
        libvirt.registerErrorHandler(lambda _context, _error: None, None)
        connection = libvirt.open('test:///default')
        self.enterContext(contextlib.closing(connection))
        self.connection = connection
        self.backend = backend.LibvirtBackend(lambda: connection)

    def test_running_and_stopped(self):
        self.connection.defineXML(XML)
        (other,) = (
            each
            for each in self.connection.listAllDomains()
            if each.UUIDString() != UUID
        )
        self.assertEqual(
            {
                device.Guest(UUID, False, FOUND),
                device.Guest(other.UUIDString(), True),
            },
            set(self.backend.guests()),
        )

    def test_one_that_goes_meanwhile(self):
        self.connection.defineXML(XML).create()
        self.backend = backend.LibvirtBackend(
            lambda: self.connection, wrap=self._gone
        )
        (left,) = self.backend.guests()
        self.assertEqual(UUID, left.server)

    def _gone(self, domain):
        if domain.UUIDString() != UUID:
            domain.destroy()
            domain.undefine()
        return domain
