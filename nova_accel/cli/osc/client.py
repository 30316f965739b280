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
"""The REST API of hot attach and detach, as functions. Knows HTTP only."""

import typing as ty

from keystoneauth1 import adapter
from keystoneauth1 import exceptions as ks_exc
from osc_lib import exceptions as osc_exceptions

SERVICE_TYPE = 'accelerator-hotplug'

Accelerator = dict[str, ty.Any]

_NO_ENDPOINT = (
    f'The service catalog has no {SERVICE_TYPE} here; give its URL with '
    '--os-accelerator-hotplug-endpoint, or let an administrator register it: '
    f'openstack service create --name {SERVICE_TYPE} {SERVICE_TYPE}'
)


class Client:
    """One function for each thing that can be asked for.

    All of them raise CommandError with the text of the service.
    """

    def __init__(self, http: adapter.Adapter) -> None:
        self._http = http

    def list(self, server: str) -> list[Accelerator]:
        body = self._send('GET', _path(server)).json()
        return ty.cast(list[Accelerator], body['accelerators'])

    def show(self, server: str, id_: str) -> Accelerator:
        """:raises NotFound: it is gone."""
        return _one(self._send('GET', _path(server, id_)))

    def attach(
        self, server: str, id_: str, resource_class: str, amount: int
    ) -> Accelerator:
        body = {'resource_class': resource_class, 'amount': amount, 'id': id_}
        return _one(
            self._send('POST', _path(server), json={'accelerator': body})
        )

    def detach(self, server: str, id_: str) -> None:
        self._send('DELETE', _path(server, id_))

    def force_detach(self, server: str, id_: str) -> None:
        self._act(server, id_, 'force_detach')

    def cancel_detach(self, server: str, id_: str) -> None:
        self._act(server, id_, 'cancel_detach')

    def _act(self, server: str, id_: str, name: str) -> None:
        path = f'{_path(server, id_)}/action'
        self._send('POST', path, json={name: None})

    def _send(self, method: str, path: str, **kwargs: ty.Any) -> ty.Any:
        try:
            return self._http.request(path, method, **kwargs)
        except ks_exc.EndpointNotFound as e:
            raise osc_exceptions.CommandError(_NO_ENDPOINT) from e
        except ks_exc.NotFound as e:
            raise osc_exceptions.NotFound(404, _text(e)) from e
        except ks_exc.HttpError as e:
            raise osc_exceptions.CommandError(_text(e)) from e


def _text(error: ks_exc.HttpError) -> str:
    """Return what the service says, and how to refer to it."""
    said = str(error.details or error.message)
    if error.http_status >= 500 and error.request_id:
        return f'{said} (HTTP {error.http_status}, {error.request_id})'
    return f'{said} (HTTP {error.http_status})'


def _path(server: str, id_: str | None = None) -> str:
    path = f'/v1/servers/{server}/accelerators'
    return path if id_ is None else f'{path}/{id_}'


def _one(response: ty.Any) -> Accelerator:
    return ty.cast(Accelerator, response.json()['accelerator'])
