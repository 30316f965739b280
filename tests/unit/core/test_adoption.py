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

from nova_accel.core import adoption
from nova_accel.core import device
from nova_accel.core import naming
from tests.unit.core import hosts
from tests.unit.core import test_snapshot

RULE = hosts.rule('r', 1, models=('nvidia-233',))
CARD = test_snapshot.CARD
FIRST = '11111111-0b75-4e2c-b6a9-7a4fcd3a5ab1'
SECOND = '22222222-0b75-4e2c-b6a9-7a4fcd3a5ab1'
THIRD = '33333333-0b75-4e2c-b6a9-7a4fcd3a5ab1'
ONE, TWO = (
    test_snapshot.claim(f'sn:1/nvidia-233/{slot}') for slot in range(2)
)


def foreign(uuid, parent=CARD, type_id='nvidia-233'):
    return device.Mdev(uuid, type_id, parent.name)


def guest(server, *mdevs, claims=()):
    return adoption.Guest(server, frozenset(mdevs), frozenset(claims))


def adopt(*guests, mdevs=(), rules=(RULE,), devices=(CARD,)):
    now = test_snapshot.taken(*rules, devices=devices, mdevs=mdevs)
    held = frozenset(claim for each in guests for claim in each.claims)
    adopted, misfits = adoption.adopt(now, guests, held)
    return {one.mdev: (one.server, one.claim, one.new) for one in adopted}, [
        str(misfit) for misfit in misfits
    ]


class ChooseTest(testtools.TestCase):
    """Devices that no record speaks of."""

    def test_each_gets_a_unit_of_its_card(self):
        mdevs = [foreign(FIRST), foreign(SECOND)]
        guests = [guest('b', FIRST), guest('a', SECOND)]
        wanted = {SECOND: ('a', ONE, True), FIRST: ('b', TWO, True)}
        self.assertEqual((wanted, []), adopt(*guests, mdevs=mdevs))
        self.assertEqual((wanted, []), adopt(*guests[::-1], mdevs=mdevs))

    def test_a_virtual_function_is_its_own_slot(self):
        card = hosts.sriov(1, 4, (hosts.A40_8Q,))
        adopted, misfits = adopt(
            guest('a', FIRST),
            mdevs=[foreign(FIRST, card[3], 'nvidia-559')],
            rules=[hosts.rule('r', 1, models=('nvidia-559',))],
            devices=card,
        )
        self.assertEqual([], misfits)
        self.assertEqual('sn:1/nvidia-559/2', adopted[FIRST][1].unit)

    def test_functions_that_are_spare(self):
        model = dataclasses.replace(hosts.A40_8Q, capacity=2)
        card = hosts.sriov(1, 4, (model,))
        last, second, third = (
            foreign(uuid, card[number], 'nvidia-559')
            for uuid, number in ((FIRST, 4), (SECOND, 2), (THIRD, 3))
        )
        rule = [hosts.rule('r', 1, models=('nvidia-559',))]
        adopted, (said,) = adopt(
            *(guest('a', FIRST), guest('b', SECOND), guest('c', THIRD)),
            mdevs=[last, second, third],
            rules=rule,
            devices=card,
        )
        self.assertEqual(
            ['sn:1/nvidia-559/3', 'sn:1/nvidia-559/1'],
            [claim.unit for _server, claim, _new in adopted.values()],
        )
        # The card holds two.
        self.assertIn(THIRD, said)

    def test_units_that_are_held_are_left_alone(self):
        adopted, misfits = adopt(
            guest('a', claims=[ONE]),
            guest('b', SECOND),
            mdevs=[foreign(SECOND)],
        )
        self.assertEqual({SECOND: ('b', TWO, True)}, adopted)
        self.assertEqual([], misfits)

    def test_what_is_not_offered_is_nobody_s_concern(self):
        other = hosts.t4(2)
        found = adopt(
            guest('a', FIRST, SECOND),
            mdevs=[foreign(FIRST, other)],
            devices=(CARD, other),
        )
        self.assertEqual(({}, []), found)

    def test_ours_is_not_foreign(self):
        uuid = naming.mdev_uuid(ONE.provider, ONE.unit)
        found = adopt(guest('a', uuid), mdevs=[foreign(uuid)])
        self.assertEqual(({}, []), found)

    def test_a_device_that_no_guest_has(self):
        self.assertEqual(({}, []), adopt(mdevs=[foreign(FIRST)]))


class MisfitTest(testtools.TestCase):
    def test_another_type(self):
        adopted, (said,) = adopt(
            guest('a', FIRST), mdevs=[foreign(FIRST, type_id='nvidia-222')]
        )
        self.assertEqual({}, adopted)
        self.assertEqual(
            f'server a has mediated device {FIRST} on {CARD.name}: it is a '
            "nvidia-222, and rule 'r' (accel.yaml:3) offers nvidia-233 "
            'there; name nvidia-222 in models',
            said,
        )

    def test_more_than_the_rule_offers(self):
        rule = dataclasses.replace(RULE, max_slots=1)
        adopted, (said,) = adopt(
            guest('a', FIRST, SECOND),
            mdevs=[foreign(FIRST), foreign(SECOND)],
            rules=[rule],
        )
        self.assertEqual([FIRST], list(adopted))
        self.assertIn(SECOND, said)
        self.assertIn('correct max_slots', said)


class RecogniseTest(testtools.TestCase):
    """Devices of servers whose records name units, after a restart."""

    def test_the_same_pairs_again(self):
        mdevs = [foreign(FIRST), foreign(SECOND)]
        found = adopt(
            guest('a', FIRST, claims=[TWO]),
            guest('b', SECOND, claims=[ONE]),
            mdevs=mdevs,
        )
        self.assertEqual(
            ({FIRST: ('a', TWO, False), SECOND: ('b', ONE, False)}, []), found
        )

    def test_one_of_ours_and_one_of_theirs(self):
        uuid = naming.mdev_uuid(ONE.provider, ONE.unit)
        found = adopt(
            guest('a', uuid, FIRST, claims=[ONE, TWO]),
            mdevs=[foreign(uuid), foreign(FIRST)],
        )
        self.assertEqual(({FIRST: ('a', TWO, False)}, []), found)

    def test_one_that_did_not_come_back(self):
        found = adopt(guest('a', FIRST, claims=[TWO]))
        self.assertEqual(({FIRST: ('a', TWO, False)}, []), found)

    def test_what_is_there_goes_first(self):
        found = adopt(
            guest('a', FIRST, SECOND, claims=[ONE, TWO]),
            mdevs=[foreign(SECOND)],
        )
        self.assertEqual(
            ({SECOND: ('a', ONE, False), FIRST: ('a', TWO, False)}, []), found
        )

    def test_a_third_one_needs_a_unit_of_its_own(self):
        _adopted, (said,) = adopt(
            guest('a', FIRST, SECOND, THIRD, claims=[ONE, TWO]),
            mdevs=[foreign(FIRST), foreign(SECOND), foreign(THIRD)],
        )
        self.assertIn(THIRD, said)


class UnservedTest(testtools.TestCase):
    def test_units_without_a_device_of_ours(self):
        uuid = naming.mdev_uuid(ONE.provider, ONE.unit)
        whole = test_snapshot.claim('sn:5')
        one = guest('a', claims=[ONE, TWO, whole])
        self.assertEqual([ONE, TWO], adoption.unserved(one))
        self.assertEqual([TWO], adoption.unserved(one, {uuid}))
