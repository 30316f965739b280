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

    def _refused(self) -> None:
        server = self.ask(**base.VGPU)
        with testtools.ExpectedException(errors.LabError, '.*ERROR.*'):
            self.nova.wait_status(server, 'ACTIVE')
        self.assertEqual({}, self.held(server))
        # Its record keeps the claim, which counts on a host only.
        found = self.nova.server(server)
        self.assertIsNone(found['OS-EXT-SRV-ATTR:host'])
        self.delete(server)
        self.assert_all_free()

    def test_no_vgpu_can_be_created(self) -> None:
        self._tell('fault', 'create=1')
        self._refused()
        self._tell('fault', 'create=0')
        self.delete(self.boot(**base.VGPU))

    @base.core
    def test_no_vgpu_can_be_opened(self) -> None:
        """It is created; the domain then does not start."""
        self._tell('fault', 'open=1')
        self._refused()
        self._tell('fault', 'open=0')
        self.delete(self.boot(**base.VGPU))

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
