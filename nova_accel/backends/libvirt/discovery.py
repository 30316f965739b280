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
"""When to ask libvirt what: nothing, one device, the list, or everything.

========================  ============================================
what happened             what it costs
========================  ============================================
nothing, events work      no round trip
an event                  one a device it names; for a new virtual
                          function two more, for its physical one
nothing, no events        one: the list of names
start, a new connection,  two to register for events, one for the list
lost events, time is up   and one a device
========================  ============================================
"""

import collections.abc
import contextlib
import logging
import threading
import typing as ty

from nova_accel.backends.libvirt import abi
from nova_accel.backends.libvirt import cache
from nova_accel.backends.libvirt import nodedev
from nova_accel.backends.libvirt import session
from nova_accel.backends.libvirt import sysfs
from nova_accel.core import device
from nova_accel import exception

LOG = logging.getLogger(__name__)

_INTERFACE = 'net_'
_CONCERNS = ('pci_', 'mdev_', _INTERFACE)


class Discovery:
    """Keeps the view of one host fresh. Thread-safe.

    :param connect: returns the current connection; asked again when the
        one in hand is dead.
    :param sysfs_root: None for the machine's own if libvirt runs on it.
    :param resync_interval: seconds until everything is read again although
        nothing seems to have happened.
    :param clock: monotonic seconds.
    :param wrap: see ``Session``.
    """

    def __init__(
        self,
        connect: collections.abc.Callable[[], ty.Any],
        sysfs_root: str | None,
        resync_interval: float,
        clock: collections.abc.Callable[[], float],
        wrap: collections.abc.Callable[[ty.Any], ty.Any],
    ) -> None:
        self._connect = connect
        self._sysfs_root = sysfs_root
        self._interval = resync_interval
        self._clock = clock
        self._wrap = wrap
        self._session: session.Session | None = None
        self._session_lock = threading.Lock()
        self._refresh_lock = threading.Lock()
        self._synced: session.Session | None = None
        self._resync_at = 0.0
        self._cache: cache.Cache | None = None
        self._files = sysfs.Sysfs(sysfs_root)
        self._doubtful: set[str] = set()
        self._made: set[str] = set()
        self._changes_lock = threading.Lock()
        self._changing = 0
        self._changes = 0
        self._view = device.HostView()

    def line(self) -> session.Session:
        """Return the session in use, a new one if the connection died.

        No round trip while the connection stands.

        :raises BackendUnavailable: there is no connection to be had.
        """
        current = self._session
        if current is not None and current.tells_its_end and current.alive:
            return current
        with self._session_lock:
            connection = self._connected()
            current = self._session
            if current is None or connection is not current.connection:
                current = session.Session(connection, self._wrap)
            if not current.alive:
                raise exception.BackendUnavailable(
                    reason='the connection to libvirt is lost'
                )
            self._session = current
            return current

    def _connected(self) -> ty.Any:
        try:
            return self._connect()
        except Exception as error:
            raise exception.BackendUnavailable(reason=error) from error

    def by_name(self, name: str) -> device.Device | None:
        """Return a device of the last view by libvirt's handle."""
        return None if self._cache is None else self._cache.by_name(name)

    def mdev(self, uuid: str) -> nodedev.Mediated | None:
        """Return a mediated device of the last view."""
        return None if self._cache is None else self._cache.mdev(uuid)

    @contextlib.contextmanager
    def changing(self) -> collections.abc.Iterator[None]:
        """Hold this while creating or destroying a mediated device."""
        with self._changes_lock:
            self._changing += 1
        try:
            yield
        finally:
            with self._changes_lock:
                self._changing -= 1
                self._changes += 1

    def made(self, mdev: nodedev.Mediated) -> None:
        """Take note of a mediated device that we have created."""
        self._made.add(mdev.name)
        self.line().note(session.Event(session.MADE, mdev.name, made=mdev))

    def unmade(self, name: str) -> None:
        """Take note of a mediated device that we have destroyed."""
        self._made.discard(name)
        self.line().note(session.Event(abi.DELETED, name))

    def refresh(self, full: bool = False) -> device.HostView:
        """Return what is there now: the same object if nothing changed.

        :param full: read everything again.
        :raises BackendUnavailable: libvirt does not answer.
        """
        current = self.line()
        if not full and self._quiet(current):
            return self._view
        with self._refresh_lock:
            due = full or self._clock() >= self._resync_at
            self._refresh(current, due)
            return self._view

    def catch_up(self) -> None:
        """Digest events, unless another thread is refreshing already.

        What is not urgent is left to ``refresh``.
        """
        current = self.line()
        if self._synced is not current:
            self.refresh()
        elif current.pending and self._refresh_lock.acquire(blocking=False):
            try:
                self._refresh(current, full=False, listing=False)
            finally:
                self._refresh_lock.release()

    def _quiet(self, current: session.Session) -> bool:
        return (
            current is self._synced
            and current.watching
            and not current.pending
            and not self._doubtful
            and self._clock() < self._resync_at
        )

    def _refresh(
        self, current: session.Session, full: bool, listing: bool = True
    ) -> None:
        try:
            self._digest(current, full, listing)
        except BaseException:
            # What was drained is lost: the next refresh reads everything.
            self._synced = None
            raise
        self._synced = current

    def _digest(
        self, current: session.Session, full: bool, listing: bool
    ) -> None:
        current.watch()
        known = self._known(current)
        events = current.drain()
        if full or self._synced is not current or events is None:
            self._resync(current, known)
            return
        self._retry(current, known)
        self._apply(current, known, events)
        if listing and not current.watching:
            self._relist(current, known)
        for name in known.outdated():
            self._read(current, known, name)
        self._view = known.view()

    def _known(self, current: session.Session) -> cache.Cache:
        if self._cache is None:
            if self._sysfs_root is None and current.local:
                self._files = sysfs.Sysfs('/sys')
            self._cache = cache.Cache(self._files)
        return self._cache

    def _resync(self, current: session.Session, known: cache.Cache) -> None:
        before = self._changes
        quiet = not self._changing
        handles = current.handles(interfaces=not self._files)
        self._doubtful.clear()
        # Mediated devices last: what can still be read then was there while
        # the parents were read, and is counted in their figures.
        for name in sorted(handles, key=_is_mdev):
            self._read(current, known, name, handles[name])
        for name in known.names - handles.keys():
            known.drop(name)
        self._resync_at = self._clock() + self._interval
        known.recheck()
        quiet = quiet and before == self._changes and not self._changing
        self._view = known.view(settled=quiet and not current.pending)

    def _relist(self, current: session.Session, known: cache.Cache) -> None:
        handles = current.handles(interfaces=not self._files)
        for name in handles.keys() - known.names:
            self._read(current, known, name, handles[name])
        for name in known.names - handles.keys():
            known.drop(name)

    def _retry(self, current: session.Session, known: cache.Cache) -> None:
        doubtful, self._doubtful = self._doubtful, set()
        for name in doubtful:
            self._read(current, known, name, again=True)

    def _read(
        self,
        current: session.Session,
        known: cache.Cache,
        name: str,
        handle: ty.Any = None,
        again: bool = False,
    ) -> None:
        try:
            xml = current.describe(name, handle)
        except exception.DeviceRefused as error:
            LOG.warning('Cannot read node device %s. %s', name, error)
            known.withhold(name)
            if not again:
                self._doubtful.add(name)
            return
        if xml is None:
            known.drop(name)
        else:
            known.put(name, xml)

    def _apply(
        self,
        current: session.Session,
        known: cache.Cache,
        events: list[session.Event],
    ) -> None:
        last: dict[str, session.Event] = {}
        for event in events:
            if not self._is_old_news(event, last.get(event.name), known):
                last.pop(event.name, None)
                last[event.name] = event
        for event in last.values():
            _DIGEST.get(event.kind, _ignore)(self, current, known, event)

    def _is_old_news(
        self,
        event: session.Event,
        before: session.Event | None,
        known: cache.Cache,
    ) -> bool:
        # The parent and the type of a mediated device never change: of its
        # creation we need to hear once.
        if event.kind != abi.CREATED:
            return False
        if before is not None:
            return before.kind == session.MADE
        return known.is_mdev(event.name)

    def _on_created(
        self,
        current: session.Session,
        known: cache.Cache,
        event: session.Event,
    ) -> None:
        if not event.name.startswith(_CONCERNS) and (
            event.name not in known.names
        ):
            return
        if event.name.startswith(_INTERFACE) and self._files:
            known.recheck_interfaces()
            return
        self._read(current, known, event.name, event.handle)

    def _on_updated(
        self,
        current: session.Session,
        known: cache.Cache,
        event: session.Event,
    ) -> None:
        # A mediated device that is merely defined is updated, too.
        if event.name in known.names or current.exists(
            event.name, event.handle
        ):
            self._on_created(current, known, event)

    def _on_deleted(
        self,
        current: session.Session,
        known: cache.Cache,
        event: session.Event,
    ) -> None:
        # The news that one of ours was destroyed may be overtaken by our
        # creating it again.
        if event.name in self._made and current.exists(event.name):
            return
        self._made.discard(event.name)
        known.drop(event.name)

    def _on_made(
        self,
        _current: session.Session,
        known: cache.Cache,
        event: session.Event,
    ) -> None:
        if event.made is not None:
            known.put_mdev(event.made)


def _ignore(*_args: object) -> None:
    """Do nothing: an event that does not concern us."""


_DIGEST: dict[int, collections.abc.Callable[..., None]] = {
    abi.CREATED: Discovery._on_created,
    abi.DELETED: Discovery._on_deleted,
    session.UPDATED: Discovery._on_updated,
    session.MADE: Discovery._on_made,
}


def _is_mdev(name: str) -> bool:
    return name.startswith('mdev_')
