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
"""Faults: armed by a topology or while the pool runs."""

import http.client
import json
import pathlib
import tempfile
import threading
import urllib.error
import urllib.request

import ddt
import testtools

from nova_accel.testing.xapi_simulator import failure
from nova_accel.testing.xapi_simulator import faults
from nova_accel.testing.xapi_simulator import server
from nova_accel.testing.xapi_simulator import topology
from tests.unit.testing.xapi_simulator import common


class FaultTest(common.PoolTestCase):
    def test_once(self):
        self.fault('VM.get_all', error=['HOST_BROKEN'])
        self.refused('HOST_BROKEN', self.api.VM.get_all)
        self.api.VM.get_all()
        self.assertEqual([], self.control('GET', 'faults'))

    def test_skip_and_times(self):
        self.fault('VM.get_all', error=['HOST_BROKEN'], skip=1, times=2)
        self.api.VM.get_all()
        for _ in range(2):
            self.refused('HOST_BROKEN', self.api.VM.get_all)
        self.api.VM.get_all()

    def test_for_ever_until_disarmed(self):
        self.fault('VM.get_*', error=['HOST_BROKEN'], times=0)
        for _ in range(3):
            self.refused('HOST_BROKEN', self.api.VM.get_all)
        self.api.VDI.get_all()
        self.control('DELETE', 'faults')
        self.api.VM.get_all()

    def test_after_is_done_all_the_same(self):
        self.fault('VM.create', stage='after', error=['HOST_BROKEN'])
        self.refused('HOST_BROKEN', self.vm, name_label='there')
        self.assertEqual(1, len(self.api.VM.get_by_name_label('there')))

    def test_parameter_of_the_message(self):
        vm = self.vm()
        self.fault('VM.start_on', error=['HOST_DISABLED', '$host'])
        details = self.refused('HOST_DISABLED', self.start, vm)
        self.assertEqual([self.host()], details)

    def test_where(self):
        one, other = self.vm(), self.vm()
        self.fault('VM.start_on', error=['HOST_BROKEN'], where={'vm': one})
        self.start(other)
        self.refused('HOST_BROKEN', self.start, one)

    def test_dropped(self):
        """The reply is lost, what was asked for happened.

        The binding's transport asks again by itself, and is told so.
        """
        vm = self.vm()
        self.fault('VM.start_on', stage='after', drop=True)
        details = self.refused('VM_BAD_POWER_STATE', self.start, vm)
        self.assertEqual([vm, 'halted', 'running'], details)

    def test_dropped_twice(self):
        self.fault('VM.get_all', drop=True, times=2)
        self.assertRaises(
            (http.client.HTTPException, ConnectionError), self.api.VM.get_all
        )

    def test_session_lost_in_a_start(self):
        """The binding logs in again, and asks again."""
        vm = self.vm()
        handle = self.session.handle
        self.fault('VM.start_on', error=['SESSION_INVALID', handle])
        self.start(vm)
        self.assertNotEqual(handle, self.session.handle)

    def test_master_changes_in_a_call(self):
        self.fault('VM.start_on', error=['HOST_IS_SLAVE', '192.0.2.1'])
        details = self.refused('HOST_IS_SLAVE', self.start, self.vm())
        self.assertEqual(['192.0.2.1'], details)

    def test_of_a_task(self):
        self.fault('VM.start_on', stage='after', drop=True)
        task = self.api.Async.VM.start_on(self.vm(), self.host(), False, False)
        self.assertEqual('failure', self.wait(task)['status'])


