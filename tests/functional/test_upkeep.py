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
"""Quarantine, prepare and bare traits, with real Placement."""

import pathlib
import typing as ty

import fixtures

from tests.functional import devices

from nova.tests.functional.api import client

from nova_accel.backends.libvirt import sysfs
from nova_accel.cli import outcome
from nova_accel.core import device as core_device
from nova_accel.core import naming
from nova_accel.core import states

from tests.functional import rules


class PrepareTest(devices.UpkeepCase):
    def test_it_is_opened_once_it_was_prepared(self) -> None:
        out = self.programs.folder / 'out'
        fails = self.program(
            f'echo $ACCEL_ACTION $ACCEL_ADDRESS >> {out}; exit 4'
        )
        self.begin('new_devices: not_ready', f'prepare: {fails}')
        first = sorted(self.states())[0]
        found = self.command('enable', first, code=outcome.PROBLEM)
        self.assertIn('exit code 4', found['failures'][0])
        said = self.said(first)
        self.assertEqual('not ready', said['state'])
        self.assertEqual(['it could not be prepared'], said['reasons'])
        self.assertEqual((8, 8), self.amounts())
        self.assertEqual(f'prepare {said["address"]}\n', out.read_text())
        # Not again by itself.
        self.restart_compute_service('host1')
        self.run_periodic()
        self.settle()
        self.assertEqual(1, len(out.read_text().splitlines()))
        self.program(f'echo $ACCEL_ACTION >> {out}')
        self.command('enable', first)
        self.assertEqual((8, 7), self.amounts())
        self.assertEqual(first, self.device_of(self.boot(self.one)))
        # A drain of one in use is taken back without preparing it.
        self.command('drain', first)
        self.command('enable', first)
        self.assertEqual('in service', self.said(first)['state'])
        self.assertEqual(2, len(out.read_text().splitlines()))
        # A bare trait has it prepared as well.
        second = sorted(self.states())[1]
        self.set_traits(
            self.traits_of(self.pool)
            | {f'CUSTOM_ACCEL_READY_{naming.short_id(second)}'},
        )
        dry = self.command('rescan', '--dry-run')
        self.assertEqual((True, True), (dry['ok'], dry['dry_run']))
        self.assertFalse(self.command('rescan')['dry_run'])
        self.run_periodic()
        self.settle()
        self.assertEqual(3, len(out.read_text().splitlines()))
        self.assertEqual((8, 6), self.amounts())
        self.assert_invariants()

    def test_it_must_be_bound_to_the_right_driver(self) -> None:
        self.begin(
            'new_devices: not_ready', 'prepare: {driver: no-such-driver}'
        )
        first = sorted(self.states())[0]
        found = self.command('enable', first, code=outcome.PROBLEM)
        self.assertIn('should be to no-such-driver', found['failures'][0])
        self.assertEqual((8, 8), self.amounts())


class BareTraitTest(devices.UpkeepCase):
    def let_it_age(self) -> None:
        """Let [compute]resource_provider_association_refresh pass."""
        client = self.computes['host1'].manager.reportclient
        for uuid in client._association_refresh_time:
            client._association_refresh_time[uuid] = 0

    def test_a_trait_alone_is_obeyed_when_nova_looks_again(self) -> None:
        self.begin()
        device = sorted(self.states())[0]
        trait = f'CUSTOM_ACCEL_DRAINING_{naming.short_id(device)}'
        before = self.traits_of(self.pool)
        self.set_traits(before | {trait})
        # Fresh for as long as the operator of nova says.
        self.run_periodic()
        self.assertEqual((8, 0), self.amounts())
        self.let_it_age()
        self.run_periodic()
        self.assertEqual((8, 1), self.amounts())
        self.assertEqual('draining', self.states()[device])
        self.assertEqual(before | {trait}, self.traits_of(self.pool))
        self.set_traits(before)
        self.let_it_age()
        self.run_periodic()
        self.assertEqual((8, 0), self.amounts())
        # Who sets that trait and no other loses nothing of ours.
        self.set_traits({trait})
        self.let_it_age()
        for _ in range(2):
            self.run_periodic()
        self.assertEqual(before | {trait}, self.traits_of(self.pool))
        self.assertEqual((8, 1), self.amounts())
        self.assert_invariants()


