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
"""The operator's file changes while nova-compute runs."""

import yaml

from tests.lab.harness import compute
from tests.lab.harness import process
from tests.lab.scenarios import base


class ReloadTest(base.Scenario):
    def setUp(self) -> None:
        super().setUp()
        self._known = len(self.lab.compute.log())
        self.addCleanup(self.lab.compute.reload, compute.WHITELIST)

    def _said(self, text: str) -> bool:
        return text in self.lab.compute.log()[self._known :]

    def _wait_free(self, expected: dict[str, int]) -> None:
        def agrees() -> bool:
            free = self.nova.free()
            return all(free.get(n, 0) == v for n, v in expected.items())

        process.wait_for(f'{expected} free', agrees, 90, pause=1)

    def test_a_rule_is_removed_while_it_is_used(self) -> None:
        server = self.boot(**base.VGPU)
        uuids, units = self.mdevs(), self.claimed(server)
        document = yaml.safe_load(compute.WHITELIST)
        del document['devices']['t4']
        with self.timed('reload'):
            self.lab.compute.reload(yaml.safe_dump(document))
            self._wait_free({'VGPU': 0, 'CUSTOM_A100': 2})
        self.assertEqual({'VGPU': 1}, self.held(server))
        self.lab.compute.stop()
        self.lab.host.restart_compute()
        self.nova.act(server, 'reboot', type='HARD')
        self.nova.wait_status(server, 'ACTIVE')
        self.assertEqual(units, self.claimed(server))
        self.assertEqual(uuids, self.mdevs())
        self.assertIn(uuids[0], self.domain(server))
        self.lab.compute.reload(compute.WHITELIST)
        self._wait_free({'VGPU': self.before['VGPU'] - 1})
        self.delete(server)
        self.assert_all_free()

    def test_a_wrong_file_changes_nothing(self) -> None:
        self.lab.compute.reload('version: 1\ndevices:\n  a: {knd: vgpu}\n')
        process.wait_for('error', lambda: self._said('accel.yaml:3'), 60)
        self.assertEqual(self.before, self.nova.free())
        self.delete(self.boot(**base.VGPU))
