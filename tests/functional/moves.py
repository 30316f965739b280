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

import collections.abc
import threading
import typing as ty

import fixtures

from nova_accel.core import inventory
from nova_accel.testing import cloud


class MoveTestCase(cloud.CloudTestCase):
    """There are no disks in nova's harness."""

    def setUp(self) -> None:
        super().setUp()
        self.useFixture(
            fixtures.MockPatch(
                'nova.virt.libvirt.LibvirtDriver._get_instance_disk_info',
                return_value=[],
            )
        )
        self.useFixture(fixtures.MockPatch('os.rename'))

    def driver(self, host: str) -> ty.Any:
        return self.computes[host].driver

    def held(self, host: str) -> frozenset[inventory.Claim]:
        """Units that nova-compute of a host takes for held."""
        held: frozenset[inventory.Claim] = self.driver(host).accel.held
        return held

    def host_of(self, server: dict[str, ty.Any]) -> str:
        found = self.api.get_server(server['id'])
        return ty.cast(str, found['OS-EXT-SRV-ATTR:host'])

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

    def wait_until(self, happened: collections.abc.Callable[[], bool]) -> None:
        waiting = threading.Event()
        for _ in range(300):
            if happened():
                return
            waiting.wait(0.1)
        raise self.failureException('it did not happen')
