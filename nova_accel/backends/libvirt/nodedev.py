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
"""One node device, from libvirt's XML to facts.

The XML comes from outside, so it is read without entities, without a
document type and without network. See libvirt.org/formatnode.html.
"""

import collections.abc
import dataclasses
import re

from lxml import etree

from nova_accel.core import device
from nova_accel import exception

_PARSER = etree.XMLParser(
    resolve_entities=False,
    no_network=True,
    load_dtd=False,
    remove_comments=True,
    remove_pis=True,
)
_MDEV_NAME = re.compile(
    r'mdev_([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12})(?:_|$)',
    re.ASCII,
)
_NO_SERIAL = frozenset({'', 'n/a', 'na', 'none', 'unknown', 'default string'})


@dataclasses.dataclass(frozen=True)
class MdevType:
    """A vGPU type as one parent offers it at this moment.

    :ivar available: how many more can be created now: it shrinks as
        mediated devices are created, so it is no capacity.
    """

    id: str
    name: str
    available: int


@dataclasses.dataclass(frozen=True)
class Function:
    """A PCI function.

    :ivar name: libvirt's handle.
    :ivar upstream: libvirt's handle of the parent in the device tree.
    :ivar syspath: below /sys/devices, '' where libvirt gives none.
    :ivar physical: address of the physical function of a virtual one.
    :ivar virtual: addresses of the virtual functions, in their order;
        None where the function has no SR-IOV capability.
    """

    name: str
    address: device.PciAddress
    vendor_id: str
    product_id: str
    upstream: str = ''
    syspath: str = ''
    driver: str = ''
    class_id: str = ''
    vendor_name: str = ''
    product_name: str = ''
    serial: str = ''
    iommu_group: int | None = None
    numa_node: int | None = None
    physical: device.PciAddress | None = None
    virtual: tuple[device.PciAddress, ...] | None = None
    mdev_types: tuple[MdevType, ...] = ()

    @property
    def card(self) -> device.PciAddress:
        """Address of the function that stands for the whole card."""
        return self.physical or self.address


@dataclasses.dataclass(frozen=True)
class Mediated:
    """A mediated device that exists."""

    name: str
    uuid: str
    type_id: str
    upstream: str


@dataclasses.dataclass(frozen=True)
class Interface:
    """A network interface."""

    name: str
    upstream: str
    devname: str


NodeDevice = Function | Mediated | Interface
_Parts = collections.abc.Mapping[str, etree._Element]


def parse(xml: str) -> NodeDevice | None:
    """Read one ``<device>``; None for kinds that do not concern us.

    :raises InvalidNodeDevice: the document is not what libvirt writes.
    """
    try:
        root = etree.fromstring(xml, _PARSER)
        if root.getroottree().docinfo.doctype:
            raise ValueError('it carries a document type')
        return _device(root)
    except (
        etree.XMLSyntaxError,
        AttributeError,
        KeyError,
        TypeError,
        ValueError,
    ) as error:
        missing = f'it has no {error}' if isinstance(error, KeyError) else ''
        raise exception.InvalidNodeDevice(
            device=_name_of(xml), reason=missing or error
        ) from error


def _name_of(xml: str) -> str:
    match = re.search(r'<name>([^<]{1,200})</name>', str(xml))
    return match[1] if match else '(without a name)'


def _device(root: etree._Element) -> NodeDevice | None:
    facts = _children(root)
    for capability in root.iterchildren('capability'):
        read = _KINDS.get(capability.get('type', ''))
        if read is not None:
            return read(facts, capability)
    return None


def _children(element: etree._Element) -> _Parts:
    """Look up children by tag. One pass: this is what takes the time."""
    return {child.tag: child for child in element}


def _function(facts: _Parts, capability: etree._Element) -> Function:
    parts: dict[str, etree._Element] = {}
    nested: dict[str, etree._Element] = {}
    for part in capability:
        if part.tag == 'capability':
            nested[part.get('type', '')] = part
        else:
            parts[part.tag] = part
    driver = facts.get('driver')
    return Function(
        name=_text(facts, 'name'),
        address=_address(_number(parts[key]) for key in _ADDRESS),
        vendor_id=_hex4(parts['vendor']),
        product_id=_hex4(parts['product']),
        upstream=_optional(facts, 'parent'),
        syspath=_optional(facts, 'path'),
        driver='' if driver is None else _optional(_children(driver), 'name'),
        class_id=_class(parts.get('class')),
        vendor_name=_stripped(parts['vendor']),
        product_name=_stripped(parts['product']),
        serial=_serial(nested.get('vpd')),
        iommu_group=_natural(parts.get('iommuGroup'), 'number'),
        numa_node=_natural(parts.get('numa'), 'node'),
        physical=next(iter(_addresses(nested.get('phys_function'))), None),
        virtual=_virtual(nested.get('virt_functions')),
        mdev_types=_mdev_types(nested.get('mdev_types')),
    )


