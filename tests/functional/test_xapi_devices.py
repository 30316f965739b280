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
"""Whole devices through XAPI: USB and PCI, in the life of servers."""

import typing as ty
import uuid

from nova_accel.testing import xapi_cloud

from nova import objects

from nova_accel import exception
from nova_accel import rpc

USB = """
version: 1
devices:
  dongle:
    kind: usb
    match: {vendor_id: "096e", product_id: "0006"}
  mouse:
    kind: usb
    match: {vendor_id: "046d"}
    resource_class: CUSTOM_MOUSE
"""
DONGLE = 'CUSTOM_USB_096E_0006'

PCI = """
version: 1
devices:
  radeon:
    kind: pci
    match: {vendor_id: "1002", class: "03"}
    resource_class: PGPU
  drive:
    kind: pci
    match: {vendor_id: "144d"}
  fpga:
    kind: pci
    match: {vendor_id: "10ee"}
    resource_class: FPGA
"""
DRIVE = 'CUSTOM_PCI_144D_A824'


class DeviceTestCase(xapi_cloud.XapiCloudTestCase):
    TOPOLOGY = 'passthrough'

    def amount(self, rc: str) -> tuple[int, int]:
        """Total and reserved of a class."""
        (found,) = [
            records[rc]
            for records in self.inventories('xen1').values()
            if rc in records
        ]
        return found


class UsbTest(DeviceTestCase):
    def pusb(self, path: str) -> dict[str, ty.Any]:
        (found,) = [
            record
            for record in self.xapi.call('PUSB.get_all_records').values()
            if record['path'] == path
        ]
        return ty.cast(dict[str, ty.Any], found)

    def test_the_life_of_servers_with_usb(self) -> None:
        """Boot, full, stop, restart, reboot, rebuild, refusals, delete."""
        self.start_host(rules=USB)
        self.assertEqual((2, 0), self.amount(DONGLE))
        self.assertEqual((1, 0), self.amount('CUSTOM_MOUSE'))
        both = self.boot(
            self.flavor(
                **{f'resources__{DONGLE}': 1, 'resources__CUSTOM_MOUSE': 1}
            )
        )
        self.assertEqual(2, len(self.machine(both)['VUSBs']))
        for ref in self.machine(both)['VUSBs']:
            vusb = self.xapi.call('VUSB.get_record', ref)
            self.assertTrue(vusb['currently_attached'])
            self.assertEqual(both['id'], vusb['other_config']['nova_uuid'])
        self.assertTrue(self.pusb('2-1')['passthrough_enabled'])
        self.assert_invariants()
        one = self.flavor(**{f'resources__{DONGLE}': 1})
        second = self.boot(one)
        self.assertIn('No valid host', self.refused(one))
        self.assert_invariants()

        self.suspend_is_refused(both)
        self.live_migration_is_refused(both)
        self.hot_attach_is_refused()

        self._stop_server(both)
        self.restart_host()
        self.assertEqual(2, self.used()[DONGLE])
        self.assert_invariants()
        self._start_server(both)
        self._reboot_server(both, hard=True)
        self.assertEqual(2, len(self.machine(both)['VUSBs']))
        self._rebuild_server(both, self.make_image(b'new' + bytes(509)))
        self.assertEqual(2, len(self.machine(both)['VUSBs']))
        self.assert_invariants()

        for server in (both, second):
            self._delete_server(server)
        self.assert_invariants()
        self.assert_nothing_left()
        self.assertFalse(self.pusb('2-1')['passthrough_enabled'])
        self.assertTrue(self.pusb('1-1')['passthrough_enabled'])

    def hot_attach_is_refused(self) -> None:
        server = self.boot(self.flavor(accel_hotplug__max_CUSTOM_MOUSE=1))
        instance = objects.Instance.get_by_uuid(
            self.context,
            server['id'],
            expected_attrs=['flavor', 'resources', 'system_metadata'],
        )
        error = self.assertRaises(
            exception.HotplugUnsupported,
            rpc.AccelAPI().reserve,
            self.context,
            instance,
            str(uuid.uuid4()),
            'CUSTOM_MOUSE',
            1,
        )
        self.assertIn('XAPI attaches devices when a server starts', str(error))
        self.assert_invariants()
        self._delete_server(server)

    def test_nothing_is_left_where_a_start_fails(self) -> None:
        self.start_host(rules=USB)
        flavor = self.flavor(resources__CUSTOM_MOUSE=1)
        for message in (
            'PUSB.set_passthrough_enabled',
            'VUSB.create',
            'VM.start_on',
        ):
            self.pool.fault(message, error=['INTERNAL_ERROR', 'no'])
            self.refused(flavor)
            self.assert_nothing_left()
            self.assertFalse(self.pusb('2-1')['passthrough_enabled'])
            self.assert_invariants()

    def test_somebody_else_has_one(self) -> None:
        self.start_host(rules=USB)
        server = self.boot(self.flavor(**{f'resources__{DONGLE}': 1}))
        (vusb,) = self.machine(server)['VUSBs']
        held = self.xapi.call('VUSB.get_USB_group', vusb)
        (free,) = [
            group
            for group in self.xapi.call('USB_group.get_all')
            if group != held
            and self.xapi.call(
                'PUSB.get_vendor_id',
                self.xapi.call('USB_group.get_PUSBs', group)[0],
            )
            == '096e'
        ]
        theirs = self.somebody()
        self.xapi.call('VUSB.create', theirs, free, {})
        self.run_periodic()
        self.assertEqual((2, 1), self.amount(DONGLE))
        self.assert_invariants()

        # What a server that is off has can be stolen; its start says so.
        self._stop_server(server)
        self.xapi.call('VUSB.destroy', vusb)
        self.xapi.call('VUSB.create', theirs, held, {})
        self.fails(server, {'os-start': {}})
        self.xapi.call('VM.destroy', theirs)
        self.run_periodic()
        self._start_server(server)
        self.assert_invariants()
        self._delete_server(server)
        self.assert_nothing_left()


