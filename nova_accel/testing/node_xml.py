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
"""Writes node devices as libvirt does, for hosts nobody has.

The functions return one ``<device>`` each; ``node`` joins them into a file
for libvirt's test driver. ``vgpu_host`` makes a host of any size, for
benchmarks and tests. What libvirt would not tell goes into an element of our
own that libvirt skips (see ``node_file``).
"""

import collections
import collections.abc
import dataclasses
import uuid
from xml.sax import saxutils

from nova_accel.core import device

_ELEMENT = """<device>
  <name>{name}</name>
  <path>{path}</path>
  <parent>{parent}</parent>
  {driver}<capability type='{kind}'>
{facts}
  </capability>{extra}
</device>
"""


@dataclasses.dataclass(frozen=True)
class VgpuType:
    """A vGPU type.

    :ivar capacity: how many a card holds.
    :ivar framebuffer_mib: None: the driver describes nothing.
    """

    id: str
    name: str
    capacity: int
    framebuffer_mib: int | None = None
    heads: int = 4
    resolution: str = '7680x4320'

    @property
    def description(self) -> str:
        """What NVIDIA's driver says of it in sysfs, '' if nothing."""
        if self.framebuffer_mib is None:
            return ''
        return (
            f'num_heads={self.heads}, frl_config=60, '
            f'framebuffer={self.framebuffer_mib}M, '
            f'max_resolution={self.resolution}, '
            f'max_instance={self.capacity}'
        )


@dataclasses.dataclass(frozen=True)
class Product:
    """What identifies a kind of device."""

    vendor_id: str
    product_id: str
    class_id: str
    vendor: str = ''
    name: str = ''
    subsystem: str = ''
    """``10de:12a2``; '' if the device tells none."""
    driver: str = ''


ROOT_PORT = Product(
    *('8086', '347c', '060400'),
    vendor='Intel Corporation',
    name='PCI Express Root Port',
    driver='pcieport',
)
BENCH_GPU = Product(
    *('10de', '1eb8', '030200'),
    vendor='NVIDIA Corporation',
    name='TU104GL [Tesla T4]',
    subsystem='10de:12a2',
    driver='nvidia',
)


def name_of(address: str) -> str:
    """libvirt's name of the function at an address."""
    return 'pci_' + address.replace(':', '_').replace('.', '_')


def node(devices: collections.abc.Iterable[str], note: str = '') -> str:
    """Join devices into a node file.

    :param note: comment for whoever reads it.
    """
    comment = f'<!--\n{note.strip()}\n-->\n' if note else ''
    return f'{comment}<node>\n{"".join(devices)}</node>\n'


def function(
    address: str,
    product: Product,
    above: collections.abc.Sequence[str] = (),
    *,
    numa: int | None = None,
    group: int | None = None,
    serial: str = '',
    slot: str = '',
    types: collections.abc.Sequence[VgpuType] = (),
    available: collections.abc.Mapping[str, int] | None = None,
    virtual: collections.abc.Sequence[str] | None = None,
    max_virtual: int | None = None,
    physical: str = '',
    bridge: bool = False,
) -> str:
    """Return a PCI function.

    :param above: addresses of the bridges that lead there, outermost first.
    :param serial: in the vital product data.
    :param slot: physical slot, for sysfs.
    :param available: type id -> how many more can be created now; default:
        all that fit on the card, one for a virtual function.
    :param virtual: addresses of the virtual functions; None without SR-IOV.
    :param physical: address of the physical function of a virtual one.
    """
    domain, bus, rest = address.split(':')
    pci_slot, _, number = rest.partition('.')
    facts = [
        f'<class>0x{product.class_id}</class>',
        f'<domain>{int(domain, 16)}</domain>',
        f'<bus>{int(bus, 16)}</bus>',
        f'<slot>{int(pci_slot, 16)}</slot>',
        f'<function>{number}</function>',
        _labelled('product', product.product_id, product.name),
        _labelled('vendor', product.vendor_id, product.vendor),
        *_capability("'pci-bridge'", [] if bridge else None),
        *_capability("'phys_function'", [physical] if physical else None),
        *_virtual(virtual, max_virtual),
        *_types(types, available or {}, bool(physical)),
        *_vpd(product, serial),
        *_group(group, address),
    ]
    if numa is not None:
        facts.append(f"<numa node='{numa}'/>")
    return _element(
        name_of(address),
        '/sys/devices/pci{}/{}'.format(
            (*above, address)[0][:7], '/'.join((*above, address))
        ),
        name_of(above[-1]) if above else 'computer',
        'pci',
        facts,
        driver=product.driver,
        extra=_sysfs(product, slot, types),
    )


