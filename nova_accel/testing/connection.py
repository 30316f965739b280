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
"""A libvirt connection for nova's functional tests, half real.

Domains are simulated by nova's fixture. Node devices are read by the real
libvirt library from a node file; mediated devices exist in memory, under the
rules of real cards. A domain starts only with devices that exist and that
no other domain holds.
"""

import collections.abc
import contextlib
import functools
import typing as ty

from lxml import etree
from nova.tests.fixtures import libvirt as fakelibvirt

from nova_accel.testing import machine
from nova_accel.testing import nodedevs

# They answer from memory in libvirt's client library, too, the type of the
# hypervisor after the first time.
_LOCAL = frozenset(
    {'ID', 'UUIDString', 'getType', 'getURI', 'isAlive', 'name'}
)

# nova sees the fixture's numbers of libvirt's flags, which are not libvirt's.
_FLAGS = {
    fakelibvirt.VIR_CONNECT_LIST_NODE_DEVICES_CAP_MDEV: 1 << 14,
    fakelibvirt.VIR_CONNECT_LIST_NODE_DEVICES_INACTIVE: 1 << 30,
}

_ADDRESS = ('domain', 'bus', 'slot', 'function')

Held = tuple[object, ...]
_C = ty.TypeVar('_C', bound=type)
_Method = collections.abc.Callable[..., ty.Any]


def _counting(prefix: str, base: type) -> collections.abc.Callable[[_C], _C]:
    """Make a subclass of a class of the fixture count its calls."""

    def decorate(cls: _C) -> _C:
        for name in dir(base):
            answered = name.startswith('_') or name in _LOCAL
            if not answered and not hasattr(nodedevs.NodeDevices, name):
                method = getattr(cls, name)
                if callable(method):
                    setattr(cls, name, _counted(f'{prefix}{name}', method))
        return cls

    return decorate


def _counted(verb: str, method: _Method) -> _Method:
    @functools.wraps(method)
    def call(self: ty.Any, *args: ty.Any, **kwargs: ty.Any) -> ty.Any:
        with self.counting(verb):
            return method(self, *args, **kwargs)

    return call


@_counting('virDomain.', fakelibvirt.Domain)
class HybridDomain(fakelibvirt.Domain):  # type: ignore[misc]
    """A simulated domain that needs its devices."""

    def counting(self, verb: str) -> contextlib.AbstractContextManager[None]:
        connection: HybridConnection = self._connection
        return connection.counting(verb)

    def createWithFlags(self, flags: int) -> None:
        self._connection.check_start(self, self.held())
        super().createWithFlags(flags)

    def XMLDesc(self, flags: int = 0) -> str:
        # The fixture leaves out what libvirt always says.
        xml: str = super().XMLDesc(flags)
        return xml.replace(
            "type='mdev' model", "type='mdev' managed='no' model"
        )

    def held(self) -> list[Held]:
        """Identify the host devices that the definition names."""
        return [_held(info) for info in self._def['devices']['hostdevs']]

    def attachDevice(self, xml: str) -> bool:
        if not xml.startswith('<hostdev'):
            return bool(super().attachDevice(xml))
        info = _hostdev(xml)
        self._connection.check_start(self, [_held(info)])
        self._def['devices']['hostdevs'].append(info)
        return True

    def detachDevice(self, xml: str) -> bool:
        if not xml.startswith('<hostdev'):
            return bool(super().detachDevice(xml))
        wanted = _held(_hostdev(xml))
        kept = [
            info
            for info in self._def['devices']['hostdevs']
            if _held(info) != wanted
        ]
        found = len(kept) != len(self._def['devices']['hostdevs'])
        self._def['devices']['hostdevs'] = kept
        return found


def _hostdev(xml: str) -> dict[str, ty.Any]:
    """Read a ``<hostdev>`` as the fixture reads those of a domain."""
    element = etree.fromstring(xml)
    info = fakelibvirt._parse_hostdev_info(element)
    if info['type'] == 'mdev':
        info['model'] = element.get('model')
        info['address_uuid'] = element.find('source/address').get('uuid')
    return {'_attached': True, 'alias': f'hostdev-{_held(info)[1]}', **info}


