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
"""A server is suspended and resumed, and keeps its devices."""

import typing as ty
from unittest import mock

from nova.tests.fixtures import libvirt as fakelibvirt
from nova.tests.functional.api import client
from nova.virt.libvirt import guest as libvirt_guest


from tests.functional import moves


class SuspendTest(moves.KeepTestCase):
    """libvirt saves no guest that has a host device."""

    def tearDown(self) -> None:
        self.run_periodic()
        super().tearDown()

    @property
    def domain(self) -> ty.Any:
        connection = self.connection_of('host1')
        return connection.lookupByUUIDString(self.server['id'])

    def suspend(self) -> None:
        self._suspend_server(self.server)
        self.assertEqual([], self.domain.held())
        self.assertTrue(self.domain.hasManagedSaveImage(0))

    def resume(self) -> None:
        self._resume_server(self.server)
        self.assertEqual(3, len(self.domain.held()))
        self.assertFalse(self.domain.hasManagedSaveImage(0))

    def test_suspend_and_resume(self) -> None:
        self.suspend()
        self.run_periodic()
        self.assertEqual(2, len(self.mdevs('host1')))
        self.assert_invariants()
        self.resume()
        # Nothing of what suspending does stays behind.
        self._reboot_server(self.server)
        self._reboot_server(self.server, hard=True)

    def test_the_host_is_rebooted_while_it_is_suspended(self) -> None:
        self.suspend()
        self.connection_of('host1').machine.reboot()
        self.restart_compute_service('host1')
        self.assertEqual([], self.mdevs('host1'))
        self.resume()

    def test_others_do_not_get_what_a_suspended_server_holds(self) -> None:
        self.suspend()
        nvme = self.flavor(resources__CUSTOM_NVME=1)
        other = self.boot(nvme)
        self.refused(nvme)
        self.assertFalse(set(self.claimed) & set(self.claims(other)))
        self.resume()

    def test_memory_that_cannot_be_saved(self) -> None:
        with mock.patch.object(
            libvirt_guest.Guest,
            'save_memory_state',
            side_effect=fakelibvirt.libvirtError('no space'),
        ):
            self.refuse()
        self.assertEqual(3, len(self.domain.held()))

    def test_a_guest_that_does_not_let_go(self) -> None:
        with mock.patch.object(self.domain, 'detachDeviceFlags'):
            self.refuse()
        server = self.api.get_server(self.server['id'])
        self.assertEqual('ACTIVE', server['status'])
        self.assertEqual(3, len(self.domain.held()))

    def refuse(self) -> None:
        # A cast is a call in nova's harness, so its error comes back.
        self.assertRaises(
            client.OpenStackApiException,
            self.api.post_server_action,
            self.server['id'],
            {'suspend': {}},
        )

    def test_a_snapshot_that_suspends(self) -> None:
        self.flags(disable_libvirt_livesnapshot=True, group='workarounds')
        saves = self.connection_of('host1').calls['virDomain.managedSave']
        self.api.post_server_action(
            self.server['id'], {'createImage': {'name': 'snapshot'}}
        )
        self._wait_for_server_parameter(
            self.server, {'OS-EXT-STS:task_state': None}
        )
        self.assertEqual(
            saves + 1,
            self.connection_of('host1').calls['virDomain.managedSave'],
        )
        self.assertEqual(3, len(self.domain.held()))
