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
"""What the API answers before it looks for any server."""

from unittest import mock

import ddt

from nova_accel.testing import harness  # noqa: F401  (must come first)

from nova import test

from nova_accel.api import app
from nova_accel.api import calls
from nova_accel.api import openapi
from nova_accel.api import routes

from tests.functional import rest

SERVER = '6a1c0d3e-8f14-4f0a-9f0b-2f6d7f3b1c55'
PLACE = rest.place(SERVER)
GOOD = {'accelerator': {'resource_class': 'VGPU'}}


@ddt.ddt
class AppTest(test.NoDBTestCase):
    def setUp(self) -> None:
        super().setUp()
        # Nobody is asked: no answer here may need it.
        service = calls.Service(None, None)
        self.rest = rest.Rest(app.Application(service))

    def test_each_route_has_a_handler_and_each_handler_a_route(self) -> None:
        self.assertEqual(
            {route.name for route in routes.ROUTES}, set(app.HANDLERS)
        )

    def test_versions(self) -> None:
        listed = self.rest.send('GET', '/', None).json['versions']
        shown = self.rest.send('GET', '/v1/', None).json['version']
        self.assertEqual([shown], listed)
        self.assertEqual('v1.0', shown['id'])
        links = {link['rel']: link['href'] for link in shown['links']}
        self.assertEqual('http://localhost/v1', links['self'])

    def test_links_say_where_it_is_mounted(self) -> None:
        response = self.rest.send('GET', '/', None, X_Forwarded_Proto='https')
        self.assertEqual(200, response.status_int)
        request = rest.webob.Request.blank('/v1')
        request.script_name = '/accelerator-hotplug'
        shown = request.get_response(
            app.Application(calls.Service(None, None))
        ).json['version']
        self.assertEqual(
            'http://localhost/accelerator-hotplug/v1',
            shown['links'][0]['href'],
        )

    def test_the_document_is_served(self) -> None:
        response = self.rest.send('GET', '/v1/openapi.json', None)
        self.assertEqual(openapi.document(), response.json)

    @ddt.data('/v2', '/v1/servers', f'{PLACE}/a/b')
    def test_no_such_path(self, path: str) -> None:
        response = self.rest.send('GET', path, rest.member())
        self.assertEqual((404, 'no_such_path'), rest.code(response))

    def test_wrong_method_names_the_right_ones(self) -> None:
        response = self.rest.send('PUT', PLACE, rest.member(), GOOD)
        self.assertEqual((405, 'wrong_method'), rest.code(response))
        self.assertEqual('GET, POST', response.headers['Allow'])

    def test_no_context_no_answer(self) -> None:
        response = self.rest.send('GET', PLACE, None)
        self.assertEqual((401, 'no_token'), rest.code(response))

    @ddt.data('1.1', '2.0', '0.9', 'x', '1')
    def test_unknown_version(self, version: str) -> None:
        response = self.rest.send(
            'GET',
            '/v1',
            None,
            OpenStack_API_Version=f'accelerator-hotplug {version}',
        )
        self.assertEqual((406, 'unknown_version'), rest.code(response))
        self.assertEqual('1.0', response.json['errors'][0]['max_version'])

    @ddt.data('accelerator-hotplug 1.0', 'accelerator-hotplug latest')
    def test_known_version(self, version: str) -> None:
        response = self.rest.send(
            'GET', '/v1', None, OpenStack_API_Version=version
        )
        self.assertEqual(200, response.status_int)
        self.assertEqual(
            'accelerator-hotplug 1.0',
            response.headers['OpenStack-API-Version'],
        )
        self.assertIn('OpenStack-API-Version', response.vary)

    def test_versions_of_other_services_are_not_ours(self) -> None:
        response = self.rest.send(
            'GET',
            '/v1',
            None,
            OpenStack_API_Version='compute 2.90, accelerator 2.0',
        )
        self.assertEqual(200, response.status_int)

    @ddt.data(
        (b'', 'body'),
        (b'{', 'body'),
        (b'\xff', 'body'),
        (b'[' * 100000, 'body'),
        (b'[]', 'body'),
        (b'{}', 'body'),
        (b'{"accelerator": {}}', 'body.accelerator'),
        (
            b'{"accelerator": {"resource_class": "vgpu"}}',
            'body.accelerator.resource_class',
        ),
        (
            b'{"accelerator": {"resource_class": "VGPU", "amount": NaN}}',
            'body.accelerator.amount',
        ),
        (b'{"accelerator": {"resource_class": "VGPU", "x": 1}}', 'x'),
    )
    @ddt.unpack
    def test_a_wrong_body_is_told_where(self, body: bytes, where: str) -> None:
        response = self.rest.send('POST', PLACE, rest.member(), body)
        self.assertEqual((400, 'invalid_input'), rest.code(response))
        self.assertIn(where, rest.detail(response))
        self.assertLess(len(rest.detail(response)), 400)

    def test_only_json(self) -> None:
        response = self.rest.send(
            'POST', PLACE, rest.member(), GOOD, Content_Type='text/plain'
        )
        self.assertEqual((415, 'wrong_content_type'), rest.code(response))

    def test_no_parameters_in_the_query(self) -> None:
        response = self.rest.send('GET', f'{PLACE}?limit=1', rest.member())
        self.assertEqual((400, 'invalid_input'), rest.code(response))
        self.assertIn('limit', rest.detail(response))

    def test_a_cell_that_does_not_answer(self) -> None:
        # There is no database here.
        response = self.rest.send('GET', PLACE, rest.member())
        self.assertEqual((503, 'service_silent'), rest.code(response))
        self.assertIn('the same request', rest.detail(response))

    def test_a_fault_tells_nothing_but_the_request(self) -> None:
        broken = {'list_accelerators': mock.Mock(side_effect=ValueError('x'))}
        with mock.patch.dict(app.HANDLERS, broken):
            response = self.rest.send('GET', PLACE, rest.member())
        self.assertEqual((500, 'unexpected_error'), rest.code(response))
        self.assertNotIn('ValueError', response.text)
        self.assertTrue(
            response.json['errors'][0]['request_id'].startswith('req-')
        )
