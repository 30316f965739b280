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
"""Volumes and ports come and go on a server that holds devices."""

import typing as ty

import fixtures

from nova_accel.testing import cloud

from tests.functional import rules


class AttachTest(cloud.CloudTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.start_host('host1', 'mixed', rules.MIXED)
        handler = self.computes['host1'].driver._device_event_handler
        wait = handler.wait
        # Nova's harness delivers no events; it looks by itself after that.
        self.useFixture(
            fixtures.MockPatchObject(
                handler, 'wait', lambda waiter, timeout: wait(waiter, 0.01)
            )
        )
        self.server = self.boot(
            self.flavor(resources__VGPU=2, resources__CUSTOM_NVME=1)
        )
        self.before = self.hostdevs('host1', self.server)
        self.claimed = self.claims(self.server)
        self.assertEqual(3, len(self.before))

    def assert_kept(self, disks: int) -> None:
        self.assertEqual(disks, len(self.definition['disks']))
        self.assertEqual(self.before, self.hostdevs('host1', self.server))
        self.assertEqual(self.claimed, self.claims(self.server))
        self.assert_invariants()

    @property
    def definition(self) -> dict[str, list[ty.Any]]:
        connection = self.connection_of('host1')
        domain = connection.lookupByUUIDString(self.server['id'])
        return ty.cast(dict[str, list[ty.Any]], domain._def['devices'])

    def test_volumes_and_ports(self) -> None:
        disks = len(self.definition['disks'])
        volume = self.cinder.IMAGE_BACKED_VOL
        port = self.neutron.port_1['id']
        self._attach_volume(self.server, volume)
        self._attach_interface(self.server, port)
        self.assert_kept(disks + 1)
        self.assertEqual(1, len(self.definition['nics']))
        self._reboot_server(self.server, hard=True)
        self.assert_kept(disks + 1)
        self.api.delete_server_volume(self.server['id'], volume)
        self._wait_for_volume_detach(self.server['id'], volume)
        self._detach_interface(self.server, port)
        self.assert_kept(disks)
        self._reboot_server(self.server, hard=True)
        self.assert_kept(disks)
        self.assertEqual([], self.definition['nics'])
