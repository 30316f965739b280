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
"""A keystone over a real socket: gives tokens and tells whose they are."""

import datetime
import http.server
import json
import pathlib
import typing as ty
import uuid

import fixtures
from oslo_config import cfg

from nova_accel.testing import serving

_SERVICES = 'service'
_DOMAIN = {'id': 'default', 'name': 'Default'}


class Keystone(fixtures.Fixture):
    """Has a user for each name that ``add`` was told.

    :ivar url: of version 3.
    :ivar asked: tokens that somebody wanted to know about.
    """

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.endpoints: dict[str, str] = {}
        self._users: dict[str, dict[str, ty.Any]] = {}
        self._tokens: dict[str, dict[str, ty.Any]] = {}
        self.add('nova', _SERVICES, 'service', 'admin')

    def _setUp(self) -> None:
        keystone = self

        class Handler(_Handler):
            owner = keystone

        server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        server.daemon_threads = True
        self.url = f'http://127.0.0.1:{server.server_port}/v3'
        serving.start(server, self)

    def configuration(self) -> cfg.ConfigOpts:
        """Return what keystonemiddleware is to read."""
        options = {
            'www_authenticate_uri': self.url,
            'auth_url': self.url,
            'auth_type': 'password',
            'username': 'nova',
            'password': 'nova',
            'project_name': _SERVICES,
            'user_domain_id': 'default',
            'project_domain_id': 'default',
        }
        lines = [f'{name} = {value}' for name, value in options.items()]
        path = pathlib.Path(self.useFixture(fixtures.TempDir()).path, 'c')
        path.write_text('\n'.join(['[keystone_authtoken]', *lines]))
        conf = cfg.ConfigOpts()
        conf([], project='nova', default_config_files=[str(path)])
        return conf

    def add(self, name: str, project: str, *roles: str) -> None:
        """Let there be a user, with a password like the name."""
        self._users[name] = {'project': project, 'roles': list(roles)}

    def token(self, name: str, seconds: int = 3600) -> str:
        """Give a user a token."""
        token, user = uuid.uuid4().hex, self._users[name]
        now = datetime.datetime.now(datetime.UTC)
        until = now + datetime.timedelta(seconds=seconds)
        self._tokens[token] = {
            'methods': ['password'],
            'user': {'id': name, 'name': name, 'domain': _DOMAIN},
            'project': {
                'id': user['project'],
                'name': user['project'],
                'domain': _DOMAIN,
            },
            'roles': [{'id': r, 'name': r} for r in user['roles']],
            'issued_at': _stamp(now),
            'expires_at': _stamp(until),
            'audit_ids': [token[:8]],
            'catalog': self._catalog(),
        }
        return token

    def _catalog(self) -> list[dict[str, ty.Any]]:
        endpoints = {'identity': self.url, **self.endpoints}
        return [
            {
                'id': kind,
                'type': kind,
                'name': kind,
                'endpoints': [
                    {
                        'id': f'{kind}-{interface}',
                        'interface': interface,
                        'region': 'RegionOne',
                        'region_id': 'RegionOne',
                        'url': url,
                    }
                    for interface in ('public', 'internal', 'admin')
                ],
            }
            for kind, url in endpoints.items()
        ]

    def known(self, token: str) -> dict[str, ty.Any] | None:
        self.asked.append(token)
        return self._tokens.get(token)

    def given(self, body: ty.Any) -> tuple[str, dict[str, ty.Any]] | None:
        """Answer a request for a token by name and password."""
        user = body['auth']['identity']['password']['user']
        if user['name'] not in self._users or user['name'] != user['password']:
            return None
        token = self.token(user['name'])
        return token, self._tokens[token]


class _Handler(http.server.BaseHTTPRequestHandler):
    owner: ty.ClassVar[Keystone]
    protocol_version = 'HTTP/1.1'

    def do_GET(self) -> None:
        if self.path.rstrip('/').endswith('/auth/tokens'):
            known = self.owner.known(self.headers['X-Subject-Token'])
            if known is None:
                self._send(404, {'error': {'message': 'no such token'}})
            else:
                self._send(200, {'token': known})
            return
        version = {
            'id': 'v3.14',
            'status': 'stable',
            'links': [{'rel': 'self', 'href': self.owner.url}],
            'media-types': [],
        }
        if self.path.rstrip('/') == '/v3':
            self._send(200, {'version': version})
        else:
            self._send(300, {'versions': {'values': [version]}})

    do_HEAD = do_GET

    def do_POST(self) -> None:
        length = int(self.headers.get('Content-Length', 0))
        given = self.owner.given(json.loads(self.rfile.read(length)))
        if given is None:
            self._send(401, {'error': {'message': 'who are you?'}})
        else:
            token, data = given
            self._send(201, {'token': data}, ('X-Subject-Token', token))

    def _send(
        self, status: int, body: ty.Any, *headers: tuple[str, str]
    ) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in (
            ('Content-Type', 'application/json'),
            ('Content-Length', str(len(data))),
            *headers,
        ):
            self.send_header(name, value)
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


def _stamp(time: datetime.datetime) -> str:
    return time.strftime('%Y-%m-%dT%H:%M:%S.%fZ')
