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

import ddt
from oslo_versionedobjects import base as ovo_base
from oslo_versionedobjects import fields
from oslo_versionedobjects import fixture
import testtools

from nova_accel.core import device
from nova_accel.core import inventory
from nova_accel.core import naming
from nova_accel.objects import base
from nova_accel.objects import vgpu_capabilities
from tests.unit.objects import sample

# A fingerprint may change together with its version only: a new field or a
# changed one means a new minor version, with its line in obj_relationships.
FINGERPRINTS = {
    'VGPUCapabilities': '1.1-5f725a07cf27ca65f88b3f9532bce182',
    'VGPUCardCapability': '1.0-b35fffae7ec7d1f80e37b9d324dcda01',
    'VGPUModelCapability': '1.0-3ca90577aeedf55125bab3905d955447',
}


def _relationships(cls: type[ovo_base.VersionedObject]) -> tuple[object, ...]:
    return (sorted(cls.obj_relationships.items()),)


class TestVersions(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.checker = fixture.ObjectVersionChecker(
            base.AccelObjectRegistry.obj_classes()
        )

    def test_registry_lists_ours_only(self) -> None:
        self.assertEqual(
            set(FINGERPRINTS), set(base.AccelObjectRegistry.obj_classes())
        )

    def test_fingerprints(self) -> None:
        expected, actual = self.checker.test_hashes(
            FINGERPRINTS, extra_data_func=_relationships
        )
        self.assertEqual(
            expected,
            actual,
            'An object changed: give it a new version, say what it adds '
            'above VERSION and in obj_relationships, and only then enter '
            'the new fingerprint here.',
        )

    def test_children_are_of_the_version_that_is_declared(self) -> None:
        classes = base.AccelObjectRegistry.obj_classes()
        parent = vgpu_capabilities.VGPUCapabilities
        newest = {
            field: versions[-1]
            for field, versions in parent.obj_relationships.items()
        }
        children = {
            'models': 'VGPUModelCapability',
            'cards': 'VGPUCardCapability',
        }
        self.assertEqual(
            {
                field: (parent.VERSION, classes[name][0].VERSION)
                for field, name in children.items()
            },
            newest,
        )
        self.checker.test_relationships_in_order()

    def test_backports(self) -> None:
        self.checker.test_compatibility_routines()
        self.checker.test_compatibility_routines(use_manifest=True)

    def test_namespace_is_not_nova_s(self) -> None:
        primitive = vgpu_capabilities.VGPUCapabilities(
            models=[], cards=[]
        ).obj_to_primitive()
        self.assertEqual('nova_accel', primitive['accel.namespace'])


class TestConversion(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        card = sample.card('1', ('VGPU', sample.T4_8Q))
        self.capabilities = vgpu_capabilities.from_offer(
            sample.NODE, sample.offer(card), ()
        )

    def test_1_0_has_no_cards(self) -> None:
        primitive = self.capabilities.obj_to_primitive(target_version='1.0')
        self.assertEqual('1.0', primitive['accel.version'])
        self.assertEqual({'models'}, set(primitive['accel.data']))

    def test_code_of_1_0_reads_it(self) -> None:
        self.useFixture(fixture.VersionedObjectRegistryFixture())

        class VGPUCapabilities(base.AccelObject):
            VERSION = '1.0'
            fields = {
                'models': fields.ListOfObjectsField('VGPUModelCapability')
            }

        classes = ovo_base.VersionedObjectRegistry.obj_classes()
        del classes['VGPUCapabilities'], classes['VGPUCardCapability']
        base.AccelObjectRegistry.register(VGPUCapabilities)

        read = base.AccelObject.obj_from_primitive(
            self.capabilities.obj_to_primitive(target_version='1.0')
        )
        self.assertIsInstance(read, VGPUCapabilities)
        self.assertEqual('GRID T4-8Q', read.models[0].name)

    def test_code_of_1_1_reads_1_0(self) -> None:
        read = vgpu_capabilities.VGPUCapabilities.obj_from_primitive(
            self.capabilities.obj_to_primitive(target_version='1.0')
        )
        self.assertFalse(read.obj_attr_is_set('cards'))
        self.assertEqual(2, read.models[0].total)

    def test_code_of_1_1_reads_1_1(self) -> None:
        primitive = self.capabilities.obj_to_primitive()
        read = vgpu_capabilities.VGPUCapabilities.obj_from_primitive(primitive)
        self.assertEqual(primitive, read.obj_to_primitive())
        self.assertEqual(['sn:1'], [card.stable_id for card in read.cards])


BOTH = (
    ('CUSTOM_VGPU_GRID_T4_2Q', sample.T4_2Q),
    ('CUSTOM_VGPU_GRID_T4_8Q', sample.T4_8Q),
)


@ddt.ddt
class TestFromOffer(testtools.TestCase):
    def _free(
        self, exclusive: bool, held: dict[str, int]
    ) -> vgpu_capabilities.VGPUCapabilities:
        card = sample.card('1', *BOTH, exclusive=exclusive)
        claims = [
            claim
            for rc, amount in held.items()
            for claim in sample.claims(card, rc, amount)
        ]
        return vgpu_capabilities.from_offer(
            sample.NODE, sample.offer(card), claims
        )

    # one model per card?, 2Q held, 8Q held -> 2Q free, 8Q free
    @ddt.data(
        (True, 0, 0, 8, 2),
        (True, 3, 0, 5, 0),
        (True, 8, 0, 0, 0),
        (True, 0, 1, 0, 1),
        (False, 0, 0, 8, 2),
        (False, 3, 1, 5, 1),
        (False, 8, 2, 0, 0),
    )
    @ddt.unpack
    def test_free(
        self, exclusive: bool, held_2: int, held_8: int, two: int, eight: int
    ) -> None:
        found = self._free(
            exclusive, {sample.CLASS_2Q: held_2, sample.CLASS_8Q: held_8}
        )
        self.assertEqual(
            {sample.CLASS_2Q: two, sample.CLASS_8Q: eight}, found.cards[0].free
        )
        self.assertEqual(
            {sample.CLASS_2Q: 8, sample.CLASS_8Q: 2}, found.cards[0].total
        )
        self.assertEqual(not exclusive, found.cards[0].mixed)

    @ddt.data(
        ({}, []),
        ({sample.CLASS_8Q: 2}, ['nvidia-233']),
    )
    @ddt.unpack
    def test_held(self, held: dict[str, int], types: list[str]) -> None:
        self.assertEqual(types, self._free(True, held).cards[0].held)

    def test_model_in_full(self) -> None:
        card = sample.card('1', ('VGPU', sample.T4_8Q))
        found = vgpu_capabilities.from_offer(
            sample.NODE, sample.offer(card), sample.claims(card, 'VGPU', 1)
        )
        self.assertEqual(
            {
                'name': 'GRID T4-8Q',
                'type_id': 'nvidia-233',
                'resource_class': 'VGPU',
                'vendor_id': '10de',
                'framebuffer_mib': 8192,
                'max_heads': 4,
                'max_resolution': '7680x4320',
                'total': 2,
                'free': 1,
            },
            {
                name: getattr(found.models[0], name)
                for name in found.models[0].fields
            },
        )

    def test_what_is_unknown_is_none(self) -> None:
        card = sample.card('1', ('VGPU', sample.M60_0B))
        found = vgpu_capabilities.from_offer(
            sample.NODE, sample.offer(card), ()
        )
        model = found.models[0]
        self.assertEqual(
            (None, None, None),
            (model.framebuffer_mib, model.max_heads, model.max_resolution),
        )

    def test_cards_of_one_model_add_up(self) -> None:
        one = sample.card('1', ('VGPU', sample.T4_8Q))
        smaller = dataclasses.replace(sample.T4_8Q, capacity=1)
        two = sample.card('2', ('VGPU', smaller))
        found = vgpu_capabilities.from_offer(
            sample.NODE, sample.offer(one, two), sample.claims(two, 'VGPU', 1)
        )
        self.assertEqual(
            [(3, 2)], [(model.total, model.free) for model in found.models]
        )
        self.assertEqual(
            [sample.provider(one), sample.provider(two)],
            [card.provider for card in found.cards],
        )

    def test_one_class_for_different_models_of_two_cards(self) -> None:
        one = sample.card('1', ('VGPU', sample.T4_8Q))
        two = sample.card('2', ('VGPU', sample.M60_0B))
        found = vgpu_capabilities.from_offer(
            sample.NODE, sample.offer(one, two), ()
        )
        self.assertEqual(
            ['GRID T4-8Q', 'GRID M60-0B'],
            [found.model_of(card, 'VGPU') for card in found.cards],
        )
        self.assertIsNone(found.model_of(found.cards[0], 'CUSTOM_OTHER'))

    def test_model_withdrawn_and_still_held(self) -> None:
        held = sample.claims(sample.card('1', *BOTH), sample.CLASS_2Q, 1)
        now = sample.card('1', BOTH[1])
        found = vgpu_capabilities.from_offer(
            sample.NODE, sample.offer(now), held
        )
        self.assertEqual(['nvidia-231'], found.cards[0].held)
        self.assertEqual({sample.CLASS_8Q: 0}, found.cards[0].free)

    def test_what_a_stranger_occupies_is_not_free(self) -> None:
        card = sample.card('1', *BOTH)
        stranger = device.Mdev(
            '0a5d2a3e-6c55-4c7c-9f62-5f2f37f6a101', 'nvidia-231', 'pci_1'
        )
        offer = sample.offer(card)
        found = vgpu_capabilities.from_offer(
            sample.NODE, offer, inventory.occupied(offer, [stranger])
        )
        self.assertEqual(
            {sample.CLASS_2Q: 7, sample.CLASS_8Q: 0}, found.cards[0].free
        )

    def test_whole_devices_are_no_vgpus(self) -> None:
        dev = sample.card('1', *BOTH).devices[0]
        unit = inventory.Unit(naming.UnitId('sn:1'), dev)
        pool = dataclasses.replace(
            sample.card('1'),
            stocks=(inventory.Stock('CUSTOM_PCI_10DE_1EB8', (unit,)),),
        )
        found = vgpu_capabilities.from_offer(
            sample.NODE, sample.offer(pool), ()
        )
        self.assertEqual(([], []), (found.models, found.cards))

    def test_nothing_looks_changed(self) -> None:
        found = self._free(True, {})
        self.assertEqual(set(), found.obj_what_changed())
