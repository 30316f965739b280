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
"""Cards that fail, are slow or die."""

import testtools

from tests.lab.harness import errors
from tests.lab.scenarios import base


class FailingCardTest(base.Scenario):
    def setUp(self) -> None:
        super().setUp()
        self._buses = [self.card('t4-a').bus, self.card('t4-b').bus]
        self.addCleanup(self._tell, 'alive')
        self.addCleanup(self._tell, 'fault', 'create=0 open=0 slow=0')

    def _tell(self, verb: str, words: str = '') -> None:
        for bus in self._buses:
            self.lab.machine.tell_module(f'{verb} bus={bus:#x} {words}')

    def _refused(self, fault: str) -> None:
        """No card can give one; each that has failed is quarantined."""
        self._tell('fault', f'{fault}=1')
        server = self.ask(**base.VGPU)
        with testtools.ExpectedException(errors.LabError, '.*ERROR.*'):
            self.nova.wait_status(server, 'ACTIVE')
        self.assertEqual({}, self.held(server))
        # Its record keeps the claim, which counts on a host only.
        found = self.nova.server(server)
        self.assertIsNone(found['OS-EXT-SRV-ATTR:host'])
        self.delete(server)
        self._tell('fault', f'{fault}=0')
        self._enable()
        self.assert_all_free()

    def _enable(self) -> list[str]:
        """Put into service what is quarantined; return what that was."""
        listed = self.lab.compute.device('list')['devices']
        bad = [each['id'] for each in listed if 'quarantined' in each['state']]
        for device in bad:
            self.lab.compute.device('enable', device)
        return bad

    def test_no_vgpu_can_be_created(self) -> None:
        self._refused('create')
        self.delete(self.boot(**base.VGPU))

    def test_no_vgpu_can_be_opened(self) -> None:
        """It is created; the domain then does not start."""
        self._refused('open')
        self.delete(self.boot(**base.VGPU))

    def test_a_failing_card_is_quarantined_and_the_other_serves(self) -> None:
        """The error names the card; nobody else is sent to it."""
        server = self.boot(**base.VGPU)
        bad = self.address_of(self.claimed(server)[0])
        self.delete(server)
        bus = int(bad.split(':')[1], 16)
        self.lab.machine.tell_module(f'fault bus={bus:#x} create=1')
        server = self.ask(**base.VGPU)
        with testtools.ExpectedException(errors.LabError, '.*ERROR.*'):
            self.nova.wait_status(server, 'ACTIVE')
        self.delete(server)
        listed = self.lab.compute.device('list')['devices']
        (device,) = (d for d in listed if not d['in_service'])
        self.assertEqual(bad, device['address'])
        self.assertEqual('quarantined', device['state'])
        self.assertIn('CUSTOM_ACCEL_QUARANTINED', self._traits(device))
        self.assertIn('CUSTOM_ACCEL_WHY_ATTACH_FAILED', self._traits(device))
        second = self.boot(**base.VGPU)
        self.assertNotEqual(bad, self.address_of(self.claimed(second)[0]))
        self.lab.compute.stop()
        self.lab.host.restart_compute()
        self.assertIn('CUSTOM_ACCEL_QUARANTINED', self._traits(device))
        self.lab.machine.tell_module(f'fault bus={bus:#x} create=0')
        self.assertEqual([device['id']], self._enable())
        self.assertNotIn('CUSTOM_ACCEL_QUARANTINED', self._traits(device))
        self.delete(second)
        self.assert_all_free()
        self.delete(self.boot(**base.VGPU))

    def _traits(self, device: dict[str, str]) -> list[str]:
        return self.nova.traits(device['provider'])

    def test_a_slow_card_serves(self) -> None:
        self._tell('fault', 'slow=3000')
        server = self.boot(**base.VGPU)
        self.guest_sees(server, '10de')
        self.delete(server)

    def test_a_card_dies_while_it_serves(self) -> None:
        server = self.boot(**base.VGPU)
        self.guest_sees(server, '10de')
        self._tell('dead')
        self.delete(server)
        self._tell('alive')
        self.assert_all_free()
        self.delete(self.boot(**base.VGPU))
