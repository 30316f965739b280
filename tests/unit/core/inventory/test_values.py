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
"""Ways into what a host offers."""

import testtools

from tests.unit.core import hosts

WHOLE = hosts.rule('whole', 5, 6, kind='pci')
CARD = hosts.rule('card', 1, models=('nvidia-233',))
TWICE = hosts.rule('twice', 6, kind='pci')


class OfferTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.offer = hosts.offer(
            [WHOLE, CARD, TWICE], [hosts.t4(1), hosts.pci(5), hosts.pci(6)]
        )

    def test_cards_of_a_pool(self) -> None:
        cards = {pool.stable_id: pool.cards for pool in self.offer.pools}
        self.assertEqual({'sn:1'}, cards.pop('sn:1'))
        self.assertEqual([{'sn:5'}], list(cards.values()))

    def test_ids_of_cards_that_are_not_offered_too(self) -> None:
        self.assertEqual(
            {
                'pci_0000:01:00.0': 'sn:1',
                'pci_0000:05:00.0': 'sn:5',
                'pci_0000:06:00.0': 'sn:6',
            },
            self.offer.ids,
        )
        self.assertEqual(1, len(self.offer.withheld))

    def test_a_card_that_is_ambiguous_has_none(self) -> None:
        twins = [
            hosts.pci(bus, ids=('sn:same',), serial='same') for bus in (5, 6)
        ]
        self.assertEqual({}, hosts.offer([WHOLE], twins).ids)
