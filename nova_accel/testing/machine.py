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
"""A host's node devices: static ones read by libvirt, mediated ones made up.

libvirt's ``test:///`` driver reads node devices from a file with libvirt's
own parser, but cannot create mediated devices. ``Machine`` adds those, by
the rules of real cards (``cards``). It outlives connections, as a host does.
"""

import collections.abc
import dataclasses
import re
import threading

import libvirt
from lxml import etree

from nova_accel.backends.libvirt import nodedev
from nova_accel.testing import cards
from nova_accel.testing import node_file

CREATED = libvirt.VIR_NODE_DEVICE_EVENT_CREATED
DELETED = libvirt.VIR_NODE_DEVICE_EVENT_DELETED
DEFINED = libvirt.VIR_NODE_DEVICE_EVENT_DEFINED
UNDEFINED = libvirt.VIR_NODE_DEVICE_EVENT_UNDEFINED
UPDATED = -1
"""Kinds of event; the last stands for libvirt's update event."""

_AVAILABLE = re.compile(
    r"(<type id='([^']+)'>.*?<availableInstances>)\d+(?=<)", re.DOTALL
)
_KIND = re.compile(r"<capability type='(\w+)'")
_PARENT = re.compile('<parent>(.*?)</parent>')
_DRIVER_XML = '<driver><name>{}</name></driver>'
_MDEV_XML = """<device>
  <name>{name}</name>
  <path>{path}/{uuid}</path>
  <parent>{parent}</parent>
  <driver>
    <name>vfio_mdev</name>
  </driver>
  <capability type='mdev'>
    <type id='{type_id}'/>
    <uuid>{uuid}</uuid>
    <parent_addr>{address}</parent_addr>
    <iommuGroup number='{group}'/>
  </capability>
</device>
"""

Listener = collections.abc.Callable[[int, str], None]