class HealthTest(devices.UpkeepCase):
    def setUp(self) -> None:
        super().setUp()
        self.root = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.useFixture(
            fixtures.MonkeyPatch(
                'nova_accel.backends.libvirt.discovery.Discovery._files',
                lambda *_: sysfs.Sysfs(str(self.root)),
            )
        )
        self.flags(health_interval=1, group='accel')
        self.time = 0.0

    def write(self, unit: str, **values: str) -> None:
        """Set what sysfs tells about a device, and let time pass."""
        address = self.said(unit)['address']
        folder = self.root / 'bus/pci/devices' / address
        folder.mkdir(parents=True, exist_ok=True)
        for name, value in values.items():
            (folder / name).write_text(value)

    def look(self) -> None:
        driver = self.computes['host1'].driver
        driver.accel_caretaker._watch._looked = None
        self.run_periodic()

    def begin_watching(self, more: str = '') -> list[str]:
        self.begin(f'health: {{aer_fatal: 1, link: yes{more}}}')
        self.look()
        return sorted(self.states())

    def test_errors_quarantine_a_device_until_it_is_enabled(self) -> None:
        first, *_ = self.begin_watching()
        self.write(first, aer_dev_fatal='DLP 1\nTOTAL_ERR_FATAL 1\n')
        calls = dict(self.conn.calls)
        self.look()
        asked = {
            verb
            for verb, count in self.conn.calls.items()
            if count != calls.get(verb, 0)
        }
        self.assertEqual(set(), {v for v in asked if 'odeDevice' in v})
        self.assertEqual((8, 1), self.amounts())
        said = self.said(first)
        self.assertEqual('quarantined', said['state'])
        self.assertEqual(
            ['too many fatal PCI Express errors'], said['reasons']
        )
        self.restart_compute_service('host1')
        self.look()
        self.assertEqual('quarantined', self.said(first)['state'])
        self.command('enable', first)
        self.look()
        self.assertEqual('in service', self.said(first)['state'])
        self.assertEqual((8, 0), self.amounts())
        self.assert_invariants()

    def test_it_recovers_where_the_rule_says_so(self) -> None:
        first, *_ = self.begin_watching(', recover: auto')
        before = self.traits_of(self.pool)
        self.let_its_link_fail(first)
        self.assertEqual((8, 1), self.amounts())
        others = self.boot(self.flavor_of(7))
        held = {claim.unit for claim in self.claims(others)}
        self.assertEqual({*self.states()} - {first}, held)
        self.assertIn('No valid host', self.refused(self.one))
        self.look()
        self.restart_compute_service('host1')
        self.look()
        self.assertEqual('quarantined', self.said(first)['state'])

        self.let_its_link_come_back(first)
        self.assertEqual((8, 0), self.amounts())
        self.assertEqual(before, self.traits_of(self.pool))
        server = self.boot(self.one)
        self.assertEqual(first, self.device_of(server))
        # Not for ever: it may fail again, in a server too, which keeps it.
        self.let_its_link_fail(first)
        self.assertEqual((8, 0), self.amounts())
        self.assertEqual([server['id']], self.said(first)['servers'])
        self._delete_server(server)
        self.assertEqual((8, 1), self.amounts())
        self.assertIn('No valid host', self.refused(self.one))
        self.let_its_link_come_back(first)
        self.assertEqual(first, self.device_of(self.boot(self.one)))
        self.assert_invariants()

    def test_its_driver_is_gone(self) -> None:
        self.begin('health: {driver: [nvidia, vfio-pci], recover: auto}')
        first, *_ = sorted(self.states())
        for driver, state, reserved in (
            ('nvidia', 'in service', 0),
            ('nouveau', 'quarantined', 1),
            ('vfio-pci', 'in service', 0),
            ('', 'quarantined', 1),
        ):
            self.drive(first, driver)
            self.look()
            said = self.said(first)
            self.assertEqual(state, said['state'], driver)
            self.assertEqual((8, reserved), self.amounts())
        self.assertEqual(
            ['it is not bound to a driver that its rule allows'],
            said['reasons'],
        )
        self.restart_compute_service('host1')
        self.look()
        self.assertEqual('quarantined', self.said(first)['state'])
        self.drive(first, 'nvidia')
        self.look()
        self.assertEqual('in service', self.said(first)['state'])
        self.assertEqual(first, self.device_of(self.boot(self.one)))
        self.assert_invariants()

    def drive(self, unit: str, driver: str) -> None:
        """Bind a device to a driver, '' for none."""
        self.write(unit)
        link = self.root / 'bus/pci/devices' / self.said(unit)['address']
        link = link / 'driver'
        link.unlink(missing_ok=True)
        if driver:
            link.symlink_to(f'../../../drivers/{driver}')

    def let_its_link_fail(self, unit: str) -> None:
        self.write(unit, current_link_width='0', max_link_width='16')
        self.look()
        said = self.said(unit)
        self.assertEqual('quarantined', said['state'])
        self.assertEqual(['its link is down'], said['reasons'])

    def let_its_link_come_back(self, unit: str) -> None:
        self.write(unit, current_link_width='16')
        self.look()
        self.assertEqual('in service', self.said(unit)['state'])


