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
"""Rescue: another root disk, with the server's own beside it."""

import dataclasses

from nova import exception as nova_exception

from nova_accel.virt.xapi import builder
from nova_accel.virt.xapi import disks
from nova_accel.virt.xapi import machines


@dataclasses.dataclass(frozen=True)
class Rescue:
    """Puts the root disks of servers aside and back. Idempotent."""

    builder: builder.Builder

    def set_aside(self, machine: machines.Machine, server: str) -> None:
        """Free the place of the root disk of a machine that is halted.

        :raises InstanceNotRescuable: it has no root disk of its own.
        """
        self._drop(machine)
        self._move(machine, server, disks.ASIDE, False)

    def put_back(self, machine: machines.Machine, server: str) -> None:
        """Undo it; the other root disk is removed."""
        self._drop(machine)
        self._move(machine, server, disks.DEVICES[disks.ROOT], True)

    def _drop(self, machine: machines.Machine) -> None:
        for disk in self.builder.disks.of(machine.ref):
            if disk.purpose == disks.RESCUE:
                self.builder.disks.detach(disk.vbd)
                self.builder.disks.remove(disk.vdi)

    def _move(
        self,
        machine: machines.Machine,
        server: str,
        device: str,
        bootable: bool,
    ) -> None:
        store = self.builder.disks
        found = self._root(machine, server)
        if found.device == device:
            return
        if found.vbd:
            store.detach(found.vbd)
        store.attach(machine.ref, found.vdi, device, bootable)

    def _root(self, machine: machines.Machine, server: str) -> disks.Disk:
        for disk in self.builder.disks.of(machine.ref):
            if disk.purpose == disks.ROOT:
                return disk
        # Taken from its place when the process ended.
        for vdi, record in self.builder.disks.left_behind(server):
            if disks.purpose_of(record) == disks.ROOT:
                size = int(record['virtual_size'])
                return disks.Disk('', vdi, '', disks.ROOT, size, False)
        raise nova_exception.InstanceNotRescuable(
            instance_id=server, reason='it has no root disk of its own'
        )