class Refusal(Exception):
    """What a real host would refuse.

    :ivar code: name of libvirt's error code, ``NO_NODE_DEVICE``.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclasses.dataclass
class Mdev:
    """A mediated device: active, or persistent, or both."""

    uuid: str
    type_id: str
    parent: str
    name: str
    group: int
    active: bool = False
    persistent: bool = False


class Machine:
    """The node devices of one host. Thread-safe.

    :param path: node file for libvirt's test driver.
    :param mixed: cards hold different types at once.
    :ivar busy: tells whether a guest holds the mediated device of a uuid, or
        the PCI device of a name.
    :ivar resets: names of the PCI devices that were reset.
    """

    def __init__(self, path: str, mixed: bool = False) -> None:
        self._lock = threading.RLock()
        self._limits = node_file.limits(path)
        self._cards = cards.Cards(mixed)
        self._xml: dict[str, str] = {}
        self._kinds: dict[str, str] = {}
        self._functions: dict[str, nodedev.Function] = {}
        self._mdevs: dict[str, Mdev] = {}
        self._uuids: dict[str, str] = {}
        self._held: dict[str, dict[str, Mdev]] = {}
        self._drivers: dict[str, str] = {}
        self._rendered: dict[str, str] = {}
        self._groups = 1000
        self._listeners: list[Listener] = []
        self.resets: list[str] = []
        self.busy: collections.abc.Callable[[str], bool] = lambda uuid: False
        self._take(found := node_file.read(path))
        self._cards.count(found, self._pairs(self._held))

    def _take(self, found: collections.abc.Mapping[str, str]) -> None:
        for name, xml in found.items():
            match = _KIND.search(xml)
            kind = match[1] if match else ''
            if kind != 'mdev':
                self._xml[name] = xml
                self._kinds[name] = kind
            self._take_parsed(nodedev.parse(xml))
        self._rendered.clear()

    def _take_parsed(self, found: nodedev.NodeDevice | None) -> None:
        if isinstance(found, nodedev.Function):
            self._functions[found.name] = found
            if found.mdev_types:
                limits = self._limits.get(found.name, {})
                self._cards.add(found, limits)
        elif isinstance(found, nodedev.Mediated):
            self._keep(
                Mdev(
                    found.uuid,
                    found.type_id,
                    found.upstream,
                    found.name,
                    self._next_group(),
                    active=True,
                )
            )

    def _next_group(self) -> int:
        self._groups += 1
        return self._groups

    # What a test does to the hardware

    def listen(self, listener: Listener) -> None:
        """Call ``listener(kind, name)`` whenever something happens."""
        self._listeners.append(listener)

    def _tell(self, kind: int, *names: str) -> None:
        for name in names:
            for listener in list(self._listeners):
                listener(kind, name)

    def plug(self, *xmls: str) -> None:
        """Add devices, from ``<device>`` elements."""
        found = node_file.normalise(xmls)
        with self._lock:
            self._take(found)
            self._cards.count(found)
        self._tell(CREATED, *found)

    def alter(self, *xmls: str) -> None:
        """Change what devices say of themselves."""
        found = node_file.normalise(xmls)
        with self._lock:
            self._take(found)
            self._cards.count(found)
        self._tell(UPDATED, *found)

    def bind(self, name: str, driver: str) -> None:
        """Give a device another driver, as libvirt does for a guest."""
        with self._lock:
            self._drivers[name] = driver
            self._rendered.pop(name, None)
        self._tell(UPDATED, name)

    def unplug(self, *names: str) -> None:
        """Take devices out, with the mediated devices on them."""
        with self._lock:
            lost = [m for m in self._mdevs.values() if m.parent in names]
            for mdev in lost:
                self._lose(mdev)
            for name in names:
                del self._xml[name], self._kinds[name]
                self._drivers.pop(name, None)
                self._functions.pop(name, None)
                self._cards.remove(name)
            self._rendered.clear()
        self._tell(DELETED, *(mdev.name for mdev in lost), *names)

    def reboot(self) -> None:
        """Lose all but what is defined, as a restart of the host does."""
        with self._lock:
            for mdev in list(self._mdevs.values()):
                self._lose(mdev)

    # What libvirt answers

    def names(self, active: bool | None = None) -> list[tuple[str, str]]:
        """Return (name, kind) of all devices.

        :param active: True leaves out mediated devices that are only
            defined, False returns those alone, None returns all.
        """
        with self._lock:
            static = [] if active is False else list(self._kinds.items())
            return static + [
                (mdev.name, 'mdev')
                for mdev in self._mdevs.values()
                if active is None or mdev.active is active
            ]

    def kinds(self, name: str) -> list[str]:
        """Return libvirt's names of what a device can do."""
        self.describe(name)
        more = ['mdev_types'] if self._cards.offers(name) else []
        return [self._kinds.get(name, 'mdev'), *more]

    def parent(self, name: str) -> str | None:
        match = _PARENT.search(self.describe(name))
        return match[1] if match else None

    def describe(self, name: str) -> str:
        """Return the XML of a device as it is now."""
        with self._lock:
            xml = self._rendered.get(name)
            if xml is None:
                xml = self._rendered[name] = self._render(name)
            return xml

    def _render(self, name: str) -> str:
        if name in self._mdevs:
            return self._render_mdev(self._mdevs[name])
        if name not in self._xml:
            raise _missing(name)
        xml = self._xml[name]
        # The driver that formats them knows nothing of this one.
        if name in self._drivers:
            driver = _DRIVER_XML.format(self._drivers[name])
            xml = xml.replace('</parent>', f'</parent>{driver}', 1)
        if not self._cards.offers(name):
            return xml
        return _AVAILABLE.sub(
            lambda match: f'{match[1]}{self._available(name, match[2])}', xml
        )

    def _render_mdev(self, mdev: Mdev) -> str:
        function = self._functions[mdev.parent]
        return _MDEV_XML.format(
            name=mdev.name,
            path=function.syspath,
            uuid=mdev.uuid,
            parent=mdev.parent,
            type_id=mdev.type_id,
            address=function.address,
            group=mdev.group,
        )

    def _available(self, name: str, type_id: str) -> int:
        held = self._pairs(self._cards.siblings(name))
        return self._cards.available(name, type_id, held)

    def _pairs(
        self, parents: collections.abc.Iterable[str]
    ) -> list[tuple[str, str]]:
        return [
            (parent, mdev.type_id)
            for parent in parents
            for mdev in self._held.get(parent, {}).values()
            if mdev.active
        ]

    # Mediated devices

    def create(self, xml: str) -> str:
        """Create a transient mediated device; return its name."""
        with self._lock:
            mdev = self._parse(xml)
            self._start(mdev)
        self._tell(CREATED, mdev.name)
        return mdev.name

    def define(self, xml: str) -> str:
        """Make a mediated device persistent; return its name."""
        with self._lock:
            mdev = self._parse(xml)
            mdev.persistent = True
            self._keep(mdev)
        self._tell(DEFINED, mdev.name)
        return mdev.name

    def start(self, name: str) -> None:
        """Start a mediated device that is only defined."""
        with self._lock:
            self._start(self._mdev(name))
        self._tell(CREATED, name)

    def destroy(self, name: str) -> None:
        """Stop a mediated device; one that is persistent stays defined."""
        with self._lock:
            mdev = self._mdev(name)
            if self.busy(mdev.uuid):
                raise Refusal(
                    'INTERNAL_ERROR',
                    f"internal error: Unable to destroy '{name}': device in "
                    'use',
                )
            if not mdev.active:
                raise Refusal(
                    'OPERATION_INVALID',
                    f"Requested operation is not valid: Device '{name}' is "
                    'not active',
                )
            self._lose(mdev)
        self._tell(DELETED, name)

    def undefine(self, name: str) -> None:
        """Make a mediated device transient."""
        with self._lock:
            mdev = self._mdev(name)
            mdev.persistent = False
            if not mdev.active:
                self._lose(mdev)
        self._tell(UNDEFINED, name)

    def reset(self, name: str) -> None:
        """Reset a PCI device that no guest has."""
        with self._lock:
            if name not in self._functions:
                raise _missing(name)
            if self.busy(name):
                raise Refusal(
                    'INTERNAL_ERROR',
                    f'internal error: Not resetting active device {name}',
                )
            self.resets.append(name)

    def has_mdev(self, uuid: str) -> bool:
        """Tell whether a mediated device is there and active."""
        mdev = self._mdevs.get(self._uuids.get(uuid, ''))
        return mdev is not None and mdev.active

    def is_active(self, name: str) -> bool:
        mdev = self._mdevs.get(name)
        return mdev is None or mdev.active

    def is_persistent(self, name: str) -> bool:
        mdev = self._mdevs.get(name)
        return mdev is None or mdev.persistent

    def _mdev(self, name: str) -> Mdev:
        mdev = self._mdevs.get(name)
        if mdev is None:
            raise _missing(name)
        return mdev

    def _parse(self, xml: str) -> Mdev:
        root = etree.fromstring(xml)
        parent = root.findtext('parent') or ''
        uuid = root.findtext('capability/uuid') or ''
        type_id = root.find('capability/type').attrib['id']
        if parent not in self._functions:
            raise Refusal(
                'NO_NODE_DEVICE', f"could not find parent device '{parent}'"
            )
        name = 'mdev_{}_{}'.format(
            uuid.replace('-', '_'), parent.removeprefix('pci_')
        )
        known = self._mdevs.get(name)
        if known is not None and known.type_id == type_id:
            return known
        return Mdev(uuid, type_id, parent, name, self._next_group())

    def _start(self, mdev: Mdev) -> None:
        """Do what mdevctl and the driver do, with what they would say."""
        if self.has_mdev(mdev.uuid):
            raise _unstartable('Device already exists')
        if mdev.type_id not in self._cards.offers(mdev.parent):
            raise _unstartable('Invalid type')
        if self._available(mdev.parent, mdev.type_id) < 1:
            raise _unstartable('No available instances')
        mdev.active = True
        self._keep(mdev)

    def _keep(self, mdev: Mdev) -> None:
        self._mdevs[mdev.name] = mdev
        self._held.setdefault(mdev.parent, {})[mdev.name] = mdev
        self._uuids[mdev.uuid] = mdev.name
        self._refresh(mdev)

    def _lose(self, mdev: Mdev) -> None:
        mdev.active = False
        if not mdev.persistent:
            del self._mdevs[mdev.name]
            del self._held[mdev.parent][mdev.name]
            self._uuids.pop(mdev.uuid, None)
        self._refresh(mdev)

    def _refresh(self, mdev: Mdev) -> None:
        for name in (mdev.name, *self._cards.siblings(mdev.parent)):
            self._rendered.pop(name, None)


def _missing(name: str) -> Refusal:
    return Refusal(
        'NO_NODE_DEVICE',
        f"Node device not found: no node device with matching name '{name}'",
    )


def _unstartable(why: str) -> Refusal:
    return Refusal(
        'INTERNAL_ERROR',
        f'internal error: Unable to start mediated device: {why}',
    )
