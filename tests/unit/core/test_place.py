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
"""What guests are defined with, compared with what is there."""

import testtools

from nova_accel.core import inventory
from nova_accel.core import place
from tests.unit.core import hosts


class PlacesTest(testtools.TestCase):
    def test_whole_devices_only(self) -> None:
        rules = hosts.whitelist.Whitelist((hosts.rule('r', 5, kind='pci'),))
        offer = inventory.offer(hosts.NODE, rules, [hosts.pci(5)])
        self.assertEqual(
            {'sn:5': '0000:05:00.0', 'sn:6': None},
            place.places(
                offer,
                [
                    inventory.Claim('p', 'c', 'sn:5'),
                    inventory.Claim('p', 'c', 'sn:6'),
                    inventory.Claim('p', 'VGPU', 'sn:1/nvidia-233/0'),
                ],
            ),
        )


class FollowedTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.followed = place.Followed()
        self.followed.follow({'a': '1', 'b': None})

    def test_what_was_followed(self) -> None:
        for found, moved in (
            ({'a': '1', 'b': None}, False),
            ({'a': '1', 'c': '3'}, False),
            ({}, False),
            ({'a': '2', 'b': None}, True),
            ({'a': None}, True),
            ({'a': '1', 'b': '2'}, True),
        ):
            self.assertEqual(moved, self.followed.differs(found))

    def test_a_claim_counts_until_it_is_followed(self) -> None:
        self.followed.claimed({'a': '5', 'c': '6'})
        self.assertTrue(self.followed.differs({'a': '1'}))
        self.assertFalse(self.followed.differs({'a': '5', 'c': '6'}))
        self.assertTrue(self.followed.differs({'a': '5', 'c': '7'}))
        self.followed.follow({'a': '5', 'c': '7'})
        self.assertFalse(self.followed.differs({'a': '5', 'c': '7'}))

    def test_a_claim_outlives_what_does_not_know_of_it(self) -> None:
        self.followed.claimed({'c': '6'})
        self.followed.follow({'a': '1'})
        self.assertTrue(self.followed.differs({'a': '1', 'c': '7'}))

    def test_what_is_released_is_forgotten(self) -> None:
        self.followed.claimed({'c': '6', 'd': '7'})
        self.followed.released(['a', 'c'])
        self.assertFalse(self.followed.differs({'c': '8'}))
        self.assertTrue(self.followed.differs({'d': '8'}))
