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
import ddt
import testtools

from nova_accel.api import routes

SERVER = '6a1c0d3e-8f14-4f0a-9f0b-2f6d7f3b1c55'


@ddt.ddt
class RoutesTest(testtools.TestCase):
    @ddt.data('/', '', '/v1', '/v1/', '/v1/openapi.json')
    def test_discovery_is_public(self, path: str) -> None:
        self.assertTrue(routes.is_public(path))

    @ddt.data(
        f'/v1/servers/{SERVER}/accelerators',
        f'/v1/servers/{SERVER}/accelerators/x',
        '/v1/servers',
        '/v2',
        '/v1/openapi.json/x',
    )
    def test_nothing_else_is(self, path: str) -> None:
        self.assertFalse(routes.is_public(path))

    def test_methods_of_a_path(self) -> None:
        found = routes.find(f'/v1/servers/{SERVER}/accelerators/a/')
        self.assertEqual({'GET', 'DELETE'}, set(found))
        route, parameters = found['DELETE']
        self.assertEqual('delete_accelerator', route.name)
        self.assertEqual(
            {'server_id': SERVER, 'accelerator_id': 'a'}, parameters
        )

    @ddt.data('/v1/servers//accelerators', '/v1/servers/a/b/accelerators')
    def test_a_parameter_is_one_part_of_a_path(self, path: str) -> None:
        self.assertEqual({}, routes.find(path))

    def test_names_and_places_are_unique(self) -> None:
        self.assertEqual(
            len(routes.ROUTES), len({route.name for route in routes.ROUTES})
        )
        places = {(route.method, route.path) for route in routes.ROUTES}
        self.assertEqual(len(routes.ROUTES), len(places))