def _mediated(facts: _Parts, capability: etree._Element) -> Mediated:
    name = _text(facts, 'name')
    parts = _children(capability)
    return Mediated(
        name=name,
        uuid=_optional(parts, 'uuid') or uuid_of(name),
        type_id=parts['type'].attrib['id'],
        upstream=_text(facts, 'parent'),
    )


def _interface(facts: _Parts, capability: etree._Element) -> Interface:
    return Interface(
        name=_text(facts, 'name'),
        upstream=_optional(facts, 'parent'),
        devname=_optional(_children(capability), 'interface'),
    )


_KINDS: dict[
    str,
    collections.abc.Callable[[_Parts, etree._Element], NodeDevice],
] = {'pci': _function, 'mdev': _mediated, 'net': _interface}
# Parts of an address, and the most each can be.
_ADDRESS = {'domain': 0xFFFFFFFF, 'bus': 0xFF, 'slot': 0x1F, 'function': 7}


def uuid_of(name: str) -> str:
    """Read the uuid out of a mediated device's name.

    Older libvirt names it ``mdev_<uuid>``, newer appends the parent.

    :raises ValueError: it is not the name of a mediated device.
    """
    match = _MDEV_NAME.match(name)
    if match is None:
        raise ValueError(f'{name!r} is not the name of a mediated device')
    return match[1].replace('_', '-')


def _text(parts: _Parts, tag: str) -> str:
    text = _optional(parts, tag)
    if not text:
        raise ValueError(f'it has no <{tag}>')
    return text


def _optional(parts: _Parts, tag: str) -> str:
    part = parts.get(tag)
    return '' if part is None else _stripped(part)


def _stripped(part: etree._Element) -> str:
    return (part.text or '').strip()


def _number(part: etree._Element) -> int:
    text = _stripped(part)
    return int(text, 16 if text.startswith('0x') else 10)


def _address(numbers: collections.abc.Iterable[int]) -> device.PciAddress:
    found = device.PciAddress(*numbers)
    if any(
        not 0 <= getattr(found, key) <= most for key, most in _ADDRESS.items()
    ):
        raise ValueError(f'{found} is not a PCI address')
    return found


def _hex(text: str, digits: int) -> str:
    number = int(text, 16)
    if not 0 <= number < 16**digits:
        raise ValueError(f'{text!r} is not a number of {digits} hex digits')
    return f'{number:0{digits}x}'


def _hex4(part: etree._Element) -> str:
    return _hex(part.attrib['id'], 4)


def _class(part: etree._Element | None) -> str:
    return '' if part is None else _hex(_stripped(part), 6)


def _natural(part: etree._Element | None, key: str) -> int | None:
    number = -1 if part is None else int(part.attrib[key])
    return None if number < 0 else number


def _addresses(
    capability: etree._Element | None,
) -> tuple[device.PciAddress, ...]:
    if capability is None:
        return ()
    return tuple(
        _address(int(part.attrib[key], 16) for key in _ADDRESS)
        for part in capability.iterchildren('address')
    )


def _virtual(
    capability: etree._Element | None,
) -> tuple[device.PciAddress, ...] | None:
    return None if capability is None else _addresses(capability)


def _mdev_types(capability: etree._Element | None) -> tuple[MdevType, ...]:
    if capability is None:
        return ()
    return tuple(_mdev_type(part) for part in capability.iterfind('type'))


def _mdev_type(part: etree._Element) -> MdevType:
    type_id = part.attrib['id']
    parts = _children(part)
    return MdevType(
        id=type_id,
        name=_optional(parts, 'name') or type_id,
        available=int(_text(parts, 'availableInstances')),
    )


def _serial(vpd: etree._Element | None) -> str:
    if vpd is None:
        return ''
    path = "fields[@access='readonly']/serial_number"
    return real_serial(vpd.findtext(path) or '')


def real_serial(text: str) -> str:
    """Return a serial number without its padding, '' if it says nothing."""
    serial = text.strip()
    if not (serial.isascii() and serial.isprintable()):
        return ''
    placeholder = serial.lower() in _NO_SERIAL or not serial.strip('0')
    return '' if placeholder else serial
