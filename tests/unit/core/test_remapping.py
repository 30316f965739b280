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
from nova_accel.core import facts
from nova_accel.core import naming
from nova_accel.core import states
from nova_accel.core import whereabouts
from nova_accel import exception
from tests.unit.core import hosts
from tests.unit.core import worlds


class GainedTest(testtools.TestCase):
    """A card that told no serial number tells one."""

    OLD = worlds.place(3)

    def setUp(self):
        super().setUp()
        self.world = worlds.World(worlds.card(1, 3), worlds.card(2, 4, '7'))
        self.world.serve(worlds.SERVER, self.OLD)
        self.world.update()
        self.world.change(worlds.card(1, 3, '9'), worlds.card(2, 4, '7'))
        self.world.update()

    def test_nobody_gets_it(self):
        entries = self.world.entries()
        lost = entries[self.OLD]
        self.assertEqual(whereabouts.AWAY, lost.place)
        self.assertEqual('missing, mismatch', lost.state)
        self.assertEqual((worlds.SERVER,), lost.servers)
        self.assertIn('a serial number has come or gone', lost.why)
        self.assertEqual('0000:01:00.0', lost.before)
        self.assertEqual(('sn:9',), lost.candidates)
        here = entries['sn:9']
        self.assertEqual(whereabouts.WITHHELD, here.place)
        self.assertIn('remap', here.why)
        self.assertEqual(whereabouts.HERE, entries['sn:7'].place)

    def test_it_is_the_one(self):
        before = set(self.world.known)
        plan = self.world.plan('slot:3', '0000:01:00.0')
        self.assertEqual((self.OLD, 'sn:9'), (plan.old, plan.new))
        self.assertEqual((worlds.SERVER,), plan.servers)
        self.world.apply(plan)
        self.world.update()
        self.assertEqual(before, set(self.world.known))
        entry = self.world.entries()[self.OLD]
        self.assertEqual(
            (whereabouts.HERE, 'in service'), (entry.place, entry.state)
        )
        # It is told from others by its serial number from now on.
        for bus, slot in ((1, 3), (5, 6)):
            self.world.change(worlds.card(bus, slot, '9'))
            self.assertEqual(bus, self.world.at(self.OLD))
        for serial in ('', '8'):
            self.world.change(worlds.card(1, 3, serial))
            self.assertIsNone(self.world.at(self.OLD))

    def test_it_is_another_one(self):
        self.world.servers = ()
        self.world.update()
        entry = self.world.entries()['sn:9']
        self.assertEqual(
            (whereabouts.HERE, 'not ready'), (entry.place, entry.state)
        )


class LostTest(testtools.TestCase):
    """A card that told a serial number tells none."""

    def setUp(self):
        super().setUp()
        self.world = worlds.World(worlds.card(1, 3, '9'))
        self.world.serve(worlds.SERVER, 'sn:9')
        self.world.update()
        self.world.change(worlds.card(1, 3))
        self.world.update()

    def test_nobody_gets_it(self):
        entries = self.world.entries()
        self.assertEqual('missing, mismatch', entries['sn:9'].state)
        self.assertEqual('0000:01:00.0', entries['sn:9'].before)
        self.assertEqual((worlds.place(3),), entries['sn:9'].candidates)
        self.assertEqual('not ready', entries[worlds.place(3)].state)

    def test_it_is_the_one(self):
        self.world.apply(self.world.plan('sn:9', worlds.place(3)))
        self.world.update()
        self.assertEqual(1, self.world.at('sn:9'))
        self.assertEqual({'sn:9'}, set(self.world.entries()))
        # Who tells the number itself is another one now.
        self.world.change(worlds.card(1, 3), worlds.card(2, 4, '9'))
        self.world.update()
        self.assertEqual(1, self.world.at('sn:9'))
        self.world.change(worlds.card(2, 4, '9'))
        self.assertIsNone(self.world.at('sn:9'))

    def test_a_later_word_counts(self):
        self.world.apply(self.world.plan('sn:9', worlds.place(3)))
        self.world.update()
        self.world.change(worlds.card(2, 4, '9'))
        self.world.update()
        plan = self.world.plan('sn:9', '0000:02:00.0')
        self.world.apply(plan)
        self.world.update()
        self.assertEqual(2, self.world.at('sn:9'))
        (one,) = self.world.known.values()
        self.assertEqual(
            1, len(list(filter(None, map(naming.read_remap, one.traits))))
        )


