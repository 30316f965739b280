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

from tests.functional import rules
from tests.functional import test_clean

from nova_accel.backends.libvirt import sysfs
from nova_accel.cli import outcome
from nova_accel.core import naming

PREPARED = """
version: 1
devices:
  a100:
    kind: pci
    match: {{vendor_id: "10de", product_id: "20b0"}}
    resource_class: CUSTOM_A100
    pool: host
    new_devices: not_ready
    prepare: {prepare}
"""
HEALTH = """
version: 1
devices:
  a100:
    kind: pci
    match: {{vendor_id: "10de", product_id: "20b0"}}
    resource_class: CUSTOM_A100
    pool: host
    health: {{aer_fatal: 1, link: yes{more}}}
"""


class UpkeepCase(test_clean.CleanCase):
    def begin(self, text: str) -> None:
        self.start_host('host1', 'a100', text)
        self.one = self.flavor(resources__CUSTOM_A100=1)
        self.conn = self.connection_of('host1')

    def traits_of(self, uuid: str) -> set[str]:
        return set(self._get_provider_traits(uuid))

    def set_traits(self, uuid: str, traits: set[str]) -> None:
        """What openstack resource provider trait set does."""
        for trait in traits:
            self.placement.put(f'/traits/{trait}', None, version='1.6')
        path = f'/resource_providers/{uuid}'
        found = self.placement.get(path, version='1.6').body
        answer = self.placement.put(
            f'{path}/traits',
            {
                'resource_provider_generation': found['generation'],
                'traits': sorted(traits),
            },
            version='1.6',
        )
        self.assertEqual(200, answer.status, answer.body)


class PrepareTest(UpkeepCase):
    def test_it_is_opened_once_it_was_prepared(self) -> None:
        out = self.folder / 'out'
        self.begin(
            PREPARED.format(
                prepare=self.program(
                    f'echo $ACCEL_ACTION $ACCEL_ADDRESS >> {out}; exit 4'
                )
            )
        )
        first = sorted(self.states())[0]
        with self.expecting(outcome.PROBLEM):
            found = self.command('enable', first)
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
        server = self.boot(self.one)
        (claim,) = self.claims(server)
        self.assertEqual(first, claim.unit)
        # A drain of one in use is taken back without preparing it.
        self.command('drain', first)
        self.command('enable', first)
        self.assertEqual('in service', self.said(first)['state'])
        self.assertEqual(2, len(out.read_text().splitlines()))
        # A bare trait has it prepared as well.
        (pool,) = self.accel_providers('host1').values()
        second = sorted(self.states())[1]
        self.set_traits(
            pool,
            self.traits_of(pool)
            | {f'CUSTOM_ACCEL_READY_{naming.short_id(second)}'},
        )
        self.command('rescan')
        self.run_periodic()
        self.settle()
        self.assertEqual(3, len(out.read_text().splitlines()))
        self.assertEqual((8, 6), self.amounts())
        self.assert_invariants()

    def test_it_must_be_bound_to_the_right_driver(self) -> None:
        self.begin(PREPARED.format(prepare='{driver: no-such-driver}'))
        first = sorted(self.states())[0]
        with self.expecting(outcome.PROBLEM):
            found = self.command('enable', first)
        self.assertIn('should be to no-such-driver', found['failures'][0])
        self.assertEqual((8, 8), self.amounts())


class BareTraitTest(UpkeepCase):
    def let_it_age(self) -> None:
        """Let [compute]resource_provider_association_refresh pass."""
        client = self.computes['host1'].manager.reportclient
        for uuid in client._association_refresh_time:
            client._association_refresh_time[uuid] = 0

    def test_a_trait_alone_is_obeyed_when_nova_looks_again(self) -> None:
        self.begin(test_clean.ONE_TIME.format(clean=''))
        (pool,) = self.accel_providers('host1').values()
        device = sorted(self.states())[0]
        trait = f'CUSTOM_ACCEL_DRAINING_{naming.short_id(device)}'
        before = self.traits_of(pool)
        self.set_traits(pool, before | {trait})
        # Fresh for as long as the operator of nova says.
        self.run_periodic()
        self.assertEqual((8, 0), self.amounts())
        self.let_it_age()
        self.run_periodic()
        self.assertEqual((8, 1), self.amounts())
        self.assertEqual('draining', self.states()[device])
        self.assertEqual(before | {trait}, self.traits_of(pool))
        self.set_traits(pool, before)
        self.let_it_age()
        self.run_periodic()
        self.assertEqual((8, 0), self.amounts())
        # Who sets that trait and no other loses nothing of ours.
        self.set_traits(pool, {trait})
        self.let_it_age()
        for _ in range(2):
            self.run_periodic()
        self.assertEqual(before | {trait}, self.traits_of(pool))
        self.assertEqual((8, 1), self.amounts())
        self.assert_invariants()


class HealthTest(UpkeepCase):
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
        self.begin(HEALTH.format(more=more))
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
        self.write(first, current_link_width='0', max_link_width='16')
        self.look()
        self.assertEqual(['its link is down'], self.said(first)['reasons'])
        self.look()
        self.assertEqual((8, 1), self.amounts())
        self.write(first, current_link_width='16')
        self.look()
        self.assertEqual('in service', self.said(first)['state'])
        self.assertEqual((8, 0), self.amounts())
        self.assert_invariants()


class BlameTest(UpkeepCase):
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
        self.begin(test_clean.ONE_TIME.format(clean='clean: flr'))
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


ALL = """
version: 1
devices:
  a100:
    kind: pci
    match: {vendor_id: "10de", product_id: "20b0"}
    resource_class: CUSTOM_A100
    pool: host
    new_devices: not_ready
    one_time_use: yes
"""


class RestartTest(UpkeepCase):
    """One device in each state; a restart changes none of them."""

    def test_every_state_outlives_a_restart(self) -> None:
        self.begin(ALL)
        ids = sorted(self.states())
        for device in ids[:4]:
            self.command('enable', device)
        kept = self.boot(self.one)
        (held,) = self.claims(kept)
        used = self.used_once()
        fallen, drained = sorted({*ids[:4]} - {held.unit, used})
        accel = self.computes['host1'].driver.accel
        accel.quarantine(fallen, frozenset({'WHY_LINK_DOWN'}))
        self.run_periodic()
        self.command('drain', drained)
        self.command('enable', ids[4])
        self.command('drain', held.unit)
        name = accel.now.offer.cards[ids[4]].device.name
        self.conn.machine.unplug(name)
        self.run_periodic()
        expected = {
            **dict.fromkeys(ids, 'not ready'),
            held.unit: 'draining',
            used: 'cleaning',
            fallen: 'quarantined',
            drained: 'draining',
        }
        del expected[ids[4]]
        self.assertEqual(expected, self.states())
        self.restart_compute_service('host1')
        self.run_periodic()
        self.assertEqual(expected, self.states())
        # One of them is a server's.
        self.assertEqual((8, 7), self.amounts())
        self.assertEqual(['its link is down'], self.said(fallen)['reasons'])
        (pool,) = self.accel_providers('host1').values()
        self.assertIn(
            f'CUSTOM_ACCEL_MISSING_{naming.short_id(ids[4])}',
            self.traits_of(pool),
        )
        self.assertIn('No valid host', self.refused(self.one))
        # An operator opens each again.
        self.command('clean', used, '--done')
        for device in (fallen, drained, held.unit):
            self.command('enable', device)
        self.assertEqual((8, 4), self.amounts())
        self.assert_invariants()