def mdev(uuid: str, type_id: str, parent: str, group: int = 0) -> str:
    """Return a mediated device.

    :param parent: address of the function it was created on.
    """
    return _element(
        f'mdev_{uuid.replace("-", "_")}_{name_of(parent)[4:]}',
        f'/sys/devices/{parent}/{uuid}',
        name_of(parent),
        'mdev',
        [
            f"<type id='{type_id}'/>",
            f'<uuid>{uuid}</uuid>',
            f'<parent_addr>{parent}</parent_addr>',
            f"<iommuGroup number='{group}'/>",
        ],
        driver='vfio_mdev',
    )


def interface(devname: str, mac: str, parent: str) -> str:
    """Return a network interface of the function at an address."""
    return _element(
        f'net_{devname}_{mac.replace(":", "_")}',
        f'/sys/devices/{parent}/net/{devname}',
        name_of(parent),
        'net',
        [
            f'<interface>{devname}</interface>',
            f'<address>{mac}</address>',
            "<link speed='100000' state='up'/>",
        ],
    )


def vgpu_host(
    cards: int,
    virtual: int = 0,
    types: int = 8,
    mdevs: int = 0,
    *,
    switch: int = 64,
) -> str:
    """Return the node file of a host with many mediated-device parents.

    :param virtual: virtual functions a card, which are then the parents; 0:
        the cards themselves are.
    :param types: vGPU types a parent offers; the card holds 16, 8, 4, 2, 1,
        1, ... of them.
    :param mdevs: mediated devices that exist, spread over the cards, all of
        the type of which a card holds most.
    :param switch: cards behind one bridge.
    """
    offered = [
        VgpuType(
            f'nvidia-{230 + index}',
            f'GRID T4-{index}Q',
            max(16 >> index, 1),
        )
        for index in range(types)
    ]
    parents = _parents(cards, virtual)
    held = collections.Counter(
        parents[index % len(parents)] for index in range(mdevs)
    )
    return node(
        [
            *_switches(cards, switch),
            *_cards(cards, virtual, offered, held, switch),
            *(
                mdev(
                    str(uuid.uuid5(uuid.NAMESPACE_URL, f'bench-{index}')),
                    offered[0].id,
                    parents[index % len(parents)],
                    group=5000 + index,
                )
                for index in range(mdevs)
            ),
        ]
    )


def _parents(cards: int, virtual: int) -> list[str]:
    if not virtual:
        return [_card_address(card) for card in range(cards)]
    return [
        address
        for card in range(cards)
        for address in _virtual_addresses(card, virtual)
    ]


def _card_address(card: int) -> str:
    return f'{card // 240:04x}:{card % 240 + 16:02x}:00.0'


def _virtual_addresses(card: int, virtual: int) -> list[str]:
    base = _card_address(card)[:8]
    return [
        f'{base}{(index + 4) // 8:02x}.{(index + 4) % 8}'
        for index in range(virtual)
    ]


def _switch_of(card: int, switch: int) -> str:
    # One a domain at least: a bridge leads nowhere else.
    number = card % 240 // switch
    return f'{card // 240:04x}:00:{number + 1:02x}.0'


def _switches(cards: int, switch: int) -> collections.abc.Iterator[str]:
    for address in dict.fromkeys(
        _switch_of(card, switch) for card in range(cards)
    ):
        yield function(address, ROOT_PORT, bridge=True)


def _cards(
    cards: int,
    virtual: int,
    offered: collections.abc.Sequence[VgpuType],
    held: collections.abc.Mapping[str, int],
    switch: int,
) -> collections.abc.Iterator[str]:
    for card in range(cards):
        address = _card_address(card)
        above = [_switch_of(card, switch)]
        functions = _virtual_addresses(card, virtual)
        numa = card * 2 // cards
        full = any(held.get(one) for one in (address, *functions))
        yield function(
            address,
            BENCH_GPU,
            above,
            numa=numa,
            group=card,
            serial=f'{1320000000 + card}',
            slot=str(card + 1),
            types=() if virtual else offered,
            available=_left(offered, held.get(address, 0), full),
            virtual=functions or None,
            max_virtual=virtual or None,
        )
        for index, one in enumerate(functions):
            yield function(
                one,
                BENCH_GPU,
                above,
                numa=numa,
                group=1000 + card * virtual + index,
                types=offered,
                available=_left(offered, held.get(one, 0), full, most=1),
                physical=address,
            )


