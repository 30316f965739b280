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
"""GPUs that a hypervisor gives out as one, and chooses from itself."""

import dataclasses

import testtools

from nova_accel.core import device
from nova_accel.core import inventory
from nova_accel.core import naming
from nova_accel.core import snapshot
from nova_accel.core import whitelist
from tests.unit.core import hosts

K240Q = device.VgpuModel('t-240', 'GRID K240Q', 8)
K280Q = device.VgpuModel('t-280', 'GRID K280Q', 2)
FIRST = hosts.pci(4, product_id='11bf')
SECOND = hosts.pci(5, product_id='11bf')
GROUP = dataclasses.replace(
    FIRST,
    name='group:1',
    ids=('group:1',),
    models=(K240Q, K280Q),
    members=(FIRST.address, SECOND.address),
)
DEVICES = (FIRST, SECOND, GROUP)
DYNAMIC = hosts.rule('k2', 4, 5, mode=whitelist.MODE_DYNAMIC)


def offer(*rules, devices=DEVICES):
    return inventory.offer(hosts.NODE, whitelist.Whitelist(rules), devices)


def claims(type_id, *slots, provider=None):
    rp = provider or naming.provider_uuid(hosts.NODE.uuid, 'group:1')
    return [
        inventory.Claim(rp, 'X', str(naming.UnitId('group:1', type_id, slot)))
        for slot in slots
    ]


class GroupTest(testtools.TestCase):
    def free(self, held, lacking=None):
        found = offer(DYNAMIC)
        (pool,) = found.pools
        strangers = inventory.lacking(found, lacking or {})
        everything = inventory.Holdings.of([*held, *strangers])
        return [
            len(inventory.free(pool, stock, everything))
            for stock in pool.stocks
        ]

    def test_one_provider_with_an_inventory_a_model(self):
        (pool,) = offer(DYNAMIC).pools
        self.assertEqual('group:1', pool.stable_id)
        self.assertEqual(2, pool.parts)
        self.assertEqual(
            {'CUSTOM_VGPU_GRID_K240Q': 8, 'CUSTOM_VGPU_GRID_K280Q': 2},
            {stock.resource_class: len(stock.units) for stock in pool.stocks},
        )

    def test_each_gpu_holds_one_model(self):
        self.assertEqual([8, 2], self.free([]))
        # One GPU is busy with it, and has three places left.
        self.assertEqual([7, 1], self.free(claims('t-240', 0)))
        self.assertEqual([4, 1], self.free(claims('t-280', 0)))
        self.assertEqual([0, 0], self.free(claims('t-280', 0, 1)))
        self.assertEqual([3, 0], self.free(claims('t-240', 0, 1, 2, 3, 4)))
        mixed = claims('t-280', 0) + claims('t-240', 0, 1)
        self.assertEqual([2, 0], self.free(mixed))

    def test_what_others_have(self):
        lacking = {('group:1', 't-240'): 4, ('group:1', 't-280'): 1}
        self.assertEqual([4, 1], self.free([], lacking))
        self.assertEqual(
            [3, 0],
            self.free(
                claims('t-240', 0),
                {
                    ('group:1', 't-240'): 4,
                    ('group:1', 't-280'): 2,
                },
            ),
        )

    def test_a_high_slot_and_what_others_have(self):
        # It is an amount: which slots it is does not matter.
        lacking = {('group:1', 't-240'): 2}
        self.assertEqual(5, self.free(claims('t-240', 7), lacking)[0])
        self.assertEqual(5, self.free(claims('t-240', 0), lacking)[0])

    def test_the_reserved_of_the_inventory(self):
        found = offer(DYNAMIC)
        held = claims('t-240', 0)
        (provider,) = inventory.desired(hosts.NODE, found, held, {})
        amounts = {
            rc: (inv.total, inv.reserved)
            for rc, inv in provider.inventories.items()
            if rc.startswith('CUSTOM')
        }
        self.assertEqual((2, 1), amounts['CUSTOM_VGPU_GRID_K280Q'])

    def test_how_many_one_server_may_have(self):
        alone = dataclasses.replace(K240Q, per_server=1)
        group = dataclasses.replace(GROUP, models=(alone, K280Q))
        found = offer(DYNAMIC, devices=(FIRST, SECOND, group))
        (provider,) = inventory.desired(hosts.NODE, found, [], {})
        self.assertEqual(
            {'CUSTOM_VGPU_GRID_K240Q': 1, 'CUSTOM_VGPU_GRID_K280Q': 2},
            {rc: inv.max_unit for rc, inv in provider.inventories.items()},
        )

    def test_one_model_where_several_are_enabled(self):
        rule = hosts.rule('k2', 4, 5, models=('GRID K240Q',))
        narrow = dataclasses.replace(
            GROUP, narrow='xe pgpu-param-set uuid=g enabled={type}'
        )
        found = offer(rule, devices=(FIRST, SECOND, narrow))
        (withheld,) = found.withheld
        self.assertIn('enabled=t-240', withheld.reason)
        self.assertIn('mode: dynamic', withheld.reason)

    def test_gpus_are_passed_through_one_by_one(self):
        rule = hosts.rule('whole', 4, 5, kind=whitelist.KIND_PCI)
        (pool,) = offer(rule).pools
        self.assertEqual(2, len(pool.stocks[0].units))
        self.assertNotIn(GROUP, pool.devices)

    def test_one_gpu_has_one_use(self):
        whole = hosts.rule('whole', 5, kind=whitelist.KIND_PCI)
        shares = hosts.rule('k2', 4, mode=whitelist.MODE_DYNAMIC)
        found = offer(whole, shares)
        self.assertEqual((), found.pools)
        for entry in found.withheld:
            self.assertIn('both for vGPUs and for', entry.reason)

    def test_a_function_that_others_have(self):
        rule = hosts.rule('whole', 4, 5, kind=whitelist.KIND_PCI)
        found = offer(rule)
        strangers = inventory.lacking(found, {(FIRST.name, ''): 1})
        (pool,) = found.pools
        held = inventory.Holdings.of(strangers)
        self.assertEqual(1, len(inventory.free(pool, pool.stocks[0], held)))

    def test_a_view_tells_the_snapshot(self):
        found = offer(DYNAMIC)
        now = dataclasses.replace(
            snapshot.NOTHING,
            index=snapshot.Index(hosts.NODE, found),
            view=device.HostView(DEVICES, (), {('group:1', 't-280'): 1}),
        )
        self.assertEqual(1, len(now.strangers))
