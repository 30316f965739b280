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
"""Several servers of one request, on several cards of one host."""

import collections
import collections.abc
import typing as ty

from nova_accel.testing import cloud

from tests.functional import rules

POOLS = rules.A100 + '    pool: device\n'


class MultiCreateTest(cloud.CloudTestCase):
    def create(
        self, number: int, state: str = 'ACTIVE', **extra: ty.Any
    ) -> list[dict[str, ty.Any]]:
        """Make servers by one request."""
        server = self._build_server(
            flavor_id=self.flavor(**extra), networks='none'
        )
        server.update(min_count=number, max_count=number)
        self.api.post_server({'server': server})
        servers = self.api.get_servers(detail=False)
        self.assertEqual(number, len(servers))
        return [self._wait_for_state_change(s, state) for s in servers]

    def providers(
        self, servers: collections.abc.Iterable[dict[str, ty.Any]]
    ) -> list[int]:
        """How many units each provider in use gives."""
        found = collections.Counter(
            claim.provider for s in servers for claim in self.claims(s)
        )
        return sorted(found.values())

    def test_cards_of_one_host(self) -> None:
        self.start_host('host1', 't4', rules.T4_8Q)
        servers = self.create(4, resources__VGPU=1)
        self.assertEqual([2, 2], self.providers(servers))
        self.assert_invariants()

    def test_one_more_than_there_is_room_for(self) -> None:
        self.start_host('host1', 't4', rules.T4_8Q)
        self.create(5, 'ERROR', resources__VGPU=1)
        self.assertEqual({}, self.usages('host1'))
        self.assert_invariants()

    def test_providers_of_one_device_each(self) -> None:
        self.start_host('host1', 'a100', POOLS)
        servers = self.create(3, resources__CUSTOM_A100=1)
        self.assertEqual([1, 1, 1], self.providers(servers))
        self.assert_invariants()

    def test_hosts_and_cards(self) -> None:
        for host in ('host1', 'host2'):
            self.start_host(host, 't4', rules.T4_8Q.replace('8Q', '16Q'))
        servers = self.create(4, resources__VGPU=1)
        self.assertEqual([1, 1, 1, 1], self.providers(servers))
        self.assert_invariants()
