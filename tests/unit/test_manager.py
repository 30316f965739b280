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
import logging
import random
import threading

import fixtures
import testtools

from nova_accel.backends import fake
from nova_accel.core import adoption
from nova_accel.core import device
from nova_accel.core import inventory
from nova_accel.core import naming
from nova_accel.core import whitelist
from nova_accel import exception
from nova_accel import manager
from tests.unit.core import hosts

T4_16Q = device.VgpuModel('nvidia-234', 'GRID T4-16Q', 1)
MODELS = (hosts.T4_1Q, hosts.T4_8Q, T4_16Q)
Q8 = 'CUSTOM_VGPU_GRID_T4_8Q'
Q16 = 'CUSTOM_VGPU_GRID_T4_16Q'
PCI_CLASS = 'CUSTOM_PCI_10DE_20B5'
FOREIGN = '7d7ff1b5-0b75-4e2c-b6a9-7a4fcd3a5ab1'

EIGHT = hosts.rule('eight', 1, 2, models=('nvidia-233',))
SIXTEEN = hosts.rule('sixteen', 1, 2, models=('nvidia-234',))
DYNAMIC = hosts.rule(
    'dynamic', 1, 2, mode='dynamic', models=('nvidia-233', 'nvidia-234')
)
WHOLE = hosts.rule('whole', 5, 6, 7, kind='pci')
POOL = 'pool:whole:10de-20b5:numa0'


def rp(bus):
    return hosts.provider_of(f'sn:{bus}')


def vgpu(bus, slot, resource_class='VGPU', type_id='nvidia-233'):
    return inventory.Claim(
        rp(bus), resource_class, f'sn:{bus}/{type_id}/{slot}'
    )


def whole(bus):
    return inventory.Claim(hosts.provider_of(POOL), PCI_CLASS, f'sn:{bus}')


def uuid_of(claim):
    return naming.mdev_uuid(claim.provider, claim.unit)


class Host:
    """Manager, backend and what nova's tracker and Placement would say."""

    def __init__(self, *rules, devices=None, held=(), mdevs=()):
        self.devices = devices or [
            hosts.t4(1, models=MODELS),
            hosts.t4(2, models=MODELS),
            *(hosts.pci(bus) for bus in (5, 6, 7)),
        ]
        self.backend = fake.FakeBackend(self.devices)
        for mdev in mdevs:
            self.add_mdev(mdev)
        self.known = {}
        self.restart(*rules, held=held)

    def restart(self, *rules, held=()):
        self.manager = manager.Manager(self.backend)
        self.manager.start(
            hosts.NODE, whitelist.Whitelist(rules), frozenset(held)
        )

    def add_mdev(self, mdev):
        view = self.backend.discover()
        self.backend._replace(mdevs=tuple(sorted([*view.mdevs, mdev])))

    def periodic(self, *persisted, meant=()):
        """As nova does it: refresh, refill, update."""
        self.manager.refresh()
        self.manager.settle(frozenset(persisted), frozenset(meant))
        return self.update()

    def update(self, written=True):
        """One update_provider_tree.

        :param written: Placement took it.
        """
        found = self.manager.providers(hosts.NODE, self.known)
        if written:
            self.known = hosts.known(found)
        return {provider.stable_id: provider for provider in found}

    def counts(self, stable_id, **kwargs):
        return {
            rc: (record.total, record.reserved)
            for rc, record in self.update(**kwargs)[
                stable_id
            ].inventories.items()
        }

    def claim(self, wanted, amount=1, resource_class='VGPU', server=''):
        return self.manager.claim(
            {wanted: {resource_class: amount}}, server=server
        )

    def mdevs(self):
        return {mdev.uuid for mdev in self.backend.discover().mdevs}


class ClaimTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.host = Host(EIGHT, WHOLE)
        self.host.periodic()
        self.manager = self.host.manager

    def test_units_are_chosen_and_held(self):
        picks = self.host.claim(rp(1), 2, server='a')
        self.assertEqual((vgpu(1, 0), vgpu(1, 1)), picks)
        self.assertEqual(frozenset(picks), self.manager.held)
        self.assertEqual(dict.fromkeys(picks, 'a'), self.manager.picks)

    def test_several_providers_at_once(self):
        wants = {
            rp(1): {'VGPU': 1},
            rp(2): {'VGPU': 2},
            hosts.provider_of(POOL): {PCI_CLASS: 2},
        }
        self.assertEqual(5, len(set(self.manager.claim(wants))))

    def test_all_or_none(self):
        wants = {rp(1): {'VGPU': 1}, rp(2): {'VGPU': 3}}
        self.assertRaises(exception.NotEnoughUnits, self.manager.claim, wants)
        self.assertEqual(frozenset(), self.manager.held)
        self.assertEqual({}, self.manager.picks)

    def test_nothing_twice(self):
        picks = [self.host.claim(rp(1))[0] for _ in range(2)]
        self.assertEqual(2, len(set(picks)))
        error = self.assertRaises(
            exception.NotEnoughUnits, self.host.claim, rp(1)
        )
        self.assertIn('0 free, 1 asked', str(error))

    def test_what_is_not_offered_is_refused(self):
        for provider, resource_class in [
            (hosts.provider_of('sn:9'), 'VGPU'),
            (rp(1), PCI_CLASS),
        ]:
            error = self.assertRaises(
                exception.NotEnoughUnits,
                self.host.claim,
                provider,
                resource_class=resource_class,
            )
            self.assertIn('not offered here any more', str(error))

    def test_a_released_unit_can_be_had_again(self):
        picks = self.host.claim(rp(1), 2)
        self.manager.unclaim(picks[:1])
        self.assertEqual(picks[:1], self.host.claim(rp(1)))

    def test_two_failures_in_a_row_leave_nothing(self):
        for server in 'ab':
            self.manager.unclaim(self.host.claim(rp(1), 2, server=server))
            self.manager.unclaim([vgpu(1, 0)])
        self.assertEqual(frozenset(), self.manager.held)
        self.assertEqual({}, self.manager.picks)
        self.host.claim(rp(1), 2)

    def test_the_periodic_forgets_no_pick_that_is_meant(self):
        (pick,) = self.host.claim(rp(1), server='a')
        # The outdated record of another server may name it, too.
        for persisted in ([], [pick]):
            self.host.periodic(*persisted, meant=[pick])
            self.assertEqual({pick: 'a'}, self.manager.picks)
        self.assertEqual((vgpu(1, 1),), self.host.claim(rp(1)))

    def test_a_saved_pick_leaves_the_ledger_and_stays_held(self):
        (pick,) = self.host.claim(rp(1), server='a')
        self.host.periodic(meant=[pick])
        self.host.periodic(pick)
        self.assertEqual({}, self.manager.picks)
        self.assertEqual({pick}, self.manager.held)
        self.host.periodic()
        self.assertEqual(frozenset(), self.manager.held)

    def test_a_pick_that_nobody_waits_for_is_free_again(self):
        (pick,) = self.host.claim(rp(1), server='a')
        self.host.periodic()
        self.assertEqual({}, self.manager.picks)
        self.assertEqual((pick,), self.host.claim(rp(1)))

    def test_old_and_new_units_of_one_server(self):
        """A resize to the same host, and both of its ends."""
        self.host.periodic(vgpu(1, 0))
        new = self.host.claim(rp(1), server='a')
        self.host.periodic(vgpu(1, 0), *new)
        self.assertRaises(exception.NotEnoughUnits, self.host.claim, rp(1))
        self.manager.unclaim([vgpu(1, 0)])
        self.assertEqual(set(new), self.manager.held)

    def test_units_of_another_node_are_not_ours_to_claim(self):
        stray = inventory.Claim(FOREIGN, 'VGPU', 'sn:77/nvidia-233/0')
        self.host.periodic(stray)
        self.assertNotIn(FOREIGN, self.manager.providing)
        self.assertLessEqual({rp(1), rp(2)}, self.manager.providing)

    def test_no_identifier_of_a_claim_stops_an_update(self):
        strays = [inventory.Claim(FOREIGN, 'X', unit) for unit in ('a/b', '')]
        before = self.host.periodic()
        self.assertEqual(before, self.host.periodic(*strays))
        error = self.assertRaises(
            exception.DeviceUnavailable, self.manager.attach, 'a', strays
        )
        self.assertIn('not in this host', str(error))