class RestartTest(common.PoolTestCase):
    BROKEN = (http.client.HTTPException, ConnectionError)

    def restart(self, milliseconds):
        self.control('POST', 'restart', milliseconds=milliseconds)

    def test_nobody_answers_for_a_while(self):
        self.restart(60000)
        self.assertRaises(self.BROKEN, self.api.VM.get_all)
        self.restart(0)
        # The binding logs in again.
        self.api.VM.get_all()

    def test_calls_are_lost(self):
        """A start that was on its way has no answer, and may have worked."""
        vm, session = self.vm(), self.log_in(self.simulator.url)
        host, ends = self.host(), []
        self.fault('VM.start_on', stage='built', milliseconds=60000)

        def start():
            try:
                answer = session.VM.start_on(
                    session.handle, vm, host, False, False
                )
                ends.append(answer['ErrorDescription'][0])
            except self.BROKEN as error:
                ends.append(type(error))

        token = self.events()['token']
        thread = threading.Thread(target=start)
        thread.start()
        while self.api.VM.get_power_state(vm) != 'Running':
            token = self.events(token, ['VM'], 15.0)['token']
        self.restart(0)
        self.control('DELETE', 'faults')
        thread.join()
        # Asked again by the binding's transport, with a session of before.
        self.assertEqual(['SESSION_INVALID'], ends)

    def test_tasks_end_as_cancelled(self):
        vm = self.vm_with('GRID K100')
        self.fault('VM.start_on', stage='reserved', milliseconds=60000)
        task = self.api.Async.VM.start_on(vm, self.host(), False, False)
        token = self.events()['token']
        while not self.api.VM.get_current_operations(vm):
            token = self.events(token, ['VM'], 15.0)['token']
        self.restart(0)
        record = self.wait(task)
        self.assertEqual('cancelled', record['status'])
        self.assertEqual([], record['error_info'])
        while self.api.VM.get_current_operations(vm):
            token = self.events(token, ['VM'], 15.0)['token']
        (vgpu,) = self.api.VM.get_VGPUs(vm)
        self.assertEqual(
            common.NULL, self.api.VGPU.get_scheduled_to_be_resident_on(vgpu)
        )
        self.assertEqual('cancelled', self.api.task.get_status(task))


@ddt.ddt
class ControlTest(common.PoolTestCase):
    def error(self, method, path, body=None):
        request = urllib.request.Request(
            f'{self.simulator.url}/simulator/{path}', body, method=method
        )
        error = self.assertRaises(
            urllib.error.HTTPError, urllib.request.urlopen, request
        )
        self.addCleanup(error.close)
        return error.code, json.load(error)['error']

    @ddt.data(
        ({}, 'message'),
        ({'message': 'VM.fly'}, 'VM.fly'),
        ({'message': 'VM.start', 'error': ['NO_SUCH']}, 'NO_SUCH'),
        ({'message': 'VM.start', 'error': ['HOST_DISABLED']}, 'host'),
        ({'message': 'VM.start', 'stage': 'never'}, 'never'),
        ({'message': 'VM.start', 'extra': 1}, 'extra'),
    )
    @ddt.unpack
    def test_wrong_fault(self, body, word):
        code, text = self.error('POST', 'faults', json.dumps(body).encode())
        self.assertEqual(400, code)
        self.assertIn(word, text)

    @ddt.data(
        ('POST', 'faults', b'no json'),
        ('POST', 'faults', b'[]'),
        ('POST', 'events/lose', b'{"count": "x"}'),
        ('POST', 'host', b'{"host": "xen1"}'),
        ('POST', 'guests', b'{}'),
        ('POST', 'restart', b'{"milliseconds": -1}'),
    )
    @ddt.unpack
    def test_wrong_body(self, method, path, body):
        self.assertEqual(400, self.error(method, path, body)[0])

    def test_unknown(self):
        code, text = self.error('GET', 'nothing')
        self.assertEqual(404, code)
        self.assertIn('GET /simulator/leftovers', text)

    def test_calls(self):
        self.control('DELETE', 'calls')
        for _ in range(3):
            self.api.VM.get_all()
        self.assertEqual({'VM.get_all': 3}, self.control('GET', 'calls'))

    def test_leftovers(self):
        self.assertEqual({}, self.control('GET', 'leftovers'))
        self.vm(name_label='mine')
        found = self.control('GET', 'leftovers')
        self.assertEqual({'VM', 'VM_metrics'}, set(found))
        self.assertIn('mine', found['VM'][0])


class PlanTest(testtools.TestCase):
    def test_of_a_topology(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, 'plan.yaml')
            path.write_text(
                'version: 1\n'
                'hosts: {xen1: {}}\n'
                'faults:\n'
                '- {message: VM.start_on, error: [HOST_BROKEN], skip: 2}\n'
            )
            simulator = server.Simulator(topology.load(str(path)))
        self.addCleanup(simulator.stop)
        armed = simulator.world.faults
        for _ in range(2):
            armed.strike('VM.start_on', faults.BEFORE)
        self.assertRaises(
            failure.Failure, armed.strike, 'VM.start_on', faults.BEFORE
        )

    def test_error_that_xapi_does_not_know(self):
        for wrong in (('NO_SUCH_ERROR',), ('HOST_DISABLED',)):
            self.assertRaises(AssertionError, failure.Failure, *wrong)