class MovedTest(testtools.TestCase):
    """Cards without serial numbers in other slots."""

    def test_each_gets_its_own_back(self):
        world = worlds.World(worlds.card(1, 3), worlds.card(2, 4))
        world.serve(worlds.SERVER, worlds.place(3))
        world.serve(worlds.OTHER, worlds.place(4))
        world.update()
        world.change(worlds.card(1, 5), worlds.card(2, 6))
        world.update()
        self.assertEqual(
            {worlds.place(5), worlds.place(6)},
            set(world.entries()[worlds.place(3)].candidates),
        )
        world.apply(world.plan(worlds.place(3), worlds.place(6)))
        world.apply(world.plan(worlds.place(4), worlds.place(5)))
        world.update()
        self.assertEqual(
            (2, 1), (world.at(worlds.place(3)), world.at(worlds.place(4)))
        )
        self.assertEqual(
            {worlds.place(3), worlds.place(4)}, set(world.entries())
        )


class TwinsTest(testtools.TestCase):
    def test_one_of_two_that_tell_the_same(self):
        world = worlds.World(worlds.card(1, 3, '0'))
        world.serve(worlds.SERVER, 'sn:0')
        world.update()
        world.change(worlds.card(1, 3, '0'), worlds.card(2, 4, '0'))
        world.update()
        lost = world.entries()['sn:0']
        self.assertIn('both tell it', lost.why)
        self.assertEqual(('0000:01:00.0', '0000:02:00.0'), lost.candidates)
        error = self.assertRaises(
            exception.NoSuchDevice, world.plan, 'sn:0', 'sn:0'
        )
        self.assertIn('by its address', str(error))
        world.apply(world.plan('sn:0', '0000:02:00.0'))
        world.update()
        self.assertEqual(2, world.at('sn:0'))
        (other,) = set(world.offer().cards) - {'sn:0'}
        self.assertIn('slot:3', other)

    def test_a_word_on_one_does_not_hide_that_on_the_other(self):
        world = worlds.World(worlds.card(1, 3, '0'), worlds.card(2, 4, '0'))
        first, second = sorted(world.offer().cards)
        world.serve(worlds.SERVER, first)
        world.serve(worlds.OTHER, second)
        world.update()
        # It is alone, and known by the serial number that they share.
        moved = worlds.card(2, 5, '0')
        world.change(moved)
        plan = world.plan(second, '0000:02:00.0')
        self.assertEqual('sn:0', plan.new)
        world.apply(plan)
        self.assertEqual(2, world.at(second))
        # The other one comes back; of which of them was it said?
        world.change(worlds.card(1, 6, '0'), moved)
        self.assertEqual((None, None), (world.at(first), world.at(second)))
        world.apply(world.plan(first, '0000:01:00.0'))
        self.assertEqual(1, world.at(first))
        self.assertIsNone(world.at(second))
        world.apply(world.plan(second, '0000:02:00.0'))
        self.assertEqual((1, 2), (world.at(first), world.at(second)))

    def test_nothing_tells_them_apart(self):
        world = worlds.World(worlds.card(1, 3, '0'))
        world.serve(worlds.SERVER, 'sn:0')
        world.update()
        twins = [
            dataclasses.replace(worlds.card(bus, 3, '0'), ids=('sn:0',))
            for bus in (1, 2)
        ]
        world.change(*twins)
        error = self.assertRaises(
            exception.NotRemapped, world.plan, 'sn:0', '0000:02:00.0'
        )
        self.assertIn('nothing tells that card', str(error))


