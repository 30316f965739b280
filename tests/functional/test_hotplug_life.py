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
"""An attached accelerator stays through all that nova does to a server."""

import typing as ty

from nova_accel.testing import cloud  # noqa: F401  (comes first)

from nova.tests.functional.api import client

from nova_accel.core import attachment

from tests.functional import hotplug
from tests.functional import moves
from tests.functional import rules
from tests.functional import test_live_migration

VGPU, NVME = hotplug.VGPU, hotplug.NVME


class SameHostTest(moves.SameHostTests, hotplug.HotplugTestCase):
    """The same devices again."""

    def setUp(self) -> None:
        super().setUp()
        self.server = self.boot(self.hot(resources__VGPU=1))
        self.attached(self.server)
        self.attached(self.server, NVME)
        self.before = self.hostdevs('host1', self.server)
        self.claimed = self.claims(self.server)
        self.found = self.records(self.server)
        self.assertEqual(3, len(self.before))

    def tearDown(self) -> None:
        self.assert_invariants()
        self.assertEqual(self.found, self.records(self.server))
        self.assertEqual(self.claimed, self.claims(self.server))
        self.assertEqual(self.before, self.hostdevs('host1', self.server))
        self.assertEqual(3, len(self.domain(self.server).held()))
        for id_ in self.found:
            self.assertEqual('', self.detach(self.server, id_).state)
        self.assertEqual(1, len(self.domain(self.server).held()))
        self.assert_invariants()
        super().tearDown()

    def test_suspend_and_resume(self) -> None:
        self._suspend_server(self.server)
        self._resume_server(self.server)

    def test_host_reboot(self) -> None:
        self.flags(resume_guests_state_on_host_boot=True)
        self.domain(self.server).destroy()
        self.connection_of('host1').machine.reboot()
        self.restart_compute_service('host1')
        self._wait_for_state_change(self.server, 'ACTIVE')


class MoveTest(hotplug.HotplugTestCase):
    """Other devices on another host, and the records name them."""

    HOSTS = ('host1', 'host2')

    def setUp(self) -> None:
        super().setUp()
        self.server = self.boot(self.hot(resources__VGPU=1), host='host1')
        self.vgpu = self.attached(self.server)
        self.nvme = self.attached(self.server, NVME)
        self.before = self.claims(self.server)

    def assert_on(self, host: str) -> None:
        """All of it is there, and can be detached there."""
        self.assertEqual(host, self.host_of(self.server))
        self.run_periodic()
        claims = {*self.claims(self.server)}
        providers = {*self.accel_providers(host).values()}
        self.assertEqual(3, len(claims))
        self.assertEqual(3, len(self.hostdevs(host, self.server)))
        found = self.records(self.server)
        self.assertEqual({self.vgpu.id, self.nvme.id}, {*found})
        for record in found.values():
            self.assertEqual((attachment.ATTACHED, ''), hotplug.state(record))
            self.assertEqual(1, len(record.units))
            self.assertIn(record.provider, providers)
            self.assertLessEqual(record.claims, claims)
        self.assert_invariants()
        for id_ in found:
            self.assertEqual('', self.detach(self.server, id_).state)
        self.assertEqual(1, len(self.hostdevs(host, self.server)))
        self.assertEqual(1, len(self.claims(self.server)))
        self.run_periodic()
        for other in set(self.computes) - {host}:
            self.assertEqual([], self.mdevs(other))
        self.assertEqual(1, len(self.mdevs(host)))
        self.assert_invariants()

    def test_cold_migration_confirmed(self) -> None:
        self._migrate_server(self.server, host='host2')
        # All hosts share it in nova's harness; the source asks for it.
        self.flags(host='host1')
        self._confirm_resize(self.server)
        self.assert_on('host2')

    def test_cold_migration_reverted(self) -> None:
        self._migrate_server(self.server, host='host2')
        self._revert_resize(self.server)
        self.assertEqual(self.before, self.claims(self.server))
        self.assert_on('host1')

    def test_shelve_and_unshelve_elsewhere(self) -> None:
        self._shelve_server(self.server)
        for host in self.computes:
            self.assertEqual({}, self.usages(host))
        (service,) = self.api.get_services(host='host1', binary='nova-compute')
        self.api.put_service(service['id'], {'status': 'disabled'})
        self._unshelve_server(self.server)
        self.assert_on('host2')

    def test_evacuation(self) -> None:
        self.evacuate_from_host1(self.server)
        self.run_periodic()
        self.assert_on('host2')

    def test_cold_migration_while_detaching(self) -> None:
        """It is not in the guest that is started there."""
        self.connection_of('host1').answering = False
        self.detach(self.server, self.vgpu.id)
        self._migrate_server(self.server, host='host2')
        # All hosts share it in nova's harness; the source asks for it.
        self.flags(host='host1')
        self._confirm_resize(self.server)
        self.assertEqual(2, len(self.domain(self.server, 'host2').held()))
        self.run_periodic()
        self.assertEqual([self.nvme.id], [*self.records(self.server)])
        self.assertEqual(2, len(self.claims(self.server)))
        self.align(self.server)
        self.assert_invariants()

    def test_resize_to_a_flavor_that_knows_nothing_of_it(self) -> None:
        """Without our filter in nova-api; nothing has changed then."""
        # A cast is a call in nova's harness, so its error comes back.
        self.assertRaises(
            client.OpenStackApiException,
            self.api.post_server_action,
            self.server['id'],
            {'resize': {'flavorRef': self.flavor()}},
        )
        self._wait_for_server_parameter(
            self.server, {'OS-EXT-STS:task_state': None}
        )
        self.wait_until(
            lambda: (
                'ACTIVE' == self.api.get_server(self.server['id'])['status']
            )
        )
        self.assert_on('host1')


class LiveMigrationTest(hotplug.HotplugTestCase):
    """Where a device may go, its attachment goes with it."""

    HOSTS = ('host1', 'host2')
    NODE, RULES = 't4', rules.T4_8Q
    VERSIONS: ty.ClassVar[dict[str, int]] = {
        'version': 10_000_000,
        'hv_version': 8_002_002,
    }

    def setUp(self) -> None:
        super().setUp()
        self.useFixture(test_live_migration.quick_looks())
        self.server = self.boot(self.hot(resources__VGPU=1), host='host1')
        self.vgpu = self.attached(self.server)

    def test_to_another_host(self) -> None:
        self._live_migrate(self.server, 'completed', host='host2')
        self.assertEqual('host2', self.host_of(self.server))
        self.run_periodic()
        record = self.record(self.server)
        self.assertLessEqual(record.claims, {*self.claims(self.server)})
        self.assertIn(
            record.provider, {*self.accel_providers('host2').values()}
        )
        self.assert_invariants()
        self.detach(self.server, record.id)
        self.assertEqual(1, len(self.hostdevs('host2', self.server)))
        self.assert_invariants()

    def test_not_while_it_is_detached(self) -> None:
        self.connection_of('host1').answering = False
        self.detach(self.server, self.vgpu.id)
        self.assertRaises(
            client.OpenStackApiException,
            self._live_migrate,
            self.server,
            'error',
            host='host2',
        )
        self.assertIn('detach first', str(self.stdlog.logger.output))
        self.assertEqual('host1', self.host_of(self.server))
        self.assertEqual(2, len(self.domain(self.server).held()))
        self.assert_invariants()
