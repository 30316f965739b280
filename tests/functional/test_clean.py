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
"""Devices that are cleaned after each server, with real Placement."""

from unittest import mock

import ddt

from tests.functional import devices

from nova import exception as nova_exception

from nova_accel.cli import outcome

from tests.functional import rules


@ddt.ddt
class CleanTest(devices.UpkeepCase):
    def test_a_reset_opens_it_again(self) -> None:
        self.begin('one_time_use: yes', 'clean: flr')
        server = self.boot(self.one)
        (claim,) = self.claims(server)
        self.assertEqual((8, 0), self.amounts())
        self.assertEqual('in service', self.said(claim.unit)['state'])
        self.assert_invariants()
        self._delete_server(server)
        self.settle()
        self.assertEqual(1, len(self.conn.machine.resets))
        self.assertEqual((8, 0), self.amounts())
        self.assertEqual('in service', self.said(claim.unit)['state'])
        self.assert_invariants()

    def test_a_failing_reset_keeps_it_reserved(self) -> None:
        self.begin('one_time_use: yes', 'clean: flr')
        self.conn.fail['virNodeDevice.reset'] = self.conn.error(
            'INTERNAL_ERROR', 'no FLR, PM reset or bus reset available'
        )
        unit = self.used_once()
        self.assertEqual((8, 1), self.amounts())
        found = self.said(unit)
        self.assertEqual('cleaning', found['state'])
        self.assertEqual(['it could not be cleaned'], found['reasons'])
        # Not again by itself, whatever happens.
        self.run_periodic()
        self.restart_compute_service('host1')
        self.settle()
        self.conn = self.connection_of('host1')
        self.assertEqual((8, 1), self.amounts())
        self.assert_invariants()
        self.conn.fail.clear()
        dry = self.command('clean', unit, '--dry-run')
        self.assertFalse(dry['cleaned'])
        self.assertEqual([], self.conn.machine.resets)
        self.assertTrue(self.command('clean', unit)['cleaned'])
        self.assertEqual((8, 0), self.amounts())
        self.assertEqual('in service', self.said(unit)['state'])
        self.assert_invariants()

    @ddt.data(
        ('echo worn out; exit 7', 'ended with exit code 7'),
        ('sleep 60', 'it took more than 2 s'),
        ('kill -9 $$', 'was killed by SIGKILL'),
    )
    @ddt.unpack
    def test_a_failing_command_keeps_it_reserved(
        self, program: str, reason: str
    ) -> None:
        self.begin('one_time_use: yes', f'clean: {self.program(program)}')
        unit = self.used_once()
        self.assertEqual((8, 1), self.amounts())
        found = self.command('clean', unit, code=outcome.PROBLEM)
        self.assertIn(reason, found['failures'][0])
        # Nobody gets it, and all others.
        others = self.claims(self.boot(self.flavor_of(7)))
        self.assertNotIn(unit, [claim.unit for claim in others])
        self.assertIn('No valid host', self.refused(self.one))
        out = self.programs.folder / 'out'
        self.program(f'echo $ACCEL_ACTION $ACCEL_UNIT > {out}')
        self.assertTrue(self.command('clean', unit)['cleaned'])
        self.assertEqual(f'clean {unit}\n', out.read_text())
        (claim,) = self.claims(self.boot(self.one))
        self.assertEqual(unit, claim.unit)
        self.assert_invariants()

    def test_without_a_method_an_operator_says_so(self) -> None:
        self.begin('one_time_use: yes')
        unit = self.used_once()
        self.assertEqual((8, 1), self.amounts())
        self.command('clean', unit, code=outcome.PROBLEM)
        self.assertTrue(self.command('clean', unit, '--done')['cleaned'])
        self.assertEqual((8, 0), self.amounts())
        self.command('clean', unit, '--done', code=outcome.PROBLEM)

    def test_a_restart_while_it_is_cleaned_begins_anew(self) -> None:
        self.begin('one_time_use: yes', f'clean: {self.program("sleep 60")}')
        with mock.patch('nova_accel.virt.caretaker.Caretaker.tend'):
            unit = self.used_once()
        self.assertEqual((8, 1), self.amounts())
        self.program('true')
        self.restart_compute_service('host1')
        self.settle()
        self.assertEqual((8, 0), self.amounts())
        self.assertEqual('in service', self.said(unit)['state'])
        self.assert_invariants()

    def test_what_is_not_noted_down_is_not_handed_out(self) -> None:
        self.begin('one_time_use: yes', 'clean: flr')
        rt = self.computes['host1'].manager.rt
        with mock.patch.object(
            rt,
            'publish',
            side_effect=nova_exception.PlacementAPIConnectFailure(),
        ):
            server = self.boot(self.one, state='ERROR')
        self._delete_server(server)
        self.settle()
        self.assertEqual((8, 0), self.amounts())

    def test_a_slot_is_cleaned_and_not_its_card(self) -> None:
        self.start_host('host1', 't4', rules.T4_ONCE)
        self.conn = self.connection_of('host1')
        self.one = self.flavor(resources__VGPU=1)
        kept = self.boot(self.one)
        unit = self.used_once()
        self.assertEqual(1, len(self.mdevs('host1')))
        reserved = [
            amounts['VGPU'][1]
            for amounts in self.inventories('host1').values()
        ]
        self.assertEqual({0}, set(reserved))
        self._reboot_server(kept, hard=True)
        self.assertEqual('in service', self.said(unit.split('/')[0])['state'])
        self.assert_invariants()
