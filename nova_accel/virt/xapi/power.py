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
"""Switching servers on and off, and rescuing them."""

import contextlib
import typing as ty

from nova import context as nova_context
from nova import exception as nova_exception
from nova import objects
from oslo_log import log as logging

from nova_accel import exception
from nova_accel.virt.xapi import base
from nova_accel.virt.xapi import builder
from nova_accel.virt.xapi import disks
from nova_accel.virt.xapi import images
from nova_accel.virt.xapi import machines

LOG = logging.getLogger(__name__)


class Power(base.Base):
    """What does not change what a server consists of."""

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
                'or USB device or a vGPU of a type that cannot be saved, or '
                'its guest has no drivers for Xen'
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
