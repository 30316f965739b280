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
"""An NVMe drive, which tells its serial number to its own driver only."""

from tests.lab.harness import compute
from tests.lab.harness import process
from tests.lab.scenarios import base

_RULE = """\
  nvme:
    kind: pci
    match: {vendor_id: "1b36", product_id: "0010", dev_type: type-PCI}
    resource_class: CUSTOM_NVME
"""
_DRIVE = {'resources__CUSTOM_NVME': '1'}


class DriveTest(base.Scenario):
    def setUp(self) -> None:
        super().setUp()
        (self.drive,) = (d for d in self.hardware.nvme if not d.vfs)
        self.addCleanup(self.lab.compute.reload, compute.WHITELIST)
        self.lab.compute.reload(compute.WHITELIST + _RULE)
        self._wait_drives(1)

    def _wait_drives(self, number: int) -> None:
        def free() -> bool:
            return self.nova.free().get('CUSTOM_NVME', 0) == number

        process.wait_for(f'{number} free drives', free, 90, pause=1)

    def _tells(self) -> bool:
        """Tell whether the host can read the drive's serial number."""
        known = f'grep -qs {self.drive.serial} /sys/class/nvme/*/serial'
        return self.agent.run(known).code == 0

    def test_a_restart_while_a_guest_has_it(self) -> None:
        server = self.boot(**_DRIVE)
        self.assertEqual([f'nvme:{self.drive.serial}'], self.claimed(server))
        # The host cannot read it any more, and the guest's definition tells.
        self.assertFalse(self._tells())
        self.assertIn(self.drive.serial.encode().hex(), self.domain(server))
        providers = self.nova.providers()
        self.lab.compute.stop()
        with self.timed('restart'):
            self.lab.host.restart_compute()
        self.assertEqual(providers, self.nova.providers())
        self.assertEqual({'CUSTOM_NVME': 1}, self.held(server))
        for provider in providers:
            self.assertNotIn(
                'CUSTOM_ACCEL_MISSING', self.nova.traits(provider)
            )
        self.assertEqual(0, self.nova.free().get('CUSTOM_NVME', 0))
        with self.timed('hard reboot'):
            self.nova.act(server, 'reboot', type='HARD')
            self.nova.wait_status(server, 'ACTIVE')
        self.assertEqual([f'nvme:{self.drive.serial}'], self.claimed(server))
        self.assertEqual(1, self.hostdevs(server))
        self.delete(server)
        self.assertTrue(self._tells())
        self._wait_drives(1)
        self.lab.compute.reload(compute.WHITELIST)
        self._wait_drives(0)
        self.assert_all_free()
