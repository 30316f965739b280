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
"""vGPUs: what VGPU.create takes, and what a start gives."""

import concurrent.futures

import XenAPI

from tests.unit.testing.xapi_simulator import common


class CreateTest(common.PoolTestCase):
    def test_reserves_nothing(self):
        """Eight at create where one fits; the first start wins."""
        group, model = self.group(), self.type('GRID K180Q')
        before = self.api.GPU_group.get_remaining_capacity(group, model)
        vms = [self.vm_with('GRID K180Q') for _ in range(6)]
        after = self.api.GPU_group.get_remaining_capacity(group, model)
        self.assertEqual(('4', '4'), (before, after))
        for vm in vms[:4]:
            self.start(vm)
        details = self.refused('VM_REQUIRES_VGPU', self.start, vms[4])
        self.assertEqual([vms[4], group, model], details)

    def test_one_winner(self):
        """Of starts at the same time, as many as fit succeed."""
        vms = [self.vm_with('GRID K180Q') for _ in range(6)]
        host = self.host()

        def start(vm):
            session = self.log_in(self.simulator.url)
            try:
                session.xenapi.VM.start_on(vm, host, False, False)
            except XenAPI.Failure as error:
                return error.details[0]
            return 'started'

        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            ends = sorted(pool.map(start, vms))
        self.assertEqual(['VM_REQUIRES_VGPU'] * 2 + ['started'] * 4, ends)
        halted = self.all('VM', power_state='Halted', is_a_template=False)
        self.assertEqual(2, len(halted))

    def test_devices(self):
        vm = self.vm()
        for device, code in (
            ('21', 'INVALID_DEVICE'),
            ('-1', 'INVALID_DEVICE'),
            ('x', 'INVALID_DEVICE'),
        ):
            details = self.refused(code, self.vgpu, vm, 'GRID K100', device)
            self.assertEqual([device], details)

    def test_only_while_halted(self):
        vm = self.vm()
        self.start(vm)
        details = self.refused(
            'VM_BAD_POWER_STATE', self.vgpu, vm, 'GRID K100'
        )
        self.assertEqual([vm, 'halted', 'running'], details)

    def test_one_type_a_vm(self):
        """GRID allows one vGPU a VM, and says so at create."""
        vm = self.vm_with('GRID K100')
        for model in ('GRID K100', 'GRID K180Q', 'passthrough'):
            details = self.refused(
                'VGPU_TYPE_NOT_COMPATIBLE', self.vgpu, vm, model
            )
            self.assertEqual([self.type(model)], details)

    def test_null_is_passthrough(self):
        vgpu = self.api.VGPU.create(self.vm(), self.group(), '0', {})
        self.assertEqual(
            self.type('passthrough'), self.api.VGPU.get_type(vgpu)
        )

    def test_destroy(self):
        vm = self.vm_with('GRID K100')
        (vgpu,) = self.api.VM.get_VGPUs(vm)
        self.start(vm)
        self.refused('OPERATION_NOT_ALLOWED', self.api.VGPU.destroy, vgpu)
        self.api.VM.hard_shutdown(vm)
        self.api.VGPU.destroy(vgpu)
        self.assertEqual([], self.api.VM.get_VGPUs(vm))


class SeveralTest(common.PoolTestCase):
    """A card that gives a VM several vGPUs."""

    TOPOLOGY = 'a40'

    def test_devices(self):
        vm = self.vm()
        models = ['NVIDIA A40-1Q'] * 21
        devices = [
            self.api.VGPU.get_device(self.vgpu(vm, model)) for model in models
        ]
        self.assertEqual([str(number) for number in range(21)], devices)
        details = self.refused('VM_PCI_BUS_FULL', self.vgpu, vm, models[0])
        self.assertEqual([vm], details)
        details = self.refused(
            'DEVICE_ALREADY_EXISTS', self.vgpu, vm, models[0], '12'
        )
        self.assertEqual(['12'], details)

    def test_all_or_none(self):
        """Three halves do not fit: none is reserved."""
        vm = self.vm_with(*['NVIDIA A40-24Q'] * 3)
        self.refused('VM_REQUIRES_VGPU', self.start, vm)
        self.refused(
            'VM_REQUIRES_VGPU',
            self.api.VM.assert_can_boot_here,
            vm,
            self.host(),
        )
        for vgpu in self.api.VM.get_VGPUs(vm):
            record = self.api.VGPU.get_record(vgpu)
            self.assertEqual(common.NULL, record['resident_on'])
            self.assertEqual(
                common.NULL, record['scheduled_to_be_resident_on']
            )

    def test_memory_is_pinned(self):
        vm = self.vm_with('NVIDIA A40-24Q')
        low = str(512 * common.MIB)
        self.api.VM.set_memory_static_min(vm, low)
        self.api.VM.set_memory_dynamic_min(vm, low)
        self.refused('MEMORY_CONSTRAINT_VIOLATION_MAXPIN', self.start, vm)
        self.api.VM.set_memory_dynamic_min(vm, str(1024 * common.MIB))
        self.start(vm)
