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
"""VDIs, VBDs, SRs: what is where, and who uses it."""

import uuid

import ddt

from tests.unit.testing.xapi_simulator import common


class VdiTest(common.PoolTestCase):
    def test_sizes_are_rounded(self):
        vdi = self.vdi(5 * common.MIB)
        size = str(6 * common.MIB)
        self.assertEqual(size, self.api.VDI.get_virtual_size(vdi))
        sr = self.one('SR')
        self.assertEqual(size, self.api.SR.get_virtual_allocation(sr))
        self.assertEqual([vdi], self.api.SR.get_VDIs(sr))
        self.api.VDI.destroy(vdi)
        self.assertEqual('0', self.api.SR.get_physical_utilisation(sr))

    def test_full(self):
        self.vdi(2000 * common.GIB)
        requested, maximum = self.refused(
            'SR_FULL', self.vdi, 100 * common.GIB
        )
        self.assertEqual(str(100 * common.GIB), requested)
        self.assertEqual(str(48 * common.GIB), maximum)

    def test_shrinking(self):
        vdi = self.vdi(8 * common.MIB)
        details = self.refused(
            'SR_BACKEND_FAILURE', self.api.VDI.resize, vdi, '1'
        )
        self.assertEqual('79', details[0])

    def test_in_use(self):
        vm, vdi = self.vm(), self.vdi()
        self.vbd(vm, vdi)
        self.start(vm)
        for function, operation in (
            (self.api.VDI.destroy, 'destroy'),
            (self.api.VDI.copy, 'copy'),
            (lambda vdi: self.api.VDI.resize(vdi, '99999999'), 'resize'),
        ):
            details = self.refused('VDI_IN_USE', function, vdi)
            self.assertEqual([vdi, operation], details)
            self.assertNotIn(
                operation, self.api.VDI.get_allowed_operations(vdi)
            )
        self.api.VDI.snapshot(vdi)
        self.api.VDI.resize_online(vdi, str(16 * common.MIB))

    def test_snapshot_and_clone(self):
        vdi = self.vdi(name_label='one')
        snapshot = self.api.VDI.snapshot(vdi, {})
        self.assertEqual([snapshot], self.api.VDI.get_snapshots(vdi))
        self.assertTrue(self.api.VDI.get_is_a_snapshot(snapshot))
        clone = self.api.VDI.clone(snapshot)
        self.assertEqual('one', self.api.VDI.get_name_label(clone))
        self.api.VDI.destroy(vdi)
        self.assertEqual(common.NULL, self.api.VDI.get_snapshot_of(snapshot))

    def test_copy_into(self):
        source, small = self.vdi(8 * common.MIB), self.vdi(4 * common.MIB)
        details = self.refused(
            'VDI_TOO_SMALL',
            self.api.VDI.copy,
            source,
            common.NULL,
            common.NULL,
            small,
        )
        self.assertEqual([small, str(8 * common.MIB)], details)

    def test_destroyed_with_its_vbds(self):
        vm, vdi = self.vm(), self.vdi()
        self.vbd(vm, vdi)
        self.api.VDI.destroy(vdi)
        self.assertEqual([], self.api.VM.get_VBDs(vm))


