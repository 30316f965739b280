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
"""The host as a file: cards, drives, network cards, USB devices.

``load`` reads a topology and the catalogue of card models and gives frozen
values; ``Card.command`` is what the kernel module is told, ``plug_commands``
what QEMU is told.
"""

import collections.abc
import dataclasses
import pathlib
import typing as ty

import yaml

from tests.lab.harness import errors
from tests.lab.harness import settings

FOLDER = settings.LAB / 'topologies'


# Where the module puts the first virtual function of a GPU
_VF_OFFSET = 4


def node_device(address: str) -> str:
    """Name under which libvirt lists a PCI function."""
    return 'pci_' + address.replace(':', '_').replace('.', '_')


@dataclasses.dataclass(frozen=True)
class Type:
    """One vGPU type of a card."""

    id: str
    name: str
    framebuffer: int
    max: int

    def __str__(self) -> str:
        name = self.name.replace(' ', '_')
        return f'{self.id},{name},{self.framebuffer},{self.max}'


@dataclasses.dataclass(frozen=True)
class Model:
    """What all cards of a kind have in common.

    :ivar id: ``vendor:product``, as is subsystem.
    :ivar gpus: on the board; more than one sit behind a PCIe switch.
    :ivar vgpu: where types are created: ``pf``, ``vf`` (mediated devices
        both), ``sysfs`` (NVIDIA's own files at each virtual function) or
        '' for a card that is only passed through.
    """

    id: str
    subsystem: str
    framebuffer: int
    klass: str = '030200'
    gpus: int = 1
    vgpu: str = ''
    vfs: int = 0
    mixed: bool = False
    types: tuple[Type, ...] = ()


@dataclasses.dataclass(frozen=True)
class Card:
    """One board in the host.

    :ivar bus: number of the root bus it sits on.
    :ivar serial: in its VPD; '' for a card without.
    :ivar vfs: how many virtual functions are enabled at start.
    """

    name: str
    model: Model
    bus: int
    serial: str = ''
    dsn: str = ''
    slot: int = -1
    numa_node: int = 0
    vfs: int = 0

    @property
    def addresses(self) -> list[str]:
        """Of its GPUs."""
        first = self.bus + (2 if self.model.gpus > 1 else 0)
        return [f'0000:{first + i:02x}:00.0' for i in range(self.model.gpus)]

    @property
    def functions(self) -> list[str]:
        """Addresses of its virtual functions."""
        return [
            address[:-4]
            + f'{(_VF_OFFSET + i) // 8:02x}.{(_VF_OFFSET + i) % 8}'
            for address in self.addresses
            for i in range(self.vfs)
        ]

    @property
    def listed(self) -> list[str]:
        return [node_device(a) for a in self.addresses + self.functions]

    @property
    def command(self) -> str:
        """What to write to the module to insert it."""
        model = self.model
        words = {
            'bus': hex(self.bus),
            'id': model.id,
            'sub': model.subsystem,
            'class': model.klass,
            'gpus': model.gpus,
            'vfs': model.vfs,
            'vgpu': model.vgpu,
            'fb': model.framebuffer,
            'hetero': int(model.mixed),
            'sn': self.serial,
            'dsn': self.dsn,
            'slot': self.slot,
            'node': self.numa_node,
            'types': ';'.join(map(str, model.types)),
        }
        said = (f'{k}={v}' for k, v in words.items() if v not in ('', None))
        return 'add ' + ' '.join(said)


@dataclasses.dataclass(frozen=True)
class Nvme:
    name: str
    serial: str
    vfs: int = 0


@dataclasses.dataclass(frozen=True)
class Nic:
    name: str
    mac: str


@dataclasses.dataclass(frozen=True)
class Usb:
    name: str
    serial: str


@dataclasses.dataclass(frozen=True)
class Topology:
    """One host."""

    name: str
    description: str
    cards: tuple[Card, ...] = ()
    nvme: tuple[Nvme, ...] = ()
    nic: tuple[Nic, ...] = ()
    usb: tuple[Usb, ...] = ()

    @property
    def listed(self) -> list[str]:
        """Names under which libvirt lists the GPUs and their functions."""
        return [name for card in self.cards for name in card.listed]

    def card(self, name: str) -> Card:
        return next(card for card in self.cards if card.name == name)


def names() -> list[str]:
    return sorted(
        path.stem for path in FOLDER.glob('*.yaml') if path.stem != 'models'
    )


def load(name: str) -> Topology:
    """Read a topology by name, or from a path.

    :raises LabError: no such file, or something in it is wrong.
    """
    named = FOLDER / f'{name}.yaml'
    path = named if named.exists() else pathlib.Path(name)
    if not path.is_file():
        raise errors.LabError(
            f'no topology {name}; there are: {", ".join(names())}'
        )
    models = _models(_read(FOLDER / 'models.yaml'))
    try:
        return _topology(path.stem, _read(path), models)
    except (TypeError, KeyError, ValueError) as exc:
        raise errors.LabError(f'{path}: {exc}') from exc


