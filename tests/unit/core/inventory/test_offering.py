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
import dataclasses
import random
import sys

import ddt
import testtools

from nova_accel.core import device
from nova_accel.core import identity
from nova_accel.core import inventory
from nova_accel.core import match as core_match
from nova_accel.core import naming
from nova_accel.core import whitelist
from tests.unit.core import hosts

PF = (device.TYPE_PF,)
VF = (device.TYPE_VF,)
BOTH = (device.TYPE_PF, device.TYPE_VF)

# What comes out -- rules, devices, then address -> words of the reason.
WITHHELD = {
    'a bridge': (
        [hosts.rule('r', 1, kind='pci')],
        [hosts.pci(1, class_id='060400')],
        {'0000:01:00.0': ['bridge', 'host']},
    ),
    'two rules on one device': (
        [hosts.rule('a', 1), hosts.rule('b', 1)],
        [hosts.t4(1)],
        {'0000:01:00.0': ["'a' (accel.yaml:3)", "'b'", 'match 0000:01:00.0']},
    ),
    'passthrough of a card and its functions, by one rule': (
        [hosts.rule('r', 1, kind='pci')],
        hosts.sriov(1, 1),
        {
            '0000:01:00.0': ["'r'", 'dev_type: type-PF', 'dev_type: type-VF'],
            '0000:01:04.0': ["'r'", 'dev_type: type-PF', 'dev_type: type-VF'],
        },
    ),
    'passthrough of a card and its functions, by two rules': (
        [
            hosts.rule('a', 1, kind='pci', dev_types=PF),
            hosts.rule('b', 1, kind='pci', dev_types=VF),
        ],
        hosts.sriov(1, 1),
        {
            '0000:01:00.0': ["'a'", "'b'", 'physical function'],
            '0000:01:04.0': ["'a'", "'b'", 'physical function'],
        },
    ),
    'vGPUs of a card whose functions are passed through': (
        [
            hosts.rule('a', 1, dev_types=PF),
            hosts.rule('b', 1, kind='pci', dev_types=VF),
        ],
        hosts.sriov(1, 1),
        {
            '0000:01:00.0': ["'a'", "'b'", 'vGPUs', 'passthrough'],
            '0000:01:04.0': ["'a'", "'b'", 'vGPUs', 'passthrough'],
        },
    ),
    'two vGPU rules on one card': (
        [
            hosts.rule('a', 1, dev_types=PF),
            hosts.rule('b', 1, dev_types=VF),
        ],
        hosts.sriov(1, 1, models=(hosts.A40_4Q,)),
        {
            '0000:01:00.0': ["'a'", "'b'", 'one rule'],
            '0000:01:04.0': ["'a'", "'b'", 'one rule'],
        },
    ),
    'a function of a card that is not listed': (
        [hosts.rule('r', 1, kind='pci')],
        hosts.sriov(1, 1)[1:],
        {'0000:01:04.0': ['physical function', '0000:01:00.0']},
    ),
    'twins': (
        [hosts.rule('r', 1, 2)],
        [hosts.t4(1, ids=('sn:0',)), hosts.t4(2, ids=('sn:0',))],
        {
            '0000:01:00.0': ['0000:02:00.0', "'sn:0'", 'slots'],
            '0000:02:00.0': ['0000:01:00.0', "'sn:0'", 'slots'],
        },
    ),
    'a twin that nobody wants counts too': (
        [hosts.rule('r', 1)],
        [hosts.t4(1, ids=('sn:0',)), hosts.t4(2, ids=('sn:0',))],
        {'0000:01:00.0': ['0000:02:00.0']},
    ),
    'no vGPU types': (
        [hosts.rule('r', 1)],
        [hosts.pci(1, driver='nouveau')],
        {'0000:01:00.0': ['no vGPU types', 'driver loaded', 'nouveau']},
    ),
    'no vGPU types and no driver': (
        [hosts.rule('r', 1)],
        [hosts.pci(1)],
        {'0000:01:00.0': ['driver: none']},
    ),
    'no vGPU types while SR-IOV is off': (
        [hosts.rule('r', 1)],
        hosts.sriov(1, 0, driver='nvidia'),
        {'0000:01:00.0': ['driver: nvidia', 'virtual functions enabled']},
    ),
    'none of the models': (
        [hosts.rule('r', 1, models=('nvidia-1', 'GRID T4-2B'))],
        [hosts.t4(1)],
        {
            '0000:01:00.0': [
                'none of models nvidia-1, GRID T4-2B',
                'nvidia-222 (GRID T4-1Q)',
                'nvidia-233 (GRID T4-8Q)',
            ]
        },
    ),
    'a choice of models in mode fixed': (
        [hosts.rule('r', 1)],
        [hosts.t4(1)],
        {'0000:01:00.0': ['2 models', 'nvidia-222', 'mode: dynamic']},
    ),
    'two models of one name': (
        [hosts.rule('r', 1, mode='dynamic')],
        [
            hosts.t4(
                1,
                models=(
                    device.VgpuModel('nvidia-1', 'GRID T4-1Q', 1),
                    device.VgpuModel('nvidia-2', 'GRID T4 1Q', 1),
                ),
            )
        ],
        {
            '0000:01:00.0': [
                'nvidia-1',
                'nvidia-2',
                'CUSTOM_VGPU_GRID_T4_1Q',
            ]
        },
    ),
    'no number of slots': (
        [hosts.rule('r', 1)],
        [hosts.t4(1, models=(device.VgpuModel('nvidia-1', 'T4'),))],
        {'0000:01:00.0': ["'T4'", "max_slots in rule 'r'"]},
    ),
    'no room': (
        [hosts.rule('r', 1)],
        [hosts.t4(1, models=(device.VgpuModel('nvidia-1', 'T4', 0),))],
        {'0000:01:00.0': ["no 'T4'"]},
    ),
    'levels that make another number': (
        [
            hosts.rule(
                'r',
                1,
                models=('nvidia-222',),
                levels=(('region', 3), ('function', 4)),
            )
        ],
        [hosts.t4(1)],
        {'0000:01:00.0': ['12 slots (3 region x 4 function)', 'has 16']},
    ),
    'levels of a whole device': (
        [hosts.rule('r', 1, kind='pci', levels=(('region', 1),))],
        [hosts.pci(1)],
        {'0000:01:00.0': ["rule 'r'", 'remove levels']},
    ),
    'slots of a whole device': (
        [hosts.rule('r', 1, kind='pci', max_slots=2)],
        [hosts.pci(1)],
        {'0000:01:00.0': ["rule 'r'", 'remove max_slots']},
    ),
}


