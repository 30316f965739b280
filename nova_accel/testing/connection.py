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
import copy
import functools
import re
import typing as ty
from urllib import parse

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

# What the fixture says of a virtual function that is a network interface, and
# what libvirt does.
_VF = re.compile(r"<source hostdev='pci_(\w+)_(\w+)_(\w+)_(\w)'/>")
_VF_XML = (
    r"<source><address type='pci' domain='0x\1' bus='0x\2' slot='0x\3' "
    r"function='0x\4'/></source>"
)

_ADDRESS = ('domain', 'bus', 'slot', 'function')

Held = tuple[object, ...]
Migrating = collections.abc.Callable[['HybridDomain'], None]
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


def _undisturbed(domain: 'HybridDomain') -> None:
    """Let a migration succeed."""


@_counting('virDomain.', fakelibvirt.Domain)
class HybridDomain(fakelibvirt.Domain):  # type: ignore[misc]
    """A simulated domain that needs its devices.

    Like libvirt it keeps two lists of host devices: those of its persistent
    definition, and, while it is active, those that the guest has.
    """

    def __init__(self, *args: ty.Any, **kwargs: ty.Any) -> None:
        super().__init__(*args, **kwargs)
        self._live = list(self._defined)
        self._asked: list[Held] = []
        self._aborted = False

    def counting(self, verb: str) -> contextlib.AbstractContextManager[None]:
        connection: HybridConnection = self._connection
        return connection.counting(verb)

    @property
    def _defined(self) -> list[dict[str, ty.Any]]:
        return ty.cast(
            list[dict[str, ty.Any]], self._def['devices']['hostdevs']
        )

    @property
    def active(self) -> bool:
        return bool(self._state != fakelibvirt.VIR_DOMAIN_SHUTOFF)

    def isActive(self) -> int:
        return int(self.active)

    def redefine(self, xml: str) -> None:
        """Change the persistent definition, whatever the guest does."""
        self._def = self._parse_definition(xml)

    def createWithFlags(self, flags: int) -> None:
        # The memory was saved without any host device.
        live = [] if self._has_saved_state else list(self._defined)
        self._connection.check_start(self, map(_held, live))
        self._id = self._connection._id_counter
        super().createWithFlags(flags)
        self._live, self._asked = live, []

    def verify_hostdevs_interface_are_vfs(self) -> None:
        describe = self._connection.machine.describe
        for nic in self._def['devices']['nics']:
            direct = nic['type'] == 'hostdev'
            if direct and 'phys_function' not in describe(nic['source']):
                raise self._connection.error(
                    'CONFIG_UNSUPPORTED',
                    'unsupported configuration: Interface type hostdev is '
                    'currently supported on SR-IOV Virtual Functions only',
                )

    def managedSave(self, flags: int) -> None:
        for info in self._live:
            raise self._connection.error(
                'OPERATION_UNSUPPORTED',
                'Operation not supported: cannot migrate a domain with '
                f"<hostdev mode='subsystem' type='{info['type']}'>",
            )
        super().managedSave(flags)
        self._state = fakelibvirt.VIR_DOMAIN_SHUTOFF

    def managedSaveRemove(self, flags: int = 0) -> None:
        super().managedSaveRemove(flags)

    def XMLDesc(self, flags: int = 0) -> str:
        shown = self
        if self.active and not flags & fakelibvirt.VIR_DOMAIN_XML_INACTIVE:
            shown = copy.copy(self)
            devices = {**self._def['devices'], 'hostdevs': self._live}
            shown._def = {**self._def, 'devices': devices}
        # The fixture leaves out what libvirt always says.
        xml: str = super(HybridDomain, shown).XMLDesc(flags)
        for index, info in enumerate(shown._defined):
            # Only those of libvirt's own making are numbered.
            if info.get('alias', '').startswith('ua-'):
                own = f"<alias name='hostdev{index}'/>"
                xml = xml.replace(own, f"<alias name='{info['alias']}'/>")
        return _VF.sub(_VF_XML, xml).replace(
            "type='mdev' model", "type='mdev' managed='no' model"
        )

    def held(self) -> list[Held]:
        """Identify the host devices that the guest has."""
        return [_held(info) for info in self._live] if self.active else []

    def _affected(self, flags: int) -> list[list[dict[str, ty.Any]]]:
        """Return the lists of host devices that flags are about."""
        live = flags & fakelibvirt.VIR_DOMAIN_AFFECT_LIVE
        config = flags & fakelibvirt.VIR_DOMAIN_AFFECT_CONFIG
        if live and not self.active:
            raise self._connection.error(
                'OPERATION_INVALID',
                'Requested operation is not valid: domain is not running',
            )
        if not live and not config:
            return [self._live if self.active else self._defined]
        return [self._live] * bool(live) + [self._defined] * bool(config)

    def attachDeviceFlags(self, xml: str, flags: int) -> None:
        if not xml.startswith('<hostdev'):
            super().attachDeviceFlags(xml, flags)
            return
        info = _hostdev(xml)
        for hostdevs in self._affected(flags):
            if hostdevs is self._live:
                self._connection.check_start(self, [_held(info)])
            hostdevs.append(info)

    def detachDeviceFlags(self, xml: str, flags: int) -> None:
        if not xml.startswith('<hostdev'):
            super().detachDeviceFlags(xml, flags)
            return
        wanted = _held(_hostdev(xml))
        for hostdevs in self._affected(flags):
            if hostdevs is self._live and not self._connection.answering:
                self._ask(wanted)
            else:
                hostdevs[:] = [i for i in hostdevs if _held(i) != wanted]

    def _ask(self, wanted: Held) -> None:
        """Ask a guest for a device that does not answer."""
        if wanted in self._asked:
            raise self._connection.error(
                'OPERATION_FAILED',
                'operation failed: internal error: unable to execute QEMU '
                "command 'device_del': Device hostdev0 is already in the "
                'process of unplug',
            )
        self._asked.append(wanted)

    def answer(self) -> list[str]:
        """Let go of what the guest was asked for; return the aliases.

        libvirt then sends an event for each, which nova's harness does not.
        """
        gone = [i for i in self._live if _held(i) in self._asked]
        self._live[:] = [i for i in self._live if i not in gone]
        self._asked = []
        return [info['alias'] for info in gone]

    # Live migration

    def migrateToURI3(
        self, uri: str, params: dict[str, ty.Any], flags: int
    ) -> None:
        self._job_type = fakelibvirt.VIR_DOMAIN_JOB_UNBOUNDED
        self._aborted = False
        try:
            self._migrate(uri, params['destination_xml'])
        finally:
            # Of a job that is over libvirt does not tell how it ended.
            self._job_type = fakelibvirt.VIR_DOMAIN_JOB_NONE

    def _migrate(self, uri: str, xml: str) -> None:
        here: HybridConnection = self._connection
        there = here.network[parse.urlparse(uri).hostname or '']
        arrived = there.defineXML(xml)
        try:
            arrived.createWithFlags(0)
            here.migrating(self)
            self._check_aborted()
        except Exception:
            there.forget(arrived)
            raise
        here.forget(self)

    def abortJob(self) -> None:
        self._aborted = True

    def _check_aborted(self) -> None:
        reason = ''
        if self._aborted:
            reason = 'operation aborted: migration out job: canceled by client'
        elif not self.isActive():
            reason = 'operation failed: domain is not running'
        if reason:
            raise self._connection.error('OPERATION_FAILED', reason)


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
    :ivar network: host name -> the connection that a live migration to that
        host goes to; one mapping for all hosts.
    :ivar answering: guests let go at once of what they are asked for.
    :ivar migrating: is called with a domain when it runs on both hosts; it
        fails the migration by raising.
    :cvar DOMAIN: class of the domains that are defined here.
    """

    DOMAIN: ty.ClassVar[type[HybridDomain]] = HybridDomain

    def __init__(
        self,
        host: machine.Machine | str,
        hostname: str = 'compute1',
        **others: ty.Any,
    ) -> None:
        self._depth = 0
        self.network: dict[str, HybridConnection] = {hostname: self}
        self.migrating: Migrating = _undisturbed
        self.answering = True
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
        new.migrating = self.migrating
        new.answering = self.answering
        new.join(self.network)
        return new

    def join(self, network: dict[str, 'HybridConnection']) -> None:
        """Let live migrations find this host, and those from here others."""
        self.network = network
        network[self.hostname] = self

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

    def listAllDomains(self, flags: int = 0) -> list[HybridDomain]:
        either = (
            fakelibvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE
            | fakelibvirt.VIR_CONNECT_LIST_DOMAINS_INACTIVE
        )
        # Who says neither means both.
        found = super().listAllDomains(flags if flags & either else either)
        return ty.cast(list[HybridDomain], found)

    def defineXML(self, xml: str) -> HybridDomain:
        domain = self.DOMAIN(connection=self, xml=xml)
        known: HybridDomain | None = self._vms.get(domain.name())
        if known is not None:
            domain = known
            domain.redefine(xml)
        self._vms[domain.name()] = domain
        self._emit_lifecycle(domain, fakelibvirt.VIR_DOMAIN_EVENT_DEFINED, 0)
        return domain

    def createXML(self, xml: str, flags: int) -> HybridDomain:
        domain = self.DOMAIN(
            connection=self, xml=xml, running=True, transient=True
        )
        self.check_start(domain, domain.held())
        self._vms[domain.name()] = domain
        return domain

    def forget(self, domain: HybridDomain) -> None:
        """Let a domain be gone, from here or after a migration."""
        if domain.active:
            domain.destroy()
        if domain.name() in self._vms:
            self._undefine(domain)

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
        return [domain for domain in self._vms.values() if domain.active]

    def _is_busy(self, name: str) -> bool:
        which: Held = ('mdev', name)
        if name.startswith('pci_'):
            parts = name.removeprefix('pci_').split('_')
            which = ('pci', *(int(part, 16) for part in parts))
        return any(which in domain.held() for domain in self._active())
