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
import testtools

from nova_accel.core import device
from nova_accel.core import identity
from nova_accel.core import naming
from nova_accel.core import topology
from tests.unit.core import hosts


def establish(*devices, known=()):
    return identity.establish(
        hosts.NODE.name,
        topology.cards(devices),
        identity.InUse(frozenset(known)),
    )


def dev(bus, *ids, **kwargs):
    return hosts.pci(bus, ids=ids, **kwargs)


def _made(stable_id):
    """As the cards below carry it: a place goes with a make."""
    if stable_id and stable_id.startswith(('slot', 'path', 'pci')):
        return f'{stable_id}:10de-20b5'
    return stable_id


@ddt.ddt
class ChoiceTest(testtools.TestCase):
    @ddt.data(
        # ids of each device, ids known, id of each device.
        ([('sn:1', 'addr:1')], [], ['sn:1']),
        ([('sn:1', 'addr:1'), ('sn:2', 'addr:2')], [], ['sn:1', 'sn:2']),
        # Twins: the next source that tells them apart.
        (
            [('sn:0', 'slot:1'), ('sn:0', 'slot:2')],
            [],
            ['slot:1', 'slot:2'],
        ),
        ([('sn:0', 'slot:1'), ('sn:0',)], [], ['slot:1', None]),
        ([('sn:0',), ('sn:0',)], [], [None, None]),
        # The same id twice on one device is no twin.
        ([('sn:1', 'sn:1')], [], ['sn:1']),
        # One's serial is the other's address.
        ([('x', 'slot:1'), ('y', 'x')], [], ['slot:1', 'y']),
        # What is in use stays, though a better source can be read today.
        ([('sn:1', 'slot:1')], ['slot:1'], ['slot:1']),
        ([('sn:1', 'slot:1')], ['slot:1', 'sn:1'], ['sn:1']),
        ([('sn:1', 'slot:1')], ['sn:9'], ['sn:1']),
        # A serial that cannot be read today.
        ([('slot:1', 'addr:1')], ['sn:1'], ['slot:1']),
        # A twin arrived, and either could be the one in use.
        (
            [('sn:0', 'slot:1'), ('sn:0', 'slot:2')],
            ['sn:0'],
            [None, None],
        ),
        # A twin arrived, and the old one goes by its slot.
        (
            [('sn:0', 'slot:1'), ('sn:0', 'slot:2')],
            ['slot:1'],
            ['slot:1', 'slot:2'],
        ),
    )
    @ddt.unpack
    def test_choice(self, ids, known, expected):
        known, expected = map(_made, known), list(map(_made, expected))
        known = list(known)
        devices = [dev(bus, *each) for bus, each in enumerate(ids)]
        for listed in (devices, devices[::-1]):
            found = establish(*listed, known=known)
            self.assertEqual(
                expected, [found.ids.get(each.name) for each in devices]
            )
            self.assertEqual(
                {
                    d.name
                    for d, i in zip(devices, expected, strict=True)
                    if i is None
                },
                found.faults.keys(),
            )
            self.assertEqual(
                {i: found.cards[i].device.name for i in found.cards},
                {i: name for name, i in found.ids.items()},
            )

    def test_functions_share_the_serial_of_their_parent(self):
        found = establish(*hosts.sriov(2, 4))
        self.assertEqual({'sn:2'}, found.cards.keys())

    def test_present_are_all_ids_of_all_cards(self):
        found = establish(dev(1, 'sn:1', 'slot:1'), dev(2, 'sn:1'))
        self.assertEqual({'sn:1', _made('slot:1')}, found.present)

    def test_long_ids_are_compared_as_providers_carry_them(self):
        path = 'path:' + '/1c.0' * 60
        (stable_id,) = establish(dev(1, path)).cards
        self.assertLess(len(stable_id), 200)
        found = establish(dev(1, 'sn:1', path), known=[stable_id])
        self.assertEqual({stable_id}, found.cards.keys())


