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
"""What tests of servers that move need."""

import typing as ty

import fixtures

from nova_accel.core import inventory
from nova_accel.testing import cloud

from tests.functional import rules


class NoDisks(fixtures.Fixture):
    """Let servers move in nova's harness, which has no disks."""

    def _setUp(self) -> None:
        self.useFixture(
            fixtures.MockPatch(
                'nova.virt.libvirt.LibvirtDriver._get_instance_disk_info',
                return_value=[],
            )
        )
        self.useFixture(fixtures.MockPatch('os.rename'))


class KeepTestCase(cloud.CloudTestCase):
    """A server that has, at the end, the very devices of the beginning."""

    def setUp(self) -> None:
        super().setUp()
        self.start_host('host1', 'mixed', rules.MIXED)
        self.server = self.boot(
            self.flavor(resources__VGPU=2, resources__CUSTOM_NVME=1)
        )
        self.before = self.hostdevs('host1', self.server)
        self.claimed = self.claims(self.server)
        self.assertEqual(3, len(self.before))

    def tearDown(self) -> None:
        self.assert_invariants()
        self.assertEqual(self.claimed, self.claims(self.server))
        self.assertEqual(self.before, self.hostdevs('host1', self.server))
        super().tearDown()


class SameHostTests:
    """What nova does to a server where it is; for test cases of a server."""

    server: dict[str, ty.Any]

    def test_reboots(self: ty.Any) -> None:
        self._reboot_server(self.server)
        self._reboot_server(self.server, hard=True)

    def test_stop_and_start(self: ty.Any) -> None:
        self._stop_server(self.server)
        self._start_server(self.server)

    def test_rebuild(self: ty.Any) -> None:
        self._rebuild_server(
            self.server, '155d900f-4e14-4e4c-a73d-069cbf4541e6'
        )

    def test_restart_of_the_service(self: ty.Any) -> None:
        self.restart_compute_service('host1')


class MoveTestCase(cloud.CloudTestCase):
    """Servers that move between hosts."""

    def setUp(self) -> None:
        super().setUp()
        self.useFixture(NoDisks())

    def driver(self, host: str) -> ty.Any:
        return self.computes[host].driver

    def held(self, host: str) -> frozenset[inventory.Claim]:
        """Units that nova-compute of a host takes for held."""
        held: frozenset[inventory.Claim] = self.driver(host).accel.held
        return held

    def assert_nothing_held(self) -> None:
        """No host holds anything, and none has to look anew to know it."""
        # A server is gone for the API before its host has done its books.
        self.wait_until(lambda: not any(map(self.held, self.computes)))
        for host in self.computes:
            self.assertEqual({}, self.usages(host), host)
            self.assertEqual(frozenset(), self.held(host), host)
            self.assertEqual([], self.mdevs(host), host)
        self.assert_invariants()

    def force_down(self, host: str) -> None:
        """Let a host be dead, for nova's API."""
        self.computes[host].stop()
        (service,) = self.api.get_services(host=host, binary='nova-compute')
        self.api.put_service(service['id'], {'forced_down': True})

    def evacuate_from_host1(self, server: dict[str, ty.Any]) -> None:
        """Let host1 die and its server go to host2; then it comes back."""
        connection = self.connection_of('host1')
        self.force_down('host1')
        self._evacuate_server(server, expected_host='host2')
        self.computes.pop('host1')
        self.compute_rp_uuids.pop('host1')
        self.start_compute('host1', connection=connection)