@ddt.ddt
class VbdTest(common.PoolTestCase):
    def test_devices(self):
        vm = self.vm()
        devices = [
            self.api.VBD.get_userdevice(self.vbd(vm, self.vdi()))
            for _ in range(3)
        ]
        self.assertEqual(['0', '1', '2'], devices)
        self.refused(
            'DEVICE_ALREADY_EXISTS',
            self.vbd,
            vm,
            self.vdi(),
            userdevice='1',
        )
        for wrong in ('255', 'xvda', '-1'):
            self.refused(
                'INVALID_DEVICE', self.vbd, vm, self.vdi(), userdevice=wrong
            )
        self.assertEqual('3', self.api.VM.get_allowed_VBD_devices(vm)[0])

    @ddt.data(('0', 'xvda'), ('25', 'xvdz'), ('26', 'xvdaa'))
    @ddt.unpack
    def test_name_in_the_guest(self, number, name):
        vm = self.vm()
        vbd = self.vbd(vm, self.vdi(), userdevice=number)
        self.start(vm)
        self.assertEqual(name, self.api.VBD.get_device(vbd))

    def test_plug(self):
        vm, vdi = self.vm(), self.vdi()
        self.start(vm)
        vbd = self.vbd(vm, vdi)
        self.assertFalse(self.api.VBD.get_currently_attached(vbd))
        self.assertIn('plug', self.api.VBD.get_allowed_operations(vbd))
        self.api.VBD.plug(vbd)
        self.refused('DEVICE_ALREADY_ATTACHED', self.api.VBD.plug, vbd)
        self.refused('OPERATION_NOT_ALLOWED', self.api.VBD.destroy, vbd)
        self.api.VBD.unplug(vbd)
        self.refused('DEVICE_ALREADY_DETACHED', self.api.VBD.unplug, vbd)
        self.api.VBD.destroy(vbd)

    def test_read_only_disks_come_at_the_start_alone(self):
        vm = self.vm()
        self.vbd(vm, self.vdi(), mode='RO')
        self.start(vm)
        late = self.vbd(vm, self.vdi(), mode='RO')
        details = self.refused(
            'DISK_VBD_MUST_BE_READWRITE_FOR_HVM', self.api.VBD.plug, late
        )
        self.assertEqual([late], details)

    def test_halted(self):
        vbd = self.vbd(self.vm(), self.vdi())
        self.refused('VM_BAD_POWER_STATE', self.api.VBD.plug, vbd)

    def test_disk_of_two(self):
        vdi = self.vdi()
        first, second = self.vm(), self.vm()
        for vm in (first, second):
            self.vbd(vm, vdi)
        self.start(first)
        details = self.refused('VDI_IN_USE', self.start, second)
        self.assertEqual(vdi, details[0])
        self.assertEqual('Halted', self.api.VM.get_power_state(second))

    def test_readers_share(self):
        vdi = self.vdi()
        for _ in range(2):
            vm = self.vm()
            self.vbd(vm, vdi, mode='RO')
            self.start(vm)

    def test_not_unpluggable(self):
        vm = self.vm()
        vbd = self.vbd(vm, self.vdi(), unpluggable=False)
        self.start(vm)
        self.refused('VBD_NOT_UNPLUGGABLE', self.api.VBD.unplug, vbd)

    def test_cd(self):
        vm, vdi = self.vm(), self.vdi()
        empty = {'type': 'CD', 'empty': True, 'mode': 'RO'}
        self.refused(
            'VBD_CDS_MUST_BE_READONLY',
            self.vbd,
            vm,
            common.NULL,
            **{**empty, 'mode': 'RW'},
        )
        drive = self.vbd(vm, common.NULL, **empty)
        self.refused('VBD_IS_EMPTY', self.api.VBD.eject, drive)
        self.api.VBD.insert(drive, vdi)
        self.refused('VBD_NOT_EMPTY', self.api.VBD.insert, drive, vdi)
        self.api.VDI.destroy(vdi)
        self.assertTrue(self.api.VBD.get_empty(drive))
        disk = self.vbd(vm, self.vdi())
        self.refused('VBD_NOT_REMOVABLE_MEDIA', self.api.VBD.eject, disk)

    def test_without_a_disk(self):
        self.refused('HANDLE_INVALID', self.vbd, self.vm(), common.NULL)
        self.refused(
            'VBD_NOT_REMOVABLE_MEDIA',
            self.vbd,
            self.vm(),
            common.NULL,
            empty=True,
        )

    def test_read_only_disk(self):
        vdi = self.vdi(read_only=True)
        self.refused('VDI_READONLY', self.vbd, self.vm(), vdi)


class CopyTest(common.PoolTestCase):
    def whole(self):
        vm = self.vm_with('GRID K100')
        self.vbd(vm, self.vdi())
        self.vif(vm)
        return vm

    def test_destroy_leaves_disks(self):
        vm = self.whole()
        self.api.VM.destroy(vm)
        self.assertEqual(['VDI'], list(self.control('GET', 'leftovers')))
        self.api.VDI.destroy(self.one('VDI'))
        self.assertEqual({}, self.control('GET', 'leftovers'))

    def test_snapshot(self):
        vm = self.whole()
        self.start(vm)
        snapshot = self.api.VM.snapshot(vm, 'copy')
        record = self.api.VM.get_record(snapshot)
        self.assertTrue(record['is_a_snapshot'])
        self.assertTrue(record['is_a_template'])
        self.assertEqual('Halted', record['power_state'])
        self.assertEqual([snapshot], self.api.VM.get_snapshots(vm))
        self.assertEqual(1, len(record['VGPUs']))
        (vbd,) = record['VBDs']
        vdi = self.api.VBD.get_VDI(vbd)
        self.assertTrue(self.api.VDI.get_is_a_snapshot(vdi))
        self.api.VM.destroy(snapshot)
        self.assertEqual([], self.api.VM.get_snapshots(vm))

    def test_clone(self):
        vm = self.whole()
        clone = self.api.VM.clone(vm, 'copy')
        macs = [
            self.api.VIF.get_MAC(self.api.VM.get_VIFs(one)[0])
            for one in (vm, clone)
        ]
        self.assertNotEqual(*macs)
        self.start(vm)
        self.start(clone)
        self.refused('VM_BAD_POWER_STATE', self.api.VM.clone, vm, 'third')

    def test_failed_clone_leaves_nothing(self):
        vm = self.whole()
        self.vbd(vm, self.vdi(1500 * common.GIB))
        before = self.control('GET', 'leftovers')
        self.refused('SR_FULL', self.api.VM.clone, vm, 'copy')
        self.assertEqual(before, self.control('GET', 'leftovers'))


