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
"""Building a server, and leaving nothing where that fails.

What belongs to a server is found by the marks that it bears, so that what
another process, or a call whose answer got lost, has begun goes as well.
"""

import collections.abc
import contextlib
import dataclasses
import logging
import typing as ty

from nova import context as nova_context
from nova import objects
from nova.virt import driver

from nova_accel import exception
from nova_accel.virt.xapi import devices
from nova_accel.virt.xapi import disks
from nova_accel.virt.xapi import machines
from nova_accel.virt.xapi import vifs
from nova_accel.virt.xapi import volumes

LOG = logging.getLogger(__name__)

# The fields of a builder take the names of the modules.
_Machine: ty.TypeAlias = machines.Machine
_Plans: ty.TypeAlias = devices.Plans
BlockDevices: ty.TypeAlias = collections.abc.Mapping[str, ty.Any] | None


@dataclasses.dataclass(frozen=True)
class Order:
    """A server that is to be built."""

    context: nova_context.RequestContext
    instance: objects.Instance
    image_meta: objects.ImageMeta
    network_info: ty.Any
    block_devices: BlockDevices
    power_on: bool = True

    @property
    def server(self) -> str:
        return str(self.instance.uuid)


Fill: ty.TypeAlias = collections.abc.Callable[[str], None]
"""Gives a machine, by its reference, its own disks."""


@dataclasses.dataclass(frozen=True)
class Builder:
    """Builds servers and takes them apart."""

    machines: machines.Machines
    disks: disks.Disks
    vifs: vifs.Vifs
    volumes: volumes.Volumes
    devices: devices.Devices

    def build(self, order: Order, plans: _Plans, fill: Fill) -> None:
        """Make a server and start it; on any failure nothing of it is left.

        :param plans: what its claims are rendered to.
        """
        with contextlib.ExitStack() as undo:
            undo.callback(self._give_up, order)
            vm = self.machines.create(
                order.instance,
                order.instance.flavor,
                order.image_meta,
                self.devices.functions(plans),
            )
            fill(vm)
            self.vifs.create(order.context, vm, order.network_info or ())
            self.connect(vm, order.block_devices)
            self.devices.create(vm, order.server, plans)
            self.devices.check(vm, order.server, plans)
            if order.power_on:
                self.machines.start(vm)
            undo.pop_all()

    def connect(self, vm: str, block_devices: BlockDevices) -> None:
        """Give a machine that is halted the volumes that it lacks."""
        root = (block_devices or {}).get('root_device_name')
        for each in mapping(block_devices):
            self.volumes.attach(
                vm,
                each['connection_info'],
                each['mount_device'] or '',
                running=False,
                boot=each['mount_device'] == root,
            )

    def disconnect(self, vm: str | None, block_devices: BlockDevices) -> None:
        """Take the volumes from a machine that is halted or gone."""
        for each in mapping(block_devices):
            self.volumes.detach(vm, each['connection_info'])

    def _give_up(self, order: Order) -> None:
        try:
            self.remove(order.server, order.block_devices)
        except exception.AccelError as error:
            # Destroying the server, whenever that is, finds it again.
            LOG.warning(
                'Parts of server %s are left for now: %s', order.server, error
            )

    def remove(self, server: str, block_devices: BlockDevices = None) -> None:
        """Remove a server: machine, disks, VIFs, VGPUs. Idempotent.

        Where it has just been resized on this very host, only the new one.
        """
        found = self.machines.of(server)
        current = [each for each in found if not each.is_left] or found
        self._remove(server, current, found)
        self.disconnect(None, block_devices)

    def remove_left(self, server: str) -> None:
        """Remove what a server has left behind by a resize. Idempotent."""
        found = self.machines.of(server)
        self._remove(server, [each for each in found if each.is_left], found)

    def _remove(
        self,
        server: str,
        doomed: collections.abc.Sequence[_Machine],
        found: collections.abc.Iterable[_Machine],
    ) -> None:
        kept = {
            disk.vdi
            for machine in found
            if machine not in doomed
            for disk in self.disks.of(machine.ref)
        }
        for machine in doomed:
            self.machines.destroy(machine.ref)
        for vdi, _record in self.disks.left_behind(server):
            if vdi not in kept:
                self.disks.remove(vdi)


def mapping(
    block_devices: BlockDevices,
) -> collections.abc.Sequence[collections.abc.Mapping[str, ty.Any]]:
    """Return the volumes of a server."""
    found = driver.block_device_info_get_mapping(block_devices or {})
    return [each for each in found if each.get('connection_info')]
