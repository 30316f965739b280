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
"""How the API asks nova-compute to attach and detach accelerators.

The endpoint is served by nova-compute itself, on its own topic, under a
namespace of its own. An attachment travels as ``Attachment.primitive()``.
"""

import typing as ty

import nova.conf
from nova import context as nova_context
from nova.objects import base as objects_base
from nova.objects import instance as nova_instance
from nova import rpc as nova_rpc
import oslo_messaging as messaging

from nova_accel.core import attachment
from nova_accel import exception

CONF = nova.conf.CONF
NAMESPACE = 'accel'
VERSION = '1.0'
TOPIC = 'compute'

Context: ty.TypeAlias = nova_context.RequestContext
Instance: ty.TypeAlias = nova_instance.Instance

# Else they arrive as RemoteError.
nova_rpc.add_extra_exmods(exception.__name__)


class AccelAPI:
    """The client. Contexts are targeted at the cell of the server.

    nova-compute reads the server anew. All are calls; the errors are those
    of ``HotplugError``.
    """

    def __init__(self) -> None:
        target = messaging.Target(
            topic=TOPIC, namespace=NAMESPACE, version=VERSION
        )
        self._router = nova_rpc.ClientRouter(
            nova_rpc.get_client(
                target,
                version_cap=VERSION,
                serializer=objects_base.NovaObjectSerializer(),
            )
        )

    def reserve(
        self,
        context: Context,
        instance: Instance,
        id: str,
        resource_class: str,
        amount: int,
    ) -> attachment.Attachment:
        """Write down that something is to be attached. Idempotent.

        :raises HotplugError: it is not possible, and why.
        :raises MessagingTimeout: nova-compute does not answer.
        """
        return self._call(
            context,
            instance,
            'reserve',
            id=id,
            resource_class=resource_class,
            amount=amount,
        )

    def claim(
        self, context: Context, instance: Instance, id: str
    ) -> attachment.Attachment:
        """Do of ``attach`` what the guest does not notice.

        Then the limits of the project can be looked at again.

        :returns: it, attaching, or in error with the reason.
        :raises HotplugError: there is no such attachment, or it is detaching.
        """
        return self._call(context, instance, 'claim', id=id)

    def refuse(
        self, context: Context, instance: Instance, id: str, reason: str
    ) -> attachment.Attachment:
        """Take back what ``claim`` has done.

        :returns: it, in error; or attached, if that was faster.
        """
        return self._call(context, instance, 'refuse', id=id, reason=reason)

    def attach(
        self, context: Context, instance: Instance, id: str
    ) -> attachment.Attachment:
        """Attach what is reserved; returns once it is, or has failed.

        :returns: it, attached, or in error with the reason.
        :raises HotplugError: there is no such attachment, or it is detaching.
        """
        return self._call(context, instance, 'attach', id=id)

    def detach(
        self,
        context: Context,
        instance: Instance,
        id: str,
        force: bool = False,
    ) -> attachment.Attachment:
        """Ask the guest to let go; it may take its time.

        :param force: reboot the server hard if it does not.
        :returns: it, detaching; state '' if it is gone already.
        """
        return self._call(context, instance, 'detach', id=id, force=force)

    def cancel(
        self, context: Context, instance: Instance, id: str
    ) -> attachment.Attachment:
        """Let a guest keep what it has not let go of.

        :returns: it, attached.
        """
        return self._call(context, instance, 'cancel', id=id)

    def _call(
        self,
        context: Context,
        instance: Instance,
        method: str,
        **kwargs: object,
    ) -> attachment.Attachment:
        client = self._router.client(context).prepare(
            server=instance.host,
            version=VERSION,
            # An attach may wait for a slow device: as long as the node
            # gives signs of life.
            call_monitor_timeout=CONF.rpc_response_timeout,
            timeout=CONF.long_rpc_timeout,
        )
        try:
            answer = client.call(context, method, instance=instance, **kwargs)
        except messaging.RemoteError as error:
            raise _translated(error) from error
        return attachment.Attachment.of(answer)


def _translated(error: messaging.RemoteError) -> Exception:
    """Return an error of ours as such, whatever the transport lets pass."""
    kind = getattr(exception, error.exc_type or '', None)
    if isinstance(kind, type) and issubclass(kind, exception.HotplugError):
        return kind(error.value)
    return ty.cast(Exception, error)
