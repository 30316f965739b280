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
"""Every route of the API, as a table that the application goes by.

The OpenAPI document is made from it, too, so that neither can have what
the other has not.
"""

import collections.abc
import dataclasses
import re

from nova_accel.api.policies import accelerator as accelerator_policies
from nova_accel.api.schemas import accelerator
from nova_accel.api.schemas import common
from nova_accel.api.schemas import version

_PARAMETER = re.compile(r'\{(\w+)\}')

# What each request may be answered with, whatever it is.
ANY = (406, 500)
# And what needs a token, a server, a service that answers.
_READ = (*ANY, 400, 401, 403, 404, 503)
_WRITE = (*_READ, 409, 413)


@dataclasses.dataclass(frozen=True)
class Route:
    """One method of one path.

    :ivar name: of the function that serves it; ``operationId`` in OpenAPI.
    :ivar answers: status -> schema of the body, None where there is none.
    :ivar errors: statuses of its errors; their bodies are all alike.
    :ivar body: schema of the request's body, None where it has none.
    :ivar public: needs no token.
    """

    method: str
    path: str
    name: str
    summary: str
    answers: collections.abc.Mapping[int, common.Schema | None]
    errors: tuple[int, ...]
    body: common.Schema | None = None
    public: bool = False

    @property
    def parameters(self) -> tuple[str, ...]:
        return tuple(_PARAMETER.findall(self.path))

    def match(self, path: str) -> dict[str, str] | None:
        """Return the parameters in a path; None if it is another's."""
        pattern = _PARAMETER.sub(r'(?P<\1>[^/]+)', self.path)
        found = re.fullmatch(pattern, path)
        return None if found is None else found.groupdict()


ROUTES = (
    Route(
        'GET',
        '/',
        'list_versions',
        'List the versions of the API.',
        {200: version.LIST},
        ANY,
        public=True,
    ),
    Route(
        'GET',
        '/v1',
        'show_version',
        'Show version 1 and its microversions.',
        {200: version.SHOW},
        ANY,
        public=True,
    ),
    Route(
        'GET',
        '/v1/openapi.json',
        'show_document',
        'Return this document.',
        {200: {'type': 'object'}},
        ANY,
        public=True,
    ),
    Route(
        'GET',
        accelerator_policies.COLLECTION,
        'list_accelerators',
        'List the accelerators of a server: those its flavor brought and '
        'those that were attached.',
        {200: accelerator.LIST},
        _READ,
    ),
    Route(
        'POST',
        accelerator_policies.COLLECTION,
        'create_accelerator',
        'Attach an accelerator to a server. Accepted requests are worked '
        'on in the background; the status tells. The same request with the '
        'same id does nothing twice.',
        {202: accelerator.SHOW},
        (*_WRITE, 415),
        body=accelerator.CREATE,
    ),
    Route(
        'GET',
        accelerator_policies.MEMBER,
        'show_accelerator',
        'Show one accelerator of a server.',
        {200: accelerator.SHOW},
        _READ,
    ),
    Route(
        'DELETE',
        accelerator_policies.MEMBER,
        'delete_accelerator',
        'Detach an accelerator. It stays, detaching, until the guest has '
        'let go of it.',
        {202: None},
        _WRITE,
    ),
    Route(
        'POST',
        accelerator_policies.ACTION,
        'act_on_accelerator',
        'Force a detach, or cancel one that the guest does not answer. For '
        'administrators.',
        {200: accelerator.SHOW, 202: accelerator.SHOW, 204: None},
        (*_WRITE, 415),
        body=accelerator.ACTION,
    ),
)


def normal(path: str) -> str:
    """Return a path as the table has it."""
    return '/' + path.strip('/')


def find(path: str) -> dict[str, tuple[Route, dict[str, str]]]:
    """Return what serves a path, by method."""
    path = normal(path)
    return {
        route.method: (route, found)
        for route in ROUTES
        if (found := route.match(path)) is not None
    }


def is_public(path: str) -> bool:
    """Tell whether a path is served without a token."""
    return any(route.public for route, _found in find(path).values())
