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
import threading

from nova_accel.backends import xapi
from nova_accel import exception
from tests.unit.backends.xapi import common


class CallTest(common.PoolTestCase):
    def test_integers_travel_as_strings(self):
        large = 8 << 30
        vm = self.vm(
            memory_static_min=large,
            memory_dynamic_min=large,
            memory_dynamic_max=large,
            memory_static_max=large,
        )
        found = self.xapi.call('VM.get_memory_static_max', vm)
        self.assertEqual(str(large), found)

    def test_none_never_leaves(self):
        before = self.calls()
        self.assertRaises(TypeError, self.xapi.call, 'VM.get_record', None)
        self.assertEqual(before, self.calls())

    def test_a_failure_has_its_kind(self):
        error = self.assertRaises(
            exception.XapiGone, self.xapi.call, 'VM.get_record', 'OpaqueRef:x'
        )
        self.assertEqual('HANDLE_INVALID', error.code)
        self.assertEqual(('VM', 'OpaqueRef:x'), error.params)

    def test_a_wrong_password_is_not_shown(self):
        wrong = self.session(password='s3cret-word')
        error = self.assertRaises(
            exception.XapiDenied, wrong.call, 'pool.get_all'
        )
        self.assertNotIn('s3cret-word', str(error))
        self.assertNotIn('s3cret-word', repr(wrong.options))

    def test_a_session_that_ended_is_renewed(self):
        self.xapi.call('pool.get_all')
        self.control('POST', 'sessions/expire')
        self.assertEqual(1, len(self.xapi.call('pool.get_all')))

    def test_connections_are_kept(self):
        self.forget_calls()
        for _each in range(5):
            self.xapi.call('pool.get_all')
        found = self.calls()
        self.assertEqual(1, found['session.login_with_password'])

    def test_many_threads(self):
        found = []
        threads = [
            threading.Thread(
                target=lambda: found.append(self.xapi.call('pool.get_all'))
            )
            for _each in range(12)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        self.assertEqual(12, len(found))

    def test_no_binding_of_ours_to_a_url_that_is_none(self):
        error = self.assertRaises(
            exception.XapiUnavailable, xapi.Settings, 'host1'
        )
        self.assertIn('https://', str(error))


class MasterTest(common.PoolTestCase):
    def test_a_slave_names_the_master(self):
        made = self.session('xen2')
        self.assertEqual(1, len(made.call('pool.get_all')))
        self.assertEqual(self.simulator.url, made.master)

    def test_a_change_in_mid_call_is_followed(self):
        self.xapi.call('pool.get_all')
        self.control('POST', 'master', host='xen2')
        vm = self.vm()
        self.assertEqual('Halted', self.xapi.call('VM.get_power_state', vm))
        self.assertEqual(self.simulator.urls['xen2'], self.xapi.master)

    def test_a_dead_master_is_searched_among_members(self):
        backend = xapi.XapiBackend(self.xapi, 'xen2')
        backend.discover()
        self.control('POST', 'master', host='xen2')
        servers = self.simulator._servers
        self.addCleanup(servers[0].server_close)
        servers[0].shutdown()
        servers[0].socket.close()
        self.assertEqual(1, len(self.xapi.call('pool.get_all')))
        self.assertEqual(self.simulator.urls['xen2'], self.xapi.master)

    def test_nobody_answers(self):
        nobody = self.session(url='http://127.0.0.1:9', patience=0.0)
        error = self.assertRaises(
            exception.XapiUnavailable, nobody.call, 'pool.get_all'
        )
        self.assertIn('127.0.0.1:9', str(error))


class LostAnswerTest(common.PoolTestCase):
    def test_what_only_reads_is_asked_again(self):
        self.fault('pool.get_all', drop=True)
        self.assertEqual(1, len(self.xapi.call('pool.get_all')))

    def test_what_changes_something_is_not_done_twice(self):
        self.fault('VM.create', stage='after', drop=True)
        self.assertRaises(exception.XapiUnsure, self.vm)
        records = self.xapi.call('VM.get_all_records').values()
        mine = [r for r in records if r['name_label'] == 'somebody']
        self.assertEqual(1, len(mine))

    def test_no_answer_in_time(self):
        hasty = self.session(timeout=0.1)
        hasty.call('pool.get_all')
        self.fault('VM.get_all', milliseconds=500, times=0)
        self.addCleanup(self.control, 'DELETE', 'faults')
        self.assertRaises(exception.XapiUnavailable, hasty.call, 'VM.get_all')


class TaskTest(common.PoolTestCase):
    def start_later(self, vm):
        return self.xapi.call(
            'Async.VM.start_on', vm, self.host(), False, False
        )

    def tasks(self):
        return self.xapi.call('task.get_all')

    def test_a_task_is_awaited_and_destroyed(self):
        vm = self.vm()
        self.assertEqual('', self.start_later(vm))
        self.assertEqual('Running', self.xapi.call('VM.get_power_state', vm))
        self.assertEqual([], self.tasks())

    def test_a_reference_is_returned(self):
        vm = self.vm()
        made = self.xapi.call('Async.VM.clone', vm, 'twin')
        self.assertEqual('twin', self.xapi.call('VM.get_name_label', made))

    def test_a_failure_has_its_kind(self):
        vm = self.vm()
        self.fault('VM.start_on', error=['HOST_DISABLED', '$host'])
        error = self.assertRaises(exception.XapiNoRoom, self.start_later, vm)
        self.assertEqual('HOST_DISABLED', error.code)
        self.assertEqual([], self.tasks())

    def test_a_task_is_polled_where_events_fail(self):
        vm = self.vm()
        self.fault(
            'event.from', error=['INTERNAL_ERROR', 'no events'], times=0
        )
        self.start_later(vm)
        self.assertEqual('Running', self.xapi.call('VM.get_power_state', vm))

    def test_a_session_ends_in_mid_event(self):
        vm = self.vm()
        self.fault('VM.start_on', milliseconds=200)
        timer = threading.Timer(0.1, self.control, ('POST', 'sessions/expire'))
        timer.start()
        self.start_later(vm)
        timer.join()
        self.assertEqual('Running', self.xapi.call('VM.get_power_state', vm))

    def test_a_task_that_takes_too_long(self):
        vm = self.vm()
        self.fault('VM.start_on', milliseconds=3000)
        self.addCleanup(self.control, 'DELETE', 'faults')
        self.assertRaises(
            exception.XapiUnsure,
            self.xapi.call,
            'Async.VM.start_on',
            vm,
            self.host(),
            False,
            False,
            timeout=0.2,
        )
