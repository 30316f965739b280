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
"""The host loses its power while servers run."""

from tests.lab.scenarios import base


class HostTest(base.Scenario):
    def test_reboot_resumes_servers(self) -> None:
        vgpu = self.boot(**base.VGPU)
        gpu = self.boot(**base.GPU)
        uuids, units = self.mdevs(), self.claimed(gpu)
        with self.timed('reboot of the host'):
            self.lab.host.reboot(self.hardware)
        with self.timed('resume of both'):
            self.wait_runs(vgpu)
            self.wait_runs(gpu)
        # Made again: a mediated device does not outlive its host.
        self.assertEqual(uuids, self.mdevs())
        (seen,) = self.guest_sees(vgpu, '10de')
        self.assertEqual(uuids[0], seen.mdev_uuid)
        self.assertEqual(units, self.claimed(gpu))
        (seen,) = self.guest_sees(gpu, '10de')
        self.assertEqual(units, [f'sn:{seen.serial}'])
        self.delete(vgpu, gpu)
        self.assert_all_free()
