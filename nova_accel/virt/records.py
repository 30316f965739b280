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
"""The records of attachments in nova's row of a server.

A save of an instance is two transactions: what hangs on it (resources,
flavor) first, and then the row with its metadata, which alone can be guarded
against a task that the API has just started. Hence two functions.
"""

import collections.abc

from nova import context as nova_context
from nova import exception as nova_exception
from nova import objects
from oslo_utils import timeutils

from nova_accel.core import attachment
from nova_accel.core import inventory
from nova_accel import exception
from nova_accel.virt import tree

Claims = collections.abc.Iterable[inventory.Claim]

_NEEDED = [
    'flavor',
    'info_cache',
    'metadata',
    'migration_context',
    'resources',
    'security_groups',
    'system_metadata',
]
_CHANGED = (
    nova_exception.UnexpectedTaskStateError,
    nova_exception.UnexpectedDeletingTaskStateError,
)


def now() -> str:
    """The time as records have it."""
    moment = timeutils.utcnow().replace(microsecond=0)
    return f'{moment.isoformat()}Z'


def load(context: nova_context.RequestContext, uuid: str) -> objects.Instance:
    """Read a server and all that attachments are about.

    :raises HotplugWrongState: it is gone.
    """
    try:
        return objects.Instance.get_by_uuid(
            context, uuid, expected_attrs=list(_NEEDED)
        )
    except nova_exception.InstanceNotFound as e:
        raise exception.HotplugWrongState(server=uuid, state='deleted') from e


def of(server: objects.Instance) -> dict[str, attachment.Attachment]:
    """Return the attachments of a server, by id, oldest first."""
    return attachment.read(server.system_metadata)


def save(
    server: objects.Instance,
    record: attachment.Attachment,
    guarded: bool = False,
) -> attachment.Attachment:
    """Write a record down.

    :param guarded: only if nothing else is being done to the server.
    :raises HotplugWrongState: something is.
    """
    server.system_metadata = attachment.written(server.system_metadata, record)
    _save(server, guarded)
    return record


def erase(server: objects.Instance, id_: str) -> None:
    """Forget an attachment."""
    server.system_metadata = attachment.erased(server.system_metadata, id_)
    _save(server, guarded=False)


def save_row(server: objects.Instance) -> None:
    """Save what was set on a server, if nothing else is being done to it.

    :raises HotplugWrongState: something is.
    """
    _save(server, guarded=True)


def _save(server: objects.Instance, guarded: bool) -> None:
    try:
        server.save(expected_task_state=[None] if guarded else None)
    except _CHANGED as e:
        raise exception.HotplugWrongState(
            server=server.uuid, state='about to change'
        ) from e


def hold(
    server: objects.Instance,
    more: Claims = (),
    less: Claims = (),
    extra_specs: collections.abc.Mapping[str, str] | None = None,
) -> None:
    """Write down what a server holds and asks for, in one transaction."""
    gone = {(c.provider, c.resource_class, c.unit) for c in less}
    kept = [
        each
        for each in server.resources or ()
        if (each.provider_uuid, each.resource_class, each.identifier)
        not in gone
    ]
    kept += [tree.resource(c.provider, c.resource_class, c.unit) for c in more]
    server.resources = objects.ResourceList(objects=kept)
    if extra_specs is not None:
        server.flavor.extra_specs = dict(extra_specs)
    server.save()
    # Else the next save would write them again, whoever changed them.
    server.obj_reset_changes(recursive=True)


def check_flavor(server: objects.Instance, flavor: objects.Flavor) -> None:
    """Refuse a flavor that takes from a server what is attached to it.

    Nova's API does it first, where our filter is in its pipeline.

    :raises InstanceFaultRollback: nothing has changed by then.
    """
    there = attachment.groups(server.flavor.extra_specs)
    lost = there.keys() - attachment.groups(flavor.extra_specs).keys()
    if lost:
        error = exception.DetachFirst(
            server=server.uuid,
            action='be resized',
            reason=f'flavor {flavor.name} does not ask for what is attached',
            attachments=', '.join(sorted(lost)),
        )
        raise nova_exception.InstanceFaultRollback(inner_exception=error)


def check_rest(server: objects.Instance) -> None:
    """Refuse to move a guest that is being given something, or asked for it.

    :raises DetachFirst: names it.
    """
    busy = [
        record.id
        for record in of(server).values()
        if record.state in (attachment.ATTACHING, attachment.DETACHING)
    ]
    if busy:
        raise exception.DetachFirst(
            server=server.uuid,
            action='be migrated live',
            reason='its guest is being given a device, or asked for one',
            attachments=', '.join(busy),
        )
