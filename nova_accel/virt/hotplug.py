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
import typing as ty

from nova.virt.libvirt import config as vconfig
from nova.virt.libvirt import guest as libvirt_guest

from nova_accel.backends.libvirt import guest as guest_xml
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


def insert(guest: libvirt_guest.Guest, configs: Hostdevs) -> None:
    """Give a guest devices for good: live, too, if it runs. Idempotent.

    :raises libvirtError: it does not get one. What it has got it keeps.
    """
    running = guest.is_active()
    defined = _names(guest, defined=True)
    live = _names(guest) if running else defined
    for config in configs:
        to_define = _name(config) not in defined
        to_plug = running and _name(config) not in live
        if to_define or to_plug:
            guest.attach_device(config, persistent=to_define, live=to_plug)


def withdraw(guest: libvirt_guest.Guest, configs: Hostdevs) -> None:
    """Take devices out of a guest's definition, and ask it to let go.

    When it does, if ever, is its own affair. Idempotent.

    :raises libvirtError: it cannot be asked.
    """
    defined = _names(guest, defined=True)
    for config in configs:
        if _name(config) in defined:
            guest.detach_device(config, persistent=True)
    asked = inside(guest, configs)
    for config in configs:
        if _name(config) in asked:
            _ask(guest, config)


def _ask(
    guest: libvirt_guest.Guest, config: vconfig.LibvirtConfigGuestHostdev
) -> None:
    try:
        guest.detach_device(config, live=True)
    except Exception as error:
        if not _is_under_way(error):
            raise


def _is_under_way(error: ty.Any) -> bool:
    """Tell that a guest has been asked before, or has just let go."""
    said = str(error)
    return hasattr(error, 'get_error_code') and any(
        text in said
        for text in ('not found', 'in the process of unplug', 'unplug is in')
    )


def inside(guest: libvirt_guest.Guest, configs: Hostdevs) -> frozenset[str]:
    """Return what a guest that runs has of some devices, by name.

    :raises libvirtError: libvirt does not tell.
    """
    if not guest.is_active():
        return frozenset()
    return _names(guest).intersection(map(_name, configs))


def _names(
    guest: libvirt_guest.Guest, defined: bool = False
) -> frozenset[str]:
    """Name the host devices of a guest, by uuid or by address.

    Nova's own way of asking takes an error for a guest without devices.

    :param defined: those it will be started with.
    """
    xml = guest.get_xml_desc(dump_inactive=defined)
    return guest_xml.parse('', True, xml).devices


def _name(config: vconfig.LibvirtConfigGuestHostdev) -> str:
    return str(_which(config)[-1])


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
