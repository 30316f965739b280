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
"""The OpenAPI 3.1 document of this service, made from its tables."""

import typing as ty

from nova_accel.api import microversion
from nova_accel.api import routes
from nova_accel.api.schemas import accelerator
from nova_accel.api.schemas import common
from nova_accel.api.schemas import error
from nova_accel.api.schemas import version

Document = dict[str, ty.Any]

_JSON = 'application/json'

# Schemas that stand in the document under a name.
_NAMED = {
    'Accelerator': accelerator.ACCELERATOR,
    'AcceleratorList': accelerator.LIST,
    'AcceleratorShow': accelerator.SHOW,
    'AcceleratorCreate': accelerator.CREATE,
    'AcceleratorAction': accelerator.ACTION,
    'Errors': error.ERRORS,
    'Version': version.VERSION,
    'VersionList': version.LIST,
    'VersionShow': version.SHOW,
}

_ERRORS = {
    400: 'The request cannot be read; the message says what is wrong.',
    401: 'There is no valid token.',
    403: 'Not allowed: by policy, by the flavor of the server or by a limit '
    'of its project.',
    404: 'There is no such server, or no such accelerator, in this project.',
    406: 'This version is not known; min_version and max_version tell which '
    'are.',
    409: 'Not possible as things are: the server is locked or in another '
    'state, its host cannot, no unit is free, or the id is taken.',
    413: 'The body of the request is too large.',
    415: 'The body of the request is no JSON.',
    500: 'An error of the service; its log tells more.',
    503: 'The cell, nova-compute or another service did not answer. Send '
    'the same request with the same id again.',
}
# Middleware answers these, each in its own way.
FOREIGN = frozenset({401, 413})

_SUCCESS = {
    200: 'Here it is.',
    202: 'Accepted; the status of the accelerator tells how it goes.',
    204: 'Done; the accelerator is gone.',
}

_PARAMETERS = {
    'server_id': 'The uuid of a server.',
    'accelerator_id': 'The id of an accelerator of that server.',
}


def document() -> Document:
    """Return the whole document."""
    paths: dict[str, dict[str, ty.Any]] = {}
    for route in routes.ROUTES:
        item = paths.setdefault(route.path, _path(route))
        item[route.method.lower()] = _operation(route)
    return {
        'openapi': '3.1.0',
        'info': {
            'title': 'Accelerators of servers',
            'summary': 'Attach accelerators to servers, and detach them.',
            'version': microversion.MAX,
            'license': {'name': 'Apache-2.0', 'identifier': 'Apache-2.0'},
        },
        'servers': [{'url': '/'}],
        'security': [{'token': []}],
        'paths': paths,
        'components': {
            'schemas': {
                name: _named(schema, name) for name, schema in _NAMED.items()
            },
            'securitySchemes': {
                'token': {
                    'type': 'apiKey',
                    'in': 'header',
                    'name': 'X-Auth-Token',
                    'description': 'A token of Keystone for a project.',
                }
            },
            'parameters': {'version': _version_header()},
        },
    }


def error_statuses() -> frozenset[int]:
    """Return every status that the document explains."""
    return frozenset(_ERRORS)


def _path(route: routes.Route) -> dict[str, ty.Any]:
    parameters: list[ty.Any] = [{'$ref': '#/components/parameters/version'}]
    parameters += [
        {
            'name': name,
            'in': 'path',
            'required': True,
            'description': _PARAMETERS[name],
            'schema': {'type': 'string'},
        }
        for name in route.parameters
    ]
    return {'parameters': parameters}


def _version_header() -> dict[str, ty.Any]:
    return {
        'name': microversion.HEADER,
        'in': 'header',
        'required': False,
        'description': 'The microversion that the client speaks.',
        'schema': {
            'type': 'string',
            'default': f'{microversion.SERVICE_TYPE} {microversion.MIN}',
            'examples': [f'{microversion.SERVICE_TYPE} {microversion.MAX}'],
        },
    }


def _operation(route: routes.Route) -> dict[str, ty.Any]:
    responses = {
        str(status): _response(_SUCCESS[status], schema)
        for status, schema in route.answers.items()
    }
    for status in sorted(route.errors):
        schema = None if status in FOREIGN else error.ERRORS
        responses[str(status)] = _response(_ERRORS[status], schema)
    found: dict[str, ty.Any] = {
        'operationId': route.name,
        'summary': route.summary,
        'responses': responses,
    }
    if route.body is not None:
        found['requestBody'] = {
            'required': True,
            'content': {_JSON: {'schema': _named(route.body)}},
        }
    if route.public:
        found['security'] = []
    return found


def _response(
    description: str, schema: common.Schema | None
) -> dict[str, ty.Any]:
    found: dict[str, ty.Any] = {'description': description}
    if schema is not None:
        found['content'] = {_JSON: {'schema': _named(schema)}}
    return found


def _named(value: ty.Any, outermost: str | None = None) -> ty.Any:
    """Put references where schemas with a name stand.

    :param outermost: name of the schema that is to be written out.
    """
    if isinstance(value, list):
        return [_named(each) for each in value]
    if not isinstance(value, dict):
        return value
    for name, schema in _NAMED.items():
        if name != outermost and value is schema:
            return {'$ref': f'#/components/schemas/{name}'}
    return {key: _named(each) for key, each in value.items()}
