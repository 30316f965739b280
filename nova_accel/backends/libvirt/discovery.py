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
an NVMe drive that is     two, and one a guest
seen first without its
own driver
========================  ============================================
"""

import collections.abc
import contextlib
import threading
import typing as ty

from nova_accel.backends.libvirt import abi
from nova_accel.backends.libvirt import cache
from nova_accel.backends.libvirt import nodedev
from nova_accel.backends.libvirt import reader
from nova_accel.backends.libvirt import session
from nova_accel.backends.libvirt import sysfs
from nova_accel.core import device
from nova_accel import exception


class Discovery:
    """Keeps the view of one host fresh. Thread-safe.

    :param connect: returns the current connection; asked again when the
        one in hand is dead.
    :param sysfs_root: None for the machine's own if libvirt runs on it.
    :param resync_interval: seconds until everything is read again although
        nothing seems to have happened.
    :param clock: monotonic seconds.
    :param wrap: see ``Session``.
    :param privileged: see ``Sysfs``.
    """

    def __init__(
        self,
        connect: collections.abc.Callable[[], ty.Any],
        sysfs_root: str | None,
        resync_interval: float,
        clock: collections.abc.Callable[[], float],
        wrap: collections.abc.Callable[[ty.Any], ty.Any],
        privileged: sysfs.Privileged | None = None,
    ) -> None:
        self._connect = connect
        self._privileged = privileged
        self._sysfs_root = sysfs_root
        self._interval = resync_interval
        self._clock = clock
        self._wrap = wrap
        self._session: session.Session | None = None
        self._session_lock = threading.Lock()
        self._refresh_lock = threading.Lock()
        self._reader: reader.Reader | None = None
        self._synced: session.Session | None = None
        self._resync_at = 0.0
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
        return self._reader.known.by_name(name) if self._reader else None

    def files(self) -> sysfs.Sysfs:
        """Return the sysfs of the host. No round trip."""
        return self._files(self.line())

    def mdev(self, uuid: str) -> nodedev.Mediated | None:
        """Return a mediated device of the last view."""
        return self._reader.known.mdev(uuid) if self._reader else None

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
            and not (self._reader and self._reader.doubtful)
            and self._clock() < self._resync_at
        )

    def _refresh(
        self, current: session.Session, full: bool, listing: bool = True
    ) -> None:
        try:
            self._digest(self._reader_for(current), full, listing)
        except BaseException:
            # What was drained is lost: the next refresh reads everything.
            self._synced = None
            raise
        self._synced = current

    def _reader_for(self, current: session.Session) -> reader.Reader:
        old = self._reader
        if old is not None and old.session is current:
            return old
        known = old.known if old else cache.Cache(self._files(current))
        self._reader = reader.Reader(current, known, self._made)
        current.watch()
        return self._reader

    def _files(self, current: session.Session) -> sysfs.Sysfs:
        own = '/sys' if current.local else None
        return sysfs.Sysfs(self._sysfs_root or own, self._privileged)

    def _digest(
        self, source: reader.Reader, full: bool, listing: bool
    ) -> None:
        current = source.session
        events = current.drain()
        if full or self._synced is not current or events is None:
            self._resync(source)
            return
        source.retry()
        source.digest(events)
        if listing and not current.watching:
            source.read_new()
        source.read_outdated()
        source.read_drives()
        self._view = source.known.view()

    def _resync(self, source: reader.Reader) -> None:
        before = self._changes
        quiet = not self._changing
        source.read_all()
        source.read_drives()
        self._resync_at = self._clock() + self._interval
        quiet = quiet and before == self._changes and not self._changing
        self._view = source.known.view(
            settled=quiet and not source.session.pending
        )
