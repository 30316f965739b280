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
"""The WSGI application: from a request to its handler, and back.

It knows nothing of tokens: in front of it, ``deploy`` or the pipeline of
nova-api put the context of the one who asks into ``nova.context``.
"""

import json
import typing as ty
import urllib.parse

import jsonschema
import microversion_parse
from oslo_log import log as logging
import webob
import webob.dec

from nova_accel.api import calls
from nova_accel.api import faults
from nova_accel.api.handlers import accelerator
from nova_accel.api.handlers import action
from nova_accel.api.handlers import version
from nova_accel.api import microversion
from nova_accel.api import routes
from nova_accel import exception

LOG = logging.getLogger(__name__)

HANDLERS: dict[str, calls.Handler] = {
    'list_versions': version.index,
    'show_version': version.show,
    'show_document': version.document,
    'list_accelerators': accelerator.index,
    'create_accelerator': accelerator.create,
    'show_accelerator': accelerator.show,
    'delete_accelerator': accelerator.delete,
    'act_on_accelerator': action.act,
}

_JSON = 'application/json'
# A message may repeat a value that was sent.
_LONGEST = 300
_REQUEST_ID = 'openstack.request_id'


class Application:
    """Serves every route of the table."""

    def __init__(self, service: calls.Service) -> None:
        self.service = service

    @webob.dec.wsgify
    def __call__(self, request: webob.Request) -> webob.Response:
        try:
            answer, spoken = self._answer(request)
            response = _json(answer.status, answer.body)
            if answer.location is not None:
                response.location = answer.location
        except faults.Fault as fault:
            response, spoken = _failed(request, fault), None
        _declare(response, spoken or _spoken_or_first(request))
        return response

    def _answer(self, request: webob.Request) -> tuple[calls.Answer, str]:
        try:
            spoken = _spoken(request)
            route, parameters = _route(request)
            context = request.environ.get('nova.context')
            if context is None and not route.public:
                raise faults.Fault(
                    401, 'no_token', 'Send a token: X-Auth-Token.'
                )
            call = calls.Call(
                self.service,
                context,
                parameters,
                _body(request, route),
                request.application_url.rstrip('/'),
            )
            return HANDLERS[route.name](call), spoken
        except faults.Fault:
            raise
        except exception.HotplugError as e:
            raise faults.of(e) from e
        except Exception as e:
            LOG.exception('%s %s failed', request.method, request.path)
            raise faults.unexpected() from e


def _spoken(request: webob.Request) -> str:
    """Return the microversion that the client asks for."""
    try:
        return str(
            microversion_parse.extract_version(
                request.headers,
                microversion.SERVICE_TYPE,
                list(microversion.VERSIONS),
            )
        )
    except (TypeError, ValueError) as e:
        raise faults.wrong_version(str(e)) from e


def _spoken_or_first(request: webob.Request) -> str:
    try:
        return _spoken(request)
    except faults.Fault:
        return microversion.MIN


def _route(request: webob.Request) -> tuple[routes.Route, dict[str, str]]:
    path = _path(request)
    found = routes.find(path)
    if not found:
        raise faults.not_found(path)
    if request.method not in found:
        raise faults.wrong_method(request.method, found)
    if request.query_string:
        name = next(iter(urllib.parse.parse_qs(request.query_string)), '')
        raise faults.malformed(
            f'parameter {name}', 'no route has parameters of a query'
        )
    return found[request.method]


def _path(request: webob.Request) -> str:
    try:
        return str(request.path_info)
    except UnicodeDecodeError as e:
        raise faults.malformed('path', 'it is no UTF-8') from e


def _body(request: webob.Request, route: routes.Route) -> ty.Any:
    if route.body is None:
        return None
    if request.content_type != _JSON:
        raise faults.wrong_type(request.content_type)
    try:
        body = json.loads(request.body)
    except (ValueError, RecursionError) as e:
        raise faults.malformed('body', f'it is no JSON ({e})') from e
    validator = jsonschema.Draft202012Validator(route.body)
    for error in sorted(validator.iter_errors(body), key=_depth):
        place = '.'.join(map(str, ('body', *error.absolute_path)))
        raise faults.malformed(place, error.message[:_LONGEST])
    return body


def _depth(error: jsonschema.ValidationError) -> tuple[int, str]:
    return len(error.absolute_path), error.message


def _json(status: int, body: ty.Any) -> webob.Response:
    response = webob.Response(status=status)
    if body is None:
        del response.content_type
        return response
    response.content_type = _JSON
    response.charset = 'utf-8'
    response.text = json.dumps(body)
    return response


def _failed(request: webob.Request, fault: faults.Fault) -> webob.Response:
    request_id = request.environ.get(_REQUEST_ID)
    response = _json(fault.status, fault.body(request_id))
    response.headers.update(dict(fault.headers))
    return response


def _declare(response: webob.Response, spoken: str) -> None:
    response.headers[microversion.HEADER] = (
        f'{microversion.SERVICE_TYPE} {spoken}'
    )
    response.vary = (*(response.vary or ()), microversion.HEADER)
