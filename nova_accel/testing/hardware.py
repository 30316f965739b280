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
"""A host whose cards can be moved, swapped, taken out and put in.

A tree of root ports, bridges and slots, with cards in some of them. Bus
numbers are given as firmware gives them, depth first, so that a card in
front of others moves their addresses. A card is an object of its own:
whoever claims to have found it again can be checked.
"""

import collections.abc
import dataclasses
import random

from nova_accel.backends.libvirt import assemble
from nova_accel.backends.libvirt import nodedev
from nova_accel.core import device

_VFS_PER_SLOT = 8


@dataclasses.dataclass(frozen=True)
class Make:
    """What a card is, whichever of its kind.

    :ivar functions: virtual functions, 0 for a card without.
    """

    product_id: str
    models: tuple[device.VgpuModel, ...] = ()
    functions: int = 0
    vendor_id: str = '10de'
    subsystem: tuple[str, str] = ('10de', '12a2')


@dataclasses.dataclass(eq=False)
class Card:
    """One piece of hardware; it is itself and no other.

    :ivar serial: printed on it; '' if it has none.
    :ivar silent: it does not tell its serial number today.
    :ivar deep: it tells that in its configuration space, not in its VPD.
    """

    make: Make
    serial: str = ''
    silent: bool = False
    deep: bool = False

    @property
    def told(self) -> str:
        """The serial number that can be read today."""
        return '' if self.silent else self.serial


@dataclasses.dataclass(frozen=True, order=True)
class Bay:
    """Where a card can sit.

    :ivar root: bus number of the root complex.
    :ivar ports: device and function number of each bridge above.
    :ivar name: of the slot, as firmware numbers it; '' if it does not.
    """

    root: int
    ports: tuple[tuple[int, int], ...]
    name: str = ''


class Machine:
    """Bays, and the cards in them.

    :ivar cards: which card sits where.
    :ivar spread: bus numbers that firmware leaves free before each root
        port: another figure moves every address.
    :ivar empty_take: whether a port without a card takes a bus number.
    """

    def __init__(self, bays: collections.abc.Iterable[Bay]) -> None:
        self.bays = tuple(sorted(bays))
        self.cards: dict[Bay, Card] = {}
        self.spread = 0
        self.empty_take = False

    def bay_of(self, card: Card) -> Bay | None:
        """Return where a card sits, None if it is not in the machine."""
        return next(
            (b for b, each in self.cards.items() if each is card), None
        )

    def look(self) -> 'Sight':
        """Return what a hypervisor would list."""
        devices: list[device.Device] = []
        owners: dict[str, Card] = {}
        for bay, way in self._numbered():
            card = self.cards[bay]
            for dev in _devices(card, bay, way):
                devices.append(dev)
                owners[dev.name] = card
        return Sight(tuple(devices), owners)

    def _numbered(
        self,
    ) -> collections.abc.Iterator[tuple[Bay, list[device.PciAddress]]]:
        """Yield each card's bay and the addresses from the root to it."""
        buses: dict[tuple[int, tuple[tuple[int, int], ...]], int] = {}
        following: dict[int, int] = {}
        for bay in self.bays:
            if bay not in self.cards and not self.empty_take:
                continue
            way, bus = [], bay.root
            for depth, (slot, function) in enumerate(bay.ports):
                way.append(device.PciAddress(0, bus, slot, function))
                key = (bay.root, bay.ports[: depth + 1])
                if key not in buses:
                    last = following.get(bay.root, bay.root)
                    buses[key] = last + 1 + (self.spread if not depth else 0)
                    following[bay.root] = buses[key]
                bus = buses[key]
            if bay in self.cards:
                yield bay, [*way, device.PciAddress(0, bus, 0, 0)]


@dataclasses.dataclass(frozen=True)
class Sight:
    """What is listed, and which card each function belongs to."""

    devices: tuple[device.Device, ...]
    owners: collections.abc.Mapping[str, Card]


def _devices(
    card: Card, bay: Bay, way: list[device.PciAddress]
) -> collections.abc.Iterator[device.Device]:
    at = way[-1]
    make = card.make
    virtual = tuple(
        device.PciAddress(
            0, at.bus, 1 + index // _VFS_PER_SLOT, index % _VFS_PER_SLOT
        )
        for index in range(make.functions)
    )
    head = nodedev.Function(
        name=_name(at),
        address=at,
        vendor_id=make.vendor_id,
        product_id=make.product_id,
        class_id='030200',
        serial='' if card.deep else card.told,
        # As boards have it: the first root complex is of the first node.
        numa_node=int(bay.root >= 0x80),
        virtual=virtual or None,
    )
    place = assemble.Place(
        assemble.path(way),
        bay.name,
        make.subsystem,
        dsn=card.told if card.deep else '',
    )
    on_functions = make.models if make.functions else ()
    physical = assemble.whole(
        head, place, () if make.functions else make.models, False
    )
    yield physical
    for index, address in enumerate(virtual):
        function = dataclasses.replace(
            head, name=_name(address), address=address, physical=at
        )
        yield assemble.virtual(
            function, place, physical, index, on_functions, False
        )


def _name(at: device.PciAddress) -> str:
    return f'pci_{at.domain:04x}_{at.bus:02x}_{at.slot:02x}_{at.function:x}'


def bays(rng: random.Random) -> list[Bay]:
    """Make up the board of a machine: one or two sockets, with bridges."""
    found = []
    for root in rng.choice([(0,), (0, 0x80)]):
        for port in range(1, 1 + rng.randint(1, 3)):
            below = rng.choice([((),), ((),), _SWITCH, _SWITCH[:2]])
            # Of slots behind a switch firmware numbers none, or the switch.
            named = rng.random() < 0.5
            found += [
                Bay(
                    root,
                    ((port, 0), *way),
                    f'{root}{port}{index}' if named else '',
                )
                for index, way in enumerate(below)
            ]
    return found


# Upstream port, then downstream ports.
_SWITCH = tuple(((0, 0), (port, 0)) for port in (8, 9, 16))
