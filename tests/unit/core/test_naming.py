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
import doctest
import re
import uuid

import ddt
import testtools

from nova_accel.core import naming

NODE_UUID = '5f2f0b4e-6a0c-4ac7-8f0f-2d1f7c6a9d11'
SYMBOL = re.compile(r'CUSTOM_[A-Z0-9_]{1,248}', re.ASCII)


def load_tests(loader, tests, pattern):
    tests.addTests(doctest.DocTestSuite(naming))
    return tests


@ddt.ddt
class PinnedTest(testtools.TestCase):
    """Names that hosts in use already bear: a change would orphan them."""

    RP = 'a2bc3d23-6036-5566-8c99-ee9102655b63'

    @ddt.data(
        (naming.provider_uuid(NODE_UUID, 'sn:42'), RP),
        (
            naming.mdev_uuid(RP, 'sn:42/nvidia-233/0'),
            'b1e17fce-3820-5ae7-a824-c8c57d54285c',
        ),
        (naming.missing_trait('sn:42'), 'CUSTOM_ACCEL_MISSING_642B7F9C'),
        (
            naming.fit('host1', 'path:' + '/1c.0' * 60)[150:],
            '/1c.0~03eccfdeab669656cff8e4987c63f2cb',
        ),
        (
            naming.provider_name('h' * 101, 'sn:42')[60:],
            'hhhhhhh~6ae0b9c12c166a2cc1db91f8c2bcf01c_accel_sn:42',
        ),
        (
            naming.pool_prefix('r' * 64),
            'pool:rrrrrrr~c9ea6f42c8efcb14ad78fe636f776ba7:',
        ),
        (naming.vgpu_class('x' * 300)[235:], 'XXX_FC2A609904A43EFA'),
    )
    @ddt.unpack
    def test_name(self, name, expected):
        self.assertEqual(expected, name)


@ddt.ddt
class ProviderNameTest(testtools.TestCase):
    @ddt.data('host1', 'h' * 100, 'h' * 101, 'h' * 255)
    def test_name_fits_and_is_recognised(self, node):
        for length in (1, 50, 92, 93, 94, 200, 4000):
            stable_id = naming.fit(node, 'x' * length)
            name = naming.provider_name(node, stable_id)
            self.assertLessEqual(len(name), 200)
            rp = naming.provider_uuid(NODE_UUID, stable_id)
            self.assertEqual(
                stable_id, naming.stable_id_of(node, NODE_UUID, name, rp)
            )

    def test_readable_where_there_is_room(self):
        self.assertEqual(
            'host1_accel_sn:42',
            naming.provider_name('host1', naming.fit('host1', 'sn:42')),
        )

    def test_fit_is_stable_and_keeps_ids_apart(self):
        ids = ['path:' + '/1c.0' * n for n in range(60, 64)]
        fitted = [naming.fit('host1', stable_id) for stable_id in ids]
        self.assertEqual(len(ids), len(set(fitted)))
        self.assertEqual(fitted, [naming.fit('host1', i) for i in fitted])

    @ddt.data(
        # Another node's, stock nova's, and one that only looks like ours.
        ('host2_accel_sn:42', 'sn:42'),
        ('host1_pci_0000_3b_00_0', 'sn:42'),
        ('host1_accel_sn:42', 'sn:43'),
    )
    @ddt.unpack
    def test_others_are_not_ours(self, name, made_of):
        rp = naming.provider_uuid(NODE_UUID, made_of)
        self.assertIsNone(naming.stable_id_of('host1', NODE_UUID, name, rp))

    def test_uuid_depends_on_node_and_id(self):
        other = str(uuid.uuid4())
        self.assertEqual(
            3,
            len(
                {
                    naming.provider_uuid(NODE_UUID, 'sn:1'),
                    naming.provider_uuid(NODE_UUID, 'sn:2'),
                    naming.provider_uuid(other, 'sn:1'),
                }
            ),
        )


class PoolIdTest(testtools.TestCase):
    def test_places(self):
        places = [
            naming.numa_place(0),
            naming.numa_place(None),
            naming.HOST_WIDE,
        ]
        self.assertEqual(
            [
                'pool:a100:10de-20b5:numa0',
                'pool:a100:10de-20b5:numa-unknown',
                'pool:a100:10de-20b5:host',
            ],
            [naming.pool_id('a100', '10de', '20b5', p) for p in places],
        )

    def test_longest_rule_on_longest_node_needs_no_hash_of_the_whole(self):
        # Else a pool could not be told from its prefix.
        for rule in ('r' * 64, 'r' * 63 + 'x'):
            stable_id = naming.pool_id(
                rule, '10de', '20b5', naming.numa_place(None)
            )
            self.assertEqual(stable_id, naming.fit('h' * 255, stable_id))
            self.assertTrue(stable_id.startswith(naming.pool_prefix(rule)))
        self.assertFalse(stable_id.startswith(naming.pool_prefix('r' * 64)))

    def test_prefix_is_of_one_rule_only(self):
        stable_id = naming.pool_id('a100-80', '10de', '20b5', 'host')
        self.assertFalse(stable_id.startswith(naming.pool_prefix('a100')))

    def test_pool_and_card(self):
        self.assertTrue(naming.is_pool('pool:a:10de-20b5:host'))
        self.assertFalse(naming.is_pool('sn:pool'))


