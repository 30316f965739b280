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
"""A pool to talk to: the real binding, over a real socket."""

import json
import time
import urllib.request

import testtools
import XenAPI

from nova_accel.testing import xapi_records
from nova_accel.testing.xapi_simulator import server
from nova_accel.testing.xapi_simulator import topology

MIB = 2**20
GIB = 2**30
NULL = 'OpaqueRef:NULL'


def vm_record(**changes):
    """What VM.create needs, as a client writes it."""
    memory = int(changes.pop('memory', 1024 * MIB)) // MIB
    cpus = {'VCPUs_max': 2, 'VCPUs_at_startup': 2}
    record = xapi_records.vm('server', memory, **cpus)
    # As the binding sends them.
    texts = {k: str(v) for k, v in record.items() if type(v) is int}
    return {**record, **texts, **changes}


class PoolTestCase(testtools.TestCase):
    """Talks to the pool of ``TOPOLOGY`` through ``self.api``."""

    TOPOLOGY = 'grid-k1'

    def setUp(self):
        super().setUp()
        self.simulator = server.Simulator(topology.load(self.TOPOLOGY))
        self.simulator.start()
        self.addCleanup(self.simulator.stop)
        self.session = self.log_in(self.simulator.url)
        self.api = self.session.xenapi

    def log_in(self, url):
        session = XenAPI.Session(url)
        self.addCleanup(session('close'))
        session.xenapi.login_with_password('root', 'password')
        return session

    def refused(self, code, function, *arguments, **named):
        """Assert that a message fails, and return what it fails with."""
        error = self.assertRaises(
            XenAPI.Failure, function, *arguments, **named
        )
        self.assertEqual(code, error.details[0])
        return error.details[1:]

    # Finding

    def one(self, cls, **wanted):
        """Return the only object with these fields."""
        (found,) = self.all(cls, **wanted)
        return found

    def all(self, cls, **wanted):
        records = getattr(self.api, cls).get_all_records()
        return [
            ref
            for ref, record in records.items()
            if all(record[key] == value for key, value in wanted.items())
        ]

    def host(self, name='xen1'):
        return self.one('host', name_label=name)

    def type(self, model):
        return self.one('VGPU_type', model_name=model)

    def group(self, part=''):
        records = self.api.GPU_group.get_all_records()
        (found,) = [
            ref
            for ref, record in records.items()
            if part in record['name_label']
        ]
        return found

    # Making

    def vm(self, **changes):
        return self.api.VM.create(vm_record(**changes))

    def vgpu(self, vm, model, device='0', group=''):
        return self.api.VGPU.create(
            vm, self.group(group), device, {}, self.type(model)
        )

    def vm_with(self, *models, **changes):
        vm = self.vm(**changes)
        for model in models:
            self.vgpu(vm, model)
        return vm

    def start(self, vm, host=None):
        self.api.VM.start_on(vm, host or self.host(), False, False)

    def vdi(self, size=8 * MIB, sr=None, **changes):
        return self.api.VDI.create(
            {
                'name_label': 'disk',
                'name_description': '',
                'SR': sr or self.one('SR', name_label='local'),
                'virtual_size': str(size),
                'type': 'user',
                'sharable': False,
                'read_only': False,
                'other_config': {},
                **changes,
            }
        )

    def vbd(self, vm, vdi, **changes):
        return self.api.VBD.create(
            {
                'VM': vm,
                'VDI': vdi,
                'userdevice': 'autodetect',
                'bootable': True,
                'mode': 'RW',
                'type': 'Disk',
                'empty': False,
                'other_config': {},
                'qos_algorithm_type': '',
                'qos_algorithm_params': {},
                **changes,
            }
        )

    def vif(self, vm, network='pool-net0', **changes):
        return self.api.VIF.create(
            {
                'VM': vm,
                'network': self.one('network', name_label=network),
                'device': '0',
                'MAC': '',
                'MTU': '1500',
                'other_config': {},
                'qos_algorithm_type': '',
                'qos_algorithm_params': {},
                **changes,
            }
        )

    # Waiting and controlling

    def wait(self, task):
        """Return the record of a task that has ended."""
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            record = self.api.task.get_record(task)
            if record['status'] not in ('pending', 'cancelling'):
                return record
            time.sleep(0.005)
        raise AssertionError(f'{record["name_label"]} does not end')

    def control(self, method, what, **body):
        request = urllib.request.Request(
            f'{self.simulator.url}/simulator/{what}',
            json.dumps(body).encode() if body else None,
            method=method,
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)

    def fault(self, message, **keys):
        self.control('POST', 'faults', message=message, **keys)

    def events(self, token='', classes=('*',), timeout=0.0):
        method = getattr(self.api.event, 'from')
        return method(list(classes), token, timeout)
