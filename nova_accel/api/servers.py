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
"""Servers, as nova's own API layer finds them in their cells."""

import contextlib
import dataclasses
import functools
import typing as ty

from nova.compute import api as compute_api
from nova.compute import vm_states
from nova import context as nova_context
from nova import exception as nova_exception
from nova import objects
from nova import servicegroup

from nova_accel.api import policy
from nova_accel.core import attachment
from nova_accel.core.inventory import values
from nova_accel import exception

_ATTRIBUTES = ('system_metadata', 'flavor', 'resources', 'services')
_STATES = frozenset({vm_states.ACTIVE, vm_states.PAUSED, vm_states.STOPPED})


@dataclasses.dataclass(frozen=True)
class Server:
    """A server, and a context that leads to its cell.

    :ivar context: elevated, and a copy: nothing else changes it.
    """

    instance: objects.Instance
    context: nova_context.RequestContext

    @property
    def uuid(self) -> str:
        return ty.cast(str, self.instance.uuid)

    @functools.cached_property
    def attachments(self) -> dict[str, attachment.Attachment]:
        return attachment.read(self.instance.system_metadata)

    @functools.cached_property
    def claims(self) -> frozenset[values.Claim]:
        """Units that it holds. What has metadata is not ours but nova's."""
        instance = self.instance
        resources = instance.resources if 'resources' in instance else None
        return frozenset(
            values.Claim(r.provider_uuid, r.resource_class, r.identifier)
            for r in resources or ()
            if 'metadata' not in r or r.metadata is None
        )

    @property
    def extra_specs(self) -> dict[str, str]:
        return ty.cast(dict[str, str], self.instance.flavor.extra_specs)

    def again(self) -> 'Server':
        """Return it as it is now.

        :raises ServerNotFound: it was deleted.
        """
        return find(self.context, self.uuid)


@functools.lru_cache(maxsize=1)
def _api() -> compute_api.API:
    return compute_api.API()


def copied(
    context: nova_context.RequestContext,
) -> nova_context.RequestContext:
    """Return a context that another thread may use, towards no cell."""
    fresh = nova_context.RequestContext.from_dict(context.to_dict())
    return fresh.elevated()


def find(context: nova_context.RequestContext, server: str) -> Server:
    """Find a server in its cell, whoever asks.

    :raises ServerNotFound: there is none.
    :raises ServiceSilent: its cell does not answer.
    """
    context = copied(context)
    with _found(server):
        instance = _api().get(context, server, list(_ATTRIBUTES))
    return Server(instance, context)


@contextlib.contextmanager
def _found(server: str) -> ty.Iterator[None]:
    try:
        yield
    except nova_exception.InstanceNotFound as e:
        raise exception.ServerNotFound(server=server) from e
    except nova_exception.NovaException as e:
        # It says so of a cell that is down, and of nothing else.
        raise exception.ServiceSilent(service='The cell of the server') from e


def visible(
    context: nova_context.RequestContext, server: str, rule: str
) -> Server:
    """Find a server on which the one who asks may act.

    :raises PolicyRefusal: the token may not do that with any server.
    :raises ServerNotFound: there is none, or not for this token.
    """
    policy.check_token(context, rule)
    found = find(context, server)
    policy.check(context, rule, found.instance)
    return found


def check_lock(context: nova_context.RequestContext, server: Server) -> None:
    """Refuse to change a locked server.

    :raises ServerLocked: the rule that overrides it does not apply.
    """
    rule = policy.OVERRIDE_LOCK
    target = policy.target(server.instance)
    if server.instance.locked and not policy.allows(context, rule, target):
        raise exception.ServerLocked(server=server.uuid)


def check_host(server: Server) -> None:
    """Refuse where no nova-compute could do it.

    :raises ServerNotPlaced: it is on no host.
    :raises HostUnavailable: its nova-compute is down.
    """
    if not server.instance.host:
        raise exception.ServerNotPlaced(
            server=server.uuid, state=server.instance.vm_state
        )
    up = servicegroup.API().service_is_up
    if not any(
        up(service)
        for service in server.instance.services
        if service.binary == 'nova-compute'
    ):
        raise exception.HostUnavailable(server=server.uuid)


def check_state(server: Server) -> None:
    """Refuse while something else is done to it, or it is no guest.

    :raises HotplugWrongState: with the state.
    """
    instance = server.instance
    if instance.task_state is not None:
        raise exception.HotplugWrongState(
            server=server.uuid, state=instance.task_state
        )
    if instance.vm_state not in _STATES:
        raise exception.HotplugWrongState(
            server=server.uuid, state=instance.vm_state
        )
