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
"""Cold migration and resize: disks travel from host to host of one pool.

The source keeps its machine, marked, until the move is confirmed. The
destination makes one of its own and copies the disks through itself; Glance
has no part in it.
"""

import collections.abc
import dataclasses
import typing as ty

from nova import exception as nova_exception
from nova import objects
from nova.virt import driver
from oslo_serialization import jsonutils

from nova_accel.backends import xapi
from nova_accel.backends.xapi import marks
from nova_accel.virt.xapi import builder
from nova_accel.virt.xapi import disks
from nova_accel.virt.xapi import machines

# The field takes the name of the module.
_BlockDevices: ty.TypeAlias = builder.BlockDevices
_Fill: ty.TypeAlias = builder.Fill

_OWN = (disks.ROOT, disks.EPHEMERAL, disks.SWAP, disks.CONFIG)


@dataclasses.dataclass(frozen=True)
class Moves:
    """The disks of servers on their way."""

    session: xapi.Session
    backend: xapi.XapiBackend
    builder: builder.Builder

    def check(
        self,
        instance: objects.Instance,
        dest: str,
        flavor: objects.Flavor,
        block_devices: _BlockDevices,
    ) -> None:
        """Refuse a move that would fail, before anything changes.

        :raises InstanceFaultRollback: says why.
        """
        hosts = self.backend.survey().objects['host'].values()
        if dest not in {host['address'] for host in hosts}:
            _refuse(
                f'{dest} is no host of this XAPI pool, and disks are copied '
                f'within one'
            )
        old = instance.flavor
        if flavor.root_gb and flavor.root_gb < old.root_gb:
            _refuse(
                f'its root disk would shrink from {old.root_gb} to '
                f'{flavor.root_gb} GiB'
            )
        given = driver.block_device_info_get_ephemerals(block_devices or {})
        if flavor.ephemeral_gb < sum(each['size'] for each in given):
            _refuse('its ephemeral disk would shrink')

    def leave(
        self,
        machine: machines.Machine,
        block_devices: _BlockDevices,
    ) -> str:
        """Let a machine that is halted wait; return what it consists of."""
        self.builder.disconnect(machine.ref, block_devices)
        found = [
            {
                'vdi': self.session.call('VDI.get_uuid', disk.vdi),
                'purpose': disk.purpose,
                'device': disk.device,
            }
            for disk in self.builder.disks.of(machine.ref)
            if disk.purpose in _OWN
        ]
        self.builder.machines.mark(machine.ref, marks.LEFT, 'true')
        return str(jsonutils.dumps(found))

    def come_back(
        self,
        machine: machines.Machine,
        block_devices: _BlockDevices,
    ) -> None:
        """Let a machine that waits be the server again."""
        self.builder.machines.mark(machine.ref, marks.LEFT, None)
        self.builder.connect(machine.ref, block_devices)

    def fill(
        self, instance: objects.Instance, disk_info: str, resize: bool
    ) -> _Fill:
        """Return what copies the disks of a server to this host.

        :raises MigrationError: it comes from a host of another hypervisor.
        """
        found = jsonutils.loads(disk_info or '[]')
        if any('vdi' not in each for each in found):
            raise nova_exception.MigrationError(
                reason=f'server {instance.uuid} comes from a host that is not '
                f'of this XAPI pool; give its image the property '
                f'img_hv_type, and it stays with its hypervisor'
            )

        def fill(vm: str) -> None:
            for each in found:
                self._copy(vm, instance, each, resize)

        return fill

    def _copy(
        self,
        vm: str,
        instance: objects.Instance,
        disk: collections.abc.Mapping[str, ty.Any],
        resize: bool,
    ) -> None:
        source = self.session.call('VDI.get_by_uuid', disk['vdi'])
        purpose = str(disk['purpose'])
        is_root = purpose == disks.ROOT
        store = self.builder.disks
        made = store.copy(
            source,
            instance.uuid,
            purpose,
            instance.flavor.root_gb * disks.GIB if is_root and resize else 0,
            instance.name,
        )
        store.attach(
            vm,
            made,
            str(disk['device']),
            bootable=is_root,
            read_only=purpose == disks.CONFIG,
        )


def _refuse(reason: str) -> ty.NoReturn:
    error = nova_exception.ResizeError(reason=reason)
    raise nova_exception.InstanceFaultRollback(error)
