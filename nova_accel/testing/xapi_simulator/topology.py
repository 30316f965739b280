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
"""The YAML file that says what the pool is made of, as values.

``topologies`` holds those that ship. Keys that are not listed are errors; a
message names file, line and key.
"""

import collections.abc
import dataclasses
import ipaddress
import pathlib
import re
import typing as ty

from nova_accel.core import cursor
from nova_accel.core import document
from nova_accel.testing.xapi_simulator import cards
from nova_accel.testing.xapi_simulator import facts
from nova_accel.testing.xapi_simulator import faults
from nova_accel.testing.xapi_simulator import schema
from nova_accel.testing.xapi_simulator import world

FOLDER = pathlib.Path(__file__).with_name('topologies')
_SUFFIX = '.yaml'
_STAGES = ('before', 'reserved', 'built', 'stopping', 'half', 'read', 'after')
_STATES = ('Running', 'Halted')

_PCI_ADDRESS = re.compile(
    r'[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]', re.ASCII
)
_MAX_BUS = 255

Key = schema.Key


@dataclasses.dataclass(frozen=True)
class Board:
    """A card in a host.

    :ivar address: of its first GPU; the others follow bus by bus.
    :ivar enabled: models that are enabled; () for all.
    """

    card: str
    address: str
    enabled: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class PciDevice:
    """A PCI device that is no GPU.

    XAPI has an object for storage, network and display devices (base classes
    01, 02, 03) and for what shares a slot with one; an FPGA has none.
    """

    address: str
    vendor_id: str
    device_id: str
    class_id: str
    vendor: str
    device: str


@dataclasses.dataclass(frozen=True)
class UsbDevice:
    path: str
    vendor_id: str
    product_id: str
    serial: str
    description: str
    passthrough: bool


@dataclasses.dataclass(frozen=True)
class Host:
    """A host.

    :ivar address: where its XAPI listens; '' to choose one.
    :ivar memory: MiB.
    """

    name: str
    address: str
    memory: int
    cpus: int
    iommu: bool
    cards: tuple[Board, ...]
    pci: tuple[PciDevice, ...]
    usb: tuple[UsbDevice, ...]


@dataclasses.dataclass(frozen=True)
class Network:
    """A network, with a PIF on each of its hosts.

    :ivar device: of its PIFs; '' for an internal network.
    :ivar functions: virtual functions of each PIF; 0 for no SR-IOV.
    """

    name: str
    bridge: str
    device: str
    vlan: int
    functions: int
    hosts: tuple[str, ...]
    other_config: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Storage:
    """An SR.

    :ivar size: GiB.
    :ivar hosts: those that see it; () for all.
    """

    name: str
    type: str
    size: int
    hosts: tuple[str, ...]
    default: bool


@dataclasses.dataclass(frozen=True)
class Vm:
    """Somebody else's VM.

    :ivar memory: MiB.
    :ivar vgpus: models; 'passthrough' for a whole GPU.
    """

    name: str
    host: str
    memory: int
    vcpus: int
    state: str
    vgpus: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Topology:
    """The whole file.

    :ivar places: of each VM, for what is found when it is started.
    """

    version: int
    user: str
    password: str
    guest_tools: bool
    hosts: dict[str, Host]
    networks: dict[str, Network]
    storage: dict[str, Storage]
    targets: tuple[world.Target, ...]
    vms: dict[str, Vm]
    faults: tuple[faults.Fault, ...]
    cards: dict[str, cards.Card]
    places: dict[str, document.Place] = dataclasses.field(default_factory=dict)


def _parse_ip(text: str) -> str:
    return str(ipaddress.ip_address(text))


def _parse_pci(text: str) -> str:
    if not _PCI_ADDRESS.fullmatch(text.lower()):
        raise ValueError(text)
    return text.lower()


_ip = schema.parsed(_parse_ip, 'IP address')
_pci = schema.parsed(_parse_pci, 'PCI address like 0000:3b:00.0')


def nth_address(address: str, number: int) -> str:
    """Return the address of a board's GPU: one bus further each."""
    domain, bus, rest = address.split(':')
    return f'{domain}:{int(bus, 16) + number:02x}:{rest}'


