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

from nova_accel.core import inventory
from nova_accel.core import naming
from nova_accel.core import states
from nova_accel.core import upkeep
from tests.unit.core import hosts

PCI_CLASS = 'CUSTOM_PCI_10DE_20B5'
POOL = 'pool:r:10de-20b5:numa0'
CARD = hosts.rule('r', 1, 2, models=('nvidia-233',))
WHOLE = hosts.rule('r', *range(1, 6), kind='pci')
NOT_READY = states.trait(states.NOT_READY)


class Host:
    """One host, its devices, and Placement."""

    def __init__(self, rule, *devices):
        self.rule = rule
        self.devices = devices
        self.known = {}
        self.held = ()
        self.update()

    def update(self):
        found = inventory.desired(
            hosts.NODE, self.offer, self.held, self.known
        )
        self.known = hosts.known(found)
        return {one.stable_id: one for one in found}

    @property
    def offer(self):
        return hosts.offer([self.rule], self.devices)

    def change(self, stable_id, verb, device=''):
        """What an operator does with the standard client."""
        rp = hosts.provider_of(stable_id)
        traits = states.changed(self.known[rp].traits, verb, device)
        self.known[rp] = dataclasses.replace(self.known[rp], traits=traits)

    def counts(self, stable_id):
        """Total, reserved and marks after an update."""
        self.update()
        one = self.update()[stable_id]
        (record,) = one.inventories.values()
        marks = {t for t in one.traits if states.read(t)}
        return record.total, record.reserved, marks


def card(bus, **kwargs):
    return hosts.t4(bus, **kwargs)


class CardTest(testtools.TestCase):
    def test_ready_at_once(self):
        self.assertEqual((2, 0, set()), Host(CARD, card(1)).counts('sn:1'))

    def test_not_ready_until_enabled(self):
        rule = dataclasses.replace(CARD, new_devices='not_ready')
        host = Host(rule, card(1))
        self.assertEqual((2, 2, {NOT_READY}), host.counts('sn:1'))
        host.change('sn:1', 'enable')
        ready = states.trait(states.READY)
        self.assertEqual((2, 0, {ready}), host.counts('sn:1'))

    def test_a_crash_between_inventory_and_traits_opens_nothing(self):
        rule = dataclasses.replace(CARD, new_devices='not_ready')
        host = Host(rule, card(1))
        for rp, one in host.known.items():
            host.known[rp] = dataclasses.replace(one, traits=frozenset())
        self.assertEqual((2, 2, {NOT_READY}), host.counts('sn:1'))

    def test_drained_and_taken_back(self):
        host = Host(CARD, card(1), card(2))
        host.held = [
            inventory.Claim(
                hosts.provider_of('sn:1'), 'VGPU', 'sn:1/nvidia-233/0'
            )
        ]
        host.change('sn:1', 'drain')
        draining = states.trait(states.DRAINING)
        # The server keeps its own.
        self.assertEqual((2, 1, {draining}), host.counts('sn:1'))
        self.assertEqual((2, 0, set()), host.counts('sn:2'))
        host.held = ()
        self.assertEqual((2, 2, {draining}), host.counts('sn:1'))
        host.change('sn:1', 'enable')
        self.assertEqual(0, host.counts('sn:1')[1])

    def test_in_place_of_another_it_is_not_ready(self):
        host = Host(CARD, card(1), card(2))
        # Where the first one was, nobody knows any more.
        host.devices = (
            card(2),
            card(1, ids=('sn:9', 'path:1'), serial='9'),
        )
        self.assertEqual((2, 2, {NOT_READY}), host.counts('sn:9'))
        self.assertEqual((2, 0, set()), host.counts('sn:2'))
        total, reserved, marks = host.counts('sn:1')
        self.assertEqual((2, 2, {naming.MISSING}), (total, reserved, marks))
        # It stays so when the first one is back, and until it is enabled.
        host.devices = (card(1), card(2, ids=('sn:9',)))
        self.assertEqual((2, 2, {NOT_READY}), host.counts('sn:9'))
        host.change('sn:9', 'enable')
        self.assertEqual(0, host.counts('sn:9')[1])

    def test_in_another_place_it_may_be_the_one_that_is_away(self):
        host = Host(CARD, card(1, ids=('slot:1',)))
        host.devices = (card(2, ids=('slot:2',)),)
        self.assertEqual((2, 2, {NOT_READY}), host.counts('slot:2:10de-1eb8'))

    def test_another_make_in_another_place_is_ready(self):
        host = Host(CARD, card(1, ids=('slot:1',)))
        host.devices = (card(2, ids=('slot:2',), vendor_id='1002'),)
        self.assertEqual(0, host.counts('slot:2:1002-1eb8')[1])

    def test_another_make_in_the_place_of_one_in_use(self):
        host = Host(CARD, card(1, ids=('slot:1',)))
        old, new = 'slot:1:10de-1eb8', 'slot:1:10de-20b5'
        host.held = [
            inventory.Claim(
                hosts.provider_of(old), 'VGPU', f'{old}/nvidia-233/0'
            )
        ]
        host.devices = (card(1, ids=('slot:1',), product_id='20b5'),)
        self.assertEqual((2, 2, {NOT_READY}), host.counts(new))
        total, reserved, marks = host.counts(old)
        self.assertEqual((2, 1), (total, reserved))
        self.assertEqual(
            {naming.MISSING, states.trait(states.MISMATCH)}, marks
        )