class BlameTest(devices.UpkeepCase):
    def test_a_card_that_makes_no_vgpu_is_quarantined(self) -> None:
        self.start_host('host1', 't4', rules.T4_8Q)
        self.conn = self.connection_of('host1')
        one = self.flavor(resources__VGPU=1)
        self.conn.fail['nodeDeviceCreateXML'] = self.conn.error(
            'INTERNAL_ERROR',
            'internal error: Unable to start mediated device: failed to '
            'write: Input/output error',
        )
        self._delete_server(self.boot(one, state='ERROR'))
        self.settle()
        self.conn.fail.clear()
        (bad,) = (
            device
            for device, state in self.states().items()
            if 'quarantined' in state
        )
        self.assertEqual({'VGPU': (2, 2)}, self.inventories('host1')[bad])
        for _ in range(2):
            (claim,) = self.claims(self.boot(one))
            self.assertFalse(claim.unit.startswith(f'{bad}/'))
        self.command('enable', bad)
        self.settle()
        self.assertIn('in service', self.states()[bad])
        self.boot(one)
        self.assert_invariants()

    def test_a_device_that_qemu_names_is_quarantined(self) -> None:
        self.begin('one_time_use: yes', 'clean: flr')
        bad: list[str] = []

        def start(domain: ty.Any, wanted: ty.Any) -> None:
            for held in wanted:
                at = '{:04x}:{:02x}:{:02x}.{:x}'.format(*held[1:])
                bad.append(at)
                raise self.conn.error(
                    'INTERNAL_ERROR',
                    f'internal error: QEMU unexpectedly closed the monitor: '
                    f'vfio {at}: failed to open /dev/vfio/7: No such device',
                )

        with fixtures.MonkeyPatch(
            'nova_accel.testing.connection.HybridConnection.check_start',
            lambda _conn, domain, wanted: start(domain, wanted),
        ):
            self._delete_server(self.boot(self.one, state='ERROR'))
        self.settle()
        found = {
            each['address']: each
            for each in self.command('list')['devices']
            if not each['in_service']
        }
        self.assertEqual({bad[0]}, set(found))
        (each,) = found.values()
        self.assertEqual('quarantined', each['state'])
        self.assertEqual((8, 1), self.amounts())
        self.command('enable', each['id'])
        self.assertEqual((8, 0), self.amounts())
        self.assert_invariants()


class RestartTest(devices.UpkeepCase):
    """One device in each state; a restart changes none of them."""

    def test_every_state_outlives_a_restart(self) -> None:
        self.begin('new_devices: not_ready', 'one_time_use: yes')
        ids = sorted(self.states())
        for device in ids[:5]:
            self.command('enable', device)
        swapped_from = self.boot(self.one)
        old = self.device_of(swapped_from)
        held = self.device_of(self.boot(self.one))
        used = self.used_once()
        fallen, drained = sorted({*ids[:5]} - {old, held, used})
        accel = self.computes['host1'].driver.accel
        accel.quarantine(fallen, frozenset({'WHY_LINK_DOWN'}))
        self.run_periodic()
        self.command('drain', drained)
        self.command('enable', ids[5])
        self.command('drain', held)
        cards = accel.now.offer.cards
        self.conn.machine.unplug(cards[ids[5]].device.name)
        self._stop_server(swapped_from)
        new = self.swap(cards[old].device)
        self.run_periodic()
        expected = {
            **dict.fromkeys(ids, 'not ready'),
            held: 'draining',
            used: 'cleaning',
            fallen: 'quarantined',
            drained: 'draining',
            new: 'not ready',
        }
        del expected[ids[5]], expected[old]
        self.assert_states(expected, missing=ids[5], replaced=old)
        self.restart_compute_service('host1')
        self.run_periodic()
        self.assert_states(expected, missing=ids[5], replaced=old)
        # Two of them are servers', of one of which no card is here.
        self.assertEqual((9, 7), self.amounts())
        self.assertEqual(['its link is down'], self.said(fallen)['reasons'])
        self.assertIn('No valid host', self.refused(self.one))
        self.assertRaises(
            client.OpenStackApiException, self._start_server, swapped_from
        )
        # Each was told once, not by each nova-compute again.
        log = self.stdlog.logger.output
        for text in (
            f'Device {ids[5]} is not in this host; it was at ',
            f'Device {old} is not in this host; it was at ',
            f'Another device is in the place of {old}, which a server holds',
            f'Device {new} at ',
        ):
            self.assertEqual(1, log.count(text), text)
        # An operator opens each again.
        self.command('clean', used, '--done')
        for device in (fallen, drained, held, new):
            self.command('enable', device)
        self._delete_server(swapped_from)
        # Of those that are not here, nobody gets any; two wait for a word.
        self.assertEqual((9, 4), self.amounts())
        self.assertNotIn(
            states.trait(states.MISMATCH, old), self.traits_of(self.pool)
        )
        self.assert_invariants()

    def swap(self, dev: core_device.Device) -> str:
        """Put another card into the place of one; return its id."""
        machine = self.conn.machine
        machine.alter(machine.describe(dev.name).replace(dev.serial, 'X1'))
        self.run_periodic()
        (found,) = (
            each['id']
            for each in self.command('list')['devices']
            if each['address'] == str(dev.address)
        )
        return ty.cast(str, found)

    def assert_states(
        self, expected: dict[str, str], missing: str, replaced: str
    ) -> None:
        self.assertEqual(expected, self.states())
        self.assertLessEqual(
            {
                states.trait(states.MISSING, missing),
                states.trait(states.MISSING, replaced),
                states.trait(states.MISMATCH, replaced),
            },
            self.traits_of(self.pool),
        )