def _board(here: cursor.Cursor) -> ty.Any:
    return schema.mapping(
        {
            'card': Key(schema.text),
            'address': Key(_pci),
            'enabled': Key(schema.texts, ()),
        },
        Board,
    )(here)


_PCI = {
    'address': Key(_pci),
    'vendor_id': Key(cards.hex_id),
    'device_id': Key(cards.hex_id),
    'class_id': Key(cards.hex_id),
    'vendor': Key(schema.text, ''),
    'device': Key(schema.text, ''),
}
_USB = {
    'path': Key(schema.text),
    'vendor_id': Key(cards.hex_id),
    'product_id': Key(cards.hex_id),
    'serial': Key(schema.text, ''),
    'description': Key(schema.text, 'USB device'),
    'passthrough': Key(schema.flag, True),
}
_HOST = {
    'address': Key(_ip, ''),
    'memory': Key(schema.whole(1024, 2**27), 65536),
    'cpus': Key(schema.whole(1, 4096), 16),
    'iommu': Key(schema.flag, True),
    'cards': Key(schema.items(_board), ()),
    'pci': Key(schema.items(schema.mapping(_PCI, PciDevice)), ()),
    'usb': Key(schema.items(schema.mapping(_USB, UsbDevice)), ()),
}
_NETWORK = {
    'bridge': Key(schema.text, ''),
    'device': Key(schema.text, ''),
    'vlan': Key(schema.whole(0, 4094), -1),
    'functions': Key(schema.whole(0, 256), 0),
    'hosts': Key(schema.texts, ()),
    'other_config': Key(schema.words, {}),
}
_STORAGE = {
    'type': Key(schema.text, 'ext'),
    'size': Key(schema.whole(1, 2**27), 1024),
    'hosts': Key(schema.texts, ()),
    'default': Key(schema.flag, False),
}
_LUN = {
    'number': Key(schema.whole(0, 16383)),
    'scsi_id': Key(schema.text),
    'size': Key(schema.whole(1, 2**20)),
}
_TARGET = {
    'portal': Key(schema.text),
    'iqn': Key(schema.text),
    'luns': Key(
        schema.items(
            schema.mapping(
                _LUN,
                lambda number, scsi_id, size: world.Lun(
                    number, scsi_id, size * 2**30
                ),
            )
        )
    ),
    'user': Key(schema.text, ''),
    'password': Key(schema.text, ''),
}
_VM = {
    'host': Key(schema.text),
    'memory': Key(schema.whole(64, 2**27), 2048),
    'vcpus': Key(schema.whole(1, 1024), 1),
    'state': Key(schema.word(*_STATES), 'Running'),
    'vgpus': Key(schema.items(schema.text), ()),
}


def _error(here: cursor.Cursor) -> tuple[str, ...]:
    words = tuple(one.string() or '' for one in here.items() or ())
    names = facts.load().errors.get(words[0]) if words else None
    if words and names is None:
        known = cursor.did_you_mean(words[0], facts.load().errors)
        here.fail(f'XAPI has no error {words[0]}; {known}'[:200])
    elif names is not None and len(names) != len(words) - 1:
        here.fail(f'{words[0]} has the parameters {", ".join(names)}')
    return words


def _message(here: cursor.Cursor) -> str | None:
    pattern = here.string()
    transfers = ('import_raw_vdi', 'export_raw_vdi')
    if pattern and '*' not in pattern and pattern not in transfers:
        if facts.load().message(pattern) is None:
            here.fail(f'XAPI has no message {pattern}')
    return pattern


def _fault(milliseconds: int, **values: ty.Any) -> faults.Fault:
    where = tuple(sorted(values.pop('where').items()))
    times = values.pop('times') or None
    return faults.Fault(
        delay=milliseconds / 1000, where=where, times=times, **values
    )


_FAULT = {
    'message': Key(_message),
    'stage': Key(schema.word(*_STAGES), 'before'),
    'error': Key(_error, ()),
    'milliseconds': Key(schema.whole(0, 600000), 0),
    'drop': Key(schema.flag, False),
    'skip': Key(schema.whole(0, 10**6), 0),
    'times': Key(schema.whole(0, 10**6), 1),
    'where': Key(schema.words, {}),
}
read_fault = schema.mapping(_FAULT, _fault)

