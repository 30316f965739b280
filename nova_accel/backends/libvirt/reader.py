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
"""Brings what is known up to date, asking libvirt no more than it must."""

import collections.abc
import logging
import typing as ty

from nova_accel.backends.libvirt import abi
from nova_accel.backends.libvirt import cache
from nova_accel.backends.libvirt import guest
from nova_accel.backends.libvirt import session
from nova_accel import exception

LOG = logging.getLogger(__name__)

_INTERFACE = 'net_'
_CONCERNS = ('pci_', 'mdev_', _INTERFACE)


class Reader:
    """Reads through one session into a cache. Not thread-safe.

    :ivar known: what is brought up to date.
    :param made: names of the mediated devices that we created ourselves.
    """

    def __init__(
        self,
        current: session.Session,
        known: cache.Cache,
        made: collections.abc.MutableSet[str],
    ) -> None:
        self.session = current
        self.known = known
        self._made = made
        # Who has sysfs needs no description of each interface.
        self._interfaces = not known.local
        self._doubtful: set[str] = set()

    @property
    def doubtful(self) -> bool:
        """Whether there are devices to try again, once."""
        return bool(self._doubtful)

    def read_all(self) -> None:
        """Read everything. One round trip, and one a device."""
        handles = self.session.handles(self._interfaces)
        self._doubtful.clear()
        # Mediated devices last: what can still be read then was there while
        # the parents were read, and is counted in their figures.
        for name in sorted(handles, key=_is_mdev):
            self._read(name, handles[name])
        self._drop_all_but(handles)
        self.known.recheck()

    def read_new(self) -> None:
        """Read what the list adds. One round trip, and one a new device."""
        handles = self.session.handles(self._interfaces)
        for name in handles.keys() - self.known.names:
            self._read(name, handles[name])
        self._drop_all_but(handles)

    def _drop_all_but(
        self, handles: collections.abc.Mapping[str, ty.Any]
    ) -> None:
        for name in self.known.names - handles.keys():
            self.known.drop(name)

    def retry(self) -> None:
        """Read once more what could not be read. Two round trips each."""
        doubtful, self._doubtful = self._doubtful, set()
        for name in doubtful:
            self._read(name, again=True)

    def read_outdated(self) -> None:
        """Read what something newer contradicts. Two round trips each."""
        for name in self.known.outdated():
            self._read(name)

    def read_drives(self) -> None:
        """Learn who the drives are that guests have.

        No round trip, but for a drive that is seen for the first time and
        does not tell: two, and one a guest.
        """
        mute = self.known.listen()
        if not mute:
            return
        told = {
            address: serial
            for _uuid, running, xml in self.session.guests()
            if running
            for address, serial in guest.drives(xml).items()
        }
        self.known.hear({address: told.get(address, '') for address in mute})

    def _read(
        self, name: str, handle: ty.Any = None, again: bool = False
    ) -> None:
        try:
            xml = self.session.describe(name, handle)
        except exception.DeviceRefused as error:
            LOG.warning('Cannot read node device %s. %s', name, error)
            self.known.withhold(name)
            if not again:
                self._doubtful.add(name)
            return
        if xml is None:
            self.known.drop(name)
        else:
            self.known.put(name, xml)

    def digest(self, events: collections.abc.Iterable[session.Event]) -> None:
        """Take in events. One round trip a device, however many events."""
        last: dict[str, session.Event] = {}
        for event in events:
            # That a device was undefined must not hide that it was deleted.
            if event.kind not in _DIGEST:
                continue
            if not self._is_old_news(event, last.get(event.name)):
                last.pop(event.name, None)
                last[event.name] = event
        for event in last.values():
            _DIGEST[event.kind](self, event)

    def _is_old_news(
        self, event: session.Event, before: session.Event | None
    ) -> bool:
        # The parent and the type of a mediated device never change: of its
        # creation we need to hear once.
        if event.kind != abi.CREATED:
            return False
        if before is not None:
            return before.kind == session.MADE
        return self.known.is_mdev(event.name)

    def _on_created(self, event: session.Event) -> None:
        if event.name.startswith(_INTERFACE) and not self._interfaces:
            self.known.recheck_interfaces()
        elif self._concerns(event):
            self._read(event.name, event.handle)

    def _on_updated(self, event: session.Event) -> None:
        # A mediated device that is merely defined is updated, too.
        if event.name in self.known.names or (
            self._concerns(event)
            and self.session.exists(event.name, event.handle)
        ):
            self._on_created(event)

    def _concerns(self, event: session.Event) -> bool:
        return (
            event.name.startswith(_CONCERNS) or event.name in self.known.names
        )

    def _on_deleted(self, event: session.Event) -> None:
        # The news that one of ours was destroyed may be overtaken by our
        # creating it again.
        if event.name in self._made and self.session.exists(event.name):
            return
        self._made.discard(event.name)
        self.known.drop(event.name)

    def _on_made(self, event: session.Event) -> None:
        if event.made is not None:
            self.known.put_mdev(event.made)


_DIGEST: dict[int, collections.abc.Callable[[Reader, session.Event], None]] = {
    abi.CREATED: Reader._on_created,
    abi.DELETED: Reader._on_deleted,
    session.UPDATED: Reader._on_updated,
    session.MADE: Reader._on_made,
}


def _is_mdev(name: str) -> bool:
    return name.startswith('mdev_')
