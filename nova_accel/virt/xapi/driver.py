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

import contextlib
import datetime
import typing as ty

from nova.compute import power_state
from nova.compute import task_states
import nova.conf
from nova import context as nova_context
from nova import exception as nova_exception
from nova import objects
from nova.virt import configdrive as nova_configdrive
from nova.virt import driver
from nova.virt import hardware
from nova.virt import node
from oslo_log import log as logging

from nova_accel.backends import xapi
from nova_accel.conf import accel as accel_conf
from nova_accel.conf import xapi as xapi_conf
from nova_accel import exception
from nova_accel.virt.xapi import builder
from nova_accel.virt.xapi import configdrive
from nova_accel.virt.xapi import devices
from nova_accel.virt.xapi import disks
from nova_accel.virt.xapi import hostinfo
from nova_accel.virt.xapi import images
from nova_accel.virt.xapi import machines
from nova_accel.virt.xapi import moves
from nova_accel.virt.xapi import rescue
from nova_accel.virt.xapi import vifs
from nova_accel.virt.xapi import volumes

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)

accel_conf.register_opts(CONF)
xapi_conf.register_opts(CONF)

_STATES = {
    machines.HALTED: power_state.SHUTDOWN,
    machines.PAUSED: power_state.PAUSED,
    machines.RUNNING: power_state.RUNNING,
    machines.SUSPENDED: power_state.SUSPENDED,
}


def settings() -> xapi.Settings:
    """Return how to reach XAPI, from the configuration."""
    options = CONF.accel_xapi
    if not options.connection_url:
        raise exception.XapiUnavailable(
            reason='[accel_xapi]connection_url is not set'
        )
    return xapi.Settings(
        url=options.connection_url,
        username=options.connection_username,
        password=options.connection_password,
        ca_file=options.ca_file,
        insecure=options.insecure,
        timeout=options.request_timeout,
        task_timeout=options.task_timeout,
        patience=options.failover_timeout,
        sessions=options.sessions,
    )