@ddt.ddt
class RefusedTest(testtools.TestCase):
    def world(self, *now, **kwargs):
        world = worlds.World(worlds.card(1, 3, '9'), worlds.card(2, 4, '7'))
        world.serve(worlds.SERVER, 'sn:9', **kwargs)
        world.update()
        world.change(*now)
        world.update()
        return world

    def refused(self, world, old='sn:9', new='0000:01:00.0'):
        error = self.assertRaises(exception.NotRemapped, world.plan, old, new)
        return str(error)

    @ddt.data(
        (facts.RUNNING, 'runs; stop it'), (facts.BUSY, 'nova is at work')
    )
    @ddt.unpack
    def test_its_server(self, state, said):
        world = self.world(
            worlds.card(1, 3), worlds.card(2, 4, '7'), state=state
        )
        self.assertIn(said, self.refused(world))
        self.assertIn(worlds.SERVER, self.refused(world))

    def test_its_guest_runs_whatever_nova_says(self):
        world = self.world(worlds.card(1, 3), worlds.card(2, 4, '7'))
        world.plan('sn:9', '0000:01:00.0')
        world.guests = (device.Guest(worlds.SERVER, True),)
        self.assertIn('runs', self.refused(world))

    def test_a_card_that_others_hold(self):
        world = self.world(worlds.card(1, 3), worlds.card(2, 4, '7'))
        world.serve(worlds.OTHER, 'sn:7')
        self.assertIn(worlds.OTHER, self.refused(world, new='sn:7'))

    def test_another_make(self):
        stranger = worlds.card(1, 3, product_id='1db6', models=(hosts.T4_8Q,))
        world = self.world(stranger)
        self.assertIn('another make', self.refused(world))
        self.assertEqual((), world.entries()['sn:9'].candidates)

    def test_a_card_without_what_is_held(self):
        smaller = worlds.card(1, 3, models=(hosts.T4_1Q,))
        world = self.world(smaller)
        self.assertIn('nvidia-233/0', self.refused(world))

    def test_a_card_that_no_rule_names(self):
        world = self.world(worlds.card(9, 3))
        self.assertIn('no rule', self.refused(world, new='0000:09:00.0'))

    def test_a_device_that_is_not_lost(self):
        world = self.world(worlds.card(1, 3, '9'))
        error = self.assertRaises(
            exception.NoSuchDevice, world.plan, 'sn:9', '0000:01:00.0'
        )
        self.assertIn('it is not lost, but at 0000:01:00.0', str(error))

    def test_what_nobody_knows(self):
        world = self.world(worlds.card(1, 3))
        for old, new in (('sn:1', 'slot:3'), ('sn:9', 'sn:1')):
            self.assertRaises(exception.NoSuchDevice, world.plan, old, new)

    def test_placement_has_forgotten_it(self):
        world = self.world(worlds.card(1, 3))
        world.known = {}
        self.assertIn('no provider', self.refused(world))


class PoolTest(testtools.TestCase):
    def test_a_part_of_a_pool(self):
        world = worlds.World(
            worlds.card(1, 3, '9', hosts.pci),
            worlds.card(2, 4, '7', hosts.pci),
            rule=worlds.WHOLE,
        )
        (pool,) = world.known
        world.serve(worlds.SERVER, 'sn:9', part='')
        world.servers = tuple(
            dataclasses.replace(
                server,
                claims=frozenset(
                    dataclasses.replace(
                        claim, resource_class='CUSTOM_PCI_10DE_20B5'
                    )
                    for claim in server.claims
                ),
            )
            for server in world.servers
        )
        world.update()
        world.change(
            worlds.card(1, 3, '', hosts.pci), worlds.card(2, 4, '7', hosts.pci)
        )
        world.update()
        traits = world.known[pool].traits
        self.assertIn(naming.missing_trait('sn:9'), traits)
        self.assertIn(states.trait(states.MISMATCH, 'sn:9'), traits)
        new = worlds.place(3, '10de-20b5')
        self.assertIn(states.trait(states.NOT_READY, new), traits)

        world.apply(world.plan('sn:9', new))
        world.update()
        self.assertEqual({pool}, set(world.known))
        self.assertEqual({'sn:9', 'sn:7'}, set(world.entries()))
        words = {t for t in world.known[pool].traits if states.read(t)}
        # So it would be, should the operator's word be taken back.
        self.assertEqual({states.trait(states.NOT_READY, new)}, words)
        record = world.known[pool].inventories['CUSTOM_PCI_10DE_20B5']
        self.assertEqual((2, 0), (record.total, record.reserved))

    def test_what_nobody_holds_is_known_by_its_short_id(self):
        world = worlds.World(
            worlds.card(1, 3, '9', hosts.pci),
            worlds.card(2, 4, '7', hosts.pci),
            rule=worlds.WHOLE,
        )
        world.change(worlds.card(2, 4, '7', hosts.pci))
        world.update()
        entries = world.entries()
        self.assertEqual({'sn:7', ''}, set(entries))
        lost = entries['']
        self.assertEqual(
            (whereabouts.AWAY, 'missing', '0000:01:00.0'),
            (lost.place, lost.state, lost.before),
        )
        self.assertIn(naming.short_id('sn:9'), lost.why)