class AnnounceTest(testtools.TestCase):
    """``mode: dynamic``: a claim takes other models out of service."""

    def setUp(self):
        super().setUp()
        cards = [hosts.t4(bus, models=MODELS) for bus in (1, 2, 4)]
        self.host = Host(DYNAMIC, EIGHT_ELSEWHERE, devices=cards)
        self.manager = self.host.manager
        self.idle = self.host.periodic()

    def test_a_claim_changes_nothing_until_it_is_announced(self):
        self.host.claim(rp(1), resource_class=Q8)
        self.assertEqual(self.idle, self.host.update())
        self.assertTrue(self.manager.unannounced)
        self.manager.announce()
        self.assertEqual({Q8: (2, 0), Q16: (1, 1)}, self.host.counts('sn:1'))
        self.assertFalse(self.manager.unannounced)

    def test_a_release_is_told_at_once(self):
        picks = self.host.claim(rp(1), resource_class=Q8)
        self.manager.announce()
        self.manager.unclaim(picks)
        self.assertEqual(self.idle, self.host.update())
        self.assertFalse(self.manager.unannounced)

    def test_a_failed_claim_hides_no_other(self):
        self.host.claim(rp(1), resource_class=Q8)
        self.manager.unclaim(self.host.claim(rp(2), resource_class=Q16))
        self.assertTrue(self.manager.unannounced)
        self.assertEqual(self.idle, self.host.update())

    def test_the_periodic_announces(self):
        picks = self.host.claim(rp(1), resource_class=Q8)
        self.host.periodic(meant=picks)
        self.assertFalse(self.manager.unannounced)
        self.assertEqual({Q8: (2, 0), Q16: (1, 1)}, self.host.counts('sn:1'))

    def test_one_model_needs_no_announcement(self):
        picks = self.host.claim(rp(4))
        self.assertFalse(self.manager.unannounced)
        self.assertEqual(self.idle, self.host.update())
        self.manager.unclaim(picks)
        self.assertEqual(self.idle, self.host.update())

    def test_the_other_model_is_refused_at_once(self):
        self.host.claim(rp(1), resource_class=Q8)
        self.assertRaises(
            exception.NotEnoughUnits,
            self.host.claim,
            rp(1),
            resource_class=Q16,
        )


EIGHT_ELSEWHERE = hosts.rule('eight', 4, models=('nvidia-233',))


class DeviceTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.host = Host(EIGHT, WHOLE)
        self.host.periodic()
        self.manager, self.backend = self.host.manager, self.host.backend
        self.picks = self.host.claim(rp(1), 2)
        self.uuids = set(map(uuid_of, self.picks))

    def test_attach_and_detach(self):
        for _ in range(2):
            rendered = self.manager.attach('a', self.picks)
            self.assertEqual(
                sorted(self.uuids), sorted(r.mdev_uuid for r in rendered)
            )
            self.assertEqual(self.uuids, self.host.mdevs())
        for _ in range(2):
            self.manager.detach('a', self.picks)
            self.assertEqual(set(), self.host.mdevs())

    def test_all_or_none(self):
        # The second one no longer fits.
        self.host.add_mdev(
            device.Mdev(FOREIGN, 'nvidia-233', hosts.t4(1).name)
        )
        error = self.assertRaises(
            exception.DeviceUnavailable,
            self.manager.attach,
            'server-a',
            self.picks,
        )
        self.assertIn('of server server-a', str(error))
        self.assertEqual({FOREIGN}, self.host.mdevs())
        self.assertEqual({}, self.backend.prepared)

    def test_a_host_that_rebooted(self):
        self.manager.attach('a', self.picks)
        self.backend.reboot()
        self.manager.attach('a', self.picks)
        self.assertEqual(self.uuids, self.host.mdevs())

    def test_a_device_in_use_stays(self):
        self.manager.attach('a', self.picks)
        self.backend.busy.update(self.uuids)
        self.manager.detach('a', self.picks)
        self.assertEqual(self.uuids, self.host.mdevs())

    def test_what_cleans_up_never_fails(self):
        self.manager.attach('a', self.picks)
        self.backend.unreachable = 'gone'
        self.backend.release = self.unreachable
        self.manager.detach('a', self.picks)
        # The original error is what a user is told.
        self.backend.unreachable = None
        self.backend.broken[hosts.t4(1).name] = 'it smokes'
        error = self.assertRaises(
            exception.DeviceUnavailable, self.manager.attach, 'a', self.picks
        )
        self.assertIn('it smokes', str(error))

    def unreachable(self, assignment):
        raise exception.BackendUnavailable(reason='gone')

    def test_a_device_that_came_back_since_the_last_look(self):
        card = self.host.devices[0]
        self.backend.unplug(card.name)
        self.host.periodic(*self.picks)
        error = self.assertRaises(
            exception.DeviceUnavailable, self.manager.attach, 'a', self.picks
        )
        self.assertIn('not in this host', str(error))
        self.backend.plug(card)
        self.assertEqual(2, len(self.manager.attach('a', self.picks)))

    def test_another_device_in_its_place(self):
        other = dataclasses.replace(self.host.devices[0], product_id='20b0')
        self.backend.plug(other)
        error = self.assertRaises(
            exception.DeviceUnavailable, self.manager.attach, 'a', self.picks
        )
        self.assertIn('another device', str(error))