class XapiDriver(driver.ComputeDriver):  # type: ignore[misc]
    """Everything but devices."""

    capabilities: ty.ClassVar[dict[str, bool]] = {
        **driver.ComputeDriver.capabilities,
        'supports_attach_interface': True,
        'supports_image_type_raw': True,
        'supports_image_type_vhd': True,
        'supports_migrate_to_same_host': True,
    }

    def __init__(self, virtapi: ty.Any, read_only: bool = False) -> None:
        super().__init__(virtapi)
        options = CONF.accel_xapi
        self._xapi = xapi.Session(settings())
        self._backend = xapi.XapiBackend(
            self._xapi, options.host, CONF.accel.resync_interval
        )
        self._machines = machines.Machines(self._xapi, self._backend)
        self._disks = disks.Disks(self._xapi, self._backend, options.sr)
        self._vifs = vifs.Vifs(self._xapi, options.network_map)
        self._volumes = volumes.Volumes(
            self._xapi, self._machines, self._disks
        )
        self._devices = devices.Devices(self._xapi, self._backend)
        self._builder = builder.Builder(
            self._machines,
            self._disks,
            self._vifs,
            self._volumes,
            self._devices,
        )
        self._moves = moves.Moves(self._xapi, self._backend, self._builder)
        self._rescue = rescue.Rescue(self._builder)
        self._info = hostinfo.HostInfo(self._xapi, self._backend, self._disks)
        self._node_uuid = ''

    def plans(self, instance: objects.Instance) -> devices.Plans:
        """Return what a server's claims are rendered to."""
        return ()

    # The host

    def init_host(self, host: str) -> None:
        self._node_uuid = node.get_local_node_uuid()
        LOG.info(
            'XAPI host %s (%s), pool master %s',
            self._info.name,
            self._backend.host_uuid,
            self._xapi.master,
        )
        self._info.read()

    def cleanup_host(self, host: str) -> None:
        self._xapi.close()

    def get_available_nodes(self, refresh: bool = False) -> list[str]:
        return [self._info.name]

    def get_nodenames_by_uuid(self, refresh: bool = False) -> dict[str, str]:
        return {self._node_uuid: self._info.name}

    def get_available_resource(self, nodename: str) -> dict[str, ty.Any]:
        return {**self._info.read(), 'uuid': self._node_uuid}

    def update_provider_tree(
        self,
        provider_tree: ty.Any,
        nodename: str,
        allocations: ty.Any = None,
    ) -> None:
        before = provider_tree.data(nodename).inventory
        ratios = self._get_allocation_ratios(before)
        reserved = {
            'VCPU': CONF.reserved_host_cpus,
            'MEMORY_MB': CONF.reserved_host_memory_mb,
            'DISK_GB': self._get_reserved_host_disk_gb_from_config(),
        }
        totals = {
            'VCPU': self._info.last['vcpus'],
            'MEMORY_MB': self._info.last['memory_mb'],
            'DISK_GB': self._info.last['local_gb'],
        }
        provider_tree.update_inventory(
            nodename,
            {
                rc: {
                    'total': total,
                    'min_unit': 1,
                    'max_unit': total,
                    'step_size': 1,
                    'allocation_ratio': ratios[rc],
                    'reserved': min(reserved[rc], total),
                }
                for rc, total in totals.items()
                if total > 0
            },
        )

    def get_host_ip_addr(self) -> str:
        # The other end of a move goes by it: both are of one pool.
        return str(self._info.record['address'])

    def get_host_uptime(self) -> str:
        boot = float(self._info.record['other_config'].get('boot_time', 0))
        now = datetime.datetime.now(datetime.UTC).timestamp()
        return f'up {datetime.timedelta(seconds=int(now - boot))}'

    def get_volume_connector(self, instance: ty.Any) -> dict[str, ty.Any]:
        return {
            'ip': self._info.record['address'],
            'initiator': self._info.record['iscsi_iqn'],
            'host': CONF.host,
        }

    # Servers as they are

    def list_instances(self) -> list[str]:
        return [
            machine.record['name_label']
            for _server, machine in self._machines.all()
        ]

    def list_instance_uuids(self) -> list[str]:
        return sorted({server for server, _ in self._machines.all()})

    def instance_exists(self, instance: objects.Instance) -> bool:
        return self._machines.find(instance.uuid) is not None

    def get_info(
        self, instance: objects.Instance, use_cache: bool = True
    ) -> hardware.InstanceInfo:
        machine = self._machines.get(instance.uuid)
        return hardware.InstanceInfo(
            _STATES.get(machine.state, power_state.NOSTATE)
        )

    def get_instance_diagnostics(
        self, instance: objects.Instance
    ) -> objects.Diagnostics:
        machine = self._machines.get(instance.uuid)
        record = self._machines.record(machine)
        state = _STATES.get(machine.state, power_state.NOSTATE)
        found = objects.Diagnostics(
            state=power_state.STATE_MAP[state],
            driver='xenapi',
            hypervisor='xen',
            hypervisor_os='linux',
            config_drive=nova_configdrive.required_by(instance),
        )
        found.memory_details = objects.MemoryDiagnostics(
            maximum=int(record['memory_static_max']) >> 20
        )
        for cpu in range(int(record['VCPUs_max'])):
            found.add_cpu(id=cpu)
        for vif in record['VIFs']:
            found.add_nic(mac_address=self._xapi.call('VIF.get_MAC', vif))
        for _disk in self._disks.of(machine.ref):
            found.add_disk()
        return found

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

        with self._rescheduled():
            self._builder.build(
                builder.Order(
                    context,
                    instance,
                    image_meta,
                    network_info,
                    block_device_info,
                    self.plans(instance),
                    power_on,
                ),
                fill,
            )

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

    def _load(
        self,
        context: nova_context.RequestContext,
        instance: objects.Instance,
        image_meta: objects.ImageMeta,
        purpose: str,
        room: int,
    ) -> str:
        return images.load(
            context,
            self._xapi,
            self._disks,
            instance,
            image_meta,
            purpose,
            room,
        )

    @contextlib.contextmanager
    def _rescheduled(self) -> ty.Iterator[None]:
        """Say what nova reschedules for, where this host has no room."""
        try:
            yield
        except exception.XapiNoRoom as error:
            reason = self._devices.explain(error)
        except exception.DeviceUnavailable as error:
            reason = str(error)
        else:
            return
        raise nova_exception.ComputeResourcesUnavailable(reason=reason)

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

    # Power

    def _start(
        self, instance: objects.Instance, machine: machines.Machine
    ) -> None:
        """Start a machine that is halted, with all that it holds."""
        try:
            wanted = self.plans(instance)
            self._devices.ensure(machine, instance.uuid, wanted)
            self._devices.check(machine.ref, instance.uuid, wanted)
            self._machines.start(machine.ref)
        except exception.XapiNoRoom as error:
            reason = self._devices.explain(error)
        except exception.DeviceUnavailable as error:
            reason = str(error)
        else:
            return
        raise nova_exception.InstancePowerOnFailure(reason=reason)

    def power_on(
        self,
        context: nova_context.RequestContext,
        instance: objects.Instance,
        network_info: ty.Any,
        block_device_info: builder.BlockDevices = None,
        accel_info: ty.Any = None,
        share_info: ty.Any = None,
    ) -> None:
        machine = self._machines.get(instance.uuid)
        if machine.state == machines.HALTED:
            self._start(instance, machine)

    def power_off(
        self,
        instance: objects.Instance,
        timeout: int = 0,
        retry_interval: int = 0,
    ) -> None:
        machine = self._machines.get(instance.uuid)
        if machine.state != machines.HALTED:
            self._machines.shut_down(machine, timeout)

    def reboot(
        self,
        context: nova_context.RequestContext,
        instance: objects.Instance,
        network_info: ty.Any,
        reboot_type: str,
        block_device_info: builder.BlockDevices = None,
        bad_volumes_callback: ty.Any = None,
        accel_info: ty.Any = None,
        share_info: ty.Any = None,
    ) -> None:
        machine = self._machines.get(instance.uuid)
        if (
            reboot_type == 'SOFT'
            and machine.state == machines.RUNNING
            and self._machines.may(machine, 'clean_reboot')
        ):
            with contextlib.suppress(exception.XapiFailure):
                self._xapi.call('Async.VM.clean_reboot', machine.ref)
                return
            LOG.info('Server %s does not reboot by itself', instance.uuid)
        # Not hard_reboot: what the server holds is given to it anew.
        self._machines.stop(machine.ref)
        self._start(instance, self._machines.get(instance.uuid))

    def resume_state_on_host_boot(
        self,
        context: nova_context.RequestContext,
        instance: objects.Instance,
        network_info: ty.Any,
        share_info: ty.Any,
        block_device_info: builder.BlockDevices = None,
    ) -> None:
        self.power_on(context, instance, network_info, block_device_info)

    def pause(self, instance: objects.Instance) -> None:
        ref = self._machines.get(instance.uuid).ref
        self._xapi.call('Async.VM.pause', ref)

    def unpause(self, instance: objects.Instance) -> None:
        ref = self._machines.get(instance.uuid).ref
        self._xapi.call('Async.VM.unpause', ref)

    def suspend(
        self, context: nova_context.RequestContext, instance: objects.Instance
    ) -> None:
        machine = self._machines.get(instance.uuid)
        if not self._machines.may(machine, 'suspend'):
            error = nova_exception.InstanceSuspendFailure(
                reason='XAPI does not suspend this machine: it has a PCI '
                'device or a vGPU of a type that cannot be saved, or its '
                'guest has no drivers for Xen'
            )
            raise nova_exception.InstanceFaultRollback(error)
        self._xapi.call('Async.VM.suspend', machine.ref)

    def resume(
        self,
        context: nova_context.RequestContext,
        instance: objects.Instance,
        network_info: ty.Any,
        block_device_info: builder.BlockDevices = None,
        share_info: ty.Any = None,
    ) -> None:
        machine = self._machines.get(instance.uuid)
        host = self._machines.host
        self._xapi.call('Async.VM.resume_on', machine.ref, host, False, False)

    # Rescue

    def rescue(
        self,
        context: nova_context.RequestContext,
        instance: objects.Instance,
        network_info: ty.Any,
        image_meta: objects.ImageMeta,
        rescue_password: str,
        block_device_info: builder.BlockDevices,
        share_info: ty.Any,
    ) -> None:
        images.form_of(image_meta)
        machine = self._machines.get(instance.uuid)
        self._machines.stop(machine.ref)
        self._rescue.set_aside(machine, instance.uuid)
        try:
            vdi = self._load(context, instance, image_meta, disks.RESCUE, 0)
            self._disks.attach(
                machine.ref, vdi, disks.DEVICES[disks.RESCUE], bootable=True
            )
            self._start(instance, self._machines.get(instance.uuid))
        except Exception:
            self._rescue.put_back(machine, instance.uuid)
            raise

    def unrescue(
        self, context: nova_context.RequestContext, instance: objects.Instance
    ) -> None:
        machine = self._machines.get(instance.uuid)
        self._machines.stop(machine.ref)
        self._rescue.put_back(machine, instance.uuid)
        self._start(instance, self._machines.get(instance.uuid))

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
        with self._rescheduled():
            self._builder.build(
                builder.Order(
                    context,
                    instance,
                    image_meta,
                    network_info,
                    block_device_info,
                    self.plans(instance),
                    power_on,
                ),
                self._moves.fill(instance, disk_info, resize_instance),
            )

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
        for machine in self._machines.of(instance.uuid):
            if machine.is_left:
                self._moves.come_back(machine, block_device_info)
        if power_on:
            self._start(instance, self._machines.get(instance.uuid))

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