@ddt.ddt
class WithheldTest(testtools.TestCase):
    @ddt.data(*WITHHELD)
    def test_reason(self, name):
        rules, devices, expected = WITHHELD[name]
        offer = hosts.offer(rules, devices)
        self.assertEqual((), offer.pools)
        self.assertEqual(
            list(expected), [str(w.device.address) for w in offer.withheld]
        )
        for entry, words in zip(
            offer.withheld, expected.values(), strict=True
        ):
            for word in words:
                self.assertIn(word, entry.reason)
            for rule in entry.rules:
                self.assertIn(rule, rules)
        self.assertEqual((), offer.idle_rules)

    @ddt.data(
        'two rules on one device',
        'passthrough of a card and its functions, by two rules',
        'vGPUs of a card whose functions are passed through',
        'two vGPU rules on one card',
    )
    def test_conflict_carries_every_rule(self, name):
        rules, devices, _expected = WITHHELD[name]
        for entry in hosts.offer(rules, devices).withheld:
            self.assertEqual(tuple(rules), entry.rules)

    def test_hundred_models_make_a_short_message(self):
        models = tuple(
            device.VgpuModel(f'nvidia-{n}', f'GRID T4-{n}Q', 1)
            for n in range(100)
        )
        for rule in (
            hosts.rule('r', 1),
            hosts.rule('r', 1, models=tuple('abcdefghijklmn')),
        ):
            (entry,) = hosts.offer(
                [rule], [hosts.t4(1, models=models)]
            ).withheld
            self.assertLess(len(entry.reason), 500)
            self.assertIn(' more', entry.reason)

    def test_a_few_models_are_all_named(self):
        rule = hosts.rule('r', 1, models=tuple('abcdefgh'))
        (entry,) = hosts.offer([rule], [hosts.t4(1)]).withheld
        self.assertIn('a, b, c, d, e, f, g, h;', entry.reason)

    def test_plain_device_has_no_functions_to_enable(self):
        for devices in ([hosts.pci(1)], hosts.sriov(1, 2)):
            rule = hosts.rule('r', 1)
            entry = hosts.offer([rule], devices).withheld[0]
            self.assertNotIn('enabled', entry.reason)

    def test_conflict_on_one_card_leaves_the_others_alone(self):
        rules = [
            hosts.rule('a', 1, 2, models=('nvidia-233',)),
            hosts.rule('b', 1),
        ]
        offer = hosts.offer(rules, [hosts.t4(1), hosts.t4(2)])
        self.assertEqual(['sn:2'], [p.stable_id for p in offer.pools])

    def test_twin_of_a_device_in_use_takes_both_out_of_offer(self):
        rules = [hosts.rule('r', 1, 2, models=('nvidia-233',))]
        devices = [
            hosts.t4(1, ids=('sn:0', 'slot:1')),
            hosts.t4(2, ids=('sn:0', 'slot:2')),
        ]
        offer = hosts.offer(rules, devices, known_ids={'sn:0'})
        self.assertEqual((), offer.pools)
        self.assertEqual(2, len(offer.withheld))

    def test_a_message_names_a_few_rules_of_many(self):
        rules = [hosts.rule(f'r{i}', 1) for i in range(1000)]
        (withheld,) = hosts.offer(rules, [hosts.t4(1)]).withheld
        self.assertIn("'r0' (accel.yaml:", withheld.reason)
        self.assertIn(' and 992 more all match ', withheld.reason)
        self.assertLess(len(withheld.reason), 500)

    def test_what_somebody_else_gives_away(self):
        vgpus = hosts.rule('vgpus', 1, models=('nvidia-233',))
        whole = hosts.rule('whole', 2, 3, kind='pci')
        functions = hosts.rule('vfs', 4, kind='pci', dev_types=VF)
        devices = [
            hosts.t4(1),
            hosts.pci(2),
            hosts.pci(3),
            *hosts.sriov(4, 2),
        ]
        taken = {devices[i].name for i in (0, 1, 3)}
        offer = hosts.offer(
            [vgpus, whole, functions],
            devices,
            elsewhere=lambda dev: 'option X' if dev.name in taken else None,
        )
        # Of a pool only the device itself, of a card all that it has.
        ((left,),) = [pool.devices for pool in offer.pools]
        self.assertEqual(devices[2], left)
        self.assertEqual(
            ['0000:01:00.0', '0000:02:00.0', '0000:04:04.0', '0000:04:04.1'],
            [str(withheld.device.address) for withheld in offer.withheld],
        )
        for withheld in offer.withheld:
            (rule,) = withheld.rules
            self.assertIn(f"rule '{rule.name}'", withheld.reason)
            self.assertIn('option X both claim 0000:', withheld.reason)


