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
"""Everything libvirt has told so far, and the view made of it.

No call to libvirt happens here. XML goes in, device by device; only what
changed is parsed, and only the devices it concerns are assembled again.
"""

import collections.abc
import dataclasses
import itertools
import logging

from nova_accel.backends.libvirt import assemble
from nova_accel.backends.libvirt import capacity
from nova_accel.backends.libvirt import facts
from nova_accel.backends.libvirt import nodedev
from nova_accel.backends.libvirt import sysfs
from nova_accel.core import device
from nova_accel import exception

LOG = logging.getLogger(__name__)

_NETWORK = '02'
_NVME = '0108'


class Cache:
    """The last view of one host, kept up to date. Not thread-safe.

    :param files: sysfs of the host that libvirt runs on.
    """

    def __init__(self, files: sysfs.Sysfs) -> None:
        self._files = files
        self._capacities = capacity.Capacities(files)
        self._facts = facts.Facts()
        self._xml: dict[str, str] = {}
        self._slots: dict[str, str] = {}
        self._serials: dict[device.PciAddress, str] = {}
        self._unsure: set[device.PciAddress] = set()
        self._drives: dict[device.PciAddress, str] = {}
        self._places: dict[str, assemble.Place] = {}
        self._devices: dict[str, device.Device] = {}
        self._view = device.HostView()

    @property
    def local(self) -> bool:
        """Whether sysfs of that host can be read."""
        return bool(self._files)

    @property
    def names(self) -> collections.abc.Set[str]:
        """Handles of all node devices that were taken in."""
        return self._xml.keys()

    def by_name(self, name: str) -> device.Device | None:
        """Return a device of the last view by libvirt's handle."""
        return self._devices.get(name)

    def mdev(self, uuid: str) -> nodedev.Mediated | None:
        """Return the mediated device with this uuid."""
        return self._facts.mdev(uuid)

    def is_mdev(self, name: str) -> bool:
        return self._facts.is_mdev(name)

    def put(self, name: str, xml: str) -> None:
        """Take in the description of a device, new or known.

        One that cannot be understood is withheld, with a warning.
        """
        if self._xml.get(name) == xml:
            return
        self._xml[name] = xml
        found = self._parsed(name, xml)
        if found is None:
            self._facts.remove(name)
        else:
            self._facts.add(found)

    def _parsed(self, name: str, xml: str) -> nodedev.NodeDevice | None:
        try:
            found = nodedev.parse(xml)
        except exception.InvalidNodeDevice as error:
            LOG.warning('Ignoring node device %s. %s', name, error)
            return None
        if found is not None and found.name != name:
            found = dataclasses.replace(found, name=name)
        return found

    def put_mdev(self, mdev: nodedev.Mediated) -> None:
        """Take in a mediated device all of whose facts are known."""
        self._xml[mdev.name] = ''
        self._facts.add(mdev)

    def withhold(self, name: str) -> None:
        """Take note of a device that cannot be read; what is known stays."""
        self._xml.setdefault(name, '')

    def drop(self, name: str) -> None:
        """Forget a device that is gone. Unknown names are no error."""
        function = self._facts.function(name)
        if function is not None:
            self._serials.pop(function.address, None)
            self._drives.pop(function.address, None)
        self._facts.remove(name)
        self._xml.pop(name, None)

    def outdated(self) -> collections.abc.Set[str]:
        """Devices whose description something newer contradicts."""
        return self._facts.disowned()

    def recheck_interfaces(self) -> None:
        """Look again how the network interfaces are called."""
        self._facts.stale.update(
            function.name
            for function in self._facts.functions()
            if function.class_id.startswith(_NETWORK)
        )

    def recheck(self) -> None:
        """Look again at what libvirt does not tell, for every device."""
        self._slots = self._files.slots()
        self._unsure = set(self._serials)
        self._facts.stale.update(
            function.name for function in self._facts.functions()
        )

    def listen(self) -> frozenset[device.PciAddress]:
        """Read the serial numbers of drives about which something is new.

        One without the kernel's driver is who it was.

        :returns: those that were never heard and do not tell.
        """
        functions = map(self._facts.function, self._facts.stale)
        drives = [one for one in functions if one and _is_drive(one)]
        mute = set()
        for drive in drives if self._files else ():
            told = self._files.drive_serial(drive.address)
            known = self._drives.get(drive.address)
            if told and known != '':
                self._drives[drive.address] = told
            elif known is None and 'vfio' in drive.driver:
                mute.add(drive.address)
        return frozenset(mute)

    def hear(
        self, told: collections.abc.Mapping[device.PciAddress, str]
    ) -> None:
        """Take in what others tell of drives that do not.

        Of whom nothing is told now, nothing is known for as long as it is
        here: a device that is in use does not become another one.
        """
        self._drives.update(told)

    def view(self, settled: bool = False) -> device.HostView:
        """Return what is there now: the same object if nothing changed.

        :param settled: everything has just been read again, parents before
            mediated devices, and nothing was created or destroyed the
            while, so that figures can be added up.
        """
        if self._facts.stale or self._facts.mdevs_changed:
            self._renew(settled)
        return self._view

    def _renew(self, settled: bool) -> None:
        stale, self._facts.stale = self._facts.stale, set()
        functions = self._locate(stale)
        self._learn(functions, settled)
        changed = self._assemble(stale, functions)
        if changed:
            self._view = dataclasses.replace(
                self._view, devices=tuple(self._devices.values())
            )
        if self._facts.mdevs_changed:
            self._renew_mdevs()

    def _renew_mdevs(self) -> None:
        self._facts.mdevs_changed = False
        mdevs = self._mdevs()
        if mdevs != self._view.mdevs:
            self._view = dataclasses.replace(self._view, mdevs=mdevs)

    def _locate(
        self, names: collections.abc.Iterable[str]
    ) -> list[nodedev.Function]:
        found = (self._facts.function(name) for name in sorted(names))
        functions = [function for function in found if function is not None]
        self._read_serials(functions)
        for function in functions:
            self._places[function.name] = self._place(function)
        return functions

    def _read_serials(
        self, functions: collections.abc.Iterable[nodedev.Function]
    ) -> None:
        """Learn the serial numbers of functions that are new here.

        What is read again and does not answer stays as it was.
        """
        unread = [
            function.address
            for function in functions
            if not _is_virtual(function)
            and function.class_id[:2] not in device.HOST_CLASSES
            and (
                function.address not in self._serials
                or function.address in self._unsure
            )
        ]
        if unread and self._files:
            for address in unread:
                self._serials.setdefault(address, '')
            self._serials.update(self._files.device_serials(unread))
            self._unsure.difference_update(unread)

    def _place(self, function: nodedev.Function) -> assemble.Place:
        address = function.address
        slot = f'{address.domain:04x}:{address.bus:02x}:{address.slot:02x}'
        return assemble.Place(
            path=assemble.path(self._way(function)),
            slot=self._slots.get(slot, ''),
            subsystem=self._files.subsystem(address),
            devname=self._devname(function),
            dsn=self._serials.get(address, ''),
            drive=self._drives.get(address, ''),
        )

    def _way(self, function: nodedev.Function) -> list[device.PciAddress]:
        way = assemble.bridges(function.syspath)
        if way:
            return way
        seen = {function.name}
        way.append(function.address)
        above = self._facts.function(function.upstream)
        while above is not None and above.name not in seen:
            seen.add(above.name)
            way.append(above.address)
            above = self._facts.function(above.upstream)
        return way[::-1]

    def _devname(self, function: nodedev.Function) -> str:
        if self._files and function.class_id.startswith(_NETWORK):
            return self._files.devname(function.address)
        return self._facts.devname(function)

    def _learn(
        self,
        functions: collections.abc.Iterable[nodedev.Function],
        settled: bool,
    ) -> None:
        cards: dict[str, list[nodedev.Function]] = {}
        for function in functions:
            if function.mdev_types:
                cards.setdefault(str(function.card), []).append(function)
        self._capacities.learn(
            [self._card(parents) for parents in cards.values()], settled
        )

    def _card(self, parents: list[nodedev.Function]) -> capacity.Card:
        on_them = (self._facts.mdevs_on(parent.name) for parent in parents)
        return capacity.Card(
            address=parents[0].card,
            kind=self._kind(parents[0]),
            parents=tuple(parents),
            mdevs=tuple(itertools.chain.from_iterable(on_them)),
        )

    def _kind(self, function: nodedev.Function) -> tuple[str, ...]:
        subsystem = self._places[function.name].subsystem
        return (function.vendor_id, function.product_id, *subsystem)

    def _assemble(
        self,
        stale: collections.abc.Iterable[str],
        functions: list[nodedev.Function],
    ) -> bool:
        before = {name: self._devices.get(name) for name in stale}
        for name in before.keys() - {function.name for function in functions}:
            self._devices.pop(name, None)
            self._places.pop(name, None)
        # Virtual functions take their ids from their physical function.
        for function in sorted(functions, key=_is_virtual):
            new = self._device(function)
            if lent := _before_lending(new, before[function.name]):
                new = lent
            if new != before[function.name]:
                self._devices[function.name] = new
        changed = {
            name
            for name, old in before.items()
            if self._devices.get(name) is not old
        }
        if any(before[name] is None for name in changed):
            self._reorder()
        return bool(changed)

    def _reorder(self) -> None:
        self._devices = {
            function.name: self._devices[function.name]
            for function in self._facts.functions()
        }

    def _device(self, function: nodedev.Function) -> device.Device:
        place = self._places[function.name]
        models = self._capacities.models(function)
        mixed = self._capacities.mixed(function.card)
        if not _is_virtual(function):
            return assemble.whole(function, place, models, mixed)
        physical = self._facts.physical(function)
        return assemble.virtual(
            function,
            place,
            self._devices.get(physical) if physical else None,
            self._facts.index(function),
            models,
            mixed,
        )

    def _mdevs(self) -> tuple[device.Mdev, ...]:
        return tuple(
            sorted(
                device.Mdev(mdev.uuid, mdev.type_id, mdev.upstream)
                for mdev in self._facts.mdevs()
            )
        )


def _is_virtual(function: nodedev.Function) -> bool:
    return function.physical is not None


def _is_drive(function: nodedev.Function) -> bool:
    return function.class_id.startswith(_NVME) and not _is_virtual(function)


def _before_lending(
    new: device.Device, old: device.Device | None
) -> device.Device | None:
    """Return what a device that a guest uses would be without the guest.

    libvirt binds it to vfio for that time, which takes its driver and its
    network interface away. What the whitelist matches must not change
    because a device is in use. None: it is as it is.
    """
    if old is None or not _is_lent(new) or _is_lent(old):
        return None
    if (new.vendor_id, new.product_id) != (old.vendor_id, old.product_id):
        return None
    return dataclasses.replace(new, driver=old.driver, devname=old.devname)


def _is_lent(one: device.Device) -> bool:
    return 'vfio' in one.driver
