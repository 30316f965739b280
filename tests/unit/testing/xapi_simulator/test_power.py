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
"""Power states, and the two phases of a start."""

import threading

import ddt

from nova_accel.testing.xapi_simulator import power_state
from tests.unit.testing.xapi_simulator import common


@ddt.ddt
class StateTest(common.PoolTestCase):
    TOPOLOGY = 't4'

    def bring_to(self, state):
        vm = self.vm()
        if state != 'Halted':
            self.start(vm)
        if state == 'Paused':
            self.api.VM.pause(vm)
        if state == 'Suspended':
            self.api.VM.suspend(vm)
        return vm

    def run_it(self, operation, vm):
        further = {
            'start': (False, False),
            'start_on': (self.host(), False, False),
            'resume': (False, False),
            'resume_on': (self.host(), False, False),
            'pool_migrate': (self.host(), {}),
            'checkpoint': ('copy',),
            'snapshot': ('copy',),
            'clone': ('copy',),
            'copy': ('copy', common.NULL),
        }.get(operation, ())
        getattr(self.api.VM, operation)(vm, *further)

    @ddt.data('Halted', 'Paused', 'Running', 'Suspended')
    def test_every_operation(self, state):
        """Each works from its states, says so, and is refused otherwise."""
        for operation, expected in power_state.FROM.items():
            vm = self.bring_to(state)
            allowed = self.api.VM.get_allowed_operations(vm)
            self.assertEqual(
                state in expected, operation in allowed, operation
            )
            if state in expected:
                self.run_it(operation, vm)
                continue
            details = self.refused(
                'VM_BAD_POWER_STATE', self.run_it, operation, vm
            )
            self.assertEqual([vm, state.lower()], details[::2])

    @ddt.data(
        ('pause', 'Paused'),
        ('suspend', 'Suspended'),
        ('hard_shutdown', 'Halted'),
        ('clean_shutdown', 'Halted'),
        ('shutdown', 'Halted'),
        ('hard_reboot', 'Running'),
        ('clean_reboot', 'Running'),
    )
    @ddt.unpack
    def test_ends(self, operation, state):
        vm = self.bring_to('Running')
        self.run_it(operation, vm)
        self.assertEqual(state, self.api.VM.get_power_state(vm))

    def test_start_paused(self):
        vm = self.vm()
        self.api.VM.start_on(vm, self.host(), True, False)
        self.assertEqual('Paused', self.api.VM.get_power_state(vm))

    def test_record_of_a_running_vm(self):
        vm = self.bring_to('Running')
        record = self.api.VM.get_record(vm)
        self.assertEqual(self.host(), record['resident_on'])
        self.assertNotEqual('-1', record['domid'])
        self.assertEqual(1, len(record['consoles']))
        self.assertIn(vm, self.api.host.get_resident_VMs(self.host()))
        metrics = self.api.VM_metrics.get_record(record['metrics'])
        self.assertEqual('2', metrics['VCPUs_number'])
        self.assertEqual(str(common.GIB), metrics['memory_actual'])

    def test_reboot_is_a_new_domain(self):
        vm = self.bring_to('Running')
        before = self.api.VM.get_domid(vm)
        self.api.VM.hard_reboot(vm)
        self.assertNotEqual(before, self.api.VM.get_domid(vm))

    def test_suspend_frees_the_gpu_and_resume_takes_it(self):
        vm = self.vm_with('GRID T4-16Q')
        self.start(vm)
        (vgpu,) = self.api.VM.get_VGPUs(vm)
        first = self.api.VGPU.get_resident_on(vgpu)
        self.api.VM.suspend(vm)
        self.assertEqual(common.NULL, self.api.VGPU.get_resident_on(vgpu))
        self.assertEqual(common.NULL, self.api.VM.get_resident_on(vm))
        self.assertEqual(1, len(self.all('VDI', type='suspend')))
        for _ in range(2):
            self.start(self.vm_with('GRID T4-16Q'))
        self.refused(
            'VM_REQUIRES_VGPU',
            self.api.VM.resume_on,
            vm,
            self.host(),
            False,
            False,
        )
        self.assertEqual('Suspended', self.api.VM.get_power_state(vm))
        self.assertNotEqual(common.NULL, first)

    def test_hard_shutdown_of_suspended_drops_its_image(self):
        vm = self.bring_to('Suspended')
        self.api.VM.hard_shutdown(vm)
        self.assertEqual([], self.all('VDI', type='suspend'))

    def test_template(self):
        vm = self.vm(is_a_template=True)
        self.refused('VM_IS_TEMPLATE', self.start, vm)

    def test_blocked(self):
        vm = self.vm()
        self.api.VM.add_to_blocked_operations(vm, 'start_on', 'WHY')
        details = self.refused('OPERATION_BLOCKED', self.start, vm)
        self.assertEqual([vm, 'WHY'], details)


