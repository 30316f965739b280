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
"""A simulated pool in this process, and our session with it."""

import testtools

from nova_accel.backends import xapi
from nova_accel.testing import xapi_pool
from nova_accel.testing import xapi_records
from nova_accel.testing.xapi_simulator import server
from nova_accel.testing.xapi_simulator import topology


class PoolTestCase(testtools.TestCase):
    """Talks to the pool of ``TOPOLOGY`` through ``self.xapi``."""

    TOPOLOGY = 'two-hosts'

    def setUp(self):
        super().setUp()
        self.simulator = server.Simulator(topology.load(self.TOPOLOGY))
        self.simulator.start()
        self.addCleanup(self.simulator.stop)
        self.xapi = self.session()

    def session(self, host='', **changes):
        options = {
            'url': self.simulator.urls[host] if host else self.simulator.url,
            'password': 'password',
            'timeout': 5.0,
            'patience': 2.0,
            **changes,
        }
        made = xapi.Session(
            xapi.Settings(**options), pause=lambda seconds: None
        )
        self.addCleanup(made.close)
        return made

    def control(self, method, what, **body):
        return xapi_pool.tell(self.simulator.url, method, what, **body)

    def fault(self, message, **how):
        self.control('POST', 'faults', message=message, **how)

    def calls(self):
        return self.control('GET', 'calls')

    def forget_calls(self):
        self.control('DELETE', 'calls')

    def host(self, name='xen1'):
        (found,) = self.xapi.call('host.get_by_name_label', name)
        return found

    def one(self, cls, **wanted):
        """Return the only object of a class with these fields."""
        records = self.xapi.call(f'{cls}.get_all_records')
        (found,) = [
            ref
            for ref, record in records.items()
            if all(record[key] == value for key, value in wanted.items())
        ]
        return found

    def vm(self, **changes):
        """Make a machine that is halted."""
        return self.xapi.call('VM.create', xapi_records.vm(**changes))

    def start(self, vm, host='xen1'):
        self.xapi.call('VM.start_on', vm, self.host(host), False, False)

    def vgpu(self, vm, model, part, config=None):
        """Give a machine a vGPU from the group whose name has a part."""
        groups = self.xapi.call('GPU_group.get_all_records')
        (group,) = [
            ref
            for ref, record in groups.items()
            if part in record['name_label']
        ]
        return self.xapi.call(
            'VGPU.create',
            vm,
            group,
            '0',
            config or {},
            self.one('VGPU_type', model_name=model),
        )