class ListsTest(testtools.TestCase):
    def test_unlisted_and_idle(self):
        devices = [hosts.t4(1), hosts.pci(2), *hosts.sriov(3, 1)]
        rules = [
            hosts.rule('used', 1, models=('nvidia-233',)),
            hosts.rule('idle', 9),
        ]
        offer = hosts.offer(rules, devices)
        self.assertEqual(tuple(devices[1:]), offer.unlisted)
        self.assertEqual((rules[1],), offer.idle_rules)
        self.assertEqual(tuple(rules), offer.rules)

    def test_nothing_listed_nothing_offered(self):
        devices = [hosts.t4(1), *hosts.sriov(3, 2)]
        offer = hosts.offer([], devices)
        self.assertEqual(((), ()), (offer.pools, offer.withheld))
        self.assertEqual(tuple(devices), offer.unlisted)


@ddt.ddt
class VgpuTest(testtools.TestCase):
    def pool(self, *devices, **kwargs):
        rule = hosts.rule('r', *{d.address.bus for d in devices}, **kwargs)
        offer = hosts.offer([rule], devices)
        self.assertEqual([], [w.reason for w in offer.withheld])
        (pool,) = offer.pools
        return pool

    @ddt.data(
        'nvidia-233',
        'GRID T4-8Q',
        'grid t4-8q',
        'NVIDIA-233',
    )
    def test_model_by_type_or_name(self, word):
        (stock,) = self.pool(hosts.t4(1), models=(word,)).stocks
        self.assertEqual(hosts.T4_8Q, stock.model)

    def test_exact_name_beats_one_in_other_case(self):
        models = (
            device.VgpuModel('nvidia-1', 'grid t4', 1),
            device.VgpuModel('nvidia-2', 'GRID T4', 1),
        )
        card = hosts.t4(1, models=models)
        (stock,) = self.pool(card, models=('GRID T4',)).stocks
        self.assertEqual('nvidia-2', stock.model.type_id)

    def test_units_of_a_card(self):
        pool = self.pool(hosts.t4(1), models=('nvidia-233',))
        (stock,) = pool.stocks
        self.assertEqual('sn:1', pool.stable_id)
        self.assertEqual(
            ['sn:1/nvidia-233/0', 'sn:1/nvidia-233/1'], list(stock.by_id)
        )
        self.assertEqual(
            {hosts.t4(1)}, {unit.function for unit in stock.units}
        )
        self.assertEqual((hosts.t4(1),), pool.devices)

    @ddt.data(
        # capacity, max_slots, total
        (16, None, 16),
        (16, 4, 4),
        (4, 16, 4),
        (None, 3, 3),
    )
    @ddt.unpack
    def test_slots_of_a_card(self, capacity, max_slots, total):
        model = device.VgpuModel('nvidia-1', 'T4', capacity)
        card = hosts.t4(1, models=(model,))
        (stock,) = self.pool(card, max_slots=max_slots).stocks
        self.assertEqual(total, len(stock.units))

    @ddt.data(
        # functions, capacity, max_slots, total
        (16, None, None, 16),
        (16, 12, None, 12),
        (8, 12, None, 8),
        (16, 12, 4, 4),
    )
    @ddt.unpack
    def test_slots_of_functions(self, count, capacity, max_slots, total):
        model = device.VgpuModel('nvidia-1', 'A40', capacity)
        devices = hosts.sriov(1, count, models=(model,))
        pool = self.pool(*devices, dev_types=PF, max_slots=max_slots)
        (stock,) = pool.stocks
        self.assertEqual(
            [
                (f'sn:1/nvidia-1/{index}', devices[1 + index])
                for index in range(total)
            ],
            [(str(unit.id), unit.function) for unit in stock.units],
        )
        self.assertEqual(devices, pool.devices)

    @ddt.data(PF, VF, BOTH)
    def test_rule_may_match_card_functions_or_both(self, dev_types):
        devices = hosts.sriov(1, 4, models=(hosts.A40_4Q,))
        offer = hosts.offer([hosts.rule('r', 1, dev_types=dev_types)], devices)
        (pool,) = offer.pools
        self.assertEqual(4, len(pool.stocks[0].units))
        self.assertEqual(((), ()), (offer.withheld, offer.unlisted))

    def test_rule_may_name_some_functions(self):
        devices = hosts.sriov(1, 12, models=(hosts.A40_4Q,))
        # Functions 8 to 11 are at 05.x: a rule by address would say so.
        rule = dataclasses.replace(
            hosts.rule('r', 1),
            match=(('address', lambda dev: dev.address.slot == 5),),
        )
        (pool,) = hosts.offer([rule], devices).pools
        self.assertEqual(
            [8, 9, 10, 11], [unit.id.slot for unit in pool.stocks[0].units]
        )

    def test_lost_function_does_not_renumber_the_others(self):
        head, *functions = hosts.sriov(1, 4, models=(hosts.A40_4Q,))
        before = self.pool(head, *functions, dev_types=PF).stocks[0].by_id
        after = self.pool(head, *functions[1:], dev_types=PF).stocks[0].by_id
        self.assertEqual({n: before[n] for n in after}, dict(after))
        self.assertEqual(3, len(after))

    def test_function_offers_several_models(self):
        devices = hosts.sriov(1, 8, models=(hosts.A40_4Q, hosts.A40_8Q))
        pool = self.pool(*devices, dev_types=PF, mode='dynamic')
        self.assertEqual([8, 6], [len(stock.units) for stock in pool.stocks])

    def test_function_that_lacks_the_model_is_no_slot(self):
        head, first, second = hosts.sriov(1, 2, models=(hosts.A40_4Q,))
        second = hosts.sriov(1, 2, models=(hosts.A40_8Q,))[2]
        pool = self.pool(
            head, first, second, dev_types=PF, models=('nvidia-559',)
        )
        (unit,) = pool.stocks[0].units
        self.assertEqual((1, second), (unit.id.slot, unit.function))

    @ddt.data(
        # models of the rule, mode, class of the rule, classes
        (('nvidia-233',), 'fixed', None, ['VGPU']),
        (('nvidia-233',), 'fixed', 'CUSTOM_T4', ['CUSTOM_T4']),
        # A rule for two kinds of cards: each class stands for one model.
        (
            ('nvidia-233', 'nvidia-9'),
            'fixed',
            None,
            ['CUSTOM_VGPU_GRID_T4_8Q'],
        ),
        (('nvidia-233',), 'dynamic', None, ['CUSTOM_VGPU_GRID_T4_8Q']),
        # In the rule's order, or in the card's.
        (
            ('nvidia-233', 'GRID T4-1Q', 'nvidia-222'),
            'dynamic',
            None,
            ['CUSTOM_VGPU_GRID_T4_8Q', 'CUSTOM_VGPU_GRID_T4_1Q'],
        ),
        (
            (),
            'dynamic',
            None,
            ['CUSTOM_VGPU_GRID_T4_1Q', 'CUSTOM_VGPU_GRID_T4_8Q'],
        ),
    )
    @ddt.unpack
    def test_classes(self, models, mode, resource_class, classes):
        pool = self.pool(
            hosts.t4(1),
            models=models,
            mode=mode,
            resource_class=resource_class,
        )
        self.assertEqual(classes, [s.resource_class for s in pool.stocks])

    def test_only_model_of_a_card_needs_no_name(self):
        card = hosts.t4(1, models=(hosts.T4_8Q,))
        (stock,) = self.pool(card).stocks
        self.assertEqual('VGPU', stock.resource_class)

    @ddt.data(
        ((), (1,)),
        ((('region', 4), ('function', 4)), (16, 4, 1)),
        ((('slot', 16),), (16, 1)),
        ((('half', 2), ('quarter', 2), ('slot', 4)), (16, 8, 4, 1)),
        ((('card', 1), ('slot', 16)), (16, 1)),
    )
    @ddt.unpack
    def test_levels_make_blocks(self, levels, blocks):
        pool = self.pool(hosts.t4(1), models=('nvidia-222',), levels=levels)
        self.assertEqual(blocks, pool.blocks)

    @ddt.data(True, False)
    def test_one_model_at_a_time_unless_the_card_is_known_to_mix(self, mixed):
        card = hosts.t4(1, mixed=mixed)
        pool = self.pool(card, mode='dynamic')
        self.assertEqual(not mixed, pool.exclusive)
        devices = hosts.sriov(
            1, 2, models=(hosts.A40_4Q,), function={'mixed': mixed}
        )
        pool = self.pool(*devices, dev_types=PF)
        self.assertEqual(not mixed, pool.exclusive)

    def test_traits(self):
        pool = self.pool(
            hosts.t4(
                1,
                models=(
                    device.VgpuModel(
                        'nvidia-1', 'GRID T4-1B', 1, None, 4, (1024, 768)
                    ),
                ),
            ),
            traits=frozenset({'CUSTOM_CUDA'}),
        )
        self.assertEqual(
            {
                'OWNER_NOVA',
                'CUSTOM_ACCEL_MANAGED',
                'CUSTOM_ACCEL_VENDOR_10DE',
                'CUSTOM_ACCEL_PRODUCT_10DE_1EB8',
                naming.who_trait('sn:1', '10de-1eb8'),
                naming.at_trait('sn:1', '0000:01:00.0'),
                'CUSTOM_ACCEL_MODEL_GRID_T4_1B',
                'HW_GPU_MAX_DISPLAY_HEADS_4',
                'HW_GPU_RESOLUTION_W1024H768',
                'CUSTOM_CUDA',
            },
            pool.traits,
        )

    def test_several_models_have_no_one_number_of_heads(self):
        traits = self.pool(hosts.t4(1), mode='dynamic').traits
        self.assertLess(
            {
                'CUSTOM_ACCEL_MODEL_GRID_T4_1Q',
                'CUSTOM_ACCEL_MODEL_GRID_T4_8Q',
            },
            traits,
        )
        self.assertEqual([], [t for t in traits if t.startswith('HW_')])


