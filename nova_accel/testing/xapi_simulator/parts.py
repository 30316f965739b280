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
"""What a topology says, as values."""

import dataclasses

from nova_accel.core import document
from nova_accel.testing.xapi_simulator import cards
from nova_accel.testing.xapi_simulator import faults
from nova_accel.testing.xapi_simulator import world


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


def nth_address(address: str, number: int) -> str:
    """Return the address of a board's GPU: one bus further each."""
    domain, bus, rest = address.split(':')
    return f'{domain}:{int(bus, 16) + number:02x}:{rest}'
