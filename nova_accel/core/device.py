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
"""What a host has: devices and the vGPU models they can be split into.

Values only. A backend fills them in from the hypervisor; nothing here knows
where they come from.
"""

import collections.abc
import dataclasses
import re
import typing as ty

from nova_accel import exception

_ADDRESS = re.compile(
    r'(?P<domain>[0-9a-f]{4,8}):(?P<bus>[0-9a-f]{2}):'
    r'(?P<slot>[0-1][0-9a-f])\.(?P<function>[0-7])',
    re.ASCII | re.IGNORECASE,
)
_NUMBER = re.compile('[0-9]+')

TYPE_PCI = 'type-PCI'
TYPE_PF = 'type-PF'
TYPE_VF = 'type-VF'
TYPE_USB = 'type-USB'

# PCI base classes that are the host itself: bridges and system peripherals.
# Handing one to a guest takes the host down.
HOST_CLASSES = frozenset({'05', '06', '08'})


@dataclasses.dataclass(frozen=True, order=True)
class PciAddress:
    """Where a PCI function sits today. An attribute, not an identity."""

    domain: int
    bus: int
    slot: int
    function: int

    @classmethod
    def parse(cls, text: str) -> 'PciAddress':
        """Read ``0000:3b:00.0``.

        :raises InvalidAddress: if the text is anything else.
        """
        match = _ADDRESS.fullmatch(text)
        if match is None:
            raise exception.InvalidAddress(value=text)
        return cls(
            **{key: int(part, 16) for key, part in match.groupdict().items()}
        )

    def __str__(self) -> str:
        return (
            f'{self.domain:04x}:{self.bus:02x}:{self.slot:02x}.{self.function}'
        )


@dataclasses.dataclass(frozen=True)
class UsbAddress:
    """The port that a USB device is plugged into.

    Sorts after every PCI address, and by the numbers of the ports.

    :ivar path: bus, then the port of each hub on the way: ``1-2.4``.
    """

    path: str

    def __str__(self) -> str:
        return f'usb:{self.path}'

    def __lt__(self, other: object) -> bool:
        if isinstance(other, UsbAddress):
            return self._order < other._order
        return False

    def __gt__(self, other: object) -> bool:
        if isinstance(other, UsbAddress):
            return self._order > other._order
        return True

    @property
    def _order(self) -> tuple[list[int], str]:
        return [int(part) for part in _NUMBER.findall(self.path)], self.path


Address: ty.TypeAlias = PciAddress | UsbAddress


@dataclasses.dataclass(frozen=True, order=True)
class VgpuModel:
    """One vGPU type as one card offers it.

    :ivar type_id: the hypervisor's identifier, ``nvidia-233``.
    :ivar name: the vendor's model name, ``GRID T4-8Q``; the type id where
        the vendor gives none.
    :ivar capacity: how many the whole *card* holds when it holds nothing
        else, also where each virtual function creates one. None when
        neither the hardware nor the hypervisor tells: then the number of
        virtual functions or the whitelist's ``max_slots`` says.
    :ivar framebuffer_mib: MiB of video memory each, None if unknown.
    :ivar max_heads: displays each, None if unknown.
    :ivar max_resolution: (width, height) in pixels, None if unknown.
    :ivar per_server: how many one server may have, None if nothing says.
    """

    type_id: str
    name: str
    capacity: int | None = None
    framebuffer_mib: int | None = None
    max_heads: int | None = None
    max_resolution: tuple[int, int] | None = None
    per_server: int | None = None


@dataclasses.dataclass(frozen=True)
class Device:
    """One function, or one USB device, that the hypervisor lists.

    :ivar name: the hypervisor's own handle (``pci_0000_3b_00_0``), only
        good for talking to it.
    :ivar ids: stable ids of this device, best source first: serial, slot,
        topological path, address. Never empty. ``sn:1322621070001``.
    :ivar vendor_id: four lower-case hex digits, as are the three next.
    :ivar class_id: six lower-case hex digits, ``030200``.
    :ivar dev_type: ``type-PCI``, ``type-PF``, ``type-VF`` or ``type-USB``.
    :ivar parent: address of the physical function, for a virtual function.
    :ivar vf_index: position among the functions of its parent, from 0.
    :ivar upstream: name of the parent in the hypervisor's device tree (a
        bridge, usually); devices of one board share one.
    :ivar models: vGPU types this very function can create; empty for a
        function that is not a mediated-device parent.
    :ivar mixed: True where the card is known to hold different models at
        once; False means one model per card.
    :ivar members: for several GPUs that a hypervisor gives out as one, and
        chooses from itself: their addresses. Each holds one model at a
        time, and ``models`` say what all of them hold together.
    :ivar narrow: command that leaves such a device one vGPU type, which
        it writes as ``{type}``; '' where it has no more than one.
    :ivar per_server: how many of its kind one server may have, None if
        nothing says.
    """

    name: str
    ids: tuple[str, ...]
    address: Address
    vendor_id: str
    product_id: str
    class_id: str = ''
    subsystem_vendor_id: str = ''
    subsystem_product_id: str = ''
    vendor_name: str = ''
    product_name: str = ''
    driver: str = ''
    devname: str = ''
    numa_node: int | None = None
    slot: str = ''
    serial: str = ''
    path: str = ''
    dev_type: str = TYPE_PCI
    parent: PciAddress | None = None
    vf_index: int | None = None
    upstream: str = ''
    iommu_group: int | None = None
    models: tuple[VgpuModel, ...] = ()
    mixed: bool = False
    members: tuple[PciAddress, ...] = ()
    narrow: str = ''
    per_server: int | None = None

    @property
    def is_usb(self) -> bool:
        return self.dev_type == TYPE_USB

    @property
    def pci(self) -> PciAddress:
        """Where a PCI function sits.

        :raises InvalidAddress: it is on another bus.
        """
        if isinstance(self.address, UsbAddress):
            raise exception.InvalidAddress(value=str(self.address))
        return self.address

    @property
    def label(self) -> str:
        """A name a person recognises, for logs and tables."""
        what = ' '.join(
            part for part in (self.vendor_name, self.product_name) if part
        )
        return what or f'{self.vendor_id}:{self.product_id}'


@dataclasses.dataclass(frozen=True, order=True)
class Mdev:
    """One mediated device that exists on the host right now."""

    uuid: str
    type_id: str
    parent: str
    """``Device.name`` of the function it was created on."""


@dataclasses.dataclass(frozen=True)
class Guest:
    """What the hypervisor says one guest is made of.

    :ivar server: uuid, the same as the server's in nova.
    :ivar devices: uuids of mediated devices, PCI addresses and USB ports
        (``usb:1-2``).
    """

    server: str
    running: bool
    devices: frozenset[str] = frozenset()

    @property
    def mdevs(self) -> frozenset[str]:
        """Those of the devices that are mediated ones."""
        return frozenset(name for name in self.devices if ':' not in name)


@dataclasses.dataclass(frozen=True)
class HostView:
    """What discovery saw, as one immutable value.

    A backend returns the *same object* as long as nothing changed, so that
    callers can compare by identity and do nothing.

    :ivar lacking: (``Device.name``, vGPU type id, or '' for the device as a
        whole) -> how many of it nobody here can have, because of others.
        For hypervisors that tell of others' shares, not of their devices.
    """

    devices: tuple[Device, ...] = ()
    mdevs: tuple[Mdev, ...] = ()
    lacking: collections.abc.Mapping[tuple[str, str], int] = dataclasses.field(
        default_factory=dict
    )
