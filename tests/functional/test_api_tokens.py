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
"""The whole service over sockets: tokens, and the openstack command."""

import contextlib
import io
import json
import pathlib
import typing as ty

import fixtures
from nova.api import auth
from openstackclient import shell
from osc_lib import clientmanager
import requests

from nova_accel.api import deploy
from nova_accel.api import server
from nova_accel.testing import serving

from tests.functional import api
from tests.functional import keystone
from tests.functional import paste
from tests.functional import rest
from tests.functional import rules


# Before nova's harness puts another in its place.
_CONTEXT = auth.NovaKeystoneContext._create_context


class SocketTestCase(api.ApiTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.stub_out(
            'nova.api.auth.NovaKeystoneContext._create_context',
            _real_or(auth.NovaKeystoneContext._create_context),
        )
        self.keystone = self.useFixture(keystone.Keystone())
        self.keystone.add('alice', rest.PROJECT, 'member', 'reader')
        self.keystone.add('mallory', 'another', 'member', 'reader')
        self.keystone.add('root', 'admin', 'admin', 'member', 'reader')
        self.url = self._serve()
        self.keystone.endpoints['accelerator-hotplug'] = self.url

    def _serve(self) -> str:
        served = server.serve(
            deploy.pipeline(
                self.rest._application,
                {'oslo_config_config': self.keystone.configuration()},
            ),
            '127.0.0.1',
            0,
        )
        serving.start(served, self)
        return f'http://127.0.0.1:{served.server_port}'

    def ask(
        self, method: str, path: str, token: str | None, **kwargs: ty.Any
    ) -> requests.Response:
        headers = {} if token is None else {'X-Auth-Token': token}
        return requests.request(
            method, f'{self.url}{path}', headers=headers, timeout=30, **kwargs
        )


def _real_or(stub: ty.Any) -> ty.Any:
    """Leave nova-api what its harness needs; ours is the real one."""

    def create(env: dict[str, ty.Any], **kwargs: ty.Any) -> ty.Any:
        chosen = stub if 'HTTP_X_AUTH_USER' in env else _CONTEXT
        return chosen(env, **kwargs)

    return create


class TokenTest(SocketTestCase):
    """keystonemiddleware asks keystone about each token."""

    def test_versions_need_no_token(self) -> None:
        for path in ('/', '/v1', '/v1/openapi.json'):
            self.assertEqual(200, self.ask('GET', path, None).status_code)
        self.assertEqual([], self.keystone.asked)

    def test_without_a_valid_token_nothing(self) -> None:
        self.keystone.add('late', rest.PROJECT, 'admin')
        late = self.keystone.token('late', seconds=-60)
        for token in (None, 'forged', late):
            for method in ('GET', 'POST', 'DELETE'):
                answer = self.ask(method, rest.place('x'), token)
                self.assertEqual(401, answer.status_code)
                self.assertIn(
                    self.keystone.url, answer.headers['WWW-Authenticate']
                )
        self.assertIn('forged', self.keystone.asked)

    def test_headers_that_only_keystonemiddleware_may_set(self) -> None:
        answer = requests.get(
            f'{self.url}{rest.place("x")}',
            headers={
                'X-Identity-Status': 'Confirmed',
                'X-Roles': 'admin',
                'X-User-Id': 'root',
                'X-Project-Id': 'admin',
            },
            timeout=30,
        )
        self.assertEqual(401, answer.status_code)

    def test_a_request_has_an_id(self) -> None:
        token = self.keystone.token('alice')
        answer = self.ask('GET', rest.place('x'), token)
        self.assertEqual(404, answer.status_code)
        (error,) = answer.json()['errors']
        self.assertEqual(
            answer.headers['x-openstack-request-id'], error['request_id']
        )

    def test_a_body_that_is_too_large(self) -> None:
        answer = self.ask(
            'POST',
            rest.place('x'),
            self.keystone.token('alice'),
            data=b' ' * 200000,
        )
        self.assertEqual(413, answer.status_code)

    def test_attach_and_detach(self) -> None:
        self.start_host('host1', 't4', rules.T4_8Q)
        found = self.boot(self.flavor(accel_hotplug__max_VGPU=1))
        place = rest.place(found['id'])
        body = {'accelerator': {'resource_class': 'VGPU'}}
        alice = self.keystone.token('alice')
        mallory = self.keystone.token('mallory')
        answer = self.ask('POST', place, mallory, json=body)
        self.assertEqual(404, answer.status_code)
        answer = self.ask('POST', place, alice, json=body)
        self.assertEqual(202, answer.status_code, answer.text)
        made = answer.json()['accelerator']
        self.assertEqual(
            f'{self.url}{place}/{made["id"]}', answer.headers['Location']
        )
        self.wait_for(found, made['id'], 'attached')
        own = self.ask('GET', place, alice).json()['accelerators']
        self.assertNotIn('host_details', own[0])
        root = self.keystone.token('root')
        all_of_it = self.ask('GET', place, root).json()['accelerators']
        self.assertEqual('host1', all_of_it[0]['host_details']['host'])
        member = f'{place}/{made["id"]}'
        self.assertEqual(404, self.ask('DELETE', member, mallory).status_code)
        answer = self.ask('DELETE', member, alice)
        self.assertEqual((202, b''), (answer.status_code, answer.content))
        self.wait_until(
            lambda: self.ask('GET', member, alice).status_code == 404
        )
        self.assertEqual([], self.hostdevs('host1', found))
        self.assert_invariants()


class OpenStackTest(SocketTestCase):
    """The real ``openstack``, with our plugin, logs in and asks."""

    def setUp(self) -> None:
        super().setUp()
        self.start_host('host1', 't4', rules.T4_8Q)
        self.server = self.boot(
            self.flavor(resources__VGPU=1, accel_hotplug__max_VGPU=1)
        )
        for name in ('OS_CLOUD', 'OS_TOKEN'):
            self.useFixture(fixtures.EnvironmentVariable(name))

    def openstack(
        self, *argv: str, who: str = 'alice'
    ) -> tuple[int, str, str]:
        # A process runs one command, and so keeps its clients for ever.
        vars(clientmanager.ClientManager)['accelerator_hotplug']._handle = None
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = shell.OpenStackShell().run(
                [
                    f'--os-auth-url={self.keystone.url}',
                    '--os-auth-type=v3password',
                    f'--os-username={who}',
                    f'--os-password={who}',
                    '--os-project-name=p',
                    '--os-user-domain-id=default',
                    '--os-project-domain-id=default',
                    '--os-region-name=RegionOne',
                    *argv,
                ]
            )
        return code, out.getvalue(), err.getvalue()

    def test_from_attach_to_detach(self) -> None:
        server = self.server['id']
        code, out, err = self.openstack(
            'server',
            'add',
            'accelerator',
            server,
            '--resource=VGPU',
            '--wait',
            '-f=json',
        )
        self.assertEqual(0, code, err)
        made = json.loads(out)
        self.assertEqual('attached', made['status'])
        self.assertIn('attached', err)

        code, out, err = self.openstack(
            'server', 'accelerator', 'list', server, '-f=json'
        )
        self.assertEqual(0, code, err)
        self.assertEqual(
            ['flavor', 'attached'],
            [row['Source'] for row in json.loads(out)],
        )

        code, out, err = self.openstack(
            'server', 'remove', 'accelerator', server, made['id'], '--wait'
        )
        self.assertEqual(0, code, err)
        self.assertIn('detached', err)

        code, out, err = self.openstack(
            'server', 'accelerator', 'show', server, made['id']
        )
        self.assertEqual(1, code)
        self.assertIn(made['id'], err)
        self.assertNotIn('Traceback', err)

    def test_what_the_service_refuses(self) -> None:
        code, _out, err = self.openstack(
            'server',
            'add',
            'accelerator',
            self.server['id'],
            '--resource=CUSTOM_A100',
        )
        self.assertEqual(1, code)
        self.assertIn('accel_hotplug:max_CUSTOM_A100', err)
        self.assertIn('(HTTP 403)', err)

    def test_a_cloud_without_the_service(self) -> None:
        del self.keystone.endpoints['accelerator-hotplug']
        listing = ('server', 'accelerator', 'list', self.server['id'])
        code, _out, err = self.openstack(*listing)
        self.assertEqual(1, code)
        self.assertIn('openstack service create', err)
        code, _out, err = self.openstack(
            f'--os-accelerator-hotplug-endpoint={self.url}', *listing
        )
        self.assertEqual(0, code, err)


class MountedTest(api.ApiTestCase):
    """Beside nova-api, in its process and under its address."""

    def _setup_services(self) -> None:
        folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.flags(api_paste_config=str(paste.write(folder)), group='wsgi')
        super()._setup_services()

    def test_versions_and_servers(self) -> None:
        base = self.api_fixture.base_url.removesuffix('/v2.1')
        found = requests.get(f'{base}/accelerator-hotplug/', timeout=30)
        self.assertEqual(200, found.status_code)
        (version,) = found.json()['versions']
        self.assertEqual(
            f'{base.removesuffix(":80")}/accelerator-hotplug/v1',
            version['links'][0]['href'],
        )
        found = requests.get(
            f'{base}/accelerator-hotplug{rest.place("x")}',
            headers={
                'X-Auth-User': 'fake',
                'X-Auth-Project-Id': rest.PROJECT,
                'X-Roles': 'member,reader',
            },
            timeout=30,
        )
        self.assertEqual(404, found.status_code)
        self.assertEqual(
            'accelerator-hotplug.server_not_found',
            found.json()['errors'][0]['code'],
        )