class StartTest(testtools.TestCase):
    """Servers hold units before the tracker knows anything."""

    HELD = (vgpu(1, 0), whole(5))

    def attached(self, host):
        return host.manager.attach('a', self.HELD)

    def test_no_rules_any_more(self):
        host = Host(held=self.HELD)
        self.assertFalse(host.manager.idle)
        self.assertTrue(all(c.provider in host.manager for c in self.HELD))
        self.assertEqual(2, len(self.attached(host)))

    def test_the_update_before_the_tracker_has_settled(self):
        host = Host(EIGHT, WHOLE, held=self.HELD)
        self.assertEqual({'VGPU': (2, 0)}, host.counts('sn:1'))
        units = host.update()['sn:1'].units['VGPU']
        self.assertIn(self.HELD[0].unit, units)

    def test_providers_are_kept_without_rules_while_held(self):
        host = Host(EIGHT, WHOLE)
        host.periodic()
        host.restart(held=self.HELD)
        after = host.periodic(*self.HELD)
        self.assertFalse(after['sn:1'].retired)
        self.assertEqual({'VGPU': (2, 1)}, host.counts('sn:1'))
        self.assertEqual({PCI_CLASS: (3, 2)}, host.counts(POOL))
        self.assertTrue(after['sn:2'].retired)

    def test_no_devices_at_all(self):
        host = Host(EIGHT, WHOLE)
        host.periodic()
        host.backend.unplug(*(dev.name for dev in host.devices))
        host.restart(EIGHT, WHOLE, held=self.HELD)
        after = host.periodic(*self.HELD)
        for claim in self.HELD:
            units = {
                provider.uuid: provider.units for provider in after.values()
            }[claim.provider]
            self.assertIn(claim.unit, units[claim.resource_class])
        self.assertRaises(exception.DeviceUnavailable, self.attached, host)
        host.backend.plug(*host.devices)
        self.assertEqual(2, len(self.attached(host)))

    def test_nothing_is_collected_before_the_tracker_has_settled(self):
        host = Host(EIGHT)
        (pick,) = host.claim(rp(1))
        host.manager.attach('a', [pick])
        host.restart(EIGHT)
        host.manager.refresh()
        self.assertEqual({uuid_of(pick)}, host.mdevs())
        host.periodic()
        host.periodic()
        self.assertEqual(set(), host.mdevs())
        # Whoever asks now is not told of what has just been destroyed.
        self.assertEqual((), host.manager.now.view.mdevs)

    def test_stock_where_there_is_nothing_of_ours(self):
        host = Host()
        self.assertTrue(host.manager.idle)
        host.backend.unreachable = 'never asked'
        host.manager.refresh()
        self.assertEqual({}, host.periodic())


class CollectTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.host = Host(EIGHT)
        self.host.periodic()
        self.manager, self.backend = self.host.manager, self.host.backend
        (self.pick,) = self.host.claim(rp(1), server='a')
        self.manager.attach('a', [self.pick])
        self.uuid = uuid_of(self.pick)

    def orphan(self):
        self.manager.unclaim([self.pick])

    def test_what_is_held_stays(self):
        self.host.periodic(meant=[self.pick])
        self.host.periodic(self.pick)
        self.host.periodic(self.pick)
        self.assertEqual({self.uuid}, self.host.mdevs())

    def test_an_orphan_goes_and_a_stranger_stays(self):
        self.host.add_mdev(
            device.Mdev(FOREIGN, 'nvidia-233', hosts.t4(2).name)
        )
        self.orphan()
        self.host.periodic()
        self.assertEqual({FOREIGN}, self.host.mdevs())
        self.assertEqual({'VGPU': (2, 1)}, self.host.counts('sn:2'))

    def test_an_orphan_of_a_card_that_is_not_listed_any_more(self):
        for rules in (
            [hosts.rule('eight', 2, models=('nvidia-233',))],
            [SIXTEEN],
        ):
            self.host.restart(*rules)
            self.host.periodic()
            self.assertTrue(self.manager.is_ours(self.uuid))
            self.host.periodic()
            self.assertEqual(set(), self.host.mdevs())
            self.host.restart(EIGHT)
            self.host.manager.attach('a', [self.pick])

    def test_a_held_unit_of_another_model_counts_once(self):
        self.host.restart(SIXTEEN, held=[self.pick])
        self.host.periodic(self.pick)
        self.host.periodic(self.pick)
        self.assertEqual({self.uuid}, self.host.mdevs())
        self.assertEqual({'VGPU': (2, 1)}, self.host.counts('sn:1'))

    def test_a_held_slot_that_is_no_more_counts_once(self):
        mixed = [
            dataclasses.replace(dev, mixed=True) for dev in self.host.devices
        ]
        host = Host(EIGHT_ONES, devices=mixed)
        host.periodic()
        claims = host.claim(rp(1), 4)
        host.manager.attach('a', claims)
        fewer = dataclasses.replace(EIGHT_ONES, max_slots=3)
        host.restart(fewer, held=claims[3:])
        host.periodic(*claims[3:])
        host.periodic(*claims[3:])
        self.assertEqual({uuid_of(claims[3])}, host.mdevs())
        # Room for three: one is taken by the slot that is no more.
        self.assertEqual({'VGPU': (4, 1)}, host.counts('sn:1'))

    def test_an_orphan_in_use_is_nobodys_until_it_is_free(self):
        """A guest outlived its server's record, or an evacuation."""
        self.backend.busy.add(self.uuid)
        self.orphan()
        self.host.periodic()
        self.assertEqual({'VGPU': (2, 1)}, self.host.counts('sn:1'))
        self.assertEqual((vgpu(1, 1),), self.host.claim(rp(1)))
        self.assertRaises(exception.NotEnoughUnits, self.host.claim, rp(1))
        self.backend.busy.clear()
        self.host.periodic(vgpu(1, 1))
        self.assertEqual({'VGPU': (2, 0)}, self.host.counts('sn:1'))
        self.assertEqual((vgpu(1, 0),), self.host.claim(rp(1)))

    def test_an_unreachable_hypervisor_breaks_no_refresh(self):
        self.orphan()
        self.backend.release = self.lost
        self.host.periodic()
        del self.backend.release
        self.backend.unreachable = 'gone'
        self.host.periodic()
        self.backend.unreachable = None
        self.host.periodic()
        self.assertEqual(set(), self.host.mdevs())

    def lost(self, assignment):
        raise exception.BackendUnavailable(reason='the line is dead')

    def test_a_claim_overtakes_the_collection(self):
        """Between the look and the lock, a server claims and attaches."""
        self.orphan()
        locks = self.manager._locks

        class Lock:
            def __enter__(lock):
                self.assertEqual((self.pick,), self.host.claim(rp(1)))
                locks[rp(1)] = threading.Lock()
                self.manager.attach('b', [self.pick])

            def __exit__(lock, *args):
                pass

        locks[rp(1)] = Lock()
        self.manager.refresh()
        self.assertEqual({self.uuid}, self.host.mdevs())