@ddt.ddt
class UnitIdTest(testtools.TestCase):
    @ddt.data(
        (naming.UnitId('sn:42'), 'sn:42', False),
        (naming.UnitId('sn:42', 'vf', 3), 'sn:42/vf/3', False),
        (
            naming.UnitId('sn:42', 'nvidia-233', 11),
            'sn:42/nvidia-233/11',
            True,
        ),
        (
            naming.UnitId('path:00/1c.0', 'a b/ü%', 0),
            'path:00%2F1c.0/a b%2F%C3%BC%25/0',
            True,
        ),
    )
    @ddt.unpack
    def test_round_trip(self, unit, text, is_vgpu):
        self.assertEqual(text, str(unit))
        self.assertEqual(unit, naming.UnitId.parse(text))
        self.assertEqual(is_vgpu, unit.is_vgpu)

    @ddt.data(
        '',
        '/',
        'sn:42/',
        'sn:42/vf',
        'sn:42/vf/',
        'sn:42//0',
        '/vf/0',
        'sn:42/vf/x',
        'sn:42/vf/-1',
        'sn:42/vf/²',
        'sn:42/vf/0/1',
        # Other spellings of a unit are not its identifier.
        'sn:42/vf/03',
        'sn%3A42',
        'sn:42/vf/٣',
    )
    def test_anything_else_is_refused(self, text):
        error = self.assertRaises(ValueError, naming.UnitId.parse, text)
        self.assertIn(repr(text), str(error))

    def test_mdev_uuid_belongs_to_one_unit_of_one_provider(self):
        one, other = (str(uuid.uuid4()) for _ in range(2))
        self.assertEqual(
            naming.mdev_uuid(one, 'sn:42/nvidia-233/0'),
            naming.mdev_uuid(one, 'sn:42/nvidia-233/0'),
        )
        self.assertNotEqual(
            naming.mdev_uuid(one, 'sn:42/nvidia-233/0'),
            naming.mdev_uuid(other, 'sn:42/nvidia-233/0'),
        )


@ddt.ddt
class SymbolTest(testtools.TestCase):
    @ddt.data(
        (naming.vgpu_class('GRID T4-8Q'), 'CUSTOM_VGPU_GRID_T4_8Q'),
        (naming.pci_class('10de', '20b5'), 'CUSTOM_PCI_10DE_20B5'),
        (naming.vendor_trait('10de'), 'CUSTOM_ACCEL_VENDOR_10DE'),
        (
            naming.product_trait('10de', '20b5'),
            'CUSTOM_ACCEL_PRODUCT_10DE_20B5',
        ),
        (
            naming.model_trait('NVIDIA A40-4Q'),
            'CUSTOM_ACCEL_MODEL_NVIDIA_A40_4Q',
        ),
        (naming.heads_trait(4), 'HW_GPU_MAX_DISPLAY_HEADS_4'),
        (naming.heads_trait(3), None),
        (naming.resolution_trait(1024, 768), 'HW_GPU_RESOLUTION_W1024H768'),
        (naming.resolution_trait(1, 1), None),
    )
    @ddt.unpack
    def test_names(self, symbol, expected):
        self.assertEqual(expected, symbol)

    @ddt.data('', 'x' * 300, 'ü', '٣', '-', 'a\nb', 'CUSTOM_X')
    def test_placement_accepts_whatever_the_vendor_wrote(self, name):
        for symbol in (naming.vgpu_class(name), naming.model_trait(name)):
            self.assertIsNotNone(SYMBOL.fullmatch(symbol), symbol)

    def test_long_names_stay_apart(self):
        self.assertNotEqual(
            naming.vgpu_class('x' * 300), naming.vgpu_class('x' * 301)
        )

    def test_missing_traits(self):
        one = naming.missing_trait('sn:1')
        self.assertNotEqual(one, naming.missing_trait('sn:2'))
        self.assertIsNotNone(SYMBOL.fullmatch(one))
        self.assertTrue(naming.is_missing_trait(one))
        self.assertTrue(naming.is_missing_trait(naming.MISSING))
        self.assertFalse(naming.is_missing_trait(naming.MANAGED))


class WhoTest(testtools.TestCase):
    def test_both_directions(self) -> None:
        trait = naming.who_trait('sn:1', '10de-1eb8')
        self.assertRegex(trait, '^CUSTOM_ACCEL_WHO_[0-9A-F]{8}_[0-9A-F]{8}$')
        self.assertEqual(
            (naming.short_id('sn:1'), naming.short_id('10de-1eb8')),
            naming.read_who(trait),
        )

    def test_no_other_trait_is_one(self) -> None:
        for trait in (naming.MANAGED, 'CUSTOM_ACCEL_WHO_1', 'CUSTOM_CUDA'):
            self.assertIsNone(naming.read_who(trait))
