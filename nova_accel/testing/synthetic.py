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
"""A host that is made up, for nova-compute in a cloud that is real.

``nova_accel.cli.synthetic`` starts it. The service, the driver, its RPC and
its disks are real. The devices are read by the real libvirt library from a
node file; the domains are nova's fakelibvirt. The guest in such a domain is a
line of text: it writes to its console which devices it has, as a guest with
an init script would::

    ACCEL-GUEST BEGIN
    ACCEL-GUEST DEV 10de:1eb8 serial=1324419052341 mdev=-
    ACCEL-GUEST END

A vGPU shows the serial of its card here, which no real one does. Guests end
with the process, as there is nothing else to keep them.
"""

import collections.abc
import pathlib
import typing as ty

import fixtures
import nova.conf
from nova.tests import fixtures as nova_fixtures
from nova.tests.fixtures import libvirt as fakelibvirt

from nova_accel.backends.libvirt import nodedev
from nova_accel.testing import connection
from nova_accel.testing import machine
from nova_accel.testing import nodes

CONF = nova.conf.CONF

_DRIVER = 'nova.virt.libvirt.LibvirtDriver'
_HOST = 'nova.virt.libvirt.host.Host'
# Gibibytes that servers may take here: nothing is written that large.
_DISK = {'total': 128, 'used': 4, 'free': 124}
_MARK = 'ACCEL-GUEST'


def report(
    host: machine.Machine,
    hostdevs: collections.abc.Iterable[collections.abc.Mapping[str, ty.Any]],
) -> str:
    """What a guest says of the host devices that it has."""
    lines = [f'DEV {_described(host, info)}' for info in hostdevs]
    return ''.join(
        f'{_MARK} {line}\n' for line in ('BEGIN', *sorted(lines), 'END')
    )


def _described(
    host: machine.Machine, info: collections.abc.Mapping[str, ty.Any]
) -> str:
    uuid = info['address_uuid'] if info['type'] == 'mdev' else '-'
    name = _function_of(host, uuid) if uuid != '-' else _pci_name(info)
    function = nodedev.parse(host.describe(name))
    assert isinstance(function, nodedev.Function), name
    serial = function.serial or _serial_of_card(host, function)
    ids = f'{function.vendor_id}:{function.product_id}'
    return f'{ids} serial={serial or "-"} mdev={uuid}'


def _pci_name(info: collections.abc.Mapping[str, ty.Any]) -> str:
    domain, bus, slot, function = (
        int(info[key], 16) for key in ('domain', 'bus', 'slot', 'function')
    )
    return f'pci_{domain:04x}_{bus:02x}_{slot:02x}_{function:x}'


def _function_of(host: machine.Machine, uuid: str) -> str:
    """Name of the function that a mediated device is part of."""
    for name, kind in host.names():
        if kind == 'mdev' and nodedev.uuid_of(name) == uuid:
            return host.parent(name) or ''
    raise LookupError(f'no mediated device {uuid}')


def _serial_of_card(host: machine.Machine, function: nodedev.Function) -> str:
    if function.physical is None:
        return ''
    parts = str(function.physical).replace(':', '_').replace('.', '_')
    card = nodedev.parse(host.describe(f'pci_{parts}'))
    return card.serial if isinstance(card, nodedev.Function) else ''


class GuestDomain(connection.HybridDomain):
    """A domain whose guest has a console."""

    @property
    def console(self) -> pathlib.Path:
        return pathlib.Path(CONF.state_path, 'consoles', self.UUIDString())

    def say(self, begin: bool = False) -> None:
        """Let the guest look at its devices and tell."""
        self.console.parent.mkdir(exist_ok=True)
        with self.console.open('w' if begin else 'a') as file:
            file.write(report(self._connection.machine, self._live))

    def XMLDesc(self, flags: int = 0) -> str:
        return super().XMLDesc(flags).replace('dummy.log', str(self.console))

    def createWithFlags(self, flags: int) -> None:
        super().createWithFlags(flags)
        self.say(begin=True)

    def attachDeviceFlags(self, xml: str, flags: int) -> None:
        super().attachDeviceFlags(xml, flags)
        if self.active:
            self.say()

    def detachDeviceFlags(self, xml: str, flags: int) -> None:
        super().detachDeviceFlags(xml, flags)
        if self.active:
            self.say()


class Connection(connection.HybridConnection):
    DOMAIN = GuestDomain


class Host(fixtures.Fixture):
    """Puts the made-up hypervisor under nova's libvirt driver.

    :param name: of the host, as libvirt tells it.
    :param node: name of a file of ``nova_accel.testing.nodes``.
    """

    def __init__(self, name: str, node: str) -> None:
        super().__init__()
        self._name = name
        self._node = node

    def _setUp(self) -> None:
        self.useFixture(fakelibvirt.LibvirtFixture())
        self.useFixture(nova_fixtures.CGroupsFixture())
        self.useFixture(nova_fixtures.OSBrickFixture())
        self.connection = Connection(
            nodes.path(self._node),
            hostname=self._name,
            host_info=fakelibvirt.HostInfo(
                cpu_nodes=2, cpu_sockets=1, cpu_cores=8, cpu_threads=2
            ),
        )
        for target, value in self._patches().items():
            self.useFixture(fixtures.MonkeyPatch(target, value))

    def _patches(self) -> dict[str, ty.Any]:
        cpus = set(range(32))
        return {
            f'{_HOST}.get_connection': lambda _self: self.connection,
            f'{_HOST}.get_online_cpus': lambda _self: cpus,
            f'{_DRIVER}._get_local_gb_info': staticmethod(lambda: dict(_DISK)),
        }