@ddt.ddt
class PassthroughTest(testtools.TestCase):
    @ddt.data(
        # pool, bus -> NUMA node, stable id -> units
        (
            'numa',
            {1: 0, 2: 1, 3: 0, 4: None},
            {
                'pool:r:10de-20b5:numa0': ['sn:1', 'sn:3'],
                'pool:r:10de-20b5:numa1': ['sn:2'],
                'pool:r:10de-20b5:numa-unknown': ['sn:4'],
            },
        ),
        (
            'host',
            {1: 0, 2: 1, 3: None},
            {'pool:r:10de-20b5:host': ['sn:1', 'sn:2', 'sn:3']},
        ),
        ('device', {1: 0, 2: 0}, {'sn:1': ['sn:1'], 'sn:2': ['sn:2']}),
    )
    @ddt.unpack
    def test_pools(self, pool, nodes, expected):
        rule = hosts.rule('r', *nodes, kind='pci', pool=pool)
        devices = [hosts.pci(b, numa_node=n) for b, n in nodes.items()]
        pools = hosts.offer([rule], devices).pools
        self.assertEqual(
            expected, {p.stable_id: list(p.stocks[0].by_id) for p in pools}
        )
        for found in pools:
            self.assertEqual(
                found.devices,
                tuple(unit.function for unit in found.stocks[0].units),
            )

    def test_numa_node_of_a_pool(self):
        devices = [hosts.pci(1, numa_node=1), hosts.pci(2, numa_node=0)]
        for pool, nodes in (('numa', [1, 0]), ('host', [None])):
            rule = hosts.rule('r', 1, 2, kind='pci', pool=pool)
            pools = hosts.offer([rule], devices).pools
            self.assertEqual(nodes, [p.numa_node for p in pools])

    def test_products_and_rules_are_pooled_apart(self):
        devices = [
            hosts.pci(1),
            hosts.pci(2, product_id='1eb8'),
            hosts.pci(3),
        ]
        rules = [
            hosts.rule('a', 1, 2, kind='pci', pool='host'),
            hosts.rule('b', 3, kind='pci', pool='host'),
        ]
        self.assertEqual(
            [
                ('pool:a:10de-20b5:host', 'CUSTOM_PCI_10DE_20B5'),
                ('pool:a:10de-1eb8:host', 'CUSTOM_PCI_10DE_1EB8'),
                ('pool:b:10de-20b5:host', 'CUSTOM_PCI_10DE_20B5'),
            ],
            [
                (p.stable_id, p.stocks[0].resource_class)
                for p in hosts.offer(rules, devices).pools
            ],
        )

    def test_functions_of_a_card(self):
        devices = hosts.sriov(2, 10)
        rule = hosts.rule('r', 2, kind='pci', dev_types=VF)
        offer = hosts.offer([rule], devices[::-1])
        (pool,) = offer.pools
        (stock,) = pool.stocks
        self.assertEqual('sn:2', pool.stable_id)
        self.assertEqual('CUSTOM_PCI_10DE_20B6', stock.resource_class)
        self.assertEqual(
            [(f'sn:2/vf/{i}', devices[1 + i]) for i in range(10)],
            [(str(unit.id), unit.function) for unit in stock.units],
        )
        self.assertEqual(devices, pool.devices)
        self.assertIn('CUSTOM_ACCEL_PRODUCT_10DE_20B6', pool.traits)
        self.assertNotIn('CUSTOM_ACCEL_PRODUCT_10DE_20B5', pool.traits)

    def test_functions_take_levels_and_a_cap(self):
        rule = hosts.rule(
            'r',
            2,
            kind='pci',
            dev_types=VF,
            max_slots=8,
            levels=(('half', 2), ('slot', 4)),
        )
        (pool,) = hosts.offer([rule], hosts.sriov(2, 10)).pools
        self.assertEqual(
            list(range(8)), [unit.id.slot for unit in pool.stocks[0].units]
        )
        self.assertEqual((8, 4, 1), pool.blocks)

    def test_whole_card_leaves_its_functions_unlisted(self):
        devices = hosts.sriov(2, 2)
        rule = hosts.rule('r', 2, kind='pci', dev_types=PF)
        offer = hosts.offer([rule], devices)
        self.assertEqual(['sn:2'], list(offer.pools[0].stocks[0].by_id))
        self.assertEqual(devices[1:], offer.unlisted)

    def test_class_of_the_rule(self):
        rule = hosts.rule('r', 1, kind='pci', resource_class='PGPU')
        (pool,) = hosts.offer([rule], [hosts.pci(1)]).pools
        self.assertEqual('PGPU', pool.stocks[0].resource_class)

    def test_id_in_use_names_the_unit_too(self):
        rule = hosts.rule('r', 1, kind='pci')
        (pool,) = hosts.offer(
            [rule], [hosts.pci(1)], known_ids={'path:1:10de-20b5'}
        ).pools
        self.assertEqual(['path:1:10de-20b5'], list(pool.stocks[0].by_id))


