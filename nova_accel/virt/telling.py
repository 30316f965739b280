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
"""Tells the outside of attach and detach: events of the server's actions,
and versioned notifications. What goes wrong here stops nothing.

Nova's enumeration of notification actions is closed, so the type of the
event is given as text.
"""

import collections.abc
import contextlib
import logging
import typing as ty

from nova.compute import utils as compute_utils
from nova import context as nova_context
from nova import exception as nova_exception
from nova.notifications.objects import base as notification
from nova.notifications.objects import instance as nova_payload
from nova import objects
from nova.objects import base as nova_base
from nova.objects import fields as nova_fields
from nova import rpc as nova_rpc

from nova_accel.core import attachment

LOG = logging.getLogger(__name__)

ATTACH = 'accel_attach'
DETACH = 'accel_detach'

_NO_ACTION = (
    nova_exception.InstanceActionNotFound,
    nova_exception.InstanceActionEventNotFound,
)

Context: ty.TypeAlias = nova_context.RequestContext
Record: ty.TypeAlias = attachment.Attachment


@nova_base.NovaObjectRegistry.register_notification
class AccelActionPayload(nova_payload.InstanceActionPayload):  # type: ignore[misc]
    """A server, and the attachment that it is about."""

    # Version 1.0: Initial version
    VERSION = '1.0'
    fields: ty.ClassVar[dict[str, ty.Any]] = {
        'attachment_id': nova_fields.UUIDField(),
        'resource_class': nova_fields.StringField(),
        'amount': nova_fields.IntegerField(),
        'attachment_state': nova_fields.StringField(),
        'reason': nova_fields.StringField(),
    }

    def __init__(
        self,
        context: Context,
        instance: objects.Instance,
        fault: ty.Any,
        record: Record,
    ) -> None:
        super().__init__(context=context, instance=instance, fault=fault)
        self.attachment_id = record.id
        self.resource_class = record.resource_class
        self.amount = record.amount
        self.attachment_state = record.state
        self.reason = record.reason


@nova_base.NovaObjectRegistry.register_notification
class AccelActionNotification(notification.NotificationBase):  # type: ignore[misc]
    """``instance.accel_attach.start`` and the like."""

    # Version 1.0: Initial version
    VERSION = '1.0'
    fields: ty.ClassVar[dict[str, ty.Any]] = {
        'payload': nova_fields.ObjectField('AccelActionPayload')
    }

    def emit_as(self, context: Context, event_type: str) -> None:
        """Send it under a name that nova does not know."""
        self.payload.obj_reset_changes(recursive=True)
        self._emit(
            context,
            event_type=event_type,
            publisher_id=f'{self.publisher.source}:{self.publisher.host}',
            payload=self.payload.obj_to_primitive(),
        )


def started(
    context: Context,
    host: str,
    server: objects.Instance,
    record: Record,
    verb: str,
) -> None:
    """Say that something begins."""
    context = _belonging(context, server, record)
    with _harmless(verb):
        objects.InstanceActionEvent.event_start(
            context, server.uuid, verb, want_result=False, host=host
        )
    with _harmless(verb):
        _notify(context, host, server, record, f'{verb}.start')


def ended(
    context: Context,
    host: str,
    server: objects.Instance,
    record: Record,
    verb: str,
    error: Exception | None = None,
) -> None:
    """Say how it ended.

    :param error: what went wrong; None: nothing did.
    """
    context = _belonging(context, server, record)
    with _harmless(verb):
        objects.InstanceActionEvent.event_finish_with_failure(
            context,
            server.uuid,
            verb,
            exc_val=error,
            # By this nova tells a failure.
            exc_tb=(error.__traceback__ or '') if error else None,
            want_result=False,
        )
    phase = 'error' if error else 'end'
    with _harmless(verb):
        _notify(context, host, server, record, f'{verb}.{phase}', error)


def _belonging(
    context: Context, server: objects.Instance, record: Record
) -> Context:
    """Return a context of the request that a record is about."""
    found = context.elevated()
    found.request_id = record.request_id or context.request_id
    # Without a project nova takes any action for ours.
    found.project_id = found.project_id or server.project_id
    return found


@contextlib.contextmanager
def _harmless(verb: str) -> collections.abc.Iterator[None]:
    try:
        yield
    except _NO_ACTION as e:
        LOG.debug('No action for %s: %s', verb, e)
    except Exception as e:
        LOG.warning('Nobody is told of %s: %s', verb, e)


@nova_rpc.if_notifications_enabled
def _notify(
    context: Context,
    host: str,
    server: objects.Instance,
    record: Record,
    action: str,
    error: Exception | None = None,
) -> None:
    fault, priority = compute_utils._get_fault_and_priority_from_exception(
        error
    )
    AccelActionNotification(
        context=context,
        priority=priority,
        publisher=notification.NotificationPublisher(
            host=host, source=nova_fields.NotificationSource.COMPUTE
        ),
        payload=AccelActionPayload(context, server, fault, record),
    ).emit_as(context, f'instance.{action}')