class PoolTest(testtools.TestCase):
    def marked(self, word, bus):
        return states.trait(word, f'sn:{bus}')

    def test_a_trait_a_device(self):
        rule = dataclasses.replace(WHOLE, new_devices='not_ready')
        host = Host(rule, *map(hosts.pci, (1, 2, 3)))
        self.assertEqual(3, host.counts(POOL)[1])
        host.change(POOL, 'enable', 'sn:2')
        total, reserved, marks = host.counts(POOL)
        self.assertEqual((3, 2), (total, reserved))
        self.assertEqual(
            {
                self.marked(states.NOT_READY, 1),
                self.marked(states.READY, 2),
                self.marked(states.NOT_READY, 3),
            },
            marks,
        )

    def test_drain_one(self):
        host = Host(WHOLE, *map(hosts.pci, (1, 2, 3)))
        host.change(POOL, 'drain', 'sn:2')
        self.assertEqual(
            (3, 1, {self.marked(states.DRAINING, 2)}), host.counts(POOL)
        )

    def test_drain_all(self):
        host = Host(WHOLE, *map(hosts.pci, (1, 2, 3)))
        host.change(POOL, 'drain')
        self.assertEqual(3, host.counts(POOL)[1])

    def test_a_device_lost_before_the_start_is_missed(self):
        host = Host(WHOLE, *map(hosts.pci, (1, 2, 3)))
        host.devices = tuple(map(hosts.pci, (1, 3)))
        self.assertEqual(
            (3, 1, {self.marked(states.MISSING, 2)}), host.counts(POOL)
        )
        host.devices = tuple(map(hosts.pci, (1, 2, 3)))
        self.assertEqual((3, 0, set()), host.counts(POOL))

    def test_one_in_place_of_another_is_not_ready(self):
        host = Host(WHOLE, *map(hosts.pci, (1, 2)))
        host.devices = tuple(map(hosts.pci, (1, 3)))
        self.assertEqual(
            (
                3,
                2,
                {
                    self.marked(states.MISSING, 2),
                    self.marked(states.NOT_READY, 3),
                },
            ),
            host.counts(POOL),
        )

    def test_an_absence_changes_nothing(self):
        host = Host(WHOLE, *map(hosts.pci, (1, 2)))
        host.change(POOL, 'drain', 'sn:1')
        host.devices = tuple(map(hosts.pci, (1, 3)))
        before = host.counts(POOL)
        self.assertIn(self.marked(states.NOT_READY, 3), before[2])
        # Both are pulled, and put back.
        host.devices = (hosts.pci(2),)
        host.counts(POOL)
        host.devices = tuple(map(hosts.pci, (1, 3)))
        self.assertEqual(before, host.counts(POOL))

    def test_a_device_takes_its_marks_to_another_pool(self):
        host = Host(WHOLE, *map(hosts.pci, (1, 2)))
        host.change(POOL, 'drain', 'sn:2')
        host.update()
        host.devices = (hosts.pci(1), hosts.pci(2, numa_node=1))
        self.assertEqual(
            (1, 1, {self.marked(states.DRAINING, 2)}),
            host.counts('pool:r:10de-20b5:numa1'),
        )
        self.assertEqual(1, host.counts(POOL)[0])


