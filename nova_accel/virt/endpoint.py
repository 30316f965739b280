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
"""The endpoint of attach and detach, on nova-compute's own topic."""

import typing as ty

from nova import context as nova_context
from nova import objects
import oslo_messaging as messaging

from nova_accel import exception
from nova_accel import rpc
from nova_accel.virt import desk

Context: ty.TypeAlias = nova_context.RequestContext
_Answer = dict[str, ty.Any]

# They are a user's affair, and no traceback in the log is due to them.
_expected = messaging.expected_exceptions(exception.HotplugError)


class Endpoint:
    """Serves ``rpc.AccelAPI``. All that is public here can be called."""

    target = messaging.Target(namespace=rpc.NAMESPACE, version=rpc.VERSION)

    def __init__(self, served: desk.Desk) -> None:
        self._desk = served

    @_expected
    def reserve(
        self,
        context: Context,
        instance: objects.Instance,
        id: str,
        resource_class: str,
        amount: int,
    ) -> _Answer:
        record = self._desk.reserve(
            context, instance.uuid, id, resource_class, amount
        )
        return record.primitive()

    @_expected
    def claim(
        self, context: Context, instance: objects.Instance, id: str
    ) -> _Answer:
        return self._desk.claim(context, instance.uuid, id).primitive()

    @_expected
    def refuse(
        self,
        context: Context,
        instance: objects.Instance,
        id: str,
        reason: str,
    ) -> _Answer:
        record = self._desk.refuse(context, instance.uuid, id, reason)
        return record.primitive()

    @_expected
    def attach(
        self, context: Context, instance: objects.Instance, id: str
    ) -> _Answer:
        return self._desk.attach(context, instance.uuid, id).primitive()

    @_expected
    def detach(
        self,
        context: Context,
        instance: objects.Instance,
        id: str,
        force: bool = False,
    ) -> _Answer:
        record = self._desk.detach(context, instance.uuid, id, force)
        return record.primitive()

    @_expected
    def cancel(
        self, context: Context, instance: objects.Instance, id: str
    ) -> _Answer:
        return self._desk.cancel(context, instance.uuid, id).primitive()
