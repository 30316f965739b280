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
"""The node-device half of a libvirt connection, answered by a ``Machine``.

Counts what a remote connection would send, because counting is how we prove
that nothing grows with the number of devices.
"""

import collections
import collections.abc
import types
import typing as ty

import libvirt

from nova_accel.testing import machine

_R = ty.TypeVar('_R')

_KINDS = {
    libvirt.VIR_CONNECT_LIST_NODE_DEVICES_CAP_SYSTEM: 'system',
    libvirt.VIR_CONNECT_LIST_NODE_DEVICES_CAP_PCI_DEV: 'pci',
    libvirt.VIR_CONNECT_LIST_NODE_DEVICES_CAP_NET: 'net',
    libvirt.VIR_CONNECT_LIST_NODE_DEVICES_CAP_MDEV: 'mdev',
}
_ACTIVE = libvirt.VIR_CONNECT_LIST_NODE_DEVICES_ACTIVE
_INACTIVE = libvirt.VIR_CONNECT_LIST_NODE_DEVICES_INACTIVE
_CAPABILITIES = _ACTIVE - 1 & ~_INACTIVE


class NodeDevices:
    """Offers libvirt.virConnect's methods that concern node devices.

    :param host: the machine it leads to.
    :param errors: module that defines ``libvirtError`` and the codes.
    :ivar calls: verb -> round trips so far; ``XMLDesc`` and the like of
        device objects are counted as ``virNodeDevice.XMLDesc``.
    :ivar fail: verb -> exception to raise instead of an answer.
    """

    def __init__(
        self, host: machine.Machine, errors: types.ModuleType = libvirt
    ) -> None:
        self.machine = host
        self.calls: collections.Counter[str] = collections.Counter()
        self.fail: dict[str, Exception] = {}
        self._errors = errors
        self._alive = True
        self._callbacks: list[
            tuple[int, collections.abc.Callable[..., None], object]
        ] = []
        host.listen(self._deliver)

    # Beside the calls

    def break_off(self) -> None:
        """Die as a connection does when libvirtd stops."""
        self._alive = False

    def answer(
        self,
        verb: str,
        function: collections.abc.Callable[..., _R],
        *args: object,
        cost: int = 1,
    ) -> _R:
        """Count one call, and answer it or fail as libvirt does."""
        self.calls[verb] += cost
        if not self._alive:
            raise self.error('INTERNAL_ERROR', 'client socket is closed')
        if verb in self.fail:
            raise self.fail[verb]
        try:
            return function(*args)
        except machine.Refusal as refusal:
            raise self.error(refusal.code, str(refusal)) from refusal

    def error(self, code: str, message: str) -> Exception:
        """Make an error of the kind that libvirt raises."""
        error: Exception = self._errors.libvirtError(message)
        number = getattr(self._errors, f'VIR_ERR_{code}')
        domain = self._errors.VIR_FROM_NODEDEV
        error.err = (  # type: ignore[attr-defined]
            *(number, domain, message, 2, message, None, None, -1, -1),
        )
        return error

    def _deliver(self, kind: int, name: str) -> None:
        update = kind == machine.UPDATED
        wanted = (
            libvirt.VIR_NODE_DEVICE_EVENT_ID_UPDATE
            if update
            else libvirt.VIR_NODE_DEVICE_EVENT_ID_LIFECYCLE
        )
        details = () if update else (kind, 0)
        for event_id, callback, opaque in self._callbacks:
            if self._alive and event_id == wanted:
                callback(self, NodeDevice(self, name), *details, opaque)

    # What libvirt.virConnect offers

    def isAlive(self) -> int:
        return int(self._alive)

    def nodeDeviceEventRegisterAny(
        self,
        _device: object,
        event_id: int,
        callback: collections.abc.Callable[..., None],
        opaque: object,
    ) -> int:
        return self.answer(
            'nodeDeviceEventRegisterAny',
            self._register,
            event_id,
            callback,
            opaque,
        )

    def _register(
        self,
        event_id: int,
        callback: collections.abc.Callable[..., None],
        opaque: object,
    ) -> int:
        self._callbacks.append((event_id, callback, opaque))
        return len(self._callbacks)

    def listAllDevices(self, flags: int = 0) -> list['NodeDevice']:
        return self.answer('listAllDevices', self._list, flags)

    def _list(self, flags: int) -> list['NodeDevice']:
        wanted = {kind for flag, kind in _KINDS.items() if flags & flag}
        active = {_ACTIVE: True, _INACTIVE: False}.get(
            flags & (_ACTIVE | _INACTIVE)
        )
        everything = not flags & _CAPABILITIES
        return [
            NodeDevice(self, name)
            for name, kind in self.machine.names(active)
            if everything or kind in wanted
        ]

    def listDevices(self, capability: str, flags: int = 0) -> list[str]:
        # The binding asks for the number first.
        return self.answer('listDevices', self._names, capability, cost=2)

    def _names(self, capability: str) -> list[str]:
        return [
            name
            for name, _kind in self.machine.names(active=True)
            if capability in self.machine.kinds(name)
        ]

    def nodeDeviceLookupByName(self, name: str) -> 'NodeDevice':
        self.answer('nodeDeviceLookupByName', self.machine.describe, name)
        return NodeDevice(self, name)

    def nodeDeviceCreateXML(self, xml: str, flags: int = 0) -> 'NodeDevice':
        name = self.answer('nodeDeviceCreateXML', self.machine.create, xml)
        return NodeDevice(self, name)

    def nodeDeviceDefineXML(self, xml: str, flags: int = 0) -> 'NodeDevice':
        name = self.answer('nodeDeviceDefineXML', self.machine.define, xml)
        return NodeDevice(self, name)


class NodeDevice:
    """Offers libvirt.virNodeDevice's methods."""

    def __init__(self, connection: NodeDevices, name: str) -> None:
        self._connection = connection
        self._name = name

    def _answer(
        self,
        verb: str,
        function: collections.abc.Callable[[str], _R],
        cost: int = 1,
    ) -> _R:
        return self._connection.answer(
            f'virNodeDevice.{verb}', function, self._name, cost=cost
        )

    @property
    def _machine(self) -> machine.Machine:
        return self._connection.machine

    def name(self) -> str:
        return self._name

    def XMLDesc(self, flags: int = 0) -> str:
        return self._answer('XMLDesc', self._machine.describe)

    def parent(self) -> str | None:
        return self._answer('parent', self._machine.parent)

    def listCaps(self) -> list[str]:
        # The binding asks for the number first.
        return self._answer('listCaps', self._machine.kinds, cost=2)

    def isActive(self) -> int:
        return int(self._answer('isActive', self._machine.is_active))

    def isPersistent(self) -> int:
        return int(self._answer('isPersistent', self._machine.is_persistent))

    def create(self, flags: int = 0) -> int:
        self._answer('create', self._machine.start)
        return 0

    def destroy(self) -> int:
        self._answer('destroy', self._machine.destroy)
        return 0

    def reset(self) -> int:
        self._answer('reset', self._machine.reset)
        return 0

    def undefine(self, flags: int = 0) -> int:
        self._answer('undefine', self._machine.undefine)
        return 0

    def setAutostart(self, autostart: int) -> int:
        self._answer('setAutostart', self._machine.describe)
        return 0
