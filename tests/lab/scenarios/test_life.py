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
"""A server keeps its device through everything that happens to it."""

from tests.lab.scenarios import base


class LifeTest(base.Scenario):
    def _check_same(self, server: str, uuids: list[str]) -> None:
        self.assertEqual(uuids, self.mdevs())
        self.assertIn(uuids[0], self.domain(server))
        (seen,) = self.guest_sees(server, '10de')
        self.assertEqual(uuids[0], seen.mdev_uuid)
        self.assertEqual({'VGPU': 1}, self.held(server))

    def test_stop_and_start(self) -> None:
        server = self.boot(**base.VGPU)
        uuids = self.mdevs()
        self.nova.act(server, 'os-stop')
        self.nova.wait_status(server, 'SHUTOFF')
        self.nova.act(server, 'os-start')
        with self.timed('start'):
            self.nova.wait_status(server, 'ACTIVE')
        self._check_same(server, uuids)

    @base.core
    def test_hard_reboot(self) -> None:
        server = self.boot(**base.VGPU)
        uuids = self.mdevs()
        with self.timed('hard reboot'):
            self.nova.act(server, 'reboot', type='HARD')
            self.nova.wait_status(server, 'ACTIVE')
        self._check_same(server, uuids)

    def test_soft_reboot(self) -> None:
        server = self.boot(**base.VGPU)
        uuids = self.mdevs()
        with self.timed('soft reboot'):
            self.nova.act(server, 'reboot', type='SOFT')
            self.nova.wait_status(server, 'ACTIVE')
        self._check_same(server, uuids)

    @base.core
    def test_lost_mdev_is_made_again(self) -> None:
        """Stopped, its mediated device lost as in a reboot, started."""
        server = self.boot(**base.VGPU)
        (uuid,) = self.mdevs()
        self.nova.act(server, 'os-stop')
        self.nova.wait_status(server, 'SHUTOFF')
        path = f'/sys/bus/mdev/devices/{uuid}/remove'
        self.agent.check(f'[ ! -e {path} ] || echo 1 > {path}')
        self.nova.act(server, 'os-start')
        self.nova.wait_status(server, 'ACTIVE')
        self._check_same(server, [uuid])

    def test_rescue(self) -> None:
        server = self.boot(**base.VGPU)
        uuids = self.mdevs()
        with self.timed('rescue'):
            self.nova.act(server, 'rescue')
            self.nova.wait_status(server, 'RESCUE')
        self._check_same(server, uuids)
        with self.timed('unrescue'):
            self.nova.act(server, 'unrescue')
            self.nova.wait_status(server, 'ACTIVE')
        self._check_same(server, uuids)

    def test_rebuild(self) -> None:
        server = self.boot(**base.VGPU)
        uuids = self.mdevs()
        image = self.nova.image('tiny')
        with self.timed('rebuild'):
            self.nova.act(server, 'rebuild', imageRef=image)
            self.nova.wait_status(server, 'ACTIVE')
        self._check_same(server, uuids)

    def test_suspend_and_resume(self) -> None:
        server = self.boot(**base.VGPU)
        uuids = self.mdevs()
        self.guest_sees(server, '10de')
        with self.timed('suspend'):
            self.nova.act(server, 'suspend')
            self.nova.wait_status(server, 'SUSPENDED')
        self.assertEqual({'VGPU': 1}, self.held(server))
        with self.timed('resume'):
            self.nova.act(server, 'resume')
            self.nova.wait_status(server, 'ACTIVE')
        self.assertEqual(uuids, self.mdevs())
        self.assertIn(uuids[0], self.domain(server))
        self.assertEqual({'VGPU': 1}, self.held(server))

    def test_suspend_and_resume_with_a_whole_gpu(self) -> None:
        server = self.boot(**base.GPU)
        (unit,) = self.claimed(server)
        self.guest_sees(server, '10de')
        self.nova.act(server, 'suspend')
        self.nova.wait_status(server, 'SUSPENDED')
        self.nova.act(server, 'resume')
        self.nova.wait_status(server, 'ACTIVE')
        self.assertEqual([unit], self.claimed(server))
        self.assertEqual(1, self.hostdevs(server))
        self.delete(server)
        self.assert_all_free()