class PassthroughTest(DeviceTestCase):
    def test_whole_gpus_and_drives(self) -> None:
        """Boot, full, refusals, a foreign machine, a thief, delete."""
        self.start_host(rules=PCI)
        self.assertEqual((2, 0), self.amount('PGPU'))
        self.assertEqual((1, 0), self.amount(DRIVE))
        # XAPI lists no FPGA: none is offered, and the rule is idle.
        self.assertEqual(
            set(),
            {
                rc
                for records in self.inventories('xen1').values()
                for rc in records
                if rc == 'FPGA'
            },
        )
        server = self.boot(
            self.flavor(**{'resources__PGPU': 1, f'resources__{DRIVE}': 1})
        )
        self.assertIn('0000:5e:00.0', self.hostdevs('xen1', server))
        self.suspend_is_refused(server)
        self.live_migration_is_refused(server)
        self.assert_invariants()
        drive = self.flavor(**{f'resources__{DRIVE}': 1})
        self.assertIn('No valid host', self.refused(drive))
        gpu = self.flavor(resources__PGPU=1)

        # What somebody else has is reserved.
        (free,) = {'0000:01:00.0', '0000:02:00.0'} - set(
            self.hostdevs('xen1', server)
        )
        theirs = self.somebody(free)
        self.run_periodic()
        self.assertEqual((2, 1), self.amount('PGPU'))
        self.assertIn('No valid host', self.refused(gpu))
        self.xapi.call('VM.hard_shutdown', theirs)
        self.run_periodic()
        self.assertEqual((2, 0), self.amount('PGPU'))

        self._stop_server(server)
        self.steal(theirs, '0000:5e:00.0')
        self.fails(server, {'os-start': {}})
        self.xapi.call('VM.hard_shutdown', theirs)
        self.xapi.call('VM.destroy', theirs)
        self._start_server(server)
        self.assert_invariants()
        self._delete_server(server)
        self.assert_nothing_left()
        self.assert_invariants()

    def steal(self, theirs: str, address: str) -> None:
        self.xapi.call('VM.remove_from_other_config', theirs, 'pci')
        self.xapi.call('VM.add_to_other_config', theirs, 'pci', f'0/{address}')
        self.start_somebody(theirs)
