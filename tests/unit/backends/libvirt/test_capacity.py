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
import os

import ddt
import fixtures

from nova_accel.backends.libvirt import capacity
from nova_accel.backends.libvirt import nodedev
from nova_accel.backends.libvirt import sysfs
from nova_accel.core import device
import testtools

A = device.PciAddress.parse('0000:3b:00.0')
B = device.PciAddress.parse('0000:3c:00.0')
KIND = ('10de', '1eb8')


def parent(at, virtual=False, **available):
    return nodedev.Function(
        name=f'pci_{at.bus}_{at.function}',
        address=at,
        vendor_id='10de',
        product_id='1eb8',
        physical=A if virtual else None,
        mdev_types=tuple(
            nodedev.MdevType(type_id, type_id.upper(), figure)
            for type_id, figure in available.items()
        ),
    )


def card(*parents, held=(), kind=KIND):
    return capacity.Card(
        parents[0].card,
        kind,
        parents,
        tuple(
            nodedev.Mediated(f'mdev_{n}', f'uuid-{n}', held_type, 'x')
            for n, held_type in enumerate(held)
        ),
    )


@ddt.ddt
class CapacitiesTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.root = self.useFixture(fixtures.TempDir()).path
        self.figures = capacity.Capacities(sysfs.Sysfs(self.root))

    def describe(self, at, type_id, text):
        path = os.path.join(
            *(self.root, 'class/mdev_bus', str(at)),
            *('mdev_supported_types', type_id, 'description'),
        )
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'w') as file:
            file.write(text)

    def learn(self, *cards, settled=True):
        self.figures.learn(cards, settled)

    def figure(self, function, type_id='q8'):
        models = self.figures.models(function)
        return {m.type_id: m.capacity for m in models}[type_id]

    def test_an_empty_card_shows_it(self):
        one = parent(A, q8=2, q16=1)
        self.learn(card(one))
        self.assertEqual(2, self.figure(one))
        self.assertEqual(1, self.figure(one, 'q16'))

    def test_what_exists_is_added(self):
        one = parent(A, q8=1)
        self.learn(card(one, held=['q8']))
        self.assertEqual(2, self.figure(one))

    @ddt.data(True, False)
    def test_it_does_not_move_when_devices_come_and_go(self, settled):
        self.learn(card(parent(A, q8=2, q16=1)))
        for available, held in (((1, 0), ['q8']), ((0, 0), ['q8', 'q8'])):
            full = parent(A, q8=available[0], q16=available[1])
            self.learn(card(full, held=held), settled=settled)
            self.assertEqual(2, self.figure(full))
            self.assertEqual(1, self.figure(full, 'q16'))

    def test_figures_that_were_not_read_as_one_are_not_added_up(self):
        self.learn(card(parent(A, q8=2)))
        # The device was destroyed after its parent had been read.
        stale = parent(A, q8=1)
        self.learn(card(stale), settled=False)
        self.assertEqual(2, self.figure(stale))

    def test_but_they_are_better_than_nothing(self):
        one = parent(A, q8=2)
        self.learn(card(one), settled=False)
        self.assertEqual(2, self.figure(one))

    def test_an_identical_card_stands_in_for_one_that_is_in_use(self):
        used, empty = parent(A, q8=1, q16=0), parent(B, q8=2, q16=1)
        self.learn(card(used, held=['q8']), card(empty))
        self.assertEqual(1, self.figure(used, 'q16'))

    def test_a_different_card_does_not(self):
        used, empty = parent(A, q8=1, q16=0), parent(B, q8=2, q16=1)
        other = card(empty, kind=('10de', '1eb8', '10de', 'beef'))
        self.learn(card(used, held=['q8']), other)
        self.assertIsNone(self.figure(used, 'q16'))

    def test_a_card_out_of_order_is_not_smaller(self):
        self.learn(card(parent(A, q8=2)))
        broken = parent(A, q8=0)
        self.learn(card(broken))
        self.assertEqual(2, self.figure(broken))

    def test_a_card_that_never_showed_anything_holds_nothing(self):
        broken, twin = parent(A, q8=0), parent(B, q8=2)
        self.learn(card(broken), card(twin))
        self.assertEqual(0, self.figure(broken))

    def test_another_card_in_its_place_starts_afresh(self):
        self.learn(card(parent(A, q8=2)))
        other = parent(A, q8=0)
        self.learn(card(other, kind=('10de', 'ffff'), held=['q4']))
        self.assertIsNone(self.figure(other))

    def test_the_driver_knows_best(self):
        self.describe(A, 'q8', 'framebuffer=8192M, max_instance=2')
        used = parent(A, q8=0)
        self.learn(card(used, held=['q4']))
        (model,) = self.figures.models(used)
        self.assertEqual((2, 8192), (model.capacity, model.framebuffer_mib))

    def test_the_driver_is_asked_again_when_all_is_read(self):
        self.describe(A, 'q8', 'max_instance=2')
        one = parent(A, q8=2)
        self.learn(card(one))
        self.describe(A, 'q8', 'max_instance=4')
        self.learn(card(one), settled=False)
        self.assertEqual(2, self.figure(one))
        self.learn(card(one))
        self.assertEqual(4, self.figure(one))

    def test_virtual_functions_tell_nothing_of_the_card(self):
        functions = [
            parent(device.PciAddress(0, 0x3B, 0, n), virtual=True, q8=1)
            for n in (4, 5)
        ]
        self.learn(card(*functions))
        self.assertIsNone(self.figure(functions[0]))

    def test_but_their_driver_does(self):
        one = parent(device.PciAddress(0, 0x3B, 0, 4), virtual=True, q8=1)
        self.describe(one.address, 'q8', 'max_instance=6')
        self.learn(card(one))
        self.assertEqual(6, self.figure(one))

    def test_a_function_nobody_has_heard_of(self):
        self.assertEqual((), self.figures.models(parent(A, q8=2)))


@ddt.ddt
class MixedTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.figures = capacity.Capacities(sysfs.Sysfs(None))
        # An identical card, empty, shows what the types are worth.
        self.twin = card(parent(B, q8=2, c8=2, q16=1))

    def mixed(self, held, settled=True, **available):
        one = card(parent(A, **available), held=held)
        self.figures.learn([self.twin, one], settled)
        return self.figures.mixed(A)

    def test_unknown_means_no(self):
        self.assertFalse(self.figures.mixed(A))
        self.assertFalse(self.mixed([], q8=2, q16=1))

    def test_another_size_still_on_offer(self):
        self.assertTrue(self.mixed(['q8'], q8=1, q16=1))

    def test_two_sizes_at_once(self):
        self.assertTrue(self.mixed(['q8', 'q16'], q8=0, q16=0))

    def test_one_type_in_use_bars_the_others(self):
        self.assertFalse(self.mixed(['q8'], q8=1, q16=0))

    def test_types_of_one_size_prove_nothing(self):
        self.assertFalse(self.mixed(['q8', 'c8'], q8=0, c8=0, q16=0))
        self.assertFalse(self.mixed(['q8'], q8=1, c8=1, q16=0))

    def test_types_of_unknown_size(self):
        self.assertFalse(self.mixed(['q8'], q8=1, strange=1))
        self.assertTrue(self.mixed(['q8', 'strange'], q8=1, strange=1))

    def test_only_what_was_read_as_one_counts(self):
        self.assertFalse(self.mixed(['q8'], settled=False, q8=2, q16=1))

    def test_once_seen_it_stays(self):
        self.assertTrue(self.mixed(['q8'], q8=1, q16=1))
        self.assertTrue(self.mixed([], q8=2, q16=1))