class FaultTest(testtools.TestCase):
    def test_twins_are_named(self):
        twins = [
            dev(bus, 'sn:0', vendor_name='NVIDIA', product_name='T4')
            for bus in (1, 2)
        ]
        found = establish(*twins)
        self.assertIn('NVIDIA T4 at 0000:02:00.0', found.faults[twins[0].name])
        self.assertIn('NVIDIA T4 at 0000:01:00.0', found.faults[twins[1].name])
        self.assertIn("'sn:0'", found.faults[twins[0].name])

    def test_id_in_use_is_the_one_that_is_named(self):
        twins = [dev(bus, f'slot:{bus}', 'sn:0') for bus in (1, 2)]
        found = establish(*twins, known=['sn:0'])
        self.assertIn("'sn:0'", found.faults[twins[0].name])

    def test_all_of_a_few_twins_are_named(self):
        twins = [dev(bus, 'sn:0') for bus in range(5)]
        text = establish(*twins).faults[twins[0].name]
        self.assertEqual(4, text.count(':00.0'))
        self.assertNotIn('others', text)

    def test_many_twins_make_a_short_message(self):
        twins = [dev(bus, 'sn:0') for bus in range(200)]
        text = establish(*twins).faults[twins[0].name]
        self.assertLess(len(text), 400)
        self.assertIn('and others', text)

    def test_card_without_any_id(self):
        found = establish(dev(1))
        self.assertIn('no stable id', found.faults[dev(1).name])

    def test_stray_function_needs_an_id_as_any_card_does(self):
        stray = dev(1, 'sn:1', dev_type=device.TYPE_VF)
        self.assertEqual({'sn:1'}, establish(stray).cards.keys())


class PlaceTest(testtools.TestCase):
    """A place says where, not who."""

    PLACES = ('slot:1', 'path:0000-01.0', 'pci:0000:01:00.0')

    def test_another_make_in_the_same_place_is_another_device(self):
        makes = [
            {},
            {'product_id': '20b0'},
            {'vendor_id': '1002'},
            {'subsystem_vendor_id': '10de', 'subsystem_product_id': '1'},
            {'subsystem_vendor_id': '10de', 'subsystem_product_id': '2'},
        ]
        for place in self.PLACES:
            found = {
                stable_id
                for made in makes
                for stable_id in establish(dev(1, place, **made)).cards
            }
            self.assertEqual(len(makes), len(found))
            self.assertEqual({place}, set(map(identity.place_of, found)))

    def test_a_serial_number_says_who_wherever_it_is(self):
        self.assertEqual({'sn:1'}, establish(dev(1, 'sn:1')).cards.keys())
        self.assertEqual('', identity.place_of('sn:1'))

    def test_addresses_tell_nobody_apart(self):
        one, other = (dev(bus, f'pci:0000:0{bus}:00.0') for bus in (1, 2))
        self.assertEqual(1, len(establish(one).cards))
        found = establish(one, other)
        self.assertEqual({}, found.cards)
        for fault in found.faults.values():
            self.assertIn('only their addresses differ', fault)
        stranger = dataclasses.replace(other, product_id='20b0')
        self.assertEqual(2, len(establish(one, stranger).cards))


class SeveralTest(testtools.TestCase):
    """A card that is known under several ids."""

    def establish(self, *ids, held=(), serial=''):
        known = tuple(map(_made, ids))
        self.card = dev(1, *ids, serial=serial)
        return identity.establish(
            hosts.NODE.name,
            topology.cards([self.card]),
            identity.InUse(frozenset(known), frozenset(map(_made, held))),
        )

    def test_a_serial_number_is_proof(self):
        for held in ([], ['sn:1'], ['slot:1'], ['sn:1', 'slot:1']):
            found = self.establish('sn:1', 'slot:1', held=held)
            self.assertEqual({'sn:1'}, found.cards.keys())
            self.assertEqual({'sn:1', _made('slot:1')}, found.contested)

    def test_nobody_gets_what_another_server_may_have(self):
        found = self.establish('sn:1', 'slot:1', held=['slot:1'])
        self.assertIn(_made('slot:1'), found.doubts[self.card.name])
        found = self.establish('sn:1', 'slot:1', held=['sn:1'])
        self.assertEqual({}, found.doubts)

    def test_of_two_places_the_one_that_is_held_counts(self):
        for held, choice in (
            ([], 'slot:1'),
            (['slot:1'], 'slot:1'),
            (['path:1'], 'path:1'),
        ):
            found = self.establish('slot:1', 'path:1', held=held)
            self.assertEqual({_made(choice)}, found.cards.keys())


