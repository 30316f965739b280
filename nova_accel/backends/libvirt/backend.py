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
"""The port, for libvirt: puts the parts together and guards their use."""

import collections.abc
import contextlib
import time
import typing as ty

from nova_accel.backends import base
from nova_accel.backends.libvirt import discovery
from nova_accel.backends.libvirt import guest
from nova_accel.backends.libvirt import mdev
from nova_accel.backends.libvirt import render
from nova_accel.backends.libvirt import sysfs
from nova_accel.core import device
from nova_accel.core import upkeep
from nova_accel import exception

RESYNC_INTERVAL = 600.0


def _itself(thing: ty.Any) -> ty.Any:
    return thing


class LibvirtBackend(base.Backend):
    """Devices of the host that a libvirt connection leads to.

    :param connect: returns an open connection, a new one after the old one
        has died. In nova-compute, ``driver._host.get_connection``.
    :param sysfs_root: where to look for what libvirt does not tell. None:
        ``/sys`` if libvirt runs on this machine, else nowhere.
    :param resync_interval: seconds between two readings of everything, the
        safety net under libvirt's events.
    :param clock: monotonic seconds.
    :param wrap: applied to libvirt objects that come in lists. In
        nova-compute, ``driver._host._wrap_libvirt_proxy``.
    :param privileged: reads what only root may; None: nobody does.
    """

    def __init__(
        self,
        connect: collections.abc.Callable[[], ty.Any],
        *,
        sysfs_root: str | None = None,
        resync_interval: float = RESYNC_INTERVAL,
        clock: collections.abc.Callable[[], float] = time.monotonic,
        wrap: collections.abc.Callable[[ty.Any], ty.Any] = _itself,
        privileged: sysfs.Privileged | None = None,
    ) -> None:
        self._found = discovery.Discovery(
            connect, sysfs_root, resync_interval, clock, wrap, privileged
        )
        self._mdevs = mdev.Mdevs(self._found)

    def discover(self, full: bool = False) -> device.HostView:
        """See ``Backend.discover``.

        :raises BackendUnavailable: libvirt does not answer.
        """
        return self._found.refresh(full)

    def guests(self) -> tuple[device.Guest, ...]:
        """See ``Backend.guests``."""
        return tuple(
            guest.parse(*found) for found in self._found.line().guests()
        )

    def prepare(self, assignment: base.Assignment) -> None:
        """Create the mediated device; of a PCI function, check it is there.

        :raises DeviceUnavailable: the device is gone, is another one than
            was claimed, or libvirt refuses.
        """
        with _refusing(assignment):
            self._found.catch_up()
            self._recognise(assignment.function)
            if assignment.mdev_uuid is not None:
                self._mdevs.create(assignment)

    def render(self, assignment: base.Assignment) -> object:
        """Return nova's ``LibvirtConfigGuestHostdev`` of the device."""
        return render.render(assignment)

    def release(self, assignment: base.Assignment) -> None:
        """Destroy the mediated device; a PCI function needs nothing."""
        if assignment.mdev_uuid is not None:
            with _refusing(assignment):
                self._found.catch_up()
                self._mdevs.destroy(assignment)

    def reset(self, assignment: base.Assignment) -> None:
        """Reset a PCI function: by FLR, if it has one. Two round trips.

        libvirt refuses a device that a guest has.
        """
        with _refusing(assignment):
            self._found.catch_up()
            self._recognise(assignment.function)
            self._found.line().reset(assignment.function.name)

    def readings(
        self, devices: collections.abc.Iterable[device.Device]
    ) -> dict[str, upkeep.Reading]:
        """See ``Backend.readings``. From sysfs, without a round trip."""
        files = self._found.files()
        if not files:
            return {}
        return {
            dev.name: files.reading(dev.address)
            for dev in devices
            if isinstance(dev.address, device.PciAddress)
        }

    def _recognise(self, claimed: device.Device) -> None:
        present = self._found.by_name(claimed.name)
        if present is None:
            raise exception.DeviceRefused(
                device=claimed.ids[0],
                reason=f'there is no {claimed.name} on this host now',
            )
        for attribute in _WHO:
            was, now = (getattr(d, attribute) for d in (claimed, present))
            if was != now and not {was, now} & {'', None}:
                raise exception.DeviceRefused(
                    device=claimed.ids[0],
                    reason=(
                        f'another device is at {claimed.address} now: its '
                        f'{attribute} is {now}, not {was}'
                    ),
                )


@contextlib.contextmanager
def _refusing(
    assignment: base.Assignment,
) -> collections.abc.Iterator[None]:
    """Report a libvirt that does not answer as a device one cannot have."""
    try:
        yield
    except exception.BackendUnavailable as error:
        raise exception.DeviceRefused(
            device=assignment.function.ids[0], reason=error
        ) from error


# What makes a device the same one, wherever both sides know it.
_WHO = (
    'vendor_id',
    'product_id',
    'subsystem_vendor_id',
    'subsystem_product_id',
    'serial',
    'vf_index',
)
