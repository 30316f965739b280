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
"""Services and the host go away at the worst moment."""

from tests.lab.harness import process
from tests.lab.scenarios import base


class CrashTest(base.Scenario):
    def test_compute_restarts(self) -> None:
        server = self.boot(**base.VGPU)
        uuids = self.mdevs()
        self.lab.compute.stop()
        with self.timed('restart'):
            self.lab.host.restart_compute()
        self.assertEqual(uuids, self.mdevs())
        self.assertEqual({'VGPU': 1}, self.held(server))
        second = self.boot(**base.VGPU)
        self.assertEqual(2, len(self.mdevs()))
        self.delete(server, second)
        self.assert_all_free()

    def test_compute_killed_at_spawn(self) -> None:
        server = self.ask(**base.VGPU)
        process.wait_for(
            'mediated device', lambda: bool(self.mdevs()), 120, pause=0.1
        )
        self.lab.compute.kill()
        self.lab.host.restart_compute()
        with self.timed('delete'):
            self.nova.delete(server)
            self.nova.wait_gone(server)
        self.assert_all_free()

    @base.core
    def test_compute_killed_at_delete(self) -> None:
        server = self.boot(**base.VGPU)
        self.nova.delete(server)
        process.wait_for('destruction', self._no_domain, 60, pause=0.1)
        self.lab.compute.kill()
        self.lab.host.restart_compute()
        self.nova.wait_gone(server)
        self.assert_all_free()

    def _no_domain(self) -> bool:
        return not self.agent.check('virsh list --name').strip()

    def _is_enabled(self) -> bool:
        """Tell whether nova schedules to the host: not without libvirt."""
        return not any(
            'COMPUTE_STATUS_DISABLED' in self.nova.traits(provider)
            for provider in self.nova.providers()
        )

    def test_wrong_file_stops_the_start(self) -> None:
        self.lab.compute.stop()
        self.lab.compute.configure('version: 1\ndevices:\n  a: {knd: vgpu}\n')
        known = len(self.lab.compute.log())
        self.lab.compute.start()
        process.wait_for(
            'end of nova-compute', lambda: not self.lab.compute.alive, 200
        )
        self.assertIn('accel.yaml:3', self.lab.compute.log()[known:])
        self.lab.compute.configure()
        self.lab.host.restart_compute()

    def test_libvirtd_restarts(self) -> None:
        first = self.boot(**base.VGPU)
        (uuid,) = self.mdevs()
        self.agent.check(
            'kill $(pidof libvirtd); sleep 2; libvirtd -d -l\n'
            'for i in $(seq 100); do virsh version >/dev/null 2>&1 && break;'
            ' sleep .3; done; virsh version',
            timeout=90,
        )
        self.assertEqual([uuid], self.mdevs())
        with self.timed('reconnect'):
            process.wait_for('connection', self._is_enabled, 90, pause=1)
        second = self.boot(**base.VF_VGPU)
        self.assertEqual(2, len(self.mdevs()))
        self.delete(first, second)
        self.assert_all_free()
