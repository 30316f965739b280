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
"""Servers on XAPI: boot, full, delete; nothing is left behind."""

from nova_accel.testing import xapi_cloud

K2 = """
version: 1
devices:
  k2:
    kind: vgpu
    match: {vendor_id: "10de", product_id: "11bf"}
    models: [GRID K240Q]
    mode: dynamic
"""


class SpawnTest(xapi_cloud.XapiCloudTestCase):
    TOPOLOGY = 'grid-k2'

    def test_boot_and_delete(self) -> None:
        self.start_host(rules=K2)
        flavor = self.flavor(resources__CUSTOM_VGPU_GRID_K240Q=1)
        server = self.boot(flavor)
        self.assertEqual('Running', self.machine(server)['power_state'])
        self.assertEqual(1, len(self.hostdevs('xen1', server)))
        self.assert_invariants()
        self._delete_server(server)
        self.assert_nothing_left()
        self.assert_invariants()
