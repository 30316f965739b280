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
import typing as ty

import ddt
import testtools

from nova_accel.core import request
from nova_accel import exception
from nova_accel.objects import vgpu_capabilities
from nova_accel.scheduler import rules
from tests.unit.objects import sample

MODEL_8Q = 'CUSTOM_ACCEL_MODEL_GRID_T4_8Q'
MODEL_2Q = 'CUSTOM_ACCEL_MODEL_GRID_T4_2Q'
EIGHT = {'resources:CUSTOM_VGPU_GRID_T4_8Q': '1'}
TWO = {'resources:CUSTOM_VGPU_GRID_T4_2Q': '1'}
ANY = {'resources:VGPU': '1'}

NO_VGPU = exception.ImageNeedsVGPU
OTHER = exception.ImageNeedsOtherModel
IN_GROUP = exception.ImageModelInGroup


@ddt.ddt
class TestImage(testtools.TestCase):
    def _settle(self, specs: dict[str, str], *traits: str) -> frozenset[str]:
        return rules.settled_by_groups(
            request.parse(specs),
            traits,
            lambda trait: trait in (MODEL_2Q, MODEL_8Q),
            image='desktop',
            flavor='v1',
        )

    # Placement finds it, or not, in the group without a suffix.
    @ddt.data(
        ANY,
        EIGHT,
        {**EIGHT, **TWO},
        {'resources:CUSTOM_T4': '2'},
        {'resources:CUSTOM_VGPU_LARGE': '1'},
        {**ANY, 'resources1:VGPU': '1'},
        {**EIGHT, 'resources1:CUSTOM_VGPU_GRID_T4_2Q': '1'},
    )
    def test_left_to_placement(self, specs: dict[str, str]) -> None:
        self.assertEqual(frozenset(), self._settle(specs, MODEL_8Q))

    @ddt.data(
        {'resources1:VGPU': '1', f'trait1:{MODEL_8Q}': 'required'},
        {'resources_GPU:CUSTOM_VGPU_GRID_T4_8Q': '1'},
        {
            'resources_A:VGPU': '1',
            'resources_B:CUSTOM_T4': '1',
            f'trait_B:{MODEL_8Q}': 'required',
        },
        # Placement would want it of the other card as well.
        {**TWO, 'resources1:VGPU': '1', f'trait1:{MODEL_8Q}': 'required'},
    )
    def test_settled_by_a_group(self, specs: dict[str, str]) -> None:
        self.assertEqual(frozenset({MODEL_8Q}), self._settle(specs, MODEL_8Q))

    def test_each_model_by_itself(self) -> None:
        specs = {
            **EIGHT,
            'resources1:VGPU': '1',
            f'trait1:{MODEL_2Q}': 'required',
        }
        self.assertEqual(
            frozenset({MODEL_2Q}), self._settle(specs, MODEL_8Q, MODEL_2Q)
        )

    @ddt.data(
        ({}, NO_VGPU),
        ({'resources:VCPU': '2', 'trait:CUSTOM_X': 'required'}, NO_VGPU),
        ({'resources:VGPU': '0'}, NO_VGPU),
        ({'resources:CUSTOM_PCI_10DE_1EB8': '1'}, NO_VGPU),
        ({'pci_passthrough:alias': 'gpu:1'}, NO_VGPU),
        (TWO, OTHER),
        ({'resources1:CUSTOM_VGPU_GRID_T4_2Q': '1'}, OTHER),
        ({'resources1:VGPU': '1'}, IN_GROUP),
        ({'resources1:CUSTOM_T4': '1'}, IN_GROUP),
        ({**TWO, 'resources1:VGPU': '1'}, IN_GROUP),
        (
            {'resources1:VGPU': '1', f'trait1:{MODEL_2Q}': 'required'},
            IN_GROUP,
        ),
    )
    @ddt.unpack
    def test_refused(
        self, specs: dict[str, str], error: type[exception.ModelRefused]
    ) -> None:
        self.assertRaises(error, self._settle, specs, MODEL_8Q)

    @ddt.data(
        (
            {},
            'image desktop requires CUSTOM_ACCEL_MODEL_GRID_T4_8Q, but '
            'flavor v1 asks for no vGPU',
        ),
        (
            TWO,
            'image desktop requires CUSTOM_ACCEL_MODEL_GRID_T4_8Q, but '
            'flavor v1 asks for CUSTOM_VGPU_GRID_T4_2Q',
        ),
        (
            {'resources_G:VGPU': '1'},
            'set trait_G:CUSTOM_ACCEL_MODEL_GRID_T4_8Q=required on flavor v1',
        ),
    )
    @ddt.unpack
    def test_refusal_says_what_to_do(
        self, specs: dict[str, str], text: str
    ) -> None:
        error = self.assertRaises(
            exception.ModelRefused, self._settle, specs, MODEL_8Q
        )
        self.assertIn(text, str(error))
        # A fault of nova's holds 255 characters, with this before it.
        before = 'No valid host was found. Scheduling failed: '
        self.assertLess(len(before + str(error)), 255)

    def test_only_model_traits_count(self) -> None:
        self.assertEqual(
            {MODEL_8Q},
            rules.model_traits([MODEL_8Q, 'CUSTOM_CUDA', 'HW_GPU_API_VULKAN']),
        )


