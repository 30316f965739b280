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

import testtools

from nova_accel.core import device
from nova_accel.core import inventory
from nova_accel.core import naming
from tests.unit.core import hosts

T4 = hosts.t4(1)
MODEL = dataclasses.replace(hosts.A40_8Q, capacity=2)
A40 = hosts.sriov(1, 4, (MODEL,))


def occupied(devices, model, *mdevs):
    """Slots of the card that are taken."""
    offer = hosts.offer([hosts.rule('r', 1, models=(model,))], devices)
    found = inventory.occupied(
        offer,
        [
            device.Mdev(f'uuid-{number}', type_id, parent.name)
            for number, (parent, type_id) in enumerate(mdevs)
        ],
    )
    return sorted(naming.UnitId.parse(one.unit).slot for one in found)


class OccupiedTest(testtools.TestCase):
    def t4(self, *types):
        return occupied([T4], 'nvidia-233', *((T4, each) for each in types))

    def a40(self, *numbers):
        return occupied(
            A40,
            'nvidia-559',
            *((A40[number + 1], 'nvidia-559') for number in numbers),
        )

    def test_a_card_gives_up_its_last_slots(self):
        self.assertEqual([], self.t4())
        self.assertEqual([1], self.t4('nvidia-233'))
        self.assertEqual([0, 1], self.t4('nvidia-233', 'nvidia-233'))
        self.assertEqual([0, 1], self.t4(*['nvidia-233'] * 3))

    def test_another_type_takes_a_place_too(self):
        self.assertEqual([1], self.t4('nvidia-222'))

    def test_a_function_is_its_own_slot(self):
        self.assertEqual([0], self.a40(0))
        self.assertEqual([1], self.a40(1))

    def test_a_spare_function_takes_the_place_of_another(self):
        self.assertEqual([1], self.a40(3))
        self.assertEqual([0, 1], self.a40(3, 1))
        self.assertEqual([0, 1], self.a40(2, 3))
        self.assertEqual([0, 1], self.a40(0, 3))