EIGHT_ONES = hosts.rule('ones', 1, models=('nvidia-222',), max_slots=4)


class PoolTest(testtools.TestCase):
    """A pool remembers the devices it has lost."""

    def setUp(self):
        super().setUp()
        self.host = Host(WHOLE)
        self.host.periodic()

    def test_one_after_the_other(self):
        for bus in (5, 6):
            self.host.backend.unplug(hosts.pci(bus).name)
            self.host.manager.refresh()
        self.assertEqual({PCI_CLASS: (3, 2)}, self.host.counts(POOL))

    def test_an_update_that_fails(self):
        self.host.backend.unplug(hosts.pci(5).name)
        self.host.manager.refresh()
        for _ in range(2):
            self.host.update(written=False)
        # Something else changes before Placement takes it.
        self.host.backend.unplug(hosts.t4(1).name)
        self.host.manager.refresh()
        self.assertEqual({PCI_CLASS: (3, 1)}, self.host.counts(POOL))

    def test_it_comes_back(self):
        self.host.backend.unplug(hosts.pci(5).name)
        self.host.periodic()
        self.host.backend.plug(hosts.pci(5))
        self.host.periodic()
        self.assertEqual({PCI_CLASS: (3, 0)}, self.host.counts(POOL))


class QuietTest(testtools.TestCase):
    """Nothing is worked out again while nothing changes."""

    def test_the_same_objects(self):
        host = Host(EIGHT, WHOLE)
        claims = host.claim(rp(1), 2)
        host.periodic(*claims)
        host.periodic(*claims)
        basis, index = host.manager.basis, host.manager.now.index
        capabilities = host.manager.capabilities()
        host.periodic(*claims)
        for was, now in zip(basis, host.manager.basis, strict=True):
            self.assertIs(was, now)
        self.assertIs(index, host.manager.now.index)
        self.assertIs(capabilities, host.manager.capabilities())

    def test_a_claim_makes_no_new_offer(self):
        host = Host(EIGHT, WHOLE)
        host.periodic()
        host.periodic()
        index = host.manager.now.index
        picks = host.claim(rp(1), 2) + host.claim(
            hosts.provider_of(POOL), 2, PCI_CLASS
        )
        host.manager.attach('a', picks)
        host.update()
        host.manager.refresh()
        host.periodic(*picks)
        host.manager.unclaim(picks)
        host.periodic()
        self.assertIs(index, host.manager.now.index)