@ddt.ddt
class TestObstacle(testtools.TestCase):
    """One host: a card of two models, and one of one model."""

    def setUp(self) -> None:
        super().setUp()
        self.both = sample.card(
            'both',
            (sample.CLASS_2Q, sample.T4_2Q),
            (sample.CLASS_8Q, sample.T4_8Q),
        )
        self.one = sample.card('one', ('VGPU', sample.T4_8Q))
        self.asked_placement: list[tuple[str, str]] = []

    def _obstacle(
        self,
        specs: dict[str, str],
        mappings: dict[str, list[str]],
        allocations: dict[str, dict[str, int]],
        held: int = 0,
        mixed: bool = False,
        used: bool = True,
    ) -> str | None:
        both = sample.card(
            'both',
            (sample.CLASS_2Q, sample.T4_2Q),
            (sample.CLASS_8Q, sample.T4_8Q),
            exclusive=not mixed,
        )

        def used_otherwise(provider: str, rc: str) -> bool:
            self.asked_placement.append((provider, rc))
            return used

        return rules.obstacle(
            vgpu_capabilities.from_offer(
                sample.NODE,
                sample.offer(both, self.one),
                sample.claims(both, sample.CLASS_2Q, held),
            ),
            request.parse(specs),
            {
                'mappings': mappings,
                'allocations': {
                    rp: {'resources': amounts}
                    for rp, amounts in allocations.items()
                },
            },
            used_otherwise,
        )

    def _on_both(self, rc: str, **kwargs: ty.Any) -> str | None:
        provider = sample.provider(self.both)
        return self._obstacle(
            {f'resources:{rc}': '1'},
            {'': [sample.NODE.uuid, provider]},
            {sample.NODE.uuid: {'VCPU': 1}, provider: {rc: 1}},
            **kwargs,
        )

    # held of 2Q, mixed, allocations of other classes -> may serve 8Q
    @ddt.data(
        (0, False, True, True),
        (1, False, True, False),
        # Released since the node published; and Placement knows.
        (1, False, False, True),
        (1, True, True, True),
    )
    @ddt.unpack
    def test_card_that_holds_another_model(
        self, held: int, mixed: bool, used: bool, may: bool
    ) -> None:
        reason = self._on_both(
            sample.CLASS_8Q, held=held, mixed=mixed, used=used
        )
        self.assertEqual(may, reason is None, reason)
        asked = [(sample.provider(self.both), sample.CLASS_8Q)]
        self.assertEqual(
            asked if held and not mixed else [], self.asked_placement
        )

    def test_counts_are_placement_s(self) -> None:
        self.assertIsNone(self._on_both(sample.CLASS_2Q, held=8))
        self.assertEqual([], self.asked_placement)

    def test_class_no_longer_offered(self) -> None:
        self.assertIn(
            'sn:both does not offer CUSTOM_OLD any more',
            self._on_both('CUSTOM_OLD') or '',
        )

    # class, trait that goes with it -> the class gives that model
    @ddt.data(
        (sample.CLASS_8Q, MODEL_8Q, True),
        (sample.CLASS_2Q, MODEL_2Q, True),
        (sample.CLASS_2Q, MODEL_8Q, False),
        (sample.CLASS_2Q, 'CUSTOM_CUDA', True),
    )
    @ddt.unpack
    def test_trait_of_a_model_that_the_class_does_not_give(
        self, rc: str, trait: str, may: bool
    ) -> None:
        provider = sample.provider(self.both)
        for suffix in ('', '1', '_GPU'):
            reason = self._obstacle(
                {
                    f'resources{suffix}:{rc}': '1',
                    f'trait{suffix}:{trait}': 'required',
                },
                {'': [sample.NODE.uuid], suffix: [provider]},
                {provider: {rc: 1}},
            )
            self.assertEqual(may, reason is None, reason)

    def test_groups_are_judged_apart(self) -> None:
        both, one = sample.provider(self.both), sample.provider(self.one)
        specs = {
            'resources1:CUSTOM_VGPU_GRID_T4_2Q': '1',
            'resources2:VGPU': '1',
            f'trait2:{MODEL_8Q}': 'required',
        }
        allocations = {both: {sample.CLASS_2Q: 1}, one: {'VGPU': 1}}
        mappings = {'1': [both], '2': [one]}
        self.assertIsNone(self._obstacle(specs, mappings, allocations))
        specs[f'trait1:{MODEL_8Q}'] = 'required'
        self.assertIn(
            "group '1'", self._obstacle(specs, mappings, allocations) or ''
        )

    def test_one_of_the_cards_of_a_group_is_enough(self) -> None:
        both, one = sample.provider(self.both), sample.provider(self.one)
        specs = {**TWO, **ANY, f'trait:{MODEL_8Q}': 'required'}
        self.assertIsNone(
            self._obstacle(
                specs,
                {'': [both, one]},
                {both: {sample.CLASS_2Q: 1}, one: {'VGPU': 1}},
            )
        )

    def test_provider_that_is_no_card_is_not_judged(self) -> None:
        stranger = 'd6a0f2f7-0c7c-4d0e-9a2e-6f5a34f6c8a0'
        self.assertIsNone(
            self._obstacle(
                {**ANY, f'trait:{MODEL_2Q}': 'required'},
                {'': [stranger]},
                {stranger: {'VGPU': 1}},
            )
        )

    def test_group_without_vgpu_is_not_judged(self) -> None:
        root = sample.NODE.uuid
        self.assertIsNone(
            self._obstacle(
                {
                    'resources_X:CUSTOM_PCI_10DE_1EB8': '1',
                    f'trait_X:{MODEL_2Q}': 'required',
                },
                {'_X': [root]},
                {root: {'CUSTOM_PCI_10DE_1EB8': 1}},
            )
        )

    @ddt.data(
        ({'resources:VCPU': '1'}, False),
        ({'resources:CUSTOM_PCI_10DE_1EB8': '1'}, False),
        (ANY, True),
        ({'resources_X:CUSTOM_T4': '1'}, True),
    )
    @ddt.unpack
    def test_wants_vgpu(self, specs: dict[str, str], wants: bool) -> None:
        self.assertEqual(wants, rules.wants_vgpu(request.parse(specs)))