class TwoPhasesTest(common.PoolTestCase):
    def vgpu_of(self, vm):
        (vgpu,) = self.api.VM.get_VGPUs(vm)
        return self.api.VGPU.get_record(vgpu)

    def test_reserved_then_resident(self):
        """While it is reserved, nobody else gets it."""
        vms = [self.vm_with('GRID K180Q') for _ in range(5)]
        for vm in vms[:3]:
            self.start(vm)
        self.fault('VM.start_on', stage='reserved', milliseconds=60000)
        session = self.log_in(self.simulator.url)
        host = self.host()
        starting = threading.Thread(
            target=session.xenapi.VM.start_on,
            args=(vms[3], host, False, False),
        )
        token = self.events()['token']
        starting.start()
        self.events(token, ['vgpu'], 15.0)
        record = self.vgpu_of(vms[3])
        self.assertEqual(common.NULL, record['resident_on'])
        pgpu = record['scheduled_to_be_resident_on']
        self.assertNotEqual(common.NULL, pgpu)
        self.assertEqual(
            host, self.api.VM.get_scheduled_to_be_resident_on(vms[3])
        )
        self.refused('VM_REQUIRES_VGPU', self.start, vms[4])
        details = self.refused(
            'OTHER_OPERATION_IN_PROGRESS', self.api.VM.destroy, vms[3]
        )
        self.assertEqual(['VM', vms[3], 'start_on'], details[:3])
        self.control('DELETE', 'faults')
        starting.join()
        record = self.vgpu_of(vms[3])
        self.assertEqual(pgpu, record['resident_on'])
        self.assertEqual(common.NULL, record['scheduled_to_be_resident_on'])
        self.assertTrue(record['currently_attached'])

    def test_failed_start_gives_everything_back(self):
        for stage in ('reserved', 'built'):
            vm = self.vm_with('GRID K180Q')
            self.vbd(vm, self.vdi())
            self.fault(
                'VM.start_on', stage=stage, error=['INTERNAL_ERROR', 'Xen']
            )
            self.refused('INTERNAL_ERROR', self.start, vm)
            record = self.vgpu_of(vm)
            self.assertEqual(common.NULL, record['resident_on'])
            self.assertEqual(
                common.NULL, record['scheduled_to_be_resident_on']
            )
            (vbd,) = self.api.VM.get_VBDs(vm)
            self.assertFalse(self.api.VBD.get_currently_attached(vbd))
            self.assertEqual('Halted', self.api.VM.get_power_state(vm))
            self.assertEqual({}, self.api.VM.get_current_operations(vm))

    def test_stop_frees_the_gpu(self):
        """And a thief takes it: the start of the owner fails."""
        owners = [self.vm_with('GRID K180Q') for _ in range(4)]
        for vm in owners:
            self.start(vm)
        self.api.VM.hard_shutdown(owners[0])
        self.start(self.vm_with('GRID K180Q'))
        details = self.refused('VM_REQUIRES_VGPU', self.start, owners[0])
        self.assertEqual(owners[0], details[0])

    def test_start_hides_why(self):
        vm = self.vm_with('GRID K180Q', memory=common.GIB * 1024)
        self.refused('NO_HOSTS_AVAILABLE', self.api.VM.start, vm, False, False)
        needed, available = self.refused(
            'HOST_NOT_ENOUGH_FREE_MEMORY', self.start, vm
        )
        self.assertGreater(int(needed), int(available))