class UsbTest(testtools.TestCase):
    """One whitelist for all: the ids of PCI and USB are not one list."""

    def rule(self, kind='usb', **fields):
        match = (('vendor_id', core_match.OneOf('vendor_id', {'096e'})),)
        return whitelist.Rule(
            'r', whitelist.Place('accel.yaml', 3), kind, match, **fields
        )

    def test_devices_of_a_rule_are_one_provider(self):
        found = hosts.offer(
            [self.rule()],
            [
                hosts.usb('1-10', 'D1'),
                hosts.usb('1-2', 'D2'),
                hosts.pci(1, vendor_id='096e'),
            ],
        )
        (pool,) = found.pools
        (stock,) = pool.stocks
        self.assertEqual('CUSTOM_USB_096E_0006', stock.resource_class)
        self.assertEqual(
            ['sn:usb-096e-0006-D2', 'sn:usb-096e-0006-D1'],
            [unit.id.device for unit in stock.units],
        )
        self.assertIn('CUSTOM_ACCEL_USB_VENDOR_096E', pool.traits)
        self.assertEqual(
            ['pci_0000:01:00.0'], [d.name for d in found.unlisted]
        )

    def test_other_rules_do_not_see_it(self):
        for kind in ('pci', 'vgpu'):
            found = hosts.offer([self.rule(kind)], [hosts.usb('1-2')])
            self.assertEqual((), found.pools)
            self.assertEqual(['r'], [rule.name for rule in found.idle_rules])

    def test_a_server_gets_no_more_than_the_hypervisor_gives(self):
        devices = [hosts.usb(f'1-{n}', f'D{n}') for n in range(8)]
        found = hosts.offer([self.rule()], devices)
        (provider,) = inventory.desired(hosts.NODE, found, [], {})
        (record,) = provider.inventories.values()
        self.assertEqual(inventory.Inventory(8, 0, 6), record)

    def test_twins_are_told_by_their_ports(self):
        found = hosts.offer(
            [self.rule(pool='device')],
            [hosts.usb('1-2', 'X'), hosts.usb('1-3', 'X')],
        )
        self.assertEqual(
            ['path:usb-1-2', 'path:usb-1-3'],
            [identity.place_of(p.stable_id)[:12] for p in found.pools],
        )


