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
"""Talk to the control plane as a user and as an operator does."""

import collections.abc
import pathlib
import time
import typing as ty

import requests

from tests.lab.harness import cloud
from tests.lab.harness import errors

_TIMEOUT = 90
_NOVA = {
    'X-Auth-Token': 'admin',
    'OpenStack-API-Version': 'compute 2.96',
}
_PLACEMENT = {
    'X-Auth-Token': 'admin',
    'OpenStack-API-Version': 'placement 1.39',
}

Json = dict[str, ty.Any]


class Refused(errors.LabError):
    """The service answered with an error.

    :ivar status: of HTTP.
    """

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


def _call(
    method: str,
    url: str,
    headers: collections.abc.Mapping[str, str],
    **about: ty.Any,
) -> ty.Any:
    answer = requests.request(
        method, url, headers=dict(headers), timeout=_TIMEOUT, **about
    )
    if answer.status_code >= 400:
        raise Refused(
            f'{method} {url}: {answer.status_code} {answer.text[:500]}',
            answer.status_code,
        )
    kind = answer.headers.get('Content-Type', '')
    return answer.json() if 'json' in kind and answer.content else None


class Client:
    """nova, Placement and Glance of one lab."""

    def __init__(self, control: cloud.Cloud) -> None:
        self._nova = control.url('nova') + '/v2.1'
        self._placement = control.url('placement')
        self._glance = control.url('glance') + '/v2'

    def nova(self, method: str, path: str, **about: ty.Any) -> ty.Any:
        return _call(method, self._nova + path, _NOVA, **about)

    def placement(self, path: str, method: str = 'GET') -> Json:
        url = self._placement + path
        return ty.cast(Json, _call(method, url, _PLACEMENT))

    # Images and flavors

    def upload(self, name: str, file: pathlib.Path, **about: str) -> str:
        url = self._glance + '/images'
        wanted = {'disk_format': 'qcow2', 'container_format': 'bare'}
        body = {'name': name, 'visibility': 'public', **wanted, **about}
        image = _call('POST', url, {}, json=body)['id']
        _call(
            'PUT',
            f'{url}/{image}/file',
            {'Content-Type': 'application/octet-stream'},
            data=file.read_bytes(),
        )
        return str(image)

    def image(self, name: str) -> str | None:
        found = _call('GET', f'{self._glance}/images?name={name}', {})
        return next((str(i['id']) for i in found['images']), None)

    def flavor(self, name: str, ram: int, **specs: str) -> str:
        """Make a flavor; ``__`` in a keyword stands for the colon."""
        flavor = {'name': name, 'ram': ram, 'vcpus': 1, 'disk': 0}
        made = self.nova('POST', '/flavors', json={'flavor': flavor})
        made_id = str(made['flavor']['id'])
        extra = {k.replace('__', ':'): v for k, v in specs.items()}
        if extra:
            path = f'/flavors/{made_id}/os-extra_specs'
            self.nova('POST', path, json={'extra_specs': extra})
        return made_id

    def delete_flavor(self, flavor: str) -> None:
        self.nova('DELETE', f'/flavors/{flavor}')

    # Servers

    def create(
        self, name: str, flavor: str, image: str, host: str = ''
    ) -> str:
        server = {
            'name': name,
            'flavorRef': flavor,
            'imageRef': image,
            'networks': 'none',
        }
        if host:
            server['host'] = host
        made = self.nova('POST', '/servers', json={'server': server})
        return str(made['server']['id'])

    def server(self, server: str) -> Json:
        return ty.cast(Json, self.nova('GET', f'/servers/{server}')['server'])

    def servers(self) -> list[str]:
        return [s['id'] for s in self.nova('GET', '/servers')['servers']]

    def delete(self, server: str) -> None:
        self.nova('DELETE', f'/servers/{server}')

    def clear(self) -> None:
        """Delete every server and wait until they are gone."""
        servers = self.servers()
        for server in servers:
            self.delete(server)
        self.wait_gone(*servers)

    def act(self, server: str, action: str, **about: ty.Any) -> None:
        body = {action: about or None}
        self.nova('POST', f'/servers/{server}/action', json=body)

    def wait_status(
        self, server: str, *wanted: str, timeout: float = 150
    ) -> Json:
        """Wait for a status with no task under way; return the server.

        :raises LabError: it ends in ERROR instead, or never gets there.
        """
        until = time.monotonic() + timeout
        while time.monotonic() < until:
            now = self.server(server)
            idle = now['OS-EXT-STS:task_state'] is None
            if idle and now['status'] in wanted:
                return now
            if now['status'] == 'ERROR':
                raise errors.LabError(
                    f'server ended in ERROR: {now.get("fault")}'
                )
            time.sleep(0.5)
        raise errors.LabError(
            f'server is {now["status"]}, task '
            f'{now["OS-EXT-STS:task_state"]}, not {" or ".join(wanted)} '
            f'after {timeout:.0f} s'
        )

    def wait_failed(self, server: str, action: str) -> None:
        """Wait until an action of a server has failed.

        :raises LabError: it succeeds, or does not end.
        """
        path = f'/servers/{server}/os-instance-actions'
        until = time.monotonic() + 150
        results: list[str | None] = []
        while time.monotonic() < until:
            listed = self.nova('GET', path)['instanceActions']
            request = listed[0]['request_id']
            newest = self.nova('GET', f'{path}/{request}')['instanceAction']
            results = [event['result'] for event in newest['events']]
            if newest['action'] == action and 'Error' in results:
                return
            time.sleep(0.5)
        raise errors.LabError(f'{action} has not failed: {results}')

    def wait_gone(self, *servers: str, timeout: float = 120) -> None:
        until = time.monotonic() + timeout
        while set(servers) & set(self.servers()):
            if time.monotonic() > until:
                raise errors.LabError('a deleted server never went')
            time.sleep(0.5)

    def service_beat(self, host: str) -> str | None:
        """Tell when nova-compute of a host was last heard of, if up."""
        found = self.nova(
            'GET', f'/os-services?binary=nova-compute&host={host}'
        )
        return next(
            (s['updated_at'] for s in found['services'] if s['state'] == 'up'),
            None,
        )

    def hypervisors(self) -> list[str]:
        """Names of the hosts that the scheduler knows."""
        found = self.nova('GET', '/os-hypervisors')['hypervisors']
        return [one['hypervisor_hostname'] for one in found]

    def forget(self, host: str) -> None:
        """Take nova-compute of a host, and its providers, off the lists."""
        found = self.nova(
            'GET', f'/os-services?binary=nova-compute&host={host}'
        )
        for service in found['services']:
            self.nova('DELETE', f'/os-services/{service["id"]}')

    # Placement

    def providers(self) -> dict[str, str]:
        """Uuid -> name of every provider."""
        found = self.placement('/resource_providers')['resource_providers']
        return {one['uuid']: one['name'] for one in found}

    def delete_provider(self, provider: str) -> None:
        self.placement(f'/resource_providers/{provider}', 'DELETE')

    def inventories(self, provider: str) -> dict[str, Json]:
        path = f'/resource_providers/{provider}/inventories'
        return ty.cast(dict[str, Json], self.placement(path)['inventories'])

    def traits(self, provider: str) -> list[str]:
        path = f'/resource_providers/{provider}/traits'
        return list(self.placement(path)['traits'])

    def allocations(self, consumer: str) -> dict[str, Json]:
        found = self.placement(f'/allocations/{consumer}')['allocations']
        return ty.cast(dict[str, Json], found)

    def free(self) -> dict[str, int]:
        """Resource class -> units free in the whole cloud."""
        left: dict[str, int] = {}
        for provider in self.providers():
            for name, free in self._free_of(provider).items():
                left[name] = left.get(name, 0) + free
        return left

    def _free_of(self, provider: str) -> dict[str, int]:
        path = f'/resource_providers/{provider}/usages'
        try:
            used = self.placement(path)['usages']
            return {
                name: one['total'] - one['reserved'] - used.get(name, 0)
                for name, one in self.inventories(provider).items()
            }
        except Refused as exc:
            # nova-compute may delete it while all are asked.
            if exc.status != 404:
                raise
            return {}