class IscsiTest(common.PoolTestCase):
    TOPOLOGY = 'two-hosts'
    CONFIG = {
        'target': '192.0.2.10',
        'port': '3260',
        'targetIQN': 'iqn.2010-10.org.openstack:volume-1',
        'chapuser': 'nova',
        'chappassword': 'secret',
    }

    def connect(self, **changes):
        sr = self.api.SR.introduce(
            str(uuid.uuid4()), 'volume', '', 'iscsi', '', True, {}
        )
        pbd = self.api.PBD.create(
            {
                'SR': sr,
                'host': self.host(),
                'device_config': {**self.CONFIG, **changes},
                'other_config': {},
            }
        )
        return sr, pbd

    def test_life(self):
        sr, pbd = self.connect()
        self.refused('SR_NOT_ATTACHED', self.api.SR.scan, sr)
        self.api.PBD.plug(pbd)
        self.api.SR.scan(sr)
        (vdi,) = self.api.SR.get_VDIs(sr)
        self.assertEqual(
            str(10 * common.GIB), self.api.VDI.get_virtual_size(vdi)
        )
        self.refused('SR_HAS_PBD', self.api.SR.forget, sr)
        self.refused('OPERATION_NOT_ALLOWED', self.api.PBD.destroy, pbd)
        vm = self.vm()
        vbd = self.vbd(vm, vdi)
        self.start(vm)
        self.refused('VDI_IN_USE', self.api.PBD.unplug, pbd)
        # Another host may let go of it.
        theirs = self.api.PBD.create(
            {
                'SR': sr,
                'host': self.host('xen2'),
                'device_config': self.CONFIG,
                'other_config': {},
            }
        )
        self.api.PBD.plug(theirs)
        self.api.PBD.unplug(theirs)
        self.api.PBD.destroy(theirs)
        self.api.VBD.unplug(vbd)
        self.api.VBD.destroy(vbd)
        self.api.PBD.unplug(pbd)
        self.api.SR.forget(sr)
        self.api.VM.hard_shutdown(vm)
        self.api.VM.destroy(vm)
        self.assertEqual({}, self.control('GET', 'leftovers'))

    def test_introduce_disk(self):
        sr, pbd = self.connect()
        self.api.PBD.plug(pbd)
        (found,) = self.api.SR.get_VDIs(sr)
        vdi = self.api.VDI.introduce(
            str(uuid.uuid4()),
            'volume',
            '',
            sr,
            'user',
            False,
            False,
            {},
            self.api.VDI.get_location(found),
        )
        self.assertEqual('volume', self.api.VDI.get_name_label(vdi))
        self.refused(
            'VDI_LOCATION_MISSING',
            self.api.VDI.introduce,
            str(uuid.uuid4()),
            'volume',
            '',
            sr,
            'user',
            False,
            False,
            {},
            'nowhere',
        )

    def test_wrong_target(self):
        for changes, status in (
            ({'chappassword': 'x'}, '68'),
            ({'targetIQN': 'iqn.other'}, '141'),
            ({'target': '192.0.2.11'}, '141'),
        ):
            sr, pbd = self.connect(**changes)
            details = self.refused(
                'SR_BACKEND_FAILURE', self.api.PBD.plug, pbd
            )
            self.assertEqual(status, details[0])
            self.assertFalse(self.api.PBD.get_currently_attached(pbd))

    def test_twice(self):
        sr, pbd = self.connect()
        details = self.refused(
            'PBD_EXISTS',
            self.api.PBD.create,
            {
                'SR': sr,
                'host': self.host(),
                'device_config': {},
                'other_config': {},
            },
        )
        self.assertEqual([sr, self.host(), pbd], details)
        introduced = self.api.SR.get_uuid(sr)
        self.refused(
            'SR_UUID_EXISTS',
            self.api.SR.introduce,
            introduced,
            'volume',
            '',
            'iscsi',
            '',
            True,
            {},
        )

    def test_unknown_driver(self):
        self.refused(
            'SR_UNKNOWN_DRIVER',
            self.api.SR.introduce,
            str(uuid.uuid4()),
            'volume',
            '',
            'floppy',
            '',
            True,
            {},
        )