class LocateTest(testtools.TestCase):
    def test_every_unit_is_where_the_offer_says(self):
        rules = [
            hosts.rule('card', 1, models=('nvidia-233',)),
            hosts.rule('functions', 2),
            hosts.rule('whole', 3, kind='pci'),
            hosts.rule('vf', 4, kind='pci', dev_types=VF),
        ]
        devices = [
            hosts.t4(1),
            *hosts.sriov(2, 4, models=(hosts.A40_4Q,)),
            hosts.pci(3),
            *hosts.sriov(4, 4),
        ]
        offer = hosts.offer(rules, devices)
        units = [
            unit for p in offer.pools for s in p.stocks for unit in s.units
        ]
        self.assertEqual(2 + 4 + 1 + 4, len(units))
        for unit in units:
            self.assertEqual(unit.function, offer.locate(unit.id))
        # The same units once nobody lists them, and vGPUs while the
        # vendor's driver is not loaded.
        devices[2:6] = hosts.sriov(2, 4)[1:]
        unlisted = hosts.offer([], devices)
        for unit in units:
            self.assertEqual(
                unit.function.address, unlisted.locate(unit.id).address
            )

    def test_what_is_not_here(self):
        offer = hosts.offer([], hosts.sriov(2, 2))
        for text in ('sn:9', 'sn:9/vf/0', 'sn:2/vf/2', 'sn:2/nvidia-1/7'):
            self.assertIsNone(offer.locate(naming.UnitId.parse(text)))


