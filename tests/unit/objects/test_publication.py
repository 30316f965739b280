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
import json
import logging
import random

import ddt
import fixtures
from oslo_serialization import jsonutils
from oslo_versionedobjects import fields
from oslo_versionedobjects import fixture
import testtools

from nova_accel.core import device
from nova_accel.core import naming
from nova_accel.objects import base
from nova_accel.objects import publication
from nova_accel.objects import vgpu_capabilities
from tests.unit.objects import sample

KEY = publication.KEY

# What a node of version 1.0 writes, letter by letter.
BY_1_0 = (
    '{"accel.name":"VGPUCapabilities","accel.namespace":"nova_accel",'
    '"accel.version":"1.0","accel.data":{"models":[{"accel.name":'
    '"VGPUModelCapability","accel.namespace":"nova_accel","accel.version":'
    '"1.0","accel.data":{"name":"GRID T4-8Q","type_id":"nvidia-233",'
    '"resource_class":"VGPU","vendor_id":"10de","framebuffer_mib":8192,'
    '"max_heads":4,"max_resolution":"7680x4320","total":2,"free":1}}]}}'
)


def capabilities(
    cards: int, models: int, name: str = 'GRID T4'
) -> vgpu_capabilities.VGPUCapabilities:
    offered = [
        device.VgpuModel(f'nvidia-{n}', f'{name}-{n}Q', 8, 2048, 4)
        for n in range(models)
    ]
    pools = [
        sample.card(
            f'13226210{n:05}',
            *((naming.vgpu_class(model.name), model) for model in offered),
        )
        for n in range(cards)
    ]
    return vgpu_capabilities.from_offer(
        sample.NODE,
        sample.offer(*pools),
        sample.claims(pools[0], naming.vgpu_class(offered[0].name), 3),
    )


def column(stats: dict[str, object]) -> int:
    """Bytes of compute_nodes.stats, as nova writes it."""
    return len(jsonutils.dumps(stats).encode())


@ddt.ddt
class TestPublish(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger())

    # cards, models of each, their names -> what is left of it
    @ddt.data(
        (1, 1, 'GRID T4', '1.1', 1, 1),
        (16, 8, 'GRID T4', '1.1', 8, 16),
        # Not ASCII costs more once escaped.
        (1, 30, 'Ω' * 40, '1.1', 30, 1),
        (1, 40, 'Ω' * 40, '1.0', 40, 0),
        (32, 8, 'GRID T4', '1.0', 8, 0),
        (1, 100, 'GRID T4', '1.0', 100, 0),
        (300, 1, 'GRID T4', '1.0', 1, 0),
    )
    @ddt.unpack
    def test_column_keeps_its_limit(
        self,
        cards: int,
        models: int,
        name: str,
        version: str,
        models_left: int,
        cards_left: int,
    ) -> None:
        stats = publication.into({}, capabilities(cards, models, name))
        self.assertLess(column(stats), publication.LIMIT)
        self.assertEqual(version, json.loads(stats[KEY])['accel.version'])
        found = publication.load(stats)
        assert found is not None
        self.assertEqual(models_left, len(found.models))
        self.assertEqual(cards_left, len(found.cards))
        self.assertEqual(
            cards * models * 8, sum(m.total for m in found.models)
        )

    # models -> entries left: one a resource class, one for all
    @ddt.data((80, 80), (200, 1))
    @ddt.unpack
    def test_totals_remain(self, models: int, entries: int) -> None:
        whole = capabilities(2, models, 'NVIDIA RTX PRO 6000 Blackwell')
        stats = publication.into({}, whole)
        found = publication.load(stats)
        assert found is not None
        self.assertEqual(entries, len(found.models))
        self.assertEqual({None}, {model.name for model in found.models})
        for count in ('total', 'free'):
            self.assertEqual(
                sum(getattr(model, count) for model in whole.models),
                sum(getattr(model, count) for model in found.models),
            )

    def test_nothing_is_published_without_any_room(self) -> None:
        self.assertEqual('', publication.publish(capabilities(1, 1), 10))
        self.assertIsNone(publication.load({KEY: ''}))

    def test_others_in_the_column_count(self) -> None:
        whole = capabilities(16, 8)
        projects = {f'num_proj_{n:032x}': '1' for n in range(300)}
        alone = publication.into({}, whole)
        crowded = publication.into({}, whole, others={**projects, **alone})
        self.assertLess(len(crowded[KEY]), len(alone[KEY]))
        self.assertLess(column({**projects, **crowded}), publication.LIMIT)
        # What we wrote the last time does not.
        self.assertEqual(alone, publication.into({}, whole, others=alone))

    def test_weight_is_the_share_of_the_column(self) -> None:
        text = publication.publish(capabilities(2, 2, 'Größe'), 10**6)
        others = {'io_workload': '0', 'num_instances': '3'}
        self.assertEqual(
            publication.weight(text),
            column({**others, KEY: text}) - column(others),
        )

    def test_driver_s_own_stats_stay(self) -> None:
        stats = {'failed_builds': '2'}
        found = publication.into(stats, capabilities(1, 1))
        self.assertEqual({'failed_builds', KEY}, set(found))
        self.assertEqual({'failed_builds': '2'}, stats)

    def test_cutting_is_said_once(self) -> None:
        publication._warn.cache_clear()
        for _ in range(3):
            publication.into({}, capabilities(1, 1))
            publication.into({}, capabilities(32, 8))
        self.assertEqual(1, self.log.output.count('go without cards'))


