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
"""The compute drivers: nova's own, with the mixin in front."""

import collections.abc
import importlib
import typing as ty

from nova import context as nova_context
from nova import exception as nova_exception
from nova import objects
from nova.virt.libvirt import config as vconfig
from nova.virt.libvirt import driver as libvirt_driver
from nova.virt.libvirt import event as libvirt_event
from nova.virt.libvirt import guest as libvirt_guest
from oslo_log import log as logging

from nova_accel.backends import base
from nova_accel.backends.libvirt import backend as libvirt_backend
from nova_accel.core import inventory
from nova_accel import exception
from nova_accel.virt import healing
from nova_accel.virt import host as accel_host
from nova_accel.virt import hotplug
from nova_accel.virt import live_migration
from nova_accel.virt import mixin
from nova_accel.virt import privileged
from nova_accel.virt import stock
from nova_accel.virt import takeover
from nova_accel.virt.xapi import accel as xapi_accel

# The last finds the drivers of _ELSEWHERE for nova.virt.accel, too.
__all__ = ['LibvirtAccelDriver', 'XenAPIAccelDriver', '__getattr__']

# Loaded only where ``compute_driver`` names them.
_ELSEWHERE = {
    'BrokenDriver': 'nova_accel.testing.broken',
    'BrokenXenAPIDriver': 'nova_accel.testing.broken',
    'SilentDriver': 'nova_accel.testing.broken',
}

LOG = logging.getLogger(__name__)

XenAPIAccelDriver = xapi_accel.XenAPIAccelDriver
Allocations = collections.abc.Mapping[str, ty.Any]
_T = ty.TypeVar('_T')


def __getattr__(name: str) -> ty.Any:
    if name not in _ELSEWHERE:
        raise AttributeError(f'module {__name__!r} has no driver {name!r}')
    return getattr(importlib.import_module(_ELSEWHERE[name]), name)


def _libvirt() -> ty.Any:
    # What nova has imported, when it could, and what its tests replace.
    return libvirt_driver.libvirt