_TOP = {
    'version': Key(schema.whole(1, 1)),
    'user': Key(schema.text, 'root'),
    'password': Key(schema.text, 'password'),
    'guest_tools': Key(schema.flag, True),
    'hosts': Key(schema.named(_HOST, Host)),
    'networks': Key(schema.named(_NETWORK, Network), {}),
    'storage': Key(schema.named(_STORAGE, Storage), {}),
    'targets': Key(schema.items(schema.mapping(_TARGET, world.Target)), ()),
    'vms': Key(schema.named(_VM, Vm), {}),
    'faults': Key(schema.items(read_fault), ()),
    'cards': Key(cards.read, {}),
}


def shipped() -> list[str]:
    """Return the names of the topologies that ship."""
    return sorted(path.stem for path in FOLDER.glob(f'*{_SUFFIX}'))


def load(name: str) -> Topology:
    """Read a topology.

    :param name: a file, or one that ships: ``two-hosts``.
    :raises InvalidTopology: with every problem of it.
    """
    path = FOLDER / f'{name}{_SUFFIX}' if name in shipped() else None
    read = schema.mapping(_TOP, Topology)
    found = schema.load(
        path or pathlib.Path(name), lambda here: _check(here, read(here))
    )
    return ty.cast(Topology, found)


def _check(here: cursor.Cursor, found: Topology | None) -> Topology | None:
    """Note names that lead nowhere, where they stand."""
    if found is None:
        return None
    top = here.fields() or {}
    hosts = top['hosts'].fields() or {}
    if not found.hosts:
        top['hosts'].fail('a pool has one host at least; add one')
    _check_distinct(hosts, found)
    for name, host in found.hosts.items():
        _check_devices(hosts[name], host, found)
    for section in ('networks', 'storage'):
        for name, one in getattr(found, section).items():
            place = (top[section].fields() or {})[name]
            for wanted in one.hosts:
                _check_name(place, 'hosts', wanted, found.hosts)
    return _check_vms(top, found)


def _check_vms(
    top: collections.abc.Mapping[str, cursor.Cursor], found: Topology
) -> Topology:
    places = {}
    for name, vm in found.vms.items():
        here = (top['vms'].fields() or {})[name]
        places[name] = here.place
        _check_name(here, 'host', vm.host, found.hosts)
        for model in vm.vgpus if vm.host in found.hosts else ():
            _check_name(here, 'vgpus', model, _models(found, vm.host))
    return dataclasses.replace(found, places=places)


def _check_distinct(
    hosts: collections.abc.Mapping[str, cursor.Cursor], found: Topology
) -> None:
    seen: set[str] = set()
    for name, host in found.hosts.items():
        if host.address and host.address in seen:
            place = (hosts[name].fields() or {})['address']
            place.fail(f'{host.address} is the address of another host')
        seen.add(host.address)


def _check_devices(here: cursor.Cursor, host: Host, found: Topology) -> None:
    known = {**cards.shipped(), **found.cards}
    addresses = [device.address for device in host.pci]
    for board in host.cards:
        _check_name(here, 'cards', board.card, known)
        if board.card not in known:
            continue
        card = known[board.card]
        for model in board.enabled:
            models = [one.model for one in card.types]
            _check_name(here, 'cards', model, models)
        addresses += [
            nth_address(board.address, number) for number in range(card.gpus)
        ]
    for address in sorted({a for a in addresses if addresses.count(a) > 1}):
        here.fail(f'two devices have the address {address}')
    if any(int(a.split(':')[1], 16) > _MAX_BUS for a in addresses):
        here.fail('a board has more GPUs than there are buses after its own')


def _models(found: Topology, host: str) -> list[str]:
    known = {**cards.shipped(), **found.cards}
    return [
        'passthrough',
        *(
            one.model
            for board in found.hosts[host].cards
            if board.card in known
            for one in known[board.card].types
        ),
    ]


def _check_name(
    here: cursor.Cursor,
    key: str,
    name: str,
    known: collections.abc.Collection[str],
) -> None:
    if name not in known:
        place = (here.fields() or {}).get(key, here)
        place.fail(
            f'{cursor.shorten(name)} is not known here; '
            f'{cursor.did_you_mean(name, known)}'
        )
