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

import pathlib
import tempfile
import typing as ty
from unittest import mock

import ddt

from tests.functional import test_device_states

from nova import exception as nova_exception

from nova_accel.cli import outcome

ONE_TIME = """
version: 1
devices:
  a100:
    kind: pci
    match: {{vendor_id: "10de", product_id: "20b0"}}
    resource_class: CUSTOM_A100
    pool: host
    one_time_use: yes
    {clean}
"""
T4 = """
version: 1
devices:
  t4-8q:
    kind: vgpu
    match: {vendor_id: "10de", product_id: "1eb8"}
    models: [GRID T4-8Q]
    one_time_use: yes
    clean: mdev
"""


class CleanCase(test_device_states.DeviceCase):
    def setUp(self) -> None:
        super().setUp()
        # Where anybody may look for programs.
        folder = tempfile.TemporaryDirectory(dir='/tmp')
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.folder.chmod(0o777)
        self.addCleanup(self.settle)

    def settle(self) -> None:
        """Wait for everything that is done in the background."""
        for compute in self.computes.values():
            self.assertTrue(compute.manager.driver.accel_caretaker.wait(60))

    def program(self, text: str) -> str:
        path = self.folder / 'program'
        path.write_text(f'#!/bin/sh\n{text}\n')
        path.chmod(0o755)
        return f'{{command: [{path}], timeout: 2}}'

    def a100(self, clean: str = '') -> None:
        text = f'clean: {clean}' if clean else ''
        self.start_host('host1', 'a100', ONE_TIME.format(clean=text))
        # So small that the host runs out of cards first.
        self.one = self._create_flavor(
            memory_mb=64,
            vcpu=1,
            disk=1,
            ephemeral=0,
            extra_spec={'resources:CUSTOM_A100': '1'},
        )
        self.conn = self.connection_of('host1')

    def amounts(self) -> tuple[int, int]:
        (pool,) = self.accel_providers('host1')
        return self.inventories('host1')[pool]['CUSTOM_A100']

    def used_once(self) -> str:
        """Boot a server, delete it, and return the device that it had."""
        server = self.boot(self.one)
        (claim,) = self.claims(server)
        self._delete_server(server)
        self.settle()
        return claim.unit

    def said(self, unit: str) -> dict[str, ty.Any]:
        (found,) = self.command('show', unit)['devices']
        return ty.cast(dict[str, ty.Any], found)


@ddt.ddt
class CleanTest(CleanCase):
    def test_a_reset_opens_it_again(self) -> None:
        self.a100('flr')
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
        self.a100('flr')
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
        self.a100(self.program(program))
        unit = self.used_once()
        self.assertEqual((8, 1), self.amounts())
        with self.expecting(outcome.PROBLEM):
            found = self.command('clean', unit)
        self.assertIn(reason, found['failures'][0])
        # Nobody gets it, and all others.
        for _ in range(7):
            (claim,) = self.claims(self.boot(self.one))
            self.assertNotEqual(unit, claim.unit)
        self.assertIn('No valid host', self.refused(self.one))
        self.program(f'echo $ACCEL_ACTION $ACCEL_UNIT > {self.folder}/out')
        self.assertTrue(self.command('clean', unit)['cleaned'])
        self.assertEqual(f'clean {unit}\n', (self.folder / 'out').read_text())
        (claim,) = self.claims(self.boot(self.one))
        self.assertEqual(unit, claim.unit)
        self.assert_invariants()

    def test_without_a_method_an_operator_says_so(self) -> None:
        self.a100()
        unit = self.used_once()
        self.assertEqual((8, 1), self.amounts())
        with self.expecting(outcome.PROBLEM):
            self.command('clean', unit)
        self.assertTrue(self.command('clean', unit, '--done')['cleaned'])
        self.assertEqual((8, 0), self.amounts())
        with self.expecting(outcome.PROBLEM):
            self.command('clean', unit, '--done')

    def test_a_restart_while_it_is_cleaned_begins_anew(self) -> None:
        self.a100(self.program('sleep 60'))
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
        self.a100('flr')
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
        self.start_host('host1', 't4', T4)
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
