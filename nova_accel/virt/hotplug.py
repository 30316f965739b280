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
"""Plugs host devices into a running libvirt guest, and unplugs them.

Its persistent definition keeps them: from that it is started again.
"""

import collections.abc

from nova.virt.libvirt import config as vconfig
from nova.virt.libvirt import guest as libvirt_guest

from nova_accel import exception

Hostdevs = collections.abc.Collection[vconfig.LibvirtConfigGuestHostdev]
_Which = tuple[object, ...]


def pci(configs: collections.abc.Iterable[object]) -> Hostdevs:
    """Return those that are PCI functions."""
    return [
        config
        for config in configs
        if isinstance(config, vconfig.LibvirtConfigGuestHostdevPCI)
    ]


def plug(guest: libvirt_guest.Guest, configs: Hostdevs) -> None:
    """Attach the devices that a running guest lacks."""
    present = _present(guest)
    for config in configs:
        if _which(config) not in present:
            guest.attach_device(config, live=True)


def unplug(guest: libvirt_guest.Guest, configs: Hostdevs, server: str) -> None:
    """Detach the devices that a running guest has.

    :raises DeviceUnavailable: the guest does not let go of one.
    """
    present = _present(guest)
    for config in configs:
        if _which(config) in present:
            guest.detach_device(config, live=True)
    stuck = _present(guest).intersection(map(_which, configs))
    if stuck:
        raise exception.DeviceUnavailable(
            device=', '.join(str(which[-1]) for which in sorted(stuck)),
            server=server,
            reason='the guest has not let go of it',
        )


def _present(guest: libvirt_guest.Guest) -> set[_Which]:
    return {
        _which(dev)
        for dev in guest.get_all_devices(vconfig.LibvirtConfigGuestHostdev)
    }


def _which(dev: vconfig.LibvirtConfigGuestHostdev) -> _Which:
    """Tell a device by what stands for it on the host."""
    if isinstance(dev, vconfig.LibvirtConfigGuestHostdevMDEV):
        return ('mdev', dev.uuid)
    if not isinstance(dev, vconfig.LibvirtConfigGuestHostdevPCI):
        return (dev.type,)
    domain, bus, slot, function = (
        int(part, 16) for part in (dev.domain, dev.bus, dev.slot, dev.function)
    )
    return ('pci', f'{domain:04x}:{bus:02x}:{slot:02x}.{function:x}')
