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
"""A filter for nova-api: what hot-attached accelerators do not survive.

Resizing to a flavor that does not permit what is attached, and migrating
live what cannot be, are refused at once and with the reason. Without the
filter nova-compute refuses the same, but only in the background, when the
user has gone.

A resize that is permitted takes the request groups of the attachments along:
nova hands on the flavor that its API has read, and everything after that
goes by it.
"""

import collections.abc
import json
import re
import typing as ty

from nova.compute import flavors
from nova import context as nova_context
from nova import exception as nova_exception
from nova import objects
from oslo_log import log as logging
import webob
import webob.dec

from nova_accel.api import servers
from nova_accel.core import attachment
from nova_accel import exception

LOG = logging.getLogger(__name__)

_ACTION = re.compile(r'.*/servers/(?P<server>[0-9a-fA-F-]{32,36})/action/?')
# On the context of a request, for the time of that request.
_CARRIED = 'accel_groups'

_Context: ty.TypeAlias = nova_context.RequestContext
_Check = collections.abc.Callable[
    [_Context, servers.Server, ty.Any], exception.HotplugError | None
]


def filter_factory(
    _global: dict[str, str], **_local: str
) -> collections.abc.Callable[[ty.Any], 'Guard']:
    """Make the filter, for api-paste.ini."""
    install()
    return Guard


class Guard:
    """Stands between nova's context and nova's API."""

    def __init__(self, application: ty.Any) -> None:
        self._application = application

    @webob.dec.wsgify
    def __call__(self, request: webob.Request) -> ty.Any:
        try:
            refusal = _refusal(request)
        except Exception:
            # It is nova's own to answer what is wrong with a request.
            LOG.exception('Whether %s may be done is unknown', request.path)
            refusal = None
        if refusal is None:
            return self._application
        return _conflict(refusal)


def _refusal(request: webob.Request) -> exception.HotplugError | None:
    match = _ACTION.fullmatch(request.path_info)
    context = request.environ.get('nova.context')
    if request.method != 'POST' or match is None or context is None:
        return None
    name, body = _action(request.body)
    check = _CHECKS.get(name)
    if check is None:
        return None
    try:
        server = servers.find(context, match['server'])
    except exception.HotplugError:
        return None
    if server.instance.project_id != context.project_id:
        if not context.is_admin:
            return None
    return check(context, server, body) if server.attachments else None


def _action(body: bytes) -> tuple[str, ty.Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return '', None
    if not isinstance(found, dict) or len(found) != 1:
        return '', None
    ((name, content),) = found.items()
    return name, content


def _check_resize(
    context: _Context, server: servers.Server, body: ty.Any
) -> exception.HotplugError | None:
    if not isinstance(body, dict) or 'flavorRef' not in body:
        return None
    try:
        flavor = objects.Flavor.get_by_flavor_id(
            server.context, str(body['flavorRef']), read_deleted='no'
        )
    except nova_exception.FlavorNotFound:
        return None
    wrong = misfits(server.attachments.values(), flavor.extra_specs)
    if wrong:
        classes = ', '.join(sorted({each.resource_class for each in wrong}))
        return _detach_first(
            server,
            'be resized',
            f'flavor {flavor.name} does not permit so many attached {classes}',
            wrong,
        )
    setattr(context, _CARRIED, attachment.groups(server.extra_specs))
    return None


def misfits(
    records: collections.abc.Iterable[attachment.Attachment],
    extra_specs: collections.abc.Mapping[str, str],
) -> list[attachment.Attachment]:
    """Return what would have to go first, in favour of a flavor.

    All of a class of which the flavor does not permit as much.
    """
    by_class: dict[str, list[attachment.Attachment]] = {}
    for record in records:
        if record.state != attachment.ERROR:
            by_class.setdefault(record.resource_class, []).append(record)
    return [
        record
        for resource_class, found in by_class.items()
        if sum(each.amount for each in found)
        > _limit(extra_specs, resource_class)
        for record in found
    ]


def _limit(
    extra_specs: collections.abc.Mapping[str, str], resource_class: str
) -> int:
    try:
        return attachment.limit(extra_specs, resource_class) or 0
    except exception.InvalidRequest:
        return 0


def _check_live_migration(
    _context: _Context, server: servers.Server, _body: ty.Any
) -> exception.HotplugError | None:
    wrong = [
        record
        for record in server.attachments.values()
        if record.state != attachment.ERROR and not record.live_migratable
    ]
    if not wrong:
        return None
    return _detach_first(
        server,
        'be migrated live',
        'what is attached to it cannot move while the guest runs',
        wrong,
    )


_CHECKS: dict[str, _Check] = {
    'resize': _check_resize,
    'os-migrateLive': _check_live_migration,
}


def _detach_first(
    server: servers.Server,
    action: str,
    reason: str,
    records: collections.abc.Iterable[attachment.Attachment],
) -> exception.DetachFirst:
    return exception.DetachFirst(
        server=server.uuid,
        action=action,
        reason=reason,
        attachments=', '.join(
            f'{record.id} ({record.amount} {record.resource_class})'
            for record in records
        ),
    )


def _conflict(error: exception.HotplugError) -> webob.Response:
    """Answer as nova does, whose clients they are."""
    status = error.code
    body = {'conflictingRequest': {'code': status, 'message': str(error)}}
    return webob.Response(
        status=status,
        json_body=body,
        content_type='application/json',
        charset='utf-8',
    )


def install() -> None:
    """Let nova's API hand on groups with a flavor. Once is enough."""
    original = flavors.get_flavor_by_flavor_id
    if hasattr(original, _CARRIED):
        return

    def get_flavor_by_flavor_id(
        ctxt: _Context, flavorid: str, read_deleted: str = 'yes'
    ) -> objects.Flavor:
        flavor = original(ctxt, flavorid, read_deleted)
        groups = getattr(ctxt, _CARRIED, None)
        if groups:
            flavor.extra_specs = attachment.aligned(flavor.extra_specs, groups)
        return flavor

    setattr(get_flavor_by_flavor_id, _CARRIED, True)
    flavors.get_flavor_by_flavor_id = get_flavor_by_flavor_id
