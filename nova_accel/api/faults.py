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
"""Which HTTP status an error is, and how its body reads."""

import collections.abc
import dataclasses
import http
import re
import typing as ty

from nova_accel.api import microversion
from nova_accel import exception


# Not frozen: Python writes into an exception that is on its way.
@dataclasses.dataclass(eq=False)
class Fault(Exception):
    """An error on its way to the client.

    :ivar code: names it for programs, below the service's type.
    :ivar more: further members of the error.
    """

    status: int
    code: str
    detail: str
    headers: tuple[tuple[str, str], ...] = ()
    more: tuple[tuple[str, str], ...] = ()

    def body(self, request_id: str | None) -> dict[str, ty.Any]:
        error = {
            'status': self.status,
            'title': http.HTTPStatus(self.status).phrase,
            'code': f'{microversion.SERVICE_TYPE}.{self.code}',
            'detail': self.detail,
            'request_id': request_id,
        }
        return {'errors': [error | dict(self.more)]}


def of(error: exception.HotplugError) -> Fault:
    """Return the fault that an error is.

    >>> of(exception.ServerLocked(server='x')).code
    'server_locked'
    """
    # One that came by RPC reads as its text and the node's traceback.
    return Fault(error.code, code_of(type(error)), f'{error.args[0]}.')


def code_of(kind: type[Exception]) -> str:
    """Return how an error is named for programs."""
    name = kind.__name__.removesuffix('_Remote')
    return re.sub(r'(?<!^)(?=[A-Z])', '_', name).lower()


def not_found(path: str) -> Fault:
    return Fault(
        404,
        'no_such_path',
        f'There is nothing at {path}; GET /v1/openapi.json lists what is.',
    )


def wrong_method(method: str, allowed: collections.abc.Iterable[str]) -> Fault:
    methods = ', '.join(sorted(allowed))
    return Fault(
        405,
        'wrong_method',
        f'{method} is not possible here; use {methods}.',
        headers=(('Allow', methods),),
    )


def wrong_type(found: str) -> Fault:
    return Fault(
        415,
        'wrong_content_type',
        f'The body is {found or "of no type"}; send Content-Type: '
        'application/json.',
    )


def wrong_version(reason: str) -> Fault:
    return Fault(
        406,
        'unknown_version',
        f'{reason}; send {microversion.HEADER}: {microversion.SERVICE_TYPE} '
        f'with a version from {microversion.MIN} to {microversion.MAX}.',
        more=(
            ('min_version', microversion.MIN),
            ('max_version', microversion.MAX),
        ),
    )


def malformed(where: str, reason: str) -> Fault:
    return of(exception.InvalidInput(where=where, reason=reason))


def unexpected() -> Fault:
    return Fault(
        500,
        'unexpected_error',
        'An unexpected error occurred; an administrator finds it in the log '
        'of this service by the id of the request.',
    )
