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
"""Many clients at once, at random: what must hold whatever they do."""

import concurrent.futures
import random

import XenAPI

from nova_accel.testing.xapi_simulator import gpu
from tests.unit.testing.xapi_simulator import common

MODELS = ('GRID K100', 'GRID K140Q', 'GRID K180Q', 'passthrough')
VERBS = ('start', 'start', 'hard_shutdown', 'hard_reboot', 'pause', 'unpause')


class StormTest(common.PoolTestCase):
    def setUp(self):
        super().setUp()
        self.vms = [self.vm_with(random.choice(MODELS)) for _ in range(16)]
        self.the_host = self.host()

    def client(self, seed):
        """Do things to random VMs; return what was refused."""
        chance = random.Random(seed)
        session = self.log_in(self.simulator.url)
        refused = set()
        for _ in range(25):
            vm, verb = chance.choice(self.vms), chance.choice(VERBS)
            further = (self.the_host, False, False) if verb == 'start' else ()
            name = 'start_on' if verb == 'start' else verb
            try:
                getattr(session.xenapi.VM, name)(vm, *further)
            except XenAPI.Failure as error:
                refused.add(error.details[0])
        return refused

    def check(self):
        store = self.simulator.world.store
        for pgpu in store.refs('PGPU'):
            held = gpu.holders(store, pgpu)
            types = [store.get('VGPU', vgpu, 'type') for vgpu in held]
            self.assertLessEqual(len(set(types)), 1)
            maximum = store.get('PGPU', pgpu, 'supported_VGPU_max_capacities')
            self.assertLessEqual(len(types), maximum[types[0]] if types else 0)
        for vm in self.vms:
            record = store.record('VM', vm)
            (vgpu,) = record['VGPUs']
            up = record['power_state'] in ('Running', 'Paused')
            holder = store.get('VGPU', vgpu, 'resident_on')
            self.assertEqual(up, holder != common.NULL)
            self.assertEqual(up, record['resident_on'] == self.the_host)
            self.assertEqual({}, record['current_operations'])
            for cls, ref in (('VM', vm), ('VGPU', vgpu)):
                self.assertEqual(
                    common.NULL,
                    store.get(cls, ref, 'scheduled_to_be_resident_on'),
                )

    def test_storm(self):
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            refused = set().union(*pool.map(self.client, range(4)))
        self.assertLessEqual(
            refused,
            {
                'VM_BAD_POWER_STATE',
                'VM_REQUIRES_GPU',
                'VM_REQUIRES_VGPU',
                'OTHER_OPERATION_IN_PROGRESS',
            },
        )
        self.check()
        for vm in self.all('VM', power_state='Paused'):
            self.api.VM.unpause(vm)
        for vm in self.vms:
            if self.api.VM.get_power_state(vm) == 'Running':
                self.api.VM.hard_shutdown(vm)
        self.check()
        for model in ('GRID K100', 'passthrough'):
            each = {'GRID K100': '32', 'passthrough': '4'}[model]
            self.assertEqual(
                each,
                self.api.GPU_group.get_remaining_capacity(
                    self.group(), self.type(model)
                ),
            )
