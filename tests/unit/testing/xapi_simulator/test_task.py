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
"""Async messages and their tasks."""

import ddt

from tests.unit.testing.xapi_simulator import common


@ddt.ddt
class AsyncTest(common.PoolTestCase):
    def test_success(self):
        vm = self.vm()
        task = self.api.Async.VM.start_on(vm, self.host(), False, False)
        record = self.wait(task)
        self.assertEqual('success', record['status'])
        self.assertEqual('', record['result'])
        self.assertEqual(1.0, record['progress'])
        self.assertEqual('Async.VM.start_on', record['name_label'])
        self.assertEqual('Running', self.api.VM.get_power_state(vm))
        self.api.task.destroy(task)
        self.refused('HANDLE_INVALID', self.api.task.get_record, task)

    def test_result(self):
        vm = self.vm()
        record = self.wait(self.api.Async.VM.clone(vm, 'copy'))
        (copy,) = self.api.VM.get_by_name_label('copy')
        self.assertEqual(f'<value>{copy}</value>', record['result'])

    def test_failure(self):
        vm = self.vm_with('GRID K180Q', memory=common.GIB * 1024)
        task = self.api.Async.VM.start_on(vm, self.host(), False, False)
        record = self.wait(task)
        self.assertEqual('failure', record['status'])
        self.assertEqual(
            'HOST_NOT_ENOUGH_FREE_MEMORY', record['error_info'][0]
        )

    def test_wrong_call_has_no_task(self):
        self.refused(
            'MESSAGE_PARAMETER_COUNT_MISMATCH', self.api.Async.VM.start_on
        )
        self.assertEqual([], self.all('task'))

    @ddt.data('before', 'reserved')
    def test_cancel(self, stage):
        vm = self.vm_with('GRID K180Q')
        self.fault('VM.start_on', stage=stage, milliseconds=60000)
        task = self.api.Async.VM.start_on(vm, self.host(), False, False)
        self.assertEqual('pending', self.api.task.get_status(task))
        self.api.task.cancel(task)
        record = self.wait(task)
        self.assertEqual('cancelled', record['status'])
        self.assertEqual(['TASK_CANCELLED', task], record['error_info'])
        self.assertEqual('Halted', self.api.VM.get_power_state(vm))
        (vgpu,) = self.api.VM.get_VGPUs(vm)
        self.assertEqual(
            common.NULL, self.api.VGPU.get_scheduled_to_be_resident_on(vgpu)
        )
        self.refused('OPERATION_NOT_ALLOWED', self.api.task.cancel, task)

    def test_events_tell_of_the_end(self):
        token = self.events()['token']
        task = self.api.Async.VM.start_on(self.vm(), self.host(), False, False)
        statuses = []
        while 'success' not in statuses:
            batch = self.events(token, [f'task/{task}'], 15.0)
            token = batch['token']
            statuses += [
                event['snapshot']['status'] for event in batch['events']
            ]
        self.assertEqual(set(), set(statuses) - {'pending', 'success'})

    def test_made_by_a_client(self):
        task = self.api.task.create('import', 'of an image')
        record = self.api.task.get_record(task)
        self.assertEqual('pending', record['status'])
        self.assertEqual('import', record['name_label'])
        self.assertEqual(['cancel'], record['allowed_operations'])
        self.api.task.destroy(task)
