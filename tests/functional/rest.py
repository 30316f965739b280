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
"""Asks the API of hot attach; holds each answer to the OpenAPI document."""

import json
import typing as ty

import jsonschema
from nova import context as nova_context
import webob

from nova_accel.api import deploy
from nova_accel.api import openapi
from nova_accel.api import routes
from nova_accel.api.schemas import error

PROJECT = '6f70656e737461636b20342065766572'


def user(
    *roles: str, project: str | None = PROJECT, **more: ty.Any
) -> nova_context.RequestContext:
    """Return the context of somebody with these roles in a project."""
    return nova_context.RequestContext(
        user_id='somebody', project_id=project, roles=list(roles), **more
    )


def member(project: str = PROJECT) -> nova_context.RequestContext:
    return user('member', 'reader', project=project)


def reader() -> nova_context.RequestContext:
    return user('reader')


def admin() -> nova_context.RequestContext:
    return user('admin', 'member', 'reader', project='of-the-admin')


class Rest:
    """A client without a network.

    :param application: what is asked; None for the one of this process.
    """

    def __init__(self, application: ty.Any = None) -> None:
        self._application = application or deploy.application()
        # (operation, status) of all answers so far.
        self.seen: set[tuple[str, int]] = set()

    def close(self) -> None:
        """Wait until the process has done what it goes on with."""
        self._application.service.worker.close()

    def send(
        self,
        method: str,
        path: str,
        who: nova_context.RequestContext | None,
        body: ty.Any = None,
        **headers: str,
    ) -> webob.Response:
        request = webob.Request.blank(path, method=method)
        if who is not None:
            # As a request of its own, with an id of its own.
            fresh = nova_context.RequestContext.from_dict(
                {**who.to_dict(), 'request_id': None}
            )
            request.environ['nova.context'] = fresh
            request.environ['openstack.request_id'] = fresh.request_id
        if body is not None:
            request.content_type = 'application/json'
            request.body = (
                body if isinstance(body, bytes) else json.dumps(body).encode()
            )
        for name, value in headers.items():
            request.headers[name.replace('_', '-')] = value
        response = request.get_response(self._application)
        self.check(method, request.path_info, response)
        return response

    def check(self, method: str, path: str, response: webob.Response) -> None:
        """Hold an answer to the document.

        :raises AssertionError: it is none of those that are declared.
        """
        assert 'accelerator-hotplug' in response.headers.get(
            'OpenStack-API-Version', ''
        )
        found = routes.find(path).get(method)
        if found is None:
            jsonschema.validate(response.json, error.ERRORS)
            return
        route, _parameters = found
        status = response.status_int
        self.seen.add((route.name, status))
        if status in route.answers:
            schema = route.answers[status]
        else:
            assert status in route.errors, (route.name, status, response.text)
            schema = None if status in openapi.FOREIGN else error.ERRORS
        if schema is not None:
            jsonschema.validate(response.json, schema)
        elif status in route.answers:
            assert response.body == b'', response.body

    # Words of the tests

    def list(
        self, server: str, who: nova_context.RequestContext | None = None
    ) -> list[dict[str, ty.Any]]:
        response = self.send('GET', place(server), who or member())
        assert response.status_int == 200, response.text
        return ty.cast(list[dict[str, ty.Any]], response.json['accelerators'])

    def attach(
        self,
        server: str,
        resource_class: str = 'VGPU',
        who: nova_context.RequestContext | None = None,
        **more: ty.Any,
    ) -> webob.Response:
        asked = {'resource_class': resource_class, **more}
        return self.send(
            'POST', place(server), who or member(), {'accelerator': asked}
        )

    def show(
        self,
        server: str,
        id_: str,
        who: nova_context.RequestContext | None = None,
    ) -> webob.Response:
        return self.send('GET', place(server, id_), who or member())

    def detach(
        self,
        server: str,
        id_: str,
        who: nova_context.RequestContext | None = None,
    ) -> webob.Response:
        return self.send('DELETE', place(server, id_), who or member())

    def act(
        self,
        server: str,
        id_: str,
        action: str,
        who: nova_context.RequestContext | None = None,
    ) -> webob.Response:
        path = f'{place(server, id_)}/action'
        return self.send('POST', path, who or admin(), {action: None})


def place(server: str, id_: str | None = None) -> str:
    """Return the path of what a server has."""
    path = f'/v1/servers/{server}/accelerators'
    return path if id_ is None else f'{path}/{id_}'


def code(response: webob.Response) -> tuple[int, str]:
    """Return status and code of an error."""
    (found,) = response.json['errors']
    return response.status_int, found['code'].partition('.')[2]


def detail(response: webob.Response) -> str:
    """Return what an error tells."""
    return ty.cast(str, response.json['errors'][0]['detail'])
