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
"""Drivers that do not work: what passes with them says nothing.

``compute_driver = accel.BrokenDriver`` looks healthy from outside: it starts,
reports for duty and offers all that the real driver offers. Whatever a server
needs of it fails. ``compute_driver = accel.SilentDriver`` starts and reports
for duty, and offers nothing at all. A test of a driver must fail with both.
"""

import collections.abc
import inspect
import typing as ty

from nova import context as nova_context
from nova import objects
from nova.virt import driver

from nova_accel import exception
from nova_accel.virt import drivers

__all__ = ['BrokenDriver', 'BrokenXenAPIDriver', 'SilentDriver']

_GUEST = ('instance', 'instances')


def guest_operations(base: type) -> tuple[str, ...]:
    """Names of what a compute driver does for one server or several.

    Those whose signature in nova's base class asks for a server, but for
    the listing of all at the start.
    """
    return tuple(
        name
        for name, function in vars(base).items()
        if not name.startswith('_')
        and inspect.isfunction(function)
        and name != 'process_instances_at_startup'
        and any(
            key in _GUEST for key in inspect.signature(function).parameters
        )
    )


def _failing(name: str) -> collections.abc.Callable[..., ty.Any]:
    def operation(self: object, *args: object, **kwargs: object) -> ty.Any:
        raise exception.BrokenOnPurpose(operation=name)

    operation.__name__ = name
    return operation


class _Nothing:
    """Nothing that needs a guest: for the front of a driver."""

    def process_instances_at_startup(
        self,
        context: nova_context.RequestContext,
        instances: objects.InstanceList,
    ) -> objects.InstanceList:
        # It must start, and could not do a thing for any of them.
        return objects.InstanceList(objects=[])


for _name in guest_operations(driver.ComputeDriver):
    setattr(_Nothing, _name, _failing(_name))


class BrokenDriver(_Nothing, drivers.LibvirtAccelDriver):
    """Starts and offers what the real driver does; serves nobody."""


class BrokenXenAPIDriver(_Nothing, drivers.XenAPIAccelDriver):
    """The same on XAPI."""


class SilentDriver(driver.ComputeDriver):  # type: ignore[misc]
    """Starts; there is no node, no inventory and no guest."""

    def init_host(self, host: str) -> None:
        pass

    def list_instances(self) -> list[str]:
        return []

    def list_instance_uuids(self) -> list[str]:
        return []

    def get_available_nodes(self, refresh: bool = False) -> list[str]:
        return []

    def get_nodenames_by_uuid(self, refresh: bool = False) -> dict[str, str]:
        return {}