class OneTimeTest(testtools.TestCase):
    """What a server has had, nobody gets before it was cleaned."""

    def marks(self, host, stable_id):
        return {
            trait
            for trait in host.update()[stable_id].traits
            if (states.read(trait) or ('',))[0]
            in (states.CLEANING, states.CLEAN_FAILED)
        }

    def test_a_device_of_a_pool(self):
        rule = dataclasses.replace(WHOLE, one_time_use=True)
        host = Host(rule, hosts.pci(1), hosts.pci(2))
        provider = hosts.provider_of(POOL)
        self.assertEqual(set(), self.marks(host, POOL))
        host.held = [inventory.Claim(provider, PCI_CLASS, 'sn:1')]
        expected = {states.trait(states.CLEANING, 'sn:1')}
        self.assertEqual(expected, self.marks(host, POOL))
        # It is the server's, and nothing is taken from anybody.
        self.assertEqual((2, 0), host.counts(POOL)[:2])
        host.held = ()
        self.assertEqual((2, 1), host.counts(POOL)[:2])
        self.assertEqual(expected, self.marks(host, POOL))
        # To pull it and to put it back does not clean it.
        host.devices = (hosts.pci(2),)
        host.update()
        host.devices = (hosts.pci(1), hosts.pci(2))
        self.assertEqual((2, 1), host.counts(POOL)[:2])
        # Whatever the rule says by then.
        host.rule = WHOLE
        self.assertEqual((2, 1), host.counts(POOL)[:2])
        host.change(POOL, 'uncleaned', 'sn:1')
        self.assertEqual((2, 1), host.counts(POOL)[:2])
        host.change(POOL, 'cleaned', 'sn:1')
        self.assertEqual((2, 0), host.counts(POOL)[:2])
        self.assertEqual(set(), self.marks(host, POOL))

    def test_a_slot_of_a_card(self):
        rule = dataclasses.replace(CARD, one_time_use=True)
        host = Host(rule, hosts.t4(1))
        provider = hosts.provider_of('sn:1')
        host.held = [
            inventory.Claim(provider, 'VGPU', f'sn:1/nvidia-233/{slot}')
            for slot in (0, 1)
        ]
        host.update()
        host.held = host.held[:1]
        self.assertEqual((2, 1), host.counts('sn:1')[:2])
        service = inventory.service(hosts.NODE, host.offer, host.known)
        self.assertEqual(
            {'sn:1/nvidia-233/0', 'sn:1/nvidia-233/1'}, set(service.cleaning)
        )
        self.assertIn(states.CLEANING, service.state('sn:1'))
        both = service.cleaning.keys()
        self.assertEqual(frozenset(), service.state('sn:1', both))
        host.change('sn:1', 'cleaned', 'sn:1/nvidia-233/1')
        self.assertEqual((2, 0), host.counts('sn:1')[:2])


class DriverTest(testtools.TestCase):
    def test_a_drained_card_whose_driver_is_loaded_anew_is_drained(self):
        host = Host(CARD, hosts.t4(1))
        host.change('sn:1', 'drain')
        host.devices = (hosts.t4(1, models=()),)
        found = host.update()['sn:1']
        self.assertFalse(found.retired)
        self.assertEqual(
            {(2, 2)},
            {
                (each.total, each.reserved)
                for each in found.inventories.values()
            },
        )
        host.devices = (hosts.t4(1),)
        self.assertEqual((2, 2), host.counts('sn:1')[:2])
        host.change('sn:1', 'enable')
        self.assertEqual((2, 0), host.counts('sn:1')[:2])


class PreparedTest(testtools.TestCase):
    def test_a_word_alone_does_not_open_it(self):
        rule = dataclasses.replace(
            CARD, new_devices='not_ready', prepare=upkeep.Prepare()
        )
        host = Host(rule, hosts.t4(1))
        for verb, reserved, is_due in (
            ('drain', 2, False),
            ('enable', 2, True),
            ('unprepared', 2, False),
            ('enable', 2, True),
            ('prepared', 0, False),
            # Of one in use, a drain is taken back.
            ('drain', 2, False),
            ('enable_in_use', 0, False),
            ('enable', 2, True),
        ):
            host.change('sn:1', verb)
            self.assertEqual((2, reserved), host.counts('sn:1')[:2], verb)
            service = inventory.service(hosts.NODE, host.offer, host.known)
            self.assertEqual(
                is_due, states.is_due(service.marks['sn:1']), verb
            )
