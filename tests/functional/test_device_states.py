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
"""Devices in and out of service, with real Placement and real nova-compute."""

import collections.abc
import contextlib
import io
import json
import typing as ty

from tests.functional import test_doctor

from nova_accel.cli import device
from nova_accel.cli import outcome
from nova_accel.core import naming
from nova_accel.core import states

from tests.functional import rules

NOT_READY = """
version: 1
defaults: {new_devices: not_ready}
devices:
  a100:
    kind: pci
    match: {vendor_id: "10de", product_id: "20b0"}
    resource_class: CUSTOM_A100
    pool: host
"""


class DeviceCase(test_doctor.DoctorCase):
    code = outcome.OK

    @contextlib.contextmanager
    def expecting(self, code: int) -> collections.abc.Iterator[None]:
        """Let commands end with another exit code."""
        self.code = code
        try:
            yield
        finally:
            self.code = outcome.OK

    def command(self, *words: str) -> ty.Any:
        """Run nova-accel device; return what it printed, as JSON."""
        parser = device.argparse.ArgumentParser()
        device.add_arguments(parser)
        args = parser.parse_args([*words, '-f', 'json'])
        printed = io.StringIO()
        with self.without_database(), contextlib.redirect_stdout(printed):
            code = device.perform(self.visit(), args)
        self.assertEqual(self.code, code, printed.getvalue())
        return json.loads(printed.getvalue() or '{}')

    def states(self) -> dict[str, str]:
        found = self.command('list')['devices']
        return {each['id']: each['state'] for each in found}


class DrainTest(DeviceCase):
    def setUp(self) -> None:
        super().setUp()
        self.start_host('host1', 't4', rules.T4_8Q)
        self.flavor1 = self.flavor(resources__VGPU=1)

    def test_a_drained_card_is_not_given_and_comes_back(self) -> None:
        server = self.boot(self.flavor1)
        (claim,) = self.claims(server)
        (held,) = (
            one
            for one, rp in self.accel_providers('host1').items()
            if rp == claim.provider
        )
        dry = self.command('drain', held, '--dry-run')
        self.assertEqual(['CUSTOM_ACCEL_DRAINING'], dry['set'])
        self.assertEqual({'in service'}, set(self.states().values()))

        self.command('drain', held)
        self.assertEqual('draining', self.states()[held])
        self.assertEqual((2, 1), self.inventories('host1')[held]['VGPU'])
        (shown,) = self.command('show', held)['devices']
        self.assertEqual([server['id']], shown['servers'])
        # Nobody else gets the rest of it, the server keeps its own.
        for _ in range(2):
            (other,) = self.claims(self.boot(self.flavor1))
            self.assertNotEqual(claim.provider, other.provider)
        self.assertIn('No valid host', self.refused(self.flavor1))
        self._reboot_server(server, hard=True)
        self.assert_invariants()

        self.restart_compute_service('host1')
        self.assertEqual('draining', self.states()[held])
        self._delete_server(server)
        self.assertEqual((2, 2), self.inventories('host1')[held]['VGPU'])
        self.command('enable', held)
        self.assertEqual((2, 0), self.inventories('host1')[held]['VGPU'])
        self.boot(self.flavor1)
        self.assert_invariants()


class NotReadyTest(DeviceCase):
    def test_devices_wait_for_a_word_and_remember_it(self) -> None:
        self.start_host('host1', 'a100', NOT_READY)
        (pool,) = self.accel_providers('host1')
        self.assertEqual(
            (8, 8), self.inventories('host1')[pool]['CUSTOM_A100']
        )
        one = self.flavor(resources__CUSTOM_A100=1)
        self.assertIn('No valid host', self.refused(one))

        first = sorted(self.states())[0]
        found = self.command('enable', first)
        self.assertEqual([states.trait(states.READY, first)], found['set'])
        self.assertEqual(
            (8, 7), self.inventories('host1')[pool]['CUSTOM_A100']
        )
        server = self.boot(one)
        (claim,) = self.claims(server)
        self.assertEqual(first, naming.UnitId.parse(claim.unit).device)
        self.restart_compute_service('host1')
        self.assertEqual(
            (8, 7), self.inventories('host1')[pool]['CUSTOM_A100']
        )
        self.assertIn('No valid host', self.refused(one))
        self.assert_invariants()
