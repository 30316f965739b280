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
"""What a server that exists holds, in all the places that say so."""

import dataclasses
import typing as ty

from nova.compute import vm_states
from nova import context as nova_context
from nova import objects

from nova_accel.core import attachment
from nova_accel.core import inventory
from nova_accel.core import request
from nova_accel import exception
from nova_accel import manager
from nova_accel.virt import placing
from nova_accel.virt import records

Claims: ty.TypeAlias = frozenset[inventory.Claim]
Context: ty.TypeAlias = nova_context.RequestContext
Record: ty.TypeAlias = attachment.Attachment

# While a server is like that, devices come and go.
_STATES = (vm_states.ACTIVE, vm_states.PAUSED, vm_states.STOPPED)


class Driver(ty.Protocol):
    """What the driver of a hypervisor does for attach and detach.

    Its errors are those of ``nova_accel.exception``.
    """

    accel: manager.Manager
    accel_hotplug: bool
    accel_no_hotplug: str
    virtapi: ty.Any

    def accel_claims(self, instance: objects.Instance) -> Claims:
        """Return all that a server holds of this host."""

    def accel_insert(self, instance: objects.Instance, claims: Claims) -> None:
        """Make devices and give them to a guest, for good. Idempotent."""

    def accel_withdraw(
        self, instance: objects.Instance, claims: Claims
    ) -> None:
        """Let a guest be started without devices, and ask it for them."""

    def accel_inside(self, instance: objects.Instance, claims: Claims) -> bool:
        """Tell whether a guest that runs has any of some devices."""

    def accel_announce(
        self, context: Context, instance: objects.Instance
    ) -> None:
        """Tell Placement what a claim has just excluded.

        :raises ComputeResourcesUnavailable: it has to know, and does not.
        """


class Holder:
    """The books of this host."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.accel = driver.accel
        self.compute = driver.virtapi._compute
        self.placing = placing.Placing(self.compute.reportclient)

    @property
    def rt(self) -> ty.Any:
        """Nova's tracker, taught by us."""
        return self.compute.rt

    @property
    def host(self) -> str:
        return ty.cast(str, self.compute.host)

    def load(self, context: Context, uuid: str) -> objects.Instance:
        """Read a server of this host.

        :raises HotplugWrongState: it is gone, or another host has it.
        """
        server = records.load(context.elevated(), uuid)
        if server.host != self.host:
            raise exception.HotplugWrongState(
                server=uuid, state=f'not on {self.host} any more'
            )
        return server

    def check_state(self, server: objects.Instance) -> None:
        """Refuse a server that nova is at work on, or that is in no state.

        :raises HotplugWrongState: says which.
        """
        state = server.task_state
        if state is None and server.vm_state not in _STATES:
            state = server.vm_state
        if state is not None:
            raise exception.HotplugWrongState(server=server.uuid, state=state)

    def held(self, server: objects.Instance) -> Claims:
        """Units that nova's record says a server has of this host."""
        return self.driver.accel_claims(server)

    def settle(
        self,
        context: Context,
        uuid: str,
        held: Claims,
        more: request.Amounts | None = None,
    ) -> None:
        """Let Placement have for a server what it holds.

        :param more: and that.
        """
        wanted = placing.amounts(held)
        for provider, classes in (more or {}).items():
            there = wanted.setdefault(provider, {})
            for resource_class, amount in classes.items():
                there[resource_class] = there.get(resource_class, 0) + amount
        self.placing.settle(context, uuid, wanted, self.accel)

    def announce(self, context: Context, server: objects.Instance) -> None:
        """Tell Placement what a claim has just excluded."""
        self.driver.accel_announce(context, server)

    def free(
        self, context: Context, server: objects.Instance, record: Record
    ) -> Record:
        """Take from a server what an attachment holds; no guest has it.

        What its record names and the server does not hold any more may be
        another one's by now.

        :returns: the record, holding nothing, not saved as such.
        """
        held = self.held(server)
        mine = record.claims & held
        specs = server.flavor.extra_specs
        if mine:
            self.accel.detach(server.uuid, mine)
        if mine or record.id in attachment.groups(specs):
            records.hold(
                server,
                less=mine,
                extra_specs=attachment.without_group(specs, record.id),
            )
        self.rt.hotplug_release(mine)
        self.settle(context, server.uuid, held - mine)
        return dataclasses.replace(record, provider='', units=())