def _read(path: pathlib.Path) -> dict[str, ty.Any]:
    try:
        document = yaml.safe_load(path.read_text())
    except yaml.YAMLError as exc:
        raise errors.LabError(f'{path}: {exc}') from exc
    if not isinstance(document, dict):
        raise errors.LabError(f'{path}: a mapping is expected')
    return document


def _models(document: dict[str, ty.Any]) -> dict[str, Model]:
    return {name: _model(raw) for name, raw in document.items()}


def _model(raw: dict[str, ty.Any]) -> Model:
    types = tuple(Type(*row) for row in raw.get('types', ()))
    return Model(**{**raw, 'types': types})


def _topology(
    name: str, document: dict[str, ty.Any], models: dict[str, Model]
) -> Topology:
    cards = _named(document.pop('cards', {}))
    return Topology(
        name=name,
        description=document.pop('description'),
        cards=tuple(
            Card(**{**raw, 'model': models[raw['model']]}) for raw in cards
        ),
        **{
            key: tuple(_KINDS[key](**raw) for raw in _named(values))
            for key, values in document.items()
        },
    )


_KINDS: dict[str, collections.abc.Callable[..., ty.Any]] = {
    'nvme': Nvme,
    'nic': Nic,
    'usb': Usb,
}


def _named(mapping: dict[str, ty.Any]) -> list[dict[str, ty.Any]]:
    return [{'name': name, **raw} for name, raw in mapping.items()]


# How many drives, with network cards, a host may have; how many of them are
# drives with virtual functions
_PORTS = 6
# The network between machines.
LAST_PORT = f'port{_PORTS - 1}'
_SUBSYSTEMS = 3


def qemu_fixtures() -> list[str]:
    """QEMU's arguments for what ``plug_commands`` plugs into."""
    arguments: list[str] = []
    for number in range(_PORTS):
        port = f'pcie-root-port,id=port{number},chassis={number + 1}'
        arguments += ('-device', f'{port},slot={number + 1}')
    for number in range(_SUBSYSTEMS):
        arguments += ('-device', f'nvme-subsys,id=sub{number},nqn=n{number}')
    return [*arguments, '-device', 'qemu-xhci,id=xhci']


def plug_commands(
    host: Topology, folder: pathlib.Path
) -> list[tuple[str, dict[str, ty.Any]]]:
    """What to tell QEMU to get the devices that QEMU itself can imitate."""
    commands: list[tuple[str, dict[str, ty.Any]]] = []
    ports = iter(range(_PORTS - 1))
    subsystems = iter(range(_SUBSYSTEMS))
    for drive in host.nvme:
        device = {'driver': 'nvme', 'id': drive.name, 'serial': drive.serial}
        device['bus'] = f'port{next(ports)}'
        if drive.vfs:
            # QEMU plugs no namespace into a drive that can have them.
            functions = _functions(drive.vfs, next(subsystems))
            commands.append(('device_add', {**device, **functions}))
            continue
        commands.append(_block(drive.name, folder, 64))
        commands.append(('device_add', {**device, 'drive': drive.name}))
    for card in host.nic:
        net = {'type': 'user', 'id': card.name, 'restrict': True}
        device = {'driver': 'e1000e', 'id': card.name, 'mac': card.mac}
        device |= {'romfile': '', 'netdev': card.name}
        device['bus'] = f'port{next(ports)}'
        commands += (('netdev_add', net), ('device_add', device))
    for key in host.usb:
        device = {'driver': 'usb-storage', 'id': key.name, 'bus': 'xhci.0'}
        device |= {'drive': key.name, 'serial': key.serial}
        commands += (_block(key.name, folder, 16), ('device_add', device))
    return commands


def _functions(number: int, subsystem: int) -> dict[str, ty.Any]:
    # Each function needs two queues and one interrupt of its own.
    return {
        'subsys': f'sub{subsystem}',
        'sriov_max_vfs': number,
        'sriov_vq_flexible': 2 * number,
        'sriov_vi_flexible': number,
        'max_ioqpairs': 2 * number + 2,
        'msix_qsize': 2 * number + 2,
    }


def _block(
    name: str, folder: pathlib.Path, mib: int
) -> tuple[str, dict[str, ty.Any]]:
    image = _image(folder / f'{name}.img', mib)
    file = {'driver': 'file', 'filename': str(image)}
    node = {'driver': 'raw', 'node-name': name, 'file': file}
    return 'blockdev-add', node


def _image(path: pathlib.Path, mib: int) -> pathlib.Path:
    with path.open('ab') as file:
        file.truncate(mib << 20)
    return path
