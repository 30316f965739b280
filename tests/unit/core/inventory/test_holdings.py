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
import ddt
import testtools

from nova_accel.core import inventory
from nova_accel.core.inventory import holdings
from tests.unit.core import hosts


def claim(provider, unit, resource_class='VGPU'):
    return inventory.Claim(provider, resource_class, unit)


class HoldingsTest(testtools.TestCase):
    def test_index(self):
        held = inventory.Holdings.of(
            [
                claim('rp1', 'sn:1/nvidia-222/0'),
                claim('rp1', 'sn:1/nvidia-222/1'),
                claim('rp1', 'sn:1/nvidia-222/1'),
                claim('rp2', 'sn:1', 'PGPU'),
                claim('rp2', 'no/unit', 'PGPU'),
            ]
        )
        self.assertEqual(
            {'sn:1/nvidia-222/0', 'sn:1/nvidia-222/1', 'sn:1', 'no/unit'},
            held.units,
        )
        self.assertEqual(
            {
                'rp1': {'VGPU': {'sn:1/nvidia-222/0', 'sn:1/nvidia-222/1'}},
                'rp2': {'PGPU': {'sn:1', 'no/unit'}},
            },
            held.by_provider,
        )
        self.assertEqual(
            {
                'sn:1': {
                    'nvidia-222': {'sn:1/nvidia-222/0', 'sn:1/nvidia-222/1'},
                    '': {'sn:1'},
                }
            },
            held.parts,
        )

    def test_read(self):
        self.assertEqual('sn:1', holdings.read('sn:1/vf/0').device)
        self.assertIsNone(holdings.read('ns_0/foo'))


CARD = hosts.t4(1)
MIXED = hosts.t4(1, mixed=True)
DYNAMIC = hosts.rule('r', 1, mode='dynamic')
ONE = hosts.rule('r', 1, models=('nvidia-222',), max_slots=4)
WHOLE = hosts.rule('r', 1, 2, kind='pci')
FUNCTIONS = hosts.rule('r', 1, kind='pci', dev_types=('type-VF',))

# Rule, devices, units held by whoever, free units of each stock.
FREE = {
    'nothing is held': (ONE, [CARD], [], [4]),
    'some are held': (
        ONE,
        [CARD],
        ['sn:1/nvidia-222/0', 'sn:1/nvidia-222/3'],
        [2],
    ),
    'somebody else holds the same card': (ONE, [CARD], ['sn:7'], [4]),
    'one model at a time': (DYNAMIC, [CARD], ['sn:1/nvidia-222/5'], [15, 0]),
    'a card that mixes': (DYNAMIC, [MIXED], ['sn:1/nvidia-222/5'], [15, 2]),
    'a model that is offered no more': (
        ONE,
        [CARD],
        ['sn:1/nvidia-233/0'],
        [0],
    ),
    'a model that is offered no more, on a card that mixes': (
        ONE,
        [MIXED],
        ['sn:1/nvidia-233/0'],
        [4],
    ),
    'the whole card is passed through': (ONE, [CARD], ['sn:1'], [0]),
    'the whole card that mixes is passed through': (
        ONE,
        [MIXED],
        ['sn:1'],
        [0],
    ),
    'vGPUs of a whole device': (
        WHOLE,
        [CARD, hosts.t4(2)],
        ['sn:1/nvidia-222/0'],
        [1],
    ),
    'functions of a whole device': (
        WHOLE,
        [hosts.pci(1), hosts.pci(2)],
        ['sn:2/vf/0'],
        [1],
    ),
    'one of several functions': (
        FUNCTIONS,
        hosts.sriov(1, 4),
        ['sn:1/vf/0'],
        [3],
    ),
    'the card of the functions': (
        FUNCTIONS,
        hosts.sriov(1, 4),
        ['sn:1'],
        [0],
    ),
    'slots beyond what the card has now': (
        ONE,
        [CARD],
        ['sn:1/nvidia-222/9', 'sn:1/nvidia-222/0'],
        [2],
    ),
    'more slots beyond than the card has now': (
        ONE,
        [CARD],
        [f'sn:1/nvidia-222/{slot}' for slot in range(6, 16)],
        [0],
    ),
    'an identifier of somebody else': (ONE, [CARD], ['ns_0'], [4]),
}


@ddt.ddt
class FreeTest(testtools.TestCase):
    @ddt.data(*FREE)
    def test_free(self, name):
        rule, devices, units, expected = FREE[name]
        (pool,) = hosts.offer([rule], devices).pools
        # Through another provider: a rule changed how it pools.
        held = inventory.Holdings.of([claim('elsewhere', u) for u in units])
        free = [inventory.free(pool, stock, held) for stock in pool.stocks]
        self.assertEqual(expected, [len(each) for each in free])
        for stock, each in zip(pool.stocks, free, strict=True):
            self.assertLessEqual(each, stock.ids - set(units))

    def test_last_slots_make_room_for_those_beyond(self):
        (pool,) = hosts.offer([ONE], [CARD]).pools
        held = inventory.Holdings.of([claim('rp', 'sn:1/nvidia-222/9')])
        self.assertEqual(
            {f'sn:1/nvidia-222/{slot}' for slot in range(3)},
            inventory.free(pool, pool.stocks[0], held),
        )