@ddt.ddt
class RandomHostTest(testtools.TestCase):
    """What holds for any host and any whitelist."""

    @ddt.data(*range(60))
    def test_invariants(self, seed):
        rng = random.Random(seed)
        rules, devices = hosts.random_host(rng)
        offer = hosts.offer(rules, devices)
        self._each_device_is_in_one_place(rules, devices, offer)
        self._units_are_unique(offer)
        self._pools_are_sound(offer)
        for _ in range(3):
            rng.shuffle(devices)
            self.assertEqual(offer, hosts.offer(rules, devices))

    def _each_device_is_in_one_place(self, rules, devices, offer):
        placed = [
            *(dev.name for pool in offer.pools for dev in pool.devices),
            *(entry.device.name for entry in offer.withheld),
            *(dev.name for dev in offer.unlisted),
        ]
        self.assertEqual(sorted(d.name for d in devices), sorted(placed))
        self.assertEqual(sorted(placed), sorted(d.name for d in offer.devices))
        for dev in offer.unlisted:
            self.assertFalse(any(rule.matches(dev) for rule in rules))
        for entry in offer.withheld:
            self.assertTrue(any(r.matches(entry.device) for r in entry.rules))

    def _units_are_unique(self, offer):
        names = [
            name for p in offer.pools for s in p.stocks for name in s.by_id
        ]
        self.assertEqual(len(names), len(set(names)))
        served = [
            (unit.function.name, pool.stable_id)
            for pool in offer.pools
            for stock in pool.stocks
            for unit in stock.units
        ]
        # No function serves two pools.
        self.assertEqual(
            len({name for name, _pool in served}), len(set(served))
        )
        ids = [pool.stable_id for pool in offer.pools]
        self.assertEqual(len(ids), len(set(ids)))

    def _pools_are_sound(self, offer):
        for pool in offer.pools:
            classes = [stock.resource_class for stock in pool.stocks]
            self.assertEqual(len(classes), len(set(classes)))
            for symbol in (*classes, *pool.traits):
                self.assertRegex(symbol, r'\A[A-Z][A-Z0-9_]{0,254}\Z')
            self.assertLessEqual(
                len(naming.provider_name(hosts.NODE.name, pool.stable_id)), 200
            )
            for stock in pool.stocks:
                self.assertTrue(stock.units)
                self.assertEqual(0, len(stock.units) % pool.blocks[0])
                for unit in stock.units:
                    self.assertEqual(unit.function, offer.locate(unit.id))

    def test_offers_are_not_trivial(self):
        # The hosts above do cover what they are meant to cover.
        offers = [
            hosts.offer(*hosts.random_host(random.Random(seed)))
            for seed in range(60)
        ]
        pools = [pool for offer in offers for pool in offer.pools]
        self.assertGreater(len(pools), 40)
        self.assertGreater(sum(len(o.withheld) for o in offers), 100)
        self.assertTrue(any(len(pool.stocks) > 1 for pool in pools))
        self.assertTrue(any(not pool.exclusive for pool in pools))