class LibvirtAccelDriver(
    live_migration.LiveMigrationMixin,
    libvirt_driver.LibvirtDriver,  # type: ignore[misc]
):
    """``compute_driver = accel.LibvirtAccelDriver``"""

    accel_hotplug = True

    def __init__(self, *args: ty.Any, **kwargs: ty.Any) -> None:
        super().__init__(*args, **kwargs)
        accel_host.adopt(self._host)
        self._takeover = takeover.Takeover(self.accel, self.virtapi)

    def accel_backend(self) -> base.Backend:
        # Nova reconnects on its own: ask for the connection each time.
        return libvirt_backend.LibvirtBackend(
            lambda: self._host.get_connection(),
            resync_interval=mixin.CONF.accel.resync_interval,
            wrap=lambda handle: self._host._wrap_libvirt_proxy(handle),
            privileged=privileged.config_spaces,
        )

    def accel_node(self) -> inventory.Node:
        return inventory.Node(
            self._host.get_hostname(),
            self._host.get_node_uuid(),
            self.accel_hotplug,
        )

    def accel_elsewhere(self) -> inventory.Elsewhere:
        return stock.elsewhere(
            mixin.CONF.pci.device_spec, self._get_vgpu_type_per_pgpu
        )

    def accel_check(self, offer: inventory.Offer) -> None:
        stock.check(offer, self.accel_elsewhere())

    def init_host(self, host: str) -> None:
        super().init_host(host)
        self.accel_check(self.accel.now.offer)
        if self.accel.idle:
            return
        context = nova_context.get_admin_context()
        node = self.accel.now.node
        stock.check_held(
            self.accel.now.offer, takeover.pci_devices(context, node)
        )
        # Before nova resumes guests.
        healing.heal(context, host, self.accel, self._host, starting=True)
        self.accel.followed(self.accel.places)
        self._takeover.begin(
            context,
            host,
            lambda each: frozenset(
                self._get_all_assigned_mediated_devices(each)
            ),
        )

    def accel_heal(self, context: nova_context.RequestContext) -> bool:
        return healing.heal(
            context, self.virtapi._compute.host, self.accel, self._host
        )

    def accel_claims(
        self, instance: objects.Instance
    ) -> frozenset[inventory.Claim]:
        return super().accel_claims(instance) | self._takeover.pending(
            instance.uuid
        )

    def accel_started(self, context: nova_context.RequestContext) -> None:
        self._takeover.finish(context)

    def _check_claims(
        self, instance: objects.Instance, allocations: Allocations | None
    ) -> None:
        self._takeover.refuse(allocations or {})
        super()._check_claims(instance, allocations)

    def update_provider_tree(
        self,
        provider_tree: ty.Any,
        nodename: str,
        allocations: ty.Any = None,
    ) -> None:
        # Runs under the lock that all claims of the node share.
        with self._host.recalling():
            super().update_provider_tree(
                provider_tree, nodename, allocations=allocations
            )
        if self.node_is_available(nodename):
            self._takeover.update(
                provider_tree, self.accel.now.node, allocations
            )

    def _get_pci_passthrough_devices(self) -> str:
        if self.accel.idle or mixin.CONF.pci.device_spec:
            return ty.cast(str, super()._get_pci_passthrough_devices())
        # Nova's tracker drops what no device_spec names; to read it first
        # takes several calls for each PCI function of the host.
        return '[]'

    def _allocate_mdevs(self, allocations: Allocations | None) -> ty.Any:
        # Stock would read the parent device out of our providers' names.
        theirs = {
            provider: allocation
            for provider, allocation in (allocations or {}).items()
            if provider not in self.accel
        }
        return super()._allocate_mdevs(theirs)

    def _create_guest(
        self,
        context: nova_context.RequestContext,
        xml: str,
        instance: objects.Instance,
        *args: ty.Any,
        **kwargs: ty.Any,
    ) -> ty.Any:
        # All that start a guest come by here.
        try:
            return super()._create_guest(
                context, xml, instance, *args, **kwargs
            )
        except _libvirt().libvirtError as e:
            self.accel_blame(context, instance, str(e))
            raise

    def suspend(
        self, context: nova_context.RequestContext, instance: objects.Instance
    ) -> None:
        """Save a guest, which must have no host device then.

        Stock detaches mediated devices, and functions of its own.
        """
        claims = self.accel_claims(instance)
        if not claims:
            super().suspend(context, instance)
            return
        guest = self._host.get_guest(instance)
        configs = self.accel.configs(instance.uuid, claims)
        try:
            self._unplug(guest, hotplug.pci(configs), instance)
            super().suspend(context, instance)
        except Exception:
            self._replug(guest, configs, instance)
            raise

    def _unplug(
        self,
        guest: libvirt_guest.Guest,
        configs: hotplug.Hostdevs,
        instance: objects.Instance,
    ) -> None:
        try:
            hotplug.unplug(guest, configs, instance.uuid)
        except (exception.DeviceUnavailable, _libvirt().libvirtError) as e:
            reason = nova_exception.InstanceSuspendFailure(reason=str(e))
            raise nova_exception.InstanceFaultRollback(reason) from e

    def _replug(
        self,
        guest: libvirt_guest.Guest,
        configs: hotplug.Hostdevs,
        instance: objects.Instance,
    ) -> None:
        """Give a guest back what it had, if it still runs."""
        try:
            if guest.is_active():
                hotplug.plug(guest, configs)
        except _libvirt().libvirtError as e:
            LOG.warning(
                'Server %s did not get its devices back: %s', instance.uuid, e
            )

    def resume(
        self,
        context: nova_context.RequestContext,
        instance: objects.Instance,
        *args: ty.Any,
        **kwargs: ty.Any,
    ) -> None:
        # The host may have been rebooted since.
        configs = self.accel.attach(instance.uuid, self.accel_wanted(instance))
        super().resume(context, instance, *args, **kwargs)
        if configs:
            hotplug.plug(self._host.get_guest(instance), configs)

    def _resume_guest_after_snapshot(
        self,
        context: nova_context.RequestContext,
        live_snapshot: bool,
        original_power_state: int,
        instance: objects.Instance,
        guest: libvirt_guest.Guest,
    ) -> None:
        # A snapshot of a running guest that is not a live one suspends it;
        # stock forgets about its mediated devices then.
        super()._resume_guest_after_snapshot(
            context, live_snapshot, original_power_state, instance, guest
        )
        claims = self.accel_wanted(instance)
        if claims and not live_snapshot and guest.is_active():
            hotplug.plug(guest, self.accel.attach(instance.uuid, claims))

    # Attach and detach

    def accel_insert(
        self, instance: objects.Instance, claims: frozenset[inventory.Claim]
    ) -> None:
        try:
            configs = self.accel.attach(instance.uuid, claims)
            self._of_guest(
                instance, lambda guest: hotplug.insert(guest, configs)
            )
        except (exception.DeviceUnavailable, exception.GuestRefused) as e:
            self.accel.blame(instance.uuid, claims, str(e))
            self.accel_caretaker.tell(nova_context.get_admin_context())
            raise

    def accel_withdraw(
        self, instance: objects.Instance, claims: frozenset[inventory.Claim]
    ) -> None:
        configs = self.accel.configs(instance.uuid, claims)
        self._of_guest(
            instance, lambda guest: hotplug.withdraw(guest, configs)
        )

    def accel_inside(
        self, instance: objects.Instance, claims: frozenset[inventory.Claim]
    ) -> bool:
        configs = self.accel.configs(instance.uuid, claims)
        return bool(
            self._of_guest(
                instance, lambda guest: hotplug.inside(guest, configs)
            )
        )

    def _of_guest(
        self,
        instance: objects.Instance,
        do: collections.abc.Callable[[libvirt_guest.Guest], _T],
    ) -> _T | None:
        """Do something with the guest of a server, if there is one.

        :raises GuestRefused: libvirt does not do it, or does not answer.
        """
        try:
            return do(self._host.get_guest(instance))
        except nova_exception.InstanceNotFound:
            # It is off, and is made anew when it is started.
            return None
        except (
            _libvirt().libvirtError,
            nova_exception.HypervisorUnavailable,
            nova_exception.InternalError,
        ) as e:
            raise exception.GuestRefused(
                server=instance.uuid, reason=str(e)
            ) from e

    def emit_event(self, event: ty.Any) -> None:
        super().emit_event(event)
        if (
            isinstance(event, libvirt_event.DeviceRemovedEvent)
            and self.accel_desk is not None
        ):
            self.accel_desk.let_go(event.uuid)

    def _guest_add_pci_devices(
        self, guest: vconfig.LibvirtConfigGuest, instance: objects.Instance
    ) -> None:
        super()._guest_add_pci_devices(guest, instance)
        claims = self.accel_wanted(instance)
        for config in self.accel.attach(instance.uuid, claims):
            guest.add_device(config)

    def _guest_add_mdevs(
        self,
        guest: vconfig.LibvirtConfigGuest,
        chosen_mdevs: collections.abc.Iterable[str],
    ) -> None:
        # Stock finds ours in the old domain and would add them again.
        ours = {
            dev.uuid
            for dev in guest.devices
            if isinstance(dev, vconfig.LibvirtConfigGuestHostdevMDEV)
        }
        super()._guest_add_mdevs(
            guest,
            [
                mdev
                for mdev in chosen_mdevs
                if mdev not in ours and not self.accel.is_ours(mdev)
            ],
        )