class SuspendTest(common.PoolTestCase):
    """GRID's vGPUs have no metadata: they cannot be suspended."""

    def test_vgpu(self):
        vm = self.vm_with('GRID K100')
        self.start(vm)
        for function in (
            self.api.VM.suspend,
            lambda vm: self.api.VM.checkpoint(vm, 'copy'),
            lambda vm: self.api.VM.pool_migrate(vm, self.host(), {}),
        ):
            details = self.refused('VM_HAS_VGPU', function, vm)
            self.assertEqual([vm], details)
        self.assertNotIn('suspend', self.api.VM.get_allowed_operations(vm))
        self.assertIn('snapshot', self.api.VM.get_allowed_operations(vm))
        self.api.VM.snapshot(vm, 'copy')

    def test_whole_gpu(self):
        vm = self.vm_with('passthrough')
        self.start(vm)
        details = self.refused('VM_HAS_PCI_ATTACHED', self.api.VM.suspend, vm)
        self.assertEqual([vm], details)

    def test_nowhere_to_suspend_to(self):
        vm = self.vm()
        self.start(vm)
        pool = self.one('pool')
        self.api.pool.set_suspend_image_SR(pool, common.NULL)
        self.refused('VM_NO_SUSPEND_SR', self.api.VM.suspend, vm)


@ddt.ddt
class HostTest(common.PoolTestCase):
    def test_cpus(self):
        vm = self.vm(VCPUs_max='64', VCPUs_at_startup='64')
        details = self.refused('HOST_NOT_ENOUGH_PCPUS', self.start, vm)
        self.assertEqual(['64', '32'], details)

    def test_memory_is_taken_and_given_back(self):
        host, vm = self.host(), self.vm(memory=8 * common.GIB)
        before = int(self.api.host.compute_free_memory(host))
        self.start(vm)
        after = int(self.api.host.compute_free_memory(host))
        overhead = int(self.api.VM.compute_memory_overhead(vm))
        self.assertEqual(8 * common.GIB + overhead, before - after)
        self.api.VM.hard_shutdown(vm)
        self.assertEqual(str(before), self.api.host.compute_free_memory(host))

    def test_disabled(self):
        self.api.host.disable(self.host())
        details = self.refused('HOST_DISABLED', self.start, self.vm())
        self.assertEqual([self.host()], details)
        self.api.host.enable(self.host())
        self.start(self.vm())

    def test_assert_is_what_start_says(self):
        vm = self.vm(memory=1024 * common.GIB)
        self.refused(
            'HOST_NOT_ENOUGH_FREE_MEMORY',
            self.api.VM.assert_can_boot_here,
            vm,
            self.host(),
        )
        self.assertEqual([], self.api.VM.get_possible_hosts(vm))

    @ddt.data(
        {'memory_static_min': str(2 * common.GIB)},
        {'memory_dynamic_min': str(2 * common.GIB)},
        {'memory_dynamic_max': str(2 * common.GIB)},
    )
    def test_memory_order(self, changes):
        """Nobody minds before the start."""
        vm = self.vm(**changes)
        self.refused('MEMORY_CONSTRAINT_VIOLATION_ORDER', self.start, vm)

    @ddt.data(('0', '1'), ('3', '2'))
    @ddt.unpack
    def test_vcpus(self, at_startup, maximum):
        vm = self.vm(VCPUs_at_startup=at_startup, VCPUs_max=maximum)
        self.refused('INVALID_VALUE', self.start, vm)


class GuestTest(common.PoolTestCase):
    """A guest without tools obeys nobody."""

    def test_lacks_feature(self):
        self.control('POST', 'guests', tools=False)
        vm = self.vm()
        self.start(vm)
        for function in (
            self.api.VM.clean_shutdown,
            self.api.VM.clean_reboot,
            self.api.VM.suspend,
        ):
            details = self.refused('VM_LACKS_FEATURE', function, vm)
            self.assertEqual([vm], details)
        allowed = self.api.VM.get_allowed_operations(vm)
        self.assertNotIn('clean_shutdown', allowed)
        self.assertIn('hard_shutdown', allowed)
        self.api.VM.shutdown(vm)
        self.assertEqual('Halted', self.api.VM.get_power_state(vm))

    def test_tools_report(self):
        vm = self.vm()
        self.start(vm)
        metrics = self.api.VM.get_guest_metrics(vm)
        other = self.api.VM_guest_metrics.get_other(metrics)
        self.assertEqual('1', other['feature-shutdown'])
        self.api.VM.clean_shutdown(vm)
        self.assertEqual(common.NULL, self.api.VM.get_guest_metrics(vm))