def _left(
    offered: collections.abc.Sequence[VgpuType],
    held: int,
    full: bool,
    most: int = 1 << 16,
) -> dict[str, int]:
    """Say what a parent still offers.

    :param held: mediated devices on it, all of the first type.
    :param full: there are some on its card, which bars the other types.
    :param most: how many it can create at all.
    """
    return {
        one.id: 0
        if full and one is not offered[0]
        else max(min(one.capacity, most) - held, 0)
        for one in offered
    }


def _element(
    name: str,
    path: str,
    parent: str,
    kind: str,
    facts: collections.abc.Iterable[str],
    *,
    driver: str = '',
    extra: str = '',
) -> str:
    return _ELEMENT.format(
        name=name,
        path=path,
        parent=parent,
        kind=kind,
        facts='\n'.join(f'    {fact}' for fact in facts),
        driver=f'<driver>\n    <name>{driver}</name>\n  </driver>\n  '
        if driver
        else '',
        extra=extra,
    )


def _labelled(tag: str, number: str, text: str) -> str:
    return f"<{tag} id='0x{number}'>{saxutils.escape(text)}</{tag}>"


def _capability(
    kind: str, addresses: collections.abc.Iterable[str] | None
) -> list[str]:
    """``kind`` is the quoted type, and attributes after it."""
    if addresses is None:
        return []
    inside = [f'  {_address(address)}' for address in addresses]
    if not inside:
        return [f'<capability type={kind}/>']
    return [f'<capability type={kind}>', *inside, '</capability>']


def _address(address: str) -> str:
    at = device.PciAddress.parse(address)
    return (
        f"<address domain='0x{at.domain:04x}' bus='0x{at.bus:02x}' "
        f"slot='0x{at.slot:02x}' function='0x{at.function}'/>"
    )


def _virtual(
    virtual: collections.abc.Sequence[str] | None, most: int | None
) -> list[str]:
    if virtual is None:
        return []
    most = len(virtual) if most is None else most
    return _capability(f"'virt_functions' maxCount='{most}'", virtual)


def _types(
    types: collections.abc.Sequence[VgpuType],
    available: collections.abc.Mapping[str, int],
    virtual: bool,
) -> list[str]:
    if not types:
        return []
    lines = ["<capability type='mdev_types'>"]
    for one in types:
        figure = available.get(one.id, 1 if virtual else one.capacity)
        lines += [
            f"  <type id='{one.id}'>",
            f'    <name>{saxutils.escape(one.name)}</name>',
            '    <deviceAPI>vfio-pci</deviceAPI>',
            f'    <availableInstances>{figure}</availableInstances>',
            '  </type>',
        ]
    return [*lines, '</capability>']


def _vpd(product: Product, serial: str) -> list[str]:
    if not serial:
        return []
    return [
        "<capability type='vpd'>",
        f'  <name>{saxutils.escape(product.name)}</name>',
        "  <fields access='readonly'>",
        f'    <serial_number>{saxutils.escape(serial)}</serial_number>',
        '  </fields>',
        '</capability>',
    ]


def _group(group: int | None, address: str) -> list[str]:
    if group is None:
        return []
    return [
        f"<iommuGroup number='{group}'>",
        f'  {_address(address)}',
        '</iommuGroup>',
    ]


def _sysfs(
    product: Product,
    slot: str,
    types: collections.abc.Sequence[VgpuType],
) -> str:
    attributes = {'slot': slot}
    if product.subsystem:
        vendor, _, model = product.subsystem.partition(':')
        attributes.update(subsystem_vendor=vendor, subsystem_device=model)
    text = ''.join(f" {k}='{v}'" for k, v in attributes.items() if v)
    inside = ''.join(
        f"\n    <type id='{one.id}'>{one.description}</type>"
        for one in types
        if one.description
    )
    if not text and not inside:
        return ''
    start = f"\n  <sysfs xmlns='urn:nova-accel:sysfs'{text}"
    return f'{start}>{inside}\n  </sysfs>' if inside else f'{start}/>'
