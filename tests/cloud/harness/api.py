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
"""Talk to the cloud as its administrator."""

import collections.abc
import pathlib
import time
import typing as ty

import requests

from tests.cloud.harness import conf
from tests.cloud.harness import settings
from tests.lab.harness import errors

_TIMEOUT = 90
_VERSIONS = {
    'nova': {'OpenStack-API-Version': 'compute 2.96'},
    'placement': {'OpenStack-API-Version': 'placement 1.39'},
}
_PATHS = {
    'nova': '/v2.1',
    'keystone': '/v3',
    'glance': '/v2',
    'neutron': '/v2.0',
}


class Api:
    """Every service of one cloud."""

    def __init__(self, cloud: settings.Settings) -> None:
        self._cloud = cloud
        self._token = ''

    def call(
        self, service: str, method: str, path: str, **about: ty.Any
    ) -> ty.Any:
        """Send one request.

        :raises LabError: it was refused; with the answer.
        """
        url = self._cloud.url(service) + _PATHS.get(service, '') + path
        headers = {
            'X-Auth-Token': self.token,
            **_VERSIONS.get(service, {}),
            **about.pop('headers', {}),
        }
        answer = requests.request(
            method, url, headers=headers, timeout=_TIMEOUT, **about
        )
        if answer.status_code >= 400:
            raise errors.LabError(
                f'{method} {url}: {answer.status_code} {answer.text[:500]}'
            )
        kind = answer.headers.get('Content-Type', '')
        return answer.json() if 'json' in kind and answer.content else None

    def get(self, service: str, path: str) -> ty.Any:
        return self.call(service, 'GET', path)

    @property
    def token(self) -> str:
        if not self._token:
            self._token = self._authenticate()
        return self._token

    def forget_token(self) -> None:
        """Ask for a new one, with the roles of now."""
        self._token = ''

    def _authenticate(self) -> str:
        domain = {'id': 'default'}
        user = {
            'name': 'admin',
            'password': conf.PASSWORD,
            'domain': domain,
        }
        body = {
            'auth': {
                'identity': {
                    'methods': ['password'],
                    'password': {'user': user},
                },
                'scope': {'project': {'name': 'admin', 'domain': domain}},
            }
        }
        url = self._cloud.url('keystone') + '/v3/auth/tokens'
        answer = requests.post(url, json=body, timeout=_TIMEOUT)
        if answer.status_code != 201:
            raise errors.LabError(f'keystone: {answer.text[:500]}')
        return answer.headers['X-Subject-Token']

    # What several callers need

    def upload(
        self, name: str, file: pathlib.Path, **about: str
    ) -> dict[str, ty.Any]:
        wanted = {'disk_format': 'qcow2', 'container_format': 'bare'}
        body = {'name': name, 'visibility': 'public', **wanted, **about}
        image = self.call('glance', 'POST', '/images', json=body)
        self.call(
            *('glance', 'PUT', f'/images/{image["id"]}/file'),
            headers={'Content-Type': 'application/octet-stream'},
            data=file.read_bytes(),
        )
        return ty.cast(dict[str, ty.Any], image)

    def flavor(self, name: str, ram: int, **specs: str) -> str:
        """Make a flavor; ``__`` in a keyword stands for the colon."""
        body = {'name': name, 'ram': ram, 'vcpus': 1, 'disk': 1}
        made = self.call('nova', 'POST', '/flavors', json={'flavor': body})
        made_id = str(made['flavor']['id'])
        extra = {k.replace('__', ':'): v for k, v in specs.items()}
        if extra:
            path = f'/flavors/{made_id}/os-extra_specs'
            body = {'extra_specs': extra}
            self.call('nova', 'POST', path, json=body)
        return made_id

    def services(self, binary: str) -> list[dict[str, ty.Any]]:
        """Services of nova that are up."""
        found = self.get('nova', f'/os-services?binary={binary}')['services']
        return [one for one in found if one['state'] == 'up']

    def beats(self) -> dict[str, str]:
        """Host of nova-compute -> when it was last heard of, if it is up."""
        return {
            one['host']: one['updated_at'] or ''
            for one in self.services('nova-compute')
        }

    def agents(self) -> list[dict[str, ty.Any]]:
        found = self.get('neutron', '/agents')
        return ty.cast(list[dict[str, ty.Any]], found['agents'])

    def wait(
        self,
        what: str,
        test: collections.abc.Callable[[], bool],
        timeout: float,
    ) -> None:
        """Wait until a test holds; a refusal counts as not yet.

        :raises LabError: it does not in time.
        """
        until = time.monotonic() + timeout
        said = ''
        while time.monotonic() < until:
            try:
                if test():
                    return
            except errors.LabError as exc:
                said = f': {exc}'
            time.sleep(0.5)
        raise errors.LabError(f'no {what} after {timeout:.0f} s{said}')