class RememberedTest(testtools.TestCase):
    """What is remembered of a device is compared with what is there."""

    BOARD = {'subsystem_vendor_id': '10de', 'subsystem_product_id': '12a2'}
    CARD = dev(1, 'sn:1', 'slot:1', serial='1', **BOARD)

    def is_recognised(self, stable_id, was, now):
        """Tell whether a card is taken for what went by an id."""
        trait = naming.who_trait(stable_id, identity.who(stable_id, was))
        found = identity.establish(
            hosts.NODE.name,
            topology.cards([now]),
            identity.InUse(
                frozenset({stable_id}),
                who=dict([naming.read_who(trait)]),
            ),
        )
        return stable_id in found.cards

    def test_the_same(self):
        for stable_id in identity.carried(self.CARD):
            self.assertTrue(
                self.is_recognised(stable_id, self.CARD, self.CARD)
            )

    def test_the_serial_number_of_another_make(self):
        for change in (
            {'vendor_id': '1002'},
            {'product_id': '20b0'},
            {'subsystem_product_id': '1463'},
        ):
            other = dataclasses.replace(self.CARD, **change)
            self.assertFalse(self.is_recognised('sn:1', other, self.CARD))

    def test_a_place_and_a_serial_number(self):
        place = identity.carried(dataclasses.replace(self.CARD, serial=''))[1]
        mute = dataclasses.replace(self.CARD, ids=('slot:1',), serial='')
        other = dataclasses.replace(self.CARD, ids=('slot:1',), serial='2')
        for was, now, expected in (
            (self.CARD, self.CARD, True),
            (self.CARD, other, False),
            (mute, mute, True),
            # Another one may sit there now: it gained one, or lost it.
            (mute, self.CARD, False),
            (self.CARD, mute, False),
        ):
            self.assertEqual(
                expected, self.is_recognised(place, was, now), (was, now)
            )

    def doubts(self, stable_id, was, now, held=True):
        """Tell why nobody gets a card that may be what a server holds."""
        trait = naming.who_trait(stable_id, identity.who(stable_id, was))
        known = frozenset({stable_id})
        found = identity.establish(
            hosts.NODE.name,
            topology.cards([now]),
            identity.InUse(
                known,
                known if held else frozenset(),
                dict([naming.read_who(trait)]),
            ),
        )
        self.assertNotIn(stable_id, found.cards)
        self.assertEqual({now.name}, set(found.ids))
        return found.doubts.get(now.name, '')

    def test_who_gains_a_serial_number_is_nobody_elses_meanwhile(self):
        mute = dataclasses.replace(self.CARD, ids=('slot:1',), serial='')
        (place,) = identity.carried(mute)
        self.assertIn('remap', self.doubts(place, mute, self.CARD))
        self.assertEqual('', self.doubts(place, mute, self.CARD, held=False))

    def test_who_loses_it_is_nobody_elses_meanwhile(self):
        mute = dataclasses.replace(
            self.CARD, ids=('slot:1', 'path:1'), serial=''
        )
        place = identity.carried(mute)[0]
        self.assertIn(place, self.doubts(place, self.CARD, mute))

    def test_of_two_serial_numbers_that_differ_there_is_no_doubt(self):
        other = dataclasses.replace(
            self.CARD, ids=('sn:2', 'slot:1'), serial='2'
        )
        place = identity.carried(dataclasses.replace(self.CARD, serial=''))[1]
        self.assertEqual('', self.doubts(place, self.CARD, other))

    def test_a_mute_id_is_no_telling_cards_without_a_memory_too(self):
        mute = dataclasses.replace(self.CARD, ids=('slot:1',), serial='')
        (place,) = identity.carried(mute)
        in_use = identity.InUse(frozenset({place}))
        self.assertTrue(identity.may_be(place, mute, in_use))
        self.assertFalse(identity.may_be(place, self.CARD, in_use))
        self.assertTrue(identity.is_undecided(place, self.CARD, in_use))
