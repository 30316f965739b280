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
"""Two hosts with different cards."""

from tempest import config
from tempest.lib import decorators

from nova_accel_tempest.tests import base
from nova_accel_tempest.tests import tags

CONF = config.CONF


class TwoHostsTest(base.AccelTestCase):
    @classmethod
    def skip_checks(cls) -> None:
        super().skip_checks()
        if not CONF.accel.two_hosts:
            raise cls.skipException('[accel]two_hosts says no')

    def lonely(self) -> dict[str, str]:
        """Root provider -> a class that only this host offers."""
        found: dict[str, str] = {}
        for rc, providers in self.offered().items():
            roots = {p.root for p in providers}
            if len(roots) == 1:
                found.setdefault(roots.pop(), rc)
        self.assertGreater(len(found), 1, 'no two hosts differ')
        return found

    @decorators.attr(type='driver')
    @decorators.idempotent_id('7d3e4f50-1a2b-4c3d-9e8f-a0b1c2d3e401')
    def test_a_server_goes_where_its_card_is(self) -> None:
        hosts = set()
        lonely = self.lonely()
        for rc in lonely.values():
            server = self.boot(self.flavor_of(**{rc: 1}))
            self.assert_has(server, **{rc: 1})
            hosts.add(self.host_of(server))
        self.assertEqual(len(lonely), len(hosts))

    @decorators.attr(type='driver')
    @decorators.idempotent_id('7d3e4f50-1a2b-4c3d-9e8f-a0b1c2d3e403')
    def test_every_host_keeps_what_it_gave(self) -> None:
        """Stop and start, where hypervisors may differ."""
        for rc in self.lonely().values():
            with self.subTest(resource_class=rc):
                before = self.free(rc)
                server = self.boot(self.flavor_of(**{rc: 1}))
                home = self.allocated(server)
                self.servers.stop_server(server['id'])
                self.wait(server['id'], 'SHUTOFF')
                self.servers.start_server(server['id'])
                self.wait(server['id'], 'ACTIVE')
                self.assertEqual(home, self.allocated(server))
                self.remove(server['id'])
                self.wait_free(rc, before)

    @tags.passes_without_a_driver('the scheduler refuses it')
    @decorators.idempotent_id('7d3e4f50-1a2b-4c3d-9e8f-a0b1c2d3e402')
    def test_cards_of_two_hosts_are_not_one_server(self) -> None:
        wanted = dict.fromkeys(sorted(self.lonely().values())[:2], 1)
        said = self.refused(self.flavor_of(**wanted))
        self.assertIn('No valid host', said)
