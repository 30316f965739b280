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
"""A ComputeDriver on XAPI, as compact as it can be and still be one.

It does what nova asks with calls of the published data model, and no plugin
on the hosts. What XAPI cannot do is refused before anything changes.
"""

import typing as ty

from nova.compute import task_states
from nova import context as nova_context
from nova import exception as nova_exception
from nova import objects
from nova.virt import configdrive as nova_configdrive
from nova.virt import driver

from nova_accel.virt.xapi import builder
from nova_accel.virt.xapi import configdrive
from nova_accel.virt.xapi import disks
from nova_accel.virt.xapi import images
from nova_accel.virt.xapi import machines
from nova_accel.virt.xapi import node
from nova_accel.virt.xapi import power


class XapiDriver(node.Node, power.Power):
    """Everything but devices."""

    capabilities: ty.ClassVar[dict[str, bool]] = {
        **driver.ComputeDriver.capabilities,
        'supports_attach_interface': True,
        'supports_evacuate': True,
        'supports_image_type_raw': True,
        'supports_image_type_vhd': True,
        'supports_migrate_to_same_host': True,
    }

    # A server comes and goes

    def spawn(
        self,
        context: nova_context.RequestContext,
        instance: objects.Instance,
        image_meta: objects.ImageMeta,
        injected_files: ty.Any,
        admin_password: ty.Any,
        allocations: ty.Any,
        network_info: ty.Any = None,
        block_device_info: builder.BlockDevices = None,
        power_on: bool = True,
        accel_info: ty.Any = None,
    ) -> None:
        if self._machines.find(instance.uuid) is not None:
            raise nova_exception.InstanceExists(name=instance.name)

        def fill(vm: str) -> None:
            self._fill(context, vm, instance, image_meta, block_device_info)
            if nova_configdrive.required_by(instance):
                vdi = configdrive.make(
                    context,
                    self._disks,
                    instance,
                    injected_files,
                    admin_password,
                    network_info,
                )
                self._disks.attach(
                    vm, vdi, disks.DEVICES[disks.CONFIG], read_only=True
                )

        order = builder.Order(
            context,
            instance,
            image_meta,
            network_info,
            block_device_info,
            power_on,
        )
        self._build(order, fill)

    def _build(self, order: builder.Order, fill: builder.Fill) -> None:
        """Build a server here, or have nova try another host."""
        kind = nova_exception.ComputeResourcesUnavailable
        with self._explained(kind):
            self._builder.build(order, self.plans(order.instance), fill)

    def _fill(
        self,
        context: nova_context.RequestContext,
        vm: str,
        instance: objects.Instance,
        image_meta: objects.ImageMeta,
        block_devices: builder.BlockDevices,
    ) -> None:
        """Give a machine its root disk and the empty ones."""
        if not _boots_from_volume(block_devices):
            vdi = self._load(
                context,
                instance,
                image_meta,
                disks.ROOT,
                instance.flavor.root_gb * disks.GIB,
            )
            self._disks.attach(
                vm, vdi, disks.DEVICES[disks.ROOT], bootable=True
            )
        given = driver.block_device_info_get_ephemerals(block_devices or {})
        first = int(disks.DEVICES[disks.EPHEMERAL])
        for number, each in enumerate(given):
            size = each['size'] * disks.GIB
            self._add(vm, instance, disks.EPHEMERAL, size, str(first + number))
        swap = driver.block_device_info_get_swap(block_devices or {})
        if driver.swap_is_usable(swap):
            size = swap['swap_size'] * disks.MIB
            device = disks.DEVICES[disks.SWAP]
            self._add(vm, instance, disks.SWAP, size, device)

    def _add(
        self,
        vm: str,
        instance: objects.Instance,
        purpose: str,
        size: int,
        device: str,
    ) -> None:
        vdi = self._disks.create(instance.uuid, purpose, size, instance.name)
        self._disks.attach(vm, vdi, device)

    def destroy(
        self,
        context: nova_context.RequestContext,
        instance: objects.Instance,
        network_info: ty.Any,
        block_device_info: builder.BlockDevices = None,
        destroy_disks: bool = True,
        destroy_secrets: bool = True,
    ) -> None:
        machine = self._machines.find(instance.uuid)
        if machine is not None:
            self._machines.stop(machine.ref)
        self.cleanup(
            context, instance, network_info, block_device_info, destroy_disks
        )

    def cleanup(
        self,
        context: nova_context.RequestContext,
        instance: objects.Instance,
        network_info: ty.Any,
        block_device_info: builder.BlockDevices = None,
        destroy_disks: bool = True,
        migrate_data: ty.Any = None,
        destroy_vifs: bool = True,
        destroy_secrets: bool = True,
    ) -> None:
        if destroy_disks:
            self._builder.remove(instance.uuid, block_device_info)

    # Moves

    def migrate_disk_and_power_off(
        self,
        context: nova_context.RequestContext,
        instance: objects.Instance,
        dest: str,
        flavor: objects.Flavor,
        network_info: ty.Any,
        block_device_info: builder.BlockDevices = None,
        timeout: int = 0,
        retry_interval: int = 0,
    ) -> str:
        self._moves.check(instance, dest, flavor, block_device_info)
        machine = self._machines.get(instance.uuid)
        if machine.state != machines.HALTED:
            self._machines.shut_down(machine, timeout)
        return self._moves.leave(machine, block_device_info)

    def finish_migration(
        self,
        context: nova_context.RequestContext,
        migration: objects.Migration,
        instance: objects.Instance,
        disk_info: str,
        network_info: ty.Any,
        image_meta: objects.ImageMeta,
        resize_instance: bool,
        allocations: ty.Any,
        block_device_info: builder.BlockDevices = None,
        power_on: bool = True,
        share_info: ty.Any = None,
    ) -> None:
        fill = self._moves.fill(instance, disk_info, resize_instance)
        order = builder.Order(
            context,
            instance,
            image_meta,
            network_info,
            block_device_info,
            power_on,
        )
        self._build(order, fill)

    def confirm_migration(
        self,
        context: nova_context.RequestContext,
        migration: objects.Migration,
        instance: objects.Instance,
        network_info: ty.Any,
    ) -> None:
        self._builder.remove_left(instance.uuid)

    def finish_revert_migration(
        self,
        context: nova_context.RequestContext,
        instance: objects.Instance,
        network_info: ty.Any,
        migration: objects.Migration,
        block_device_info: builder.BlockDevices = None,
        power_on: bool = True,
        share_info: ty.Any = None,
    ) -> None:
        # Those that are not marked, too: the process may have ended before.
        for machine in self._machines.of(instance.uuid):
            self._moves.come_back(machine, block_device_info)
        if power_on:
            self.power_on(context, instance, network_info, block_device_info)

    def check_can_live_migrate_destination(
        self,
        context: nova_context.RequestContext,
        instance: objects.Instance,
        src_compute_info: ty.Any,
        dst_compute_info: ty.Any,
        block_migration: bool = False,
        disk_over_commit: bool = False,
    ) -> ty.Any:
        raise nova_exception.MigrationPreCheckError(
            reason='the XAPI driver does not migrate live; migrate the '
            'server cold'
        )

    # Disks, networks, the rest

    def snapshot(
        self,
        context: nova_context.RequestContext,
        instance: objects.Instance,
        image_id: str,
        update_task_state: ty.Any,
    ) -> None:
        machine = self._machines.get(instance.uuid)
        roots = [
            disk
            for disk in self._disks.of(machine.ref)
            if disk.purpose == disks.ROOT
        ]
        if not roots:
            raise nova_exception.DiskNotFound(location='root')
        update_task_state(task_state=task_states.IMAGE_PENDING_UPLOAD)
        taken = self._xapi.call('Async.VDI.snapshot', roots[0].vdi)
        try:
            update_task_state(
                task_state=task_states.IMAGE_UPLOADING,
                expected_state=task_states.IMAGE_PENDING_UPLOAD,
            )
            images.save(context, self._xapi, taken, image_id)
        finally:
            self._disks.discard(taken)

    def attach_volume(
        self,
        context: nova_context.RequestContext,
        connection_info: ty.Any,
        instance: objects.Instance,
        mountpoint: str,
        disk_bus: ty.Any = None,
        device_type: ty.Any = None,
        encryption: ty.Any = None,
    ) -> None:
        machine = self._machines.get(instance.uuid)
        self._volumes.attach(
            machine.ref, connection_info, mountpoint, machine.is_up
        )

    def detach_volume(
        self,
        context: nova_context.RequestContext,
        connection_info: ty.Any,
        instance: objects.Instance,
        mountpoint: str,
        encryption: ty.Any = None,
    ) -> None:
        machine = self._machines.find(instance.uuid)
        self._volumes.detach(
            None if machine is None else machine.ref, connection_info
        )

    def attach_interface(
        self,
        context: nova_context.RequestContext,
        instance: objects.Instance,
        image_meta: objects.ImageMeta,
        vif: ty.Any,
    ) -> None:
        machine = self._machines.get(instance.uuid)
        self._vifs.attach(
            context, machine.ref, vif, machine.state == machines.RUNNING
        )

    def detach_interface(
        self,
        context: nova_context.RequestContext,
        instance: objects.Instance,
        vif: ty.Any,
    ) -> None:
        machine = self._machines.get(instance.uuid)
        self._vifs.detach(machine.ref, vif)

    def plug_vifs(
        self, instance: objects.Instance, network_info: ty.Any
    ) -> None:
        """XAPI plugs an interface when the machine starts."""

    def unplug_vifs(
        self, instance: objects.Instance, network_info: ty.Any
    ) -> None:
        """An interface goes with its machine."""

    def get_vnc_console(
        self, context: nova_context.RequestContext, instance: objects.Instance
    ) -> ty.Any:
        # A proxy would have to be given a session that may do anything.
        raise nova_exception.ConsoleTypeUnavailable(console_type='novnc')


def _boots_from_volume(block_devices: builder.BlockDevices) -> bool:
    root = (block_devices or {}).get('root_device_name')
    return any(
        each['mount_device'] == root or each.get('boot_index') == 0
        for each in builder.mapping(block_devices)
    )