def _held(info: collections.abc.Mapping[str, ty.Any]) -> Held:
    if info['type'] == 'mdev':
        return ('mdev', info['address_uuid'])
    return ('pci', *(int(info[key], 16) for key in _ADDRESS))


@_counting('', fakelibvirt.Connection)
class HybridConnection(
    nodedevs.NodeDevices,
    fakelibvirt.Connection,  # type: ignore[misc]
):
    """A connection to a simulated hypervisor on a machine.

    :param host: its node devices, or the path or URI of a node file.
    :param hostname: as libvirt tells it.
    :param others: ``HostInfo`` and what else nova's fixture takes.
    :ivar calls: verb -> round trips, those of nova's own code included.
    """

    def __init__(
        self,
        host: machine.Machine | str,
        hostname: str = 'compute1',
        **others: ty.Any,
    ) -> None:
        self._depth = 0
        fakelibvirt.Connection.__init__(
            self, 'qemu:///system', hostname=hostname, **others
        )
        if isinstance(host, str):
            host = machine.Machine(host.removeprefix('test://'))
        nodedevs.NodeDevices.__init__(self, host, fakelibvirt)
        host.busy = self._is_busy

    def restarted(self) -> 'HybridConnection':
        """Return the connection to libvirtd after a restart of it."""
        self.break_off()
        new = HybridConnection(
            self.machine,
            hostname=self.hostname,
            host_info=self.host_info,
            version=self.fakeLibVersion,
            hv_version=self.fakeVersion,
        )
        for domain in self._vms.values():
            domain._connection = new
        new._vms, new._running_vms = self._vms, self._running_vms
        return new

    @contextlib.contextmanager
    def counting(self, verb: str) -> collections.abc.Iterator[None]:
        # What the fixture does by calling itself, libvirt does in one go.
        if not self._depth:
            self.answer(verb, lambda: None)
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1

    def listAllDevices(self, flags: int = 0) -> list[nodedevs.NodeDevice]:
        for theirs, real in _FLAGS.items():
            if flags & theirs:
                flags = flags & ~theirs | real
        return super().listAllDevices(flags)

    def defineXML(self, xml: str) -> HybridDomain:
        domain = HybridDomain(connection=self, xml=xml)
        self._vms[domain.name()] = domain
        self._emit_lifecycle(domain, fakelibvirt.VIR_DOMAIN_EVENT_DEFINED, 0)
        return domain

    def createXML(self, xml: str, flags: int) -> HybridDomain:
        domain = HybridDomain(
            connection=self, xml=xml, running=True, transient=True
        )
        self.check_start(domain, domain.held())
        self._vms[domain.name()] = domain
        return domain

    def check_start(
        self, domain: HybridDomain, wanted: collections.abc.Iterable[Held]
    ) -> None:
        """Refuse devices that are not there or that another domain has."""
        taken = {
            held: other.name()
            for other in self._active()
            if other is not domain
            for held in other.held()
        }
        for kind, *which in wanted:
            held = (kind, *which)
            if held in taken:
                raise self.error(
                    'OPERATION_INVALID',
                    f'Requested operation is not valid: {kind} device '
                    f'{which} is in use by domain {taken[held]}',
                )
            if kind == 'mdev' and not self.machine.has_mdev(str(which[0])):
                raise self.error(
                    'INTERNAL_ERROR',
                    f"device not found: mediated device '{which[0]}' not "
                    'found',
                )

    def _active(self) -> list[HybridDomain]:
        return [
            domain
            for domain in self._vms.values()
            if domain._state != fakelibvirt.VIR_DOMAIN_SHUTOFF
        ]

    def _is_busy(self, uuid: str) -> bool:
        return any(('mdev', uuid) in d.held() for d in self._active())