class ThreadTest(testtools.TestCase):
    def test_views_are_taken_in_the_order_they_were_made(self):
        host = Host(EIGHT)
        host.periodic()
        discover = host.backend.discover
        made, go_on = threading.Event(), threading.Event()
        slow = []

        def discover_slowly(full=False):
            view = discover(full)
            if not slow:
                slow.append(threading.current_thread())
                made.set()
                go_on.wait(5)
            return view

        host.backend.discover = discover_slowly
        first = threading.Thread(target=host.manager.refresh)
        first.start()
        made.wait(5)
        host.backend.unplug(hosts.t4(1).name)
        second = threading.Thread(target=host.manager.refresh)
        second.start()
        # Long enough for a second look that nothing holds up.
        second.join(0.2)
        go_on.set()
        for thread in (first, second):
            thread.join(5)
        self.assertNotIn(
            hosts.t4(1).name,
            [dev.name for dev in host.manager.now.view.devices],
        )

    def test_servers_come_and_go_while_the_host_is_looked_at(self):
        """Claims in one lock, everything else wherever it likes."""
        host = Host(EIGHT, WHOLE)
        host.periodic()
        semaphore = threading.Lock()
        running, errors, owners = {}, [], {}
        stop = threading.Event()

        def server(name):
            rng = random.Random(name)
            for _ in range(40):
                self._live(host, semaphore, rng, name, running, owners)

        def periodic():
            while not stop.is_set():
                host.manager.refresh()
                with semaphore:
                    picks = frozenset(host.manager.picks)
                    host.manager.settle(host.manager.held - picks, picks)
                    host.update()
                host.manager.capabilities()

        def guarded(run, *args):
            try:
                run(*args)
            except Exception as error:
                errors.append(error)
                stop.set()

        threads = [
            threading.Thread(target=guarded, args=(server, f's{number}'))
            for number in range(6)
        ]
        watcher = threading.Thread(target=guarded, args=(periodic,))
        watcher.start()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        stop.set()
        watcher.join(30)
        self.assertEqual([], errors)
        self.assertEqual(frozenset(), host.manager.held)
        host.periodic()
        self.assertEqual(set(), host.mdevs())

    def _live(self, host, semaphore, rng, name, running, owners):
        try:
            with semaphore:
                picks = host.claim(rp(rng.choice([1, 2])), server=name)
        except exception.NotEnoughUnits:
            return
        for pick in picks:
            self.assertIsNone(owners.get(pick))
            owners[pick] = name
        host.manager.attach(name, picks)
        uuids = set(map(uuid_of, picks))
        # What a guest of a server uses must be there when it starts.
        self.assertLessEqual(uuids, host.mdevs())
        host.backend.busy.update(uuids)
        host.backend.busy.difference_update(uuids)
        if rng.random() < 0.5:
            host.manager.detach(name, picks)
        for pick in picks:
            owners[pick] = None
        with semaphore:
            host.manager.unclaim(picks)


class TakeOverTest(testtools.TestCase):
    """Mediated devices of stock nova, in guests of servers."""

    def setUp(self):
        super().setUp()
        made = device.Mdev(FOREIGN, 'nvidia-233', hosts.t4(1).name)
        self.host = Host(EIGHT, mdevs=[made])
        self.unit = vgpu(1, 0)

    def take_over(self, *claims):
        guest = adoption.Guest(
            'server', frozenset({FOREIGN}), frozenset(claims)
        )
        return self.host.manager.take_over([guest])

    def test_a_unit_that_its_record_does_not_name(self):
        self.assertEqual({'server': {self.unit}}, self.take_over())
        self.assertEqual({self.unit: 'server'}, self.host.manager.picks)
        self.assertEqual({self.unit}, self.host.manager.held)
        self.assertTrue(self.host.manager.is_ours(FOREIGN))
        self.assertEqual({'VGPU': (2, 0)}, self.host.counts('sn:1'))

    def test_before_it_is_taken_over_its_place_is_reserved(self):
        self.assertEqual({'VGPU': (2, 1)}, self.host.counts('sn:1'))

    def test_it_stands_for_the_unit(self):
        self.take_over()
        (made,) = self.host.manager.attach('server', [self.unit])
        self.assertEqual((FOREIGN, True), (made.mdev_uuid, made.adopted))
        self.assertEqual({FOREIGN}, self.host.mdevs())

    def test_it_is_made_anew_if_the_host_has_lost_it(self):
        self.host.backend.reboot()
        self.assertEqual({}, self.take_over(self.unit))
        self.host.manager.attach('server', [self.unit])
        self.assertEqual({FOREIGN}, self.host.mdevs())

    def test_it_is_not_collected(self):
        self.take_over()
        self.host.periodic(meant=[self.unit])
        self.host.periodic(self.unit)
        self.assertEqual({FOREIGN}, self.host.mdevs())

    def test_once_released_the_unit_goes_by_its_own_name(self):
        self.take_over()
        self.host.manager.detach('server', [self.unit])
        self.host.manager.unclaim([self.unit])
        self.assertEqual(set(), self.host.mdevs())
        self.assertEqual({'VGPU': (2, 0)}, self.host.counts('sn:1'))
        (pick,) = self.host.claim(rp(1))
        (made,) = self.host.manager.attach('another', [pick])
        self.assertEqual(
            (uuid_of(pick), False), (made.mdev_uuid, made.adopted)
        )

    def test_one_whose_server_is_gone_is_collected(self):
        self.take_over()
        self.host.manager.unclaim([self.unit])
        self.host.periodic()
        self.host.periodic()
        self.assertEqual(set(), self.host.mdevs())

    def test_one_that_is_left_alone(self):
        self.take_over()
        self.host.manager.leave([self.unit])
        self.assertEqual(frozenset(), self.host.manager.held)
        self.assertFalse(self.host.manager.is_ours(FOREIGN))
        self.host.periodic()
        self.assertEqual({FOREIGN}, self.host.mdevs())
        self.assertEqual({'VGPU': (2, 1)}, self.host.counts('sn:1'))

    def test_a_misfit_changes_nothing(self):
        self.host.restart(SIXTEEN)
        e = self.assertRaises(exception.NotTakenOver, self.take_over)
        self.assertIn(FOREIGN, str(e))
        self.assertEqual({}, self.host.manager.picks)
        self.assertFalse(self.host.manager.is_ours(FOREIGN))


