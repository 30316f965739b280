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
"""What a flavor and the limits of a project let be attached."""

import nova.conf
from nova import exception as nova_exception
from nova.limit import placement as placement_limits
from nova.limit import utils as limit_utils
from nova import objects

from nova_accel.api import servers
from nova_accel.core import attachment
from nova_accel import exception

CONF = nova.conf.CONF


def check_flavor(
    server: servers.Server, resource_class: str, amount: int
) -> None:
    """Refuse what the flavor of the server does not say may be attached.

    The node does so once more, where no two requests can overtake each
    other.

    :raises HotplugNotPermitted: it says nothing about the class.
    :raises HotplugNotAllowed: it says less.
    :raises GroupsMixed: what it asks for keeps Placement from counting.
    """
    try:
        limit = attachment.limit(server.extra_specs, resource_class)
    except exception.InvalidRequest:
        # Nova's API lets nobody write that, but databases are old.
        limit = None
    if limit is None:
        raise exception.HotplugNotPermitted(
            server=server.uuid,
            flavor=server.instance.flavor.name,
            resource_class=resource_class,
        )
    if attachment.mixes(server.extra_specs, resource_class):
        raise exception.GroupsMixed(
            server=server.uuid, resource_class=resource_class
        )
    used = attached(server, resource_class)
    if used + amount > limit:
        raise exception.HotplugNotAllowed(
            server=server.uuid,
            limit=limit,
            used=used,
            resource_class=resource_class,
        )


def attached(server: servers.Server, resource_class: str) -> int:
    """Return how much of a class is attached, or is about to be."""
    return sum(
        record.amount
        for record in server.attachments.values()
        if record.resource_class == resource_class
        and record.state != attachment.ERROR
    )


def are_checked_again() -> bool:
    """Tell whether limits are, once Placement counts what is attached."""
    return bool(limit_utils.use_unified_limits() and CONF.quota.recheck_quota)


def check_limits(
    server: servers.Server, resource_class: str, amount: int
) -> None:
    """Refuse what a unified limit of the project does not leave room for.

    :param amount: 0 to look again at what is counted already.
    :raises OverLimit: with what oslo.limit says.
    """
    if not limit_utils.use_unified_limits():
        return
    spec = objects.RequestSpec.get_by_instance_uuid(
        server.context, server.uuid
    )
    try:
        # No server more, and nothing more of what its flavor asks for.
        placement_limits.enforce_num_instances_and_resources(
            server.context,
            server.instance.project_id,
            spec,
            0,
            0,
            delta_updates={f'class:{resource_class}': amount},
        )
    except nova_exception.TooManyInstances as e:
        raise exception.OverLimit(server=server.uuid, reason=e) from e
    except nova_exception.UsagesRetrievalFailed as e:
        raise exception.ServiceSilent(service='Placement') from e
