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
"""A server moves to another host and back."""

from tests.lab.harness import topology
from tests.lab.scenarios import base


class TwoHostsTest(base.Scenario):
    def setUp(self) -> None:
        super().setUp()
        self.here = self.lab.host
        self.there = self.lab.second()
        # Runs before the check that all is free as it was.
        self.addCleanup(self._retire)
        with self.timed('second host'):
            self.there.boot(topology.load('second'))
            self.here.machine.connect()
            self.there.machine.connect()
            self.there.start_compute()

    def _retire(self) -> None:
        self.nova.clear()
        self.assertEqual([], self.mdevs(self.there))
        self.there.retire()

    def _migrate(self, server: str) -> None:
        with self.timed('migrate'):
            self.nova.act(server, 'migrate', host=self.there.name)
            self.nova.wait_status(server, 'VERIFY_RESIZE')

    def test_cold_migration_is_confirmed(self) -> None:
        server = self.boot(self.here.name, **base.VGPU)
        (uuid,) = self.mdevs()
        self._migrate(server)
        (moved,) = self.mdevs(self.there)
        self.assertNotEqual(uuid, moved)
        (unit,) = self.claimed(server)
        self.assertIn('T4-SERIAL-21', unit)
        self.assertEqual({'VGPU': 1}, self.held(server))
        self.nova.act(server, 'confirmResize')
        self.nova.wait_status(server, 'ACTIVE')
        self.assertEqual([], self.mdevs())
        self.assertEqual([moved], self.mdevs(self.there))

    def test_cold_migration_is_reverted(self) -> None:
        server = self.boot(self.here.name, **base.VGPU)
        uuids, units = self.mdevs(), self.claimed(server)
        self._migrate(server)
        self.nova.act(server, 'revertResize')
        self.nova.wait_status(server, 'ACTIVE')
        self.assertEqual(units, self.claimed(server))
        self.assertEqual(uuids, self.mdevs())
        self.assertEqual([], self.mdevs(self.there))
        (seen,) = self.guest_sees(server, '10de')
        self.assertEqual(uuids[0], seen.mdev_uuid)

    def test_live_migration_is_refused(self) -> None:
        """The module cannot carry a vGPU's state, and says so."""
        server = self.boot(self.here.name, **base.VGPU)
        uuids, units = self.mdevs(), self.claimed(server)
        free = self.nova.free()
        self.nova.act(
            server,
            'os-migrateLive',
            host=self.there.name,
            block_migration='auto',
        )
        self.nova.wait_failed(server, 'live-migration')
        self.nova.wait_status(server, 'ACTIVE')
        self.assertEqual(units, self.claimed(server))
        self.assertEqual(uuids, self.mdevs())
        self.assertEqual([], self.mdevs(self.there))
        self.assertEqual(free, self.nova.free())
