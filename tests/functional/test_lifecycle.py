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
"""A server keeps its devices through what nova does to it."""

import pathlib
import typing as ty

import nova.conf

from nova_accel.core import naming
from nova_accel.testing import cloud

from tests.functional import moves
from tests.functional import rules


class SameHostTest(moves.SameHostTests, moves.KeepTestCase):
    """The same devices again."""

    def test_pause(self) -> None:
        self.api.post_server_action(self.server['id'], {'pause': {}})
        self._wait_for_state_change(self.server, 'PAUSED')
        self.run_periodic()
        self.api.post_server_action(self.server['id'], {'unpause': {}})
        self._wait_for_state_change(self.server, 'ACTIVE')

    def test_rescue_and_unrescue(self) -> None:
        # Nova's harness makes no disks, hence no folder for them.
        pathlib.Path(nova.conf.CONF.instances_path, self.server['id']).mkdir(
            exist_ok=True
        )
        self._rescue_server(self.server)
        self._unrescue_server(self.server)

    def test_host_reboot_with_guests_resumed(self) -> None:
        self.flags(resume_guests_state_on_host_boot=True)
        self._host_reboot()
        self._wait_for_state_change(self.server, 'ACTIVE')

    def test_host_reboot_with_guests_started_by_hand(self) -> None:
        self._host_reboot()
        self._reboot_server(self.server, hard=True)

    def _host_reboot(self) -> None:
        conn = self.connection_of('host1')
        conn.lookupByUUIDString(self.server['id']).destroy()
        conn.machine.reboot()
        self.restart_compute_service('host1')


class MoveTest(cloud.CloudTestCase):
    """New devices on the new host, none left on the old one."""

    def setUp(self) -> None:
        super().setUp()
        self.useFixture(moves.NoDisks())
        self.flags(allow_resize_to_same_host=True)
        self.start_host('host1', 't4', rules.T4_8Q)
        self.start_host('host2', 't4')
        self.one = self.flavor(resources__VGPU=1)
        self.two = self.flavor(resources__VGPU=2)
        self.none = self.flavor()
        self.server = self.boot(self.one, host='host1')

    def tearDown(self) -> None:
        self.assert_invariants()
        super().tearDown()

    def held(self) -> dict[str, int]:
        """Host -> units Placement says are used there."""
        return {
            host: sum(
                amount
                for classes in self.usages(host).values()
                for amount in classes.values()
            )
            for host in self.computes
        }

    def assert_on(self, host: str, amount: int) -> None:
        server = self.api.get_server(self.server['id'])
        self.assertEqual(host, server['OS-EXT-SRV-ATTR:host'])
        self.assertEqual(amount, len(self.hostdevs(host, server)))
        other = {'host1': 'host2', 'host2': 'host1'}[host]
        self.assertEqual({host: amount, other: 0}, self.held())
        self.run_periodic()
        self.run_periodic()
        self.assertEqual([], self.mdevs(other))
        self.assertEqual(amount, len(self.mdevs(host)))

    def test_cold_migration_confirmed(self) -> None:
        self._migrate_server(self.server, host='host2')
        self._confirm_resize(self.server)
        self.assert_on('host2', 1)

    def test_cold_migration_reverted(self) -> None:
        before = self.claims(self.server)
        self._migrate_server(self.server, host='host2')
        self.run_periodic()
        self._revert_resize(self.server)
        self.assertEqual(before, self.claims(self.server))
        self.assert_on('host1', 1)

    def test_resize_to_more(self) -> None:
        self._resize_server(self.server, self.two)
        self.run_periodic()
        self._confirm_resize(self.server)
        server = self.api.get_server(self.server['id'])
        self.assert_on(server['OS-EXT-SRV-ATTR:host'], 2)

    def test_resize_to_none_on_the_same_host(self) -> None:
        self._stop_host('host2')
        self._resize_server(self.server, self.none)
        self.run_periodic('host1')
        self._confirm_resize(self.server)
        self.run_periodic('host1')
        self.assertEqual({}, self.usages('host1'))
        self.assertEqual([], self.mdevs('host1'))

    def test_resize_to_more_on_the_same_host_and_back(self) -> None:
        before = self.claims(self.server)
        self._stop_host('host2')
        self._resize_server(self.server, self.two)
        self.run_periodic('host1')
        units = {*before, *self.claims(self.server)}
        self.assertEqual(3, len(units))
        self._revert_resize(self.server)
        self.run_periodic('host1')
        self.assertEqual(before, self.claims(self.server))
        self.assertEqual(1, len(self.mdevs('host1')))

    def test_shelve_and_unshelve_elsewhere(self) -> None:
        self._shelve_server(self.server)
        self.assertEqual({'host1': 0, 'host2': 0}, self.held())
        self.run_periodic()
        self.assertEqual([], self.mdevs('host1'))
        self._disable('host1')
        self._unshelve_server(self.server)
        self.assert_on('host2', 1)

    def test_evacuate_and_the_dead_host_comes_back(self) -> None:
        conn = self.connection_of('host1')
        self.computes['host1'].stop()
        self._force_down('host1')
        self._evacuate_server(self.server, expected_host='host2')
        service = self.computes.pop('host1')
        root = self.compute_rp_uuids.pop('host1')
        self.assert_invariants()
        self.start_compute('host1', connection=conn)
        self.assertEqual(root, self.compute_rp_uuids['host1'])
        del service
        self.run_periodic()
        self.assert_on('host2', 1)

    def _stop_host(self, host: str) -> None:
        """Take a host out of the scheduler's sight."""
        self._disable(host)

    def _disable(self, host: str) -> None:
        (service,) = self.api.get_services(host=host, binary='nova-compute')
        self.api.put_service(service['id'], {'status': 'disabled'})

    def _force_down(self, host: str) -> None:
        (service,) = self.api.get_services(host=host, binary='nova-compute')
        self.api.put_service(service['id'], {'forced_down': True})


class NeighbourTest(cloud.CloudTestCase):
    def test_neighbours_without_devices_are_left_alone(self) -> None:
        self.start_host('host1', 't4', rules.T4_8Q)
        plain = self.boot(self.flavor())
        self._reboot_server(plain, hard=True)
        self.assertEqual([], self.hostdevs('host1', plain))
        self.assertEqual([], self.claims(plain))
        self._delete_server(plain)
        self.assert_invariants()

    def test_slots_name_the_card(self) -> None:
        self.start_host('host1', 't4', rules.T4_8Q)
        server = self.boot(self.flavor(resources__VGPU=1))
        (claim,) = self.claims(server)
        unit = naming.UnitId.parse(claim.unit)
        self.assertEqual('nvidia-233', unit.part)
        providers: dict[str, ty.Any] = self.accel_providers('host1')
        self.assertEqual(claim.provider, providers[unit.device])
