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

from nova_accel.core import device
from nova_accel.core import request
from nova_accel import exception
from tests.unit.core import hosts

Group = request.RequestGroup


@ddt.ddt
class ParseTest(testtools.TestCase):
    @ddt.data(
        ({}, ()),
        ({'hw:cpu_policy': 'dedicated', 'resources': '1'}, ()),
        (
            {'resources:VGPU': '2', 'trait:CUSTOM_A': 'required'},
            (Group('', (('VGPU', 2),), frozenset({'CUSTOM_A'})),),
        ),
        (
            {
                'resources1:VGPU': '1',
                'resources_GPU-b:PGPU': '1',
                'trait_GPU-b:CUSTOM_A': 'forbidden',
                'resources1:CUSTOM_T4': '3',
            },
            (
                Group('1', (('CUSTOM_T4', 3), ('VGPU', 1))),
                Group(
                    '_GPU-b', (('PGPU', 1),), forbidden=frozenset({'CUSTOM_A'})
                ),
            ),
        ),
        # A zero takes away what the flavor would ask for.
        ({'resources:VCPU': '0'}, ()),
        (
            {'resources:VCPU': '0', 'resources:VGPU': '1'},
            (Group('', (('VGPU', 1),)),),
        ),
        # A trait without a resource: a host property.
        (
            {'trait:HW_CPU_X86_AVX2': 'required'},
            (Group('', (), frozenset({'HW_CPU_X86_AVX2'})),),
        ),
    )
    @ddt.unpack
    def test_groups(self, extra_specs, groups):
        self.assertEqual(groups, request.parse(extra_specs).groups)

    @ddt.data(None, 'none', 'isolate')
    def test_group_policy(self, policy):
        extra_specs = {'group_policy': policy} if policy else {}
        self.assertEqual(policy, request.parse(extra_specs).group_policy)

    @ddt.data(
        ('resources:VGPU', '-1', 'whole number'),
        ('resources:VGPU', '1.5', 'whole number'),
        ('resources:VGPU', '', 'whole number'),
        ('resources:VGPU', '1_0', 'whole number'),
        ('resources:VGPU', '٣', 'whole number'),
        ('resources2:VGPU', 'one', 'whole number'),
        ('resources:vgpu', '1', "'vgpu' is not a name"),
        ('resources:', '1', "'' is not a name"),
        ('trait:CUSTOM_A B', 'required', 'upper-case'),
        ('trait:CUSTOM_A', 'preferred', 'required or forbidden'),
        ('trait1:CUSTOM_A', '', 'required or forbidden'),
        ('group_policy', 'any', 'none or isolate'),
    )
    @ddt.unpack
    def test_problem_names_its_key(self, key, value, words):
        error = self.assertRaises(
            exception.InvalidRequest, request.parse, {key: value}
        )
        self.assertIn(f'{key}={value}: ', str(error))
        self.assertIn(words, str(error))

    def test_traits_of_the_image_join_the_unsuffixed_group(self):
        asked = request.parse(
            {'resources:VGPU': '1', 'resources1:PGPU': '1'}, ['CUSTOM_A']
        )
        self.assertEqual(
            (
                Group('', (('VGPU', 1),), frozenset({'CUSTOM_A'})),
                Group('1', (('PGPU', 1),)),
            ),
            asked.groups,
        )
        self.assertEqual(
            (Group('', (), frozenset({'CUSTOM_A'})),),
            request.parse({}, ['CUSTOM_A']).groups,
        )

    def test_amounts(self):
        asked = request.parse(
            {
                'resources:VGPU': '1',
                'resources1:VGPU': '2',
                'resources2:PGPU': '4',
            }
        )
        self.assertEqual(3, asked.amount('VGPU'))
        self.assertEqual(0, asked.amount('VCPU'))
        self.assertEqual(
            [1, 2, 0], [group.amount('VGPU') for group in asked.groups]
        )


class WantsTest(testtools.TestCase):
    def test_split(self):
        root = {'resources': {'VCPU': 2, 'MEMORY_MB': 512}, 'generation': 3}
        allocations = {
            'root': root,
            'card1': {'resources': {'VGPU': 2}, 'generation': 1},
            'card2': {'resources': {'PGPU': 1, 'CUSTOM_A': 4}},
        }
        wants = request.wants(allocations, {'card1', 'card2', 'card3'})
        self.assertEqual(
            {'card1': {'VGPU': 2}, 'card2': {'PGPU': 1, 'CUSTOM_A': 4}},
            wants.ours,
        )
        self.assertEqual({'root': root}, wants.rest)

    def test_nothing(self):
        for allocations in (None, {}):
            wants = request.wants(allocations, {'card1'})
            self.assertEqual(({}, {}), (wants.ours, wants.rest))


def properties(rule, *devices, **kwargs):
    (pool,) = hosts.offer([rule], devices).pools
    return [
        request.flavor_properties(pool, stock, **kwargs)
        for stock in pool.stocks
    ]


class FlavorTest(testtools.TestCase):
    def test_standard_class_needs_the_model(self):
        rule = hosts.rule('r', 1, models=('nvidia-233',))
        self.assertEqual(
            [
                [
                    ('resources:VGPU', '2'),
                    ('trait:CUSTOM_ACCEL_MODEL_GRID_T4_8Q', 'required'),
                ]
            ],
            properties(rule, hosts.t4(1), amount=2),
        )

    def test_standard_class_needs_the_product(self):
        rule = hosts.rule('r', 1, kind='pci', resource_class='PGPU')
        self.assertEqual(
            [
                [
                    ('resources:PGPU', '1'),
                    ('trait:CUSTOM_ACCEL_PRODUCT_10DE_20B5', 'required'),
                ]
            ],
            properties(rule, hosts.pci(1)),
        )

    def test_custom_class_says_it_all(self):
        rule = hosts.rule('r', 1, mode='dynamic')
        self.assertEqual(
            [
                [('resources:CUSTOM_VGPU_GRID_T4_1Q', '1')],
                [('resources:CUSTOM_VGPU_GRID_T4_8Q', '1')],
            ],
            properties(rule, hosts.t4(1)),
        )
        self.assertEqual(
            [[('resources:CUSTOM_PCI_10DE_20B5', '8')]],
            properties(hosts.rule('r', 1, kind='pci'), hosts.pci(1), amount=8),
        )

    def test_what_it_says_can_be_read_back(self):
        model = device.VgpuModel('nvidia-1', 'GRID T4-1Q "ü"', 1)
        rule = hosts.rule('r', 1)
        (pool,) = hosts.offer([rule], [hosts.t4(1, models=(model,))]).pools
        (stock,) = pool.stocks
        (group,) = request.parse(
            dict(request.flavor_properties(pool, stock, 1))
        ).groups
        self.assertEqual(1, group.amount(stock.resource_class))
        self.assertLessEqual(group.required, pool.traits)
        self.assertNotEqual(frozenset(), group.required)
