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

import testtools

from nova_accel.core import device
from nova_accel.core import topology
from tests.unit.core import hosts


def shape(cards):
    return [
        (str(c.device.address), [f.vf_index for f in c.functions])
        for c in cards
    ]


class CardsTest(testtools.TestCase):
    def test_functions_join_their_parent_by_index(self):
        devices = [*hosts.sriov(2, 10), hosts.pci(1)]
        self.assertEqual(
            [('0000:01:00.0', []), ('0000:02:00.0', list(range(10)))],
            shape(topology.cards(devices)),
        )

    def test_order_of_listing_does_not_matter(self):
        devices = [*hosts.sriov(2, 12), *hosts.sriov(1, 3), hosts.pci(3)]
        expected = topology.cards(devices)
        for seed in range(5):
            random.Random(seed).shuffle(devices)
            self.assertEqual(expected, topology.cards(devices))

    def test_function_without_parent_is_a_card(self):
        _head, *functions = hosts.sriov(2, 2)
        stray = hosts.pci(3, dev_type=device.TYPE_VF)
        self.assertEqual(
            [
                ('0000:02:04.0', []),
                ('0000:02:04.1', []),
                ('0000:03:00.0', []),
            ],
            shape(topology.cards([*functions, stray])),
        )

    def test_members_are_the_card_and_its_functions(self):
        devices = hosts.sriov(2, 3)
        (card,) = topology.cards(devices)
        self.assertEqual(devices, card.members)

    def test_missing_indexes_keep_the_others_numbers(self):
        head, *functions = hosts.sriov(2, 4)
        (card,) = topology.cards([head, functions[1], functions[3]])
        self.assertEqual({1: functions[1], 3: functions[3]}, card.numbered)

    def test_index_counts_not_the_address(self):
        head, *functions = hosts.sriov(2, 3)
        renumbered = [
            dataclasses.replace(function, vf_index=index)
            for function, index in zip(functions, (2, 0, None), strict=True)
        ]
        (card,) = topology.cards([head, *renumbered])
        # One of which no index is known comes last.
        self.assertEqual(
            [0, 2, None], [function.vf_index for function in card.functions]
        )

    def test_positions_stand_in_for_indexes_that_do_not_tell(self):
        for index in (None, 7):
            head, *functions = hosts.sriov(2, 3, function={'vf_index': index})
            (card,) = topology.cards([*functions, head])
            self.assertEqual(dict(enumerate(functions)), card.numbered)
