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
"""What nova's API refuses while something is attached."""

import pathlib
import re
import typing as ty

import fixtures
from nova.tests.functional.api import client

from tests.functional import api
from tests.functional import paste
from tests.functional import rules


class GuardedTestCase(api.ApiTestCase):
    """nova-api with the filter in its pipeline."""

    NODE = 't4'
    RULES = rules.T4_8Q

    def setUp(self) -> None:
        super().setUp()
        self.flags(allow_resize_to_same_host=True)
        self.start_host('host1', self.NODE, self.RULES)
        self.start_host('host2', self.NODE)
        self.server = self.boot(
            self.flavor(
                accel_hotplug__max_VGPU=2, accel_hotplug__max_CUSTOM_NVME=1
            ),
            host='host1',
        )

    def act(self, **body: ty.Any) -> None:
        self.api.post_server_action(self.server['id'], body)

    def conflict(self, **body: ty.Any) -> str:
        """Do something that is refused; return what is told."""
        caught = self.assertRaises(
            client.OpenStackApiException, self.act, **body
        )
        self.assertEqual(409, caught.response.status_code)
        told = caught.response.json()['conflictingRequest']
        self.assertEqual(409, told['code'])
        return ty.cast(str, told['message'])

    def _setup_services(self) -> None:
        self.guard()
        super()._setup_services()

    def guard(self) -> None:
        """Put the filter where the documentation says."""
        path = paste.write(
            pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        )
        self.flags(api_paste_config=str(path), group='wsgi')


class GuardTest(GuardedTestCase):
    def test_resize_that_is_refused(self) -> None:
        id_ = self.attach(self.server)
        self.resize_to_a_flavor_that_permits_nothing(id_)
        self.what_is_wrong_is_novas_to_say()
        self.resize_to_a_flavor_that_permits_less(id_)

    def resize_to_a_flavor_that_permits_nothing(self, id_: str) -> None:
        told = self.conflict(resize={'flavorRef': self.flavor()})
        self.assertIn('detach first', told)
        self.assertIn(id_, told)
        found = self.api.get_server(self.server['id'])
        self.assertEqual('ACTIVE', found['status'])

    def resize_to_a_flavor_that_permits_less(self, one: str) -> None:
        two = self.attach(self.server)
        told = self.conflict(
            resize={'flavorRef': self.flavor(accel_hotplug__max_VGPU=1)}
        )
        self.assertIn(one, told)
        self.assertIn(two, told)

    def test_resize_takes_along_what_is_attached(self) -> None:
        id_ = self.attach(self.server)
        flavor = self.flavor(accel_hotplug__max_VGPU=1)
        self._resize_server(self.server, flavor)
        self.assertEqual({id_: ('VGPU', 1)}, self.groups(self.server))
        found = self.api.api_get(f'/flavors/{flavor}/os-extra_specs').body
        self.assertEqual(
            {'extra_specs': {'accel_hotplug:max_VGPU': '1'}}, found
        )
        self._confirm_resize(self.server)
        host = self.host_of(self.server)
        self.assertEqual(1, len(self.hostdevs(host, self.server)))
        self.assertEqual('attached', self.status(self.server, id_))
        own = self.instance(self.server).flavor
        self.assertEqual('1', own.extra_specs['accel_hotplug:max_VGPU'])
        self.detach(self.server, id_)
        self.assert_nothing_held()

    def test_resize_and_back(self) -> None:
        id_ = self.attach(self.server)
        flavor = self.flavor(accel_hotplug__max_VGPU=1)
        self._resize_server(self.server, flavor)
        self._revert_resize(self.server)
        self.assertEqual('attached', self.status(self.server, id_))
        self.wait_until(lambda: self.is_aligned(self.server))
        host = self.host_of(self.server)
        self.assertEqual(1, len(self.hostdevs(host, self.server)))
        self.detach(self.server, id_)
        # The other host collects what the server has left there.
        self.run_periodic()
        self.run_periodic()
        self.assert_nothing_held()

    def test_after_a_detach_everything_goes(self) -> None:
        id_ = self.attach(self.server)
        self.detach(self.server, id_)
        self._resize_server(self.server, self.flavor())
        self._confirm_resize(self.server)

    def what_is_wrong_is_novas_to_say(self) -> None:
        for body in (
            {'resize': {'flavorRef': 'no-such-flavor'}},
            {'resize': {}},
            {'resize': None},
            {'resize': {'flavorRef': ['x']}},
        ):
            caught = self.assertRaises(
                client.OpenStackApiException,
                self.api.post_server_action,
                self.server['id'],
                body,
            )
            self.assertIn(caught.response.status_code, (400, 404))
            self.assertIsNone(re.search('detach', caught.response.text))


class LiveMigrationTest(GuardedTestCase):
    NODE = 'mixed'
    RULES = rules.MIXED

    def test_live_migration_of_what_cannot_move(self) -> None:
        # The whitelist does not say that it may.
        id_ = self.attach(self.server, resource_class='CUSTOM_NVME')
        told = self.conflict(
            **{'os-migrateLive': {'host': None, 'block_migration': 'auto'}}
        )
        self.assertIn('detach first', told)
        self.assertIn(id_, told)
        self.assertEqual('host1', self.host_of(self.server))