class ReloadTest(testtools.TestCase):
    def reload(self, host, *rules, check=lambda offer: None):
        host.manager.reload(whitelist.Whitelist(rules), check)

    def test_new_rules_count_from_the_next_update(self):
        host = Host()
        self.assertEqual({}, host.update())
        self.reload(host, EIGHT, WHOLE)
        self.assertEqual({'sn:1', 'sn:2', POOL}, host.update().keys())
        self.assertEqual(1, len(host.claim(rp(1))))

    def test_rules_that_will_not_do_change_nothing(self):
        host = Host(EIGHT)
        seen = []

        def refuse(offer):
            seen.extend(pool.stable_id for pool in offer.pools)
            raise exception.NotOffered(reason='no')

        self.assertRaises(
            exception.NotOffered, self.reload, host, WHOLE, check=refuse
        )
        self.assertEqual([POOL], seen)
        host.manager.refresh()
        self.assertEqual({'sn:1', 'sn:2'}, host.update().keys())

    def test_what_is_held_outlives_its_rule(self):
        held = vgpu(1, 0)
        host = Host(EIGHT, held=[held])
        host.periodic(held)
        self.reload(host)
        found = host.periodic(held)
        self.assertEqual({'VGPU': (2, 1)}, host.counts('sn:1'))
        self.assertTrue(found['sn:2'].retired)
        self.assertEqual(1, len(host.manager.attach('server', [held])))
        self.assertTrue(host.periodic()['sn:1'].retired)

    def test_a_refresh_goes_by_the_new_rules(self):
        host = Host(EIGHT)
        self.reload(host, WHOLE)
        host.backend.plug(hosts.pci(8))
        host.manager.refresh()
        self.assertEqual((WHOLE,), host.manager.now.rules.rules)


class SweepTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.host = Host(EIGHT)
        (self.claim,) = self.host.claim(rp(1))
        self.host.manager.attach('server', [self.claim])
        self.host.manager.refresh()

    def test_what_nobody_holds_goes(self):
        self.host.manager.unclaim([self.claim])
        self.host.manager.sweep(uuid_of(self.claim))
        self.assertEqual(set(), self.host.mdevs())

    def test_what_is_held_stays(self):
        self.assertRaises(
            exception.DeviceUnavailable,
            self.host.manager.sweep,
            uuid_of(self.claim),
        )
        self.assertEqual({uuid_of(self.claim)}, self.host.mdevs())

    def test_what_is_in_use_stays(self):
        self.host.manager.unclaim([self.claim])
        self.host.backend.busy.add(uuid_of(self.claim))
        self.assertRaises(
            exception.DeviceUnavailable,
            self.host.manager.sweep,
            uuid_of(self.claim),
        )
        self.assertEqual({uuid_of(self.claim)}, self.host.mdevs())


class RememberTest(testtools.TestCase):
    def test_another_make_with_the_serial_number_is_not_started_with(self):
        host = Host(EIGHT)
        host.update()
        host.backend.plug(hosts.t4(1, models=MODELS, product_id='1db4'))
        host.restart(EIGHT, held=[vgpu(1, 0)])
        # Ahead of the first update, and without a word from Placement.
        self.assertTrue(host.manager.assignments('a', [vgpu(1, 0)]))
        host.manager.remember(host.known)
        self.assertRaises(
            exception.DeviceUnavailable,
            host.manager.attach,
            'a',
            [vgpu(1, 0)],
        )


