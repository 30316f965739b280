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

from tests.functional import devices

from nova_accel.core import states

from tests.functional import rules


class DrainTest(devices.DeviceCase):
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


class NotReadyTest(devices.UpkeepCase):
    def test_devices_wait_for_a_word_and_remember_it(self) -> None:
        self.begin('new_devices: not_ready')
        self.assertEqual((8, 8), self.amounts())
        self.assertIn('No valid host', self.refused(self.one))

        first = sorted(self.states())[0]
        found = self.command('enable', first)
        self.assertEqual([states.trait(states.READY, first)], found['set'])
        self.assertEqual((8, 7), self.amounts())
        server = self.boot(self.one)
        self.assertEqual(first, self.device_of(server))
        self.restart_compute_service('host1')
        self.assertEqual((8, 7), self.amounts())
        self.assertIn('No valid host', self.refused(self.one))
        self.assert_invariants()