@ddt.ddt
class TestLoad(testtools.TestCase):
    def test_both_ways(self) -> None:
        whole = capabilities(2, 3)
        found = publication.load(publication.into({}, whole))
        assert found is not None
        self.assertEqual(whole.obj_to_primitive(), found.obj_to_primitive())

    def test_node_of_1_0(self) -> None:
        found = publication.load({KEY: BY_1_0})
        assert found is not None
        self.assertEqual('GRID T4-8Q', found.models[0].name)
        self.assertEqual([], found.cards)

    def test_1_0_is_still_written_the_same_way(self) -> None:
        found = publication.load({KEY: BY_1_0})
        assert found is not None
        self.assertEqual(
            json.loads(BY_1_0), found.obj_to_primitive(target_version='1.0')
        )

    def _written_by_tomorrow(self, version: str) -> str:
        """A value by code that knows more than we do."""
        with fixture.VersionedObjectRegistryFixture():

            @base.AccelObjectRegistry.register
            class VGPULinkCapability(base.AccelObject):
                VERSION = '1.0'
                fields = {'peer': fields.StringField()}

            @base.AccelObjectRegistry.register
            class VGPUCardCapability(vgpu_capabilities.VGPUCardCapability):
                VERSION = '1.1'
                fields = {
                    'links': fields.ListOfObjectsField('VGPULinkCapability')
                }

            @base.AccelObjectRegistry.register
            class VGPUCapabilities(vgpu_capabilities.VGPUCapabilities):
                fields = {'driver': fields.StringField()}

            VGPUCapabilities.VERSION = version
            today = capabilities(1, 1)
            link = VGPULinkCapability(peer='sn:2')
            cards = [
                VGPUCardCapability(
                    links=[link],
                    **{name: getattr(card, name) for name in card.fields},
                )
                for card in today.cards
            ]
            tomorrow = VGPUCapabilities(
                models=today.models, cards=cards, driver='570.1'
            )
            tomorrow.obj_reset_changes(recursive=True)
            return json.dumps(tomorrow.obj_to_primitive())

    def test_node_of_tomorrow(self) -> None:
        text = self._written_by_tomorrow('1.2')
        found = publication.load({KEY: text})
        assert found is not None
        self.assertEqual(
            capabilities(1, 1).obj_to_primitive(), found.obj_to_primitive()
        )

    def test_node_of_another_age(self) -> None:
        text = self._written_by_tomorrow('2.0')
        self.assertIsNone(publication.load({KEY: text}))

    @ddt.data(
        None,
        {},
        'text',
        {KEY: None},
        {KEY: 1},
        {KEY: {}},
        {KEY: ''},
        {KEY: 'x'},
        {KEY: 'null'},
        {KEY: '[]'},
        {KEY: '{}'},
        {KEY: '"VGPUCapabilities"'},
        {KEY: '[' * 60000},
        {KEY: '1' * 60000},
        {KEY: BY_1_0 + ' ' * 70000},
        {KEY: BY_1_0[:-1]},
        {KEY: BY_1_0.replace('VGPUCapabilities', 'Instance')},
        {KEY: BY_1_0.replace('VGPUCapabilities', 'VGPUModelCapability')},
        {KEY: BY_1_0.replace('VGPUModelCapability', 'VGPUCapabilities')},
        {KEY: BY_1_0.replace('"nova_accel"', '"nova"')},
        {KEY: BY_1_0.replace('"1.0"', '"one"')},
        {KEY: BY_1_0.replace('"1.0"', 'null')},
        {KEY: BY_1_0.replace('"1.0"', '{}')},
        {KEY: BY_1_0.replace('"total":2,', '')},
        {KEY: BY_1_0.replace('"total":2', '"total":-2')},
        {KEY: BY_1_0.replace('"total":2', '"total":1e999')},
        {KEY: BY_1_0.replace('"total":2', '"total":NaN')},
        {
            KEY: BY_1_0.replace(
                '"resource_class":"VGPU"', '"resource_class":[]'
            )
        },
    )
    def test_what_is_wrong_is_nothing(self, stats: object) -> None:
        log = self.useFixture(fixtures.FakeLogger(level=logging.INFO))
        publication._load.cache_clear()
        self.assertIsNone(publication.load(stats))  # type: ignore[arg-type]
        self.assertEqual('', log.output)

    def test_fuzzed(self) -> None:
        """Whatever we make of a damaged value can be used."""
        chance = random.Random(7)
        whole = publication.publish(capabilities(2, 2), 10**6)
        understood = 0
        for _ in range(400):
            found = publication.load({KEY: damaged(chance, whole)})
            if found is not None:
                understood += 1
                use(found)
        self.assertGreater(understood, 0)
        self.assertLess(understood, 400)

    def test_fuzzed_values(self) -> None:
        chance = random.Random(11)
        whole = json.loads(publication.publish(capabilities(2, 2), 10**6))
        understood = 0
        for _ in range(400):
            text = json.dumps(mutated(chance, whole, 0.02))
            found = publication.load({KEY: text})
            if found is not None:
                understood += 1
                use(found)
        self.assertGreater(understood, 0)
        self.assertLess(understood, 400)


def damaged(chance: random.Random, text: str) -> str:
    """Text with a few characters changed, lost or doubled."""
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(len(text))
        replacement = chance.choice(['', '"', '{', '0', '\ud800', text[at:]])
        text = text[:at] + replacement + text[at + 1 :]
    return text


JUNK = (None, -1, 2**70, 1.5, '', 'x' * 300, [], {}, [None], {'': None}, True)


def mutated(chance: random.Random, node: object, share: float) -> object:
    """A document with some of its values replaced by junk."""
    if chance.random() < share:
        return chance.choice(JUNK)
    if isinstance(node, list):
        return [mutated(chance, item, share) for item in node]
    if isinstance(node, dict):
        return {k: mutated(chance, v, share) for k, v in node.items()}
    return node


def use(found: vgpu_capabilities.VGPUCapabilities) -> None:
    """Touch everything that a reader may touch."""
    for card in found.cards:
        for rc in card.types:
            found.model_of(card, rc)
        for name in card.fields:
            getattr(card, name)
    for model in found.models:
        for name in model.fields:
            getattr(model, name)
