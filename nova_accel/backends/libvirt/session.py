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
"""One connection to libvirt: what we ask it, and what it tells unasked.

Every method that talks to libvirt says how many round trips it takes.
"""

import collections
import collections.abc
import dataclasses
import logging
import typing as ty

from nova_accel.backends.libvirt import abi
from nova_accel.backends.libvirt import errors
from nova_accel.backends.libvirt import nodedev
from nova_accel import exception

LOG = logging.getLogger(__name__)

# More than this between two refreshes, and reading everything is cheaper.
_BACKLOG = 4096

_GUESTS = abi.LIST_RUNNING_GUESTS | abi.LIST_STOPPED_GUESTS

# Kinds of event beside those of libvirt's lifecycle.
UPDATED = -1
MADE = -2


@dataclasses.dataclass(frozen=True)
class Event:
    """Something happened to a node device.

    :ivar handle: libvirt's object, good for asking more; None where we
        caused the event and know all about it.
    :ivar made: what we have just created.
    """

    kind: int
    name: str
    handle: ty.Any = None
    made: nodedev.Mediated | None = None


class Session:
    """A connection and the events it has delivered.

    :param connection: offers libvirt.virConnect's methods.
    :param wrap: applied to a device before it is asked anything; nova's
        eventlet mode keeps blocking calls out of its main thread that way.
    """

    def __init__(
        self,
        connection: ty.Any,
        wrap: collections.abc.Callable[[ty.Any], ty.Any],
    ) -> None:
        self.connection = connection
        self._wrap = wrap
        self._flags = abi.LIST_PCI | abi.LIST_MDEV
        # libvirt's test driver knows no inactive devices, nor the flag.
        if not self._uri.startswith('test:'):
            self._flags |= abi.LIST_ACTIVE
        self._lists_mdevs = True
        self._events: collections.deque[Event] = collections.deque(
            maxlen=_BACKLOG
        )
        self.watching = False

    @property
    def alive(self) -> bool:
        """Whether the connection still stands. No round trip."""
        probe = getattr(self.connection, 'isAlive', None)
        return probe is None or bool(probe())

    @property
    def tells_its_end(self) -> bool:
        """Whether ``alive`` can be relied upon."""
        return hasattr(self.connection, 'isAlive')

    @property
    def pending(self) -> bool:
        """Whether there are events to drain."""
        return bool(self._events)

    @property
    def local(self) -> bool:
        """Whether libvirt runs on this very machine. No round trip."""
        scheme, _, rest = self._uri.partition('://')
        return scheme != 'test' and rest.startswith('/')

    @property
    def _uri(self) -> str:
        probe = getattr(self.connection, 'getURI', None)
        return '' if probe is None else str(probe())

    def watch(self) -> None:
        """Ask for node-device events, once. Two round trips.

        Needs an event loop that was registered before the connection was
        opened; without one, or where libvirt has no such events,
        ``watching`` stays False.
        """
        register = getattr(self.connection, 'nodeDeviceEventRegisterAny', None)
        if register is None:
            self._lists_mdevs = False
            LOG.info('No node-device events here; listing at each refresh.')
            return
        try:
            register(None, abi.EVENT_LIFECYCLE, self._on_lifecycle, None)
            register(None, abi.EVENT_UPDATE, self._on_update, None)
        except Exception as error:
            self._tolerate(error)
            LOG.info(
                'No node-device events from libvirt (%s); listing at each '
                'refresh.',
                error,
            )
            return
        self.watching = True

    # Called in libvirt's own thread: append and nothing else, not even a
    # line in the log.

    def _on_lifecycle(
        self, _conn: ty.Any, handle: ty.Any, kind: int, *_rest: object
    ) -> None:
        self._events.append(Event(kind, handle.name(), handle))

    def _on_update(
        self, _conn: ty.Any, handle: ty.Any, *_rest: object
    ) -> None:
        self._events.append(Event(UPDATED, handle.name(), handle))

    def note(self, event: Event) -> None:
        """Queue an event of our own making, in line with libvirt's."""
        self._events.append(event)

    def drain(self) -> list[Event] | None:
        """Return the events since last time; None if some were lost."""
        events: list[Event] = []
        lost = len(self._events) == _BACKLOG
        while self._events:
            events.append(self._events.popleft())
        return None if lost else events

    def handles(self, interfaces: bool) -> dict[str, ty.Any]:
        """Return name -> handle of all devices. One round trip.

        :param interfaces: network interfaces too.
        """
        flags = self._flags | (abi.LIST_NET if interfaces else 0)
        handles = {handle.name(): handle for handle in self._all(flags)}
        if not self._lists_mdevs:
            for name in self._ask('listDevices', 'mdev', 0):
                handles.setdefault(name, None)
        return handles

    def _all(self, flags: int) -> collections.abc.Iterable[ty.Any]:
        try:
            return self.connection.listAllDevices(flags) or ()
        except Exception as error:
            if not errors.named(error, 'INVALID_ARG'):
                _fail(error)
        # Before libvirt 7.3 there were no inactive devices, nor the flag.
        self._flags &= ~abi.LIST_ACTIVE
        return self._ask('listAllDevices', flags & ~abi.LIST_ACTIVE) or ()

    def describe(self, name: str, handle: ty.Any = None) -> str | None:
        """Return the XML of a device, None if it is gone.

        One round trip, two without a handle.

        :raises DeviceRefused: libvirt cannot read this one.
        """
        try:
            return str(self._wrapped(name, handle).XMLDesc(0))
        except Exception as error:
            if errors.is_missing(error):
                return None
            self._tolerate(error)
            raise exception.DeviceRefused(device=name, reason=error) from error

    def _wrapped(self, name: str, handle: ty.Any = None) -> ty.Any:
        if handle is None:
            handle = self.connection.nodeDeviceLookupByName(name)
        return self._wrap(handle)

    def exists(self, name: str, handle: ty.Any = None) -> bool:
        """Tell whether a device is active. Up to two round trips."""
        try:
            probe = getattr(self._wrapped(name, handle), 'isActive', None)
            return probe is None or bool(probe())
        except Exception as error:
            self._tolerate(error)
            return errors.named(error, 'NO_SUPPORT')

    def create(self, xml: str) -> str:
        """Create a transient device; return its name. One round trip.

        :raises DeviceRefused: libvirt says no.
        """
        try:
            handle = self.connection.nodeDeviceCreateXML(xml, 0)
        except Exception as error:
            self._tolerate(error)
            raise exception.DeviceRefused(
                device='(new)', reason=error
            ) from error
        return handle.name() if handle is not None else ''

    def destroy(self, name: str) -> None:
        """Destroy a device; one that is gone is no error. Two round trips.

        :raises DeviceRefused: it is in use, or libvirt cannot.
        """
        try:
            self._wrapped(name).destroy()
        except Exception as error:
            if errors.is_missing(error):
                return
            self._tolerate(error)
            raise exception.DeviceRefused(device=name, reason=error) from error

    def reset(self, name: str) -> None:
        """Reset a PCI device. Two round trips.

        :raises DeviceRefused: it is in use, or libvirt cannot.
        """
        try:
            self._wrapped(name).reset()
        except Exception as error:
            self._tolerate(error)
            raise exception.DeviceRefused(device=name, reason=error) from error

    def guests(self) -> collections.abc.Iterator[tuple[str, bool, str]]:
        """Return uuid, whether it runs, and XML of every guest.

        Two round trips, and one a guest.

        :raises BackendUnavailable: libvirt does not answer.
        """
        domains = self._ask('listAllDomains', _GUESTS)
        active = self._ask('listAllDomains', abi.LIST_RUNNING_GUESTS)
        running = {domain.UUIDString() for domain in active}
        for domain in map(self._wrap, domains):
            uuid = domain.UUIDString()
            try:
                yield uuid, uuid in running, str(domain.XMLDesc(0))
            except Exception as error:
                if not errors.is_gone(error):
                    _fail(error)

    def undefine(self, name: str) -> None:
        """Let a device not come back by itself. Two round trips.

        One that would not come back, or that is gone, is no error.
        """
        try:
            self._wrapped(name).undefine()
        except Exception as error:
            self._tolerate(error)

    def _ask(self, verb: str, *args: object) -> ty.Any:
        try:
            return getattr(self.connection, verb)(*args)
        except Exception as error:
            _fail(error)

    def _tolerate(self, error: Exception) -> None:
        """Go on after an error of libvirt's, unless the line is dead."""
        if not errors.is_libvirt(error) or not self.alive:
            _fail(error)


def _fail(error: Exception) -> ty.NoReturn:
    if not errors.is_libvirt(error):
        raise error
    raise exception.BackendUnavailable(reason=error) from error