class NewsTest(testtools.TestCase):
    """What has become of devices is logged once."""

    def test_a_device_that_is_gone(self):
        host = Host(WHOLE)
        host.periodic()
        log = self.useFixture(fixtures.FakeLogger(level=logging.INFO))
        host.backend.rewire([hosts.pci(5), hosts.pci(6)])
        host.manager.refresh()
        for written in (False, False, True, True):
            host.update(written)
        # It is told by its id, and then not again by another nova-compute.
        host.restart(WHOLE)
        host.update()
        (line,) = log.output.splitlines()
        self.assertIn('Device sn:7 is not in this host; it was at', line)


class MovedTest(testtools.TestCase):
    """Whether something that is held is elsewhere now."""

    def setUp(self):
        super().setUp()
        self.host = Host(WHOLE, held=[whole(5), whole(6)])
        self.manager = self.host.manager
        self.manager.followed(self.manager.places)

    def look(self, *devices):
        self.host.backend.rewire(devices)
        self.manager.refresh()
        return self.manager.places

    def at(self, bus, now):
        """Return the card that was on a bus where it is now."""
        card = hosts.pci(bus)
        address = dataclasses.replace(card.address, bus=now)
        return dataclasses.replace(
            card, address=address, name=f'pci_{address}', numa_node=0
        )

    def test_nothing_has(self):
        places = self.manager.places
        self.manager.refresh()
        self.assertIs(places, self.manager.places)
        self.assertFalse(self.manager.moved(places))

    def test_one_has_until_it_was_followed(self):
        places = self.look(self.at(5, 7), hosts.pci(6))
        self.assertEqual(
            {'sn:5': '0000:07:00.0', 'sn:6': '0000:06:00.0'}, places
        )
        self.assertTrue(self.manager.moved(places))
        self.assertTrue(self.manager.moved(self.manager.places))
        self.manager.followed(places)
        self.assertFalse(self.manager.moved(self.manager.places))

    def test_one_is_gone_and_comes_back(self):
        for devices in ([hosts.pci(6)], [hosts.pci(5), hosts.pci(6)]):
            places = self.look(*devices)
            self.assertTrue(self.manager.moved(places))
            self.manager.followed(places)

    def test_what_nobody_holds_does_not_count(self):
        places = self.look(hosts.pci(5), hosts.pci(6), self.at(7, 9))
        self.assertFalse(self.manager.moved(places))

    def test_what_was_claimed_since_counts(self):
        pool = hosts.provider_of(POOL)
        self.host.claim(pool, 1, PCI_CLASS)
        self.assertFalse(self.manager.moved(self.manager.places))
        places = self.look(hosts.pci(5), hosts.pci(6), self.at(7, 9))
        self.assertEqual('0000:09:00.0', places['sn:7'])
        self.assertTrue(self.manager.moved(places))
        self.manager.followed(places)
        self.assertFalse(self.manager.moved(self.manager.places))

    def test_a_look_that_began_before_a_claim_takes_nothing_away(self):
        before = self.manager.places
        self.host.claim(hosts.provider_of(POOL), 1, PCI_CLASS)
        self.manager.followed(before)
        places = self.look(hosts.pci(5), hosts.pci(6), self.at(7, 9))
        self.assertTrue(self.manager.moved(places))

    def test_the_last_claim_of_a_unit_counts(self):
        pool = hosts.provider_of(POOL)
        self.manager.unclaim([whole(5)])
        self.look(self.at(5, 7), hosts.pci(6))
        self.assertEqual((whole(5),), self.host.claim(pool, 1, PCI_CLASS))
        self.assertFalse(self.manager.moved(self.manager.places))
        places = self.look(hosts.pci(5), hosts.pci(6))
        self.assertTrue(self.manager.moved(places))

    def test_what_was_let_go_since_does_not_count(self):
        (claim,) = self.host.claim(hosts.provider_of(POOL), 1, PCI_CLASS)
        self.manager.unclaim([claim])
        self.look(hosts.pci(5), hosts.pci(6), self.at(7, 9))
        self.manager.settle(frozenset([whole(5), whole(6), whole(7)]))
        self.assertFalse(self.manager.moved(self.manager.places))

    def test_a_claim_is_no_move(self):
        self.manager.unclaim([whole(5)])
        places = self.manager.places
        self.assertFalse(self.manager.moved(places))
        self.manager.followed(places)
        self.manager.settle(frozenset([whole(6), whole(7)]))
        self.assertFalse(self.manager.moved(self.manager.places))