class LongNodeNameTest(testtools.TestCase):
    def test_provider_names_fit(self):
        node = inventory.Node('n' * 255, hosts.NODE.uuid)
        path = 'path:' + '/1c.0' * 60
        offer = hosts.offer(
            [
                hosts.rule('r', 1, models=('nvidia-233',)),
                hosts.rule('s' * 64, 2, kind='pci'),
            ],
            [hosts.t4(1, ids=(path,)), hosts.pci(2, ids=(f'{path}/2',))],
            node=node,
        )
        for pool in offer.pools:
            name = naming.provider_name(node.name, pool.stable_id)
            self.assertLessEqual(len(name), 200)
        self.assertEqual(2, len(offer.pools))


def calls(function, *args):
    """Count calls, of Python and of C: the same on any machine."""
    count = 0

    def note(frame, event, arg):
        nonlocal count
        count += event in ('call', 'c_call')

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        function(*args)
    finally:
        sys.setprofile(before)
    return count


class GrowthTest(testtools.TestCase):
    def test_effort_grows_with_the_devices_and_no_faster(self):
        def host(cards):
            return [
                dev
                for bus in range(cards)
                for dev in hosts.sriov(bus, 16, models=(hosts.A40_4Q,))
            ]

        def effort(cards):
            rule = hosts.rule('r', *range(cards), dev_types=PF)
            devices = host(cards)
            offer = hosts.offer([rule], devices)
            held = hosts.random_claims(random.Random(1), offer)
            return (
                calls(hosts.offer, [rule], devices),
                calls(inventory.desired, hosts.NODE, offer, held, {}),
            )

        for few, many in zip(effort(4), effort(32), strict=True):
            self.assertLess(many, 8 * 1.1 * few)
