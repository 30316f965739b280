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
"""What a rule's ``match`` says: predicates over a device.

The keys of one ``match`` are ANDed; a list of values for one key is ORed.
Predicates are frozen values, so that two readings of one file are equal.
"""

import collections.abc
import dataclasses
import fnmatch
import re
import typing as ty

from nova_accel.core import cursor
from nova_accel.core import device

ANY = '*'


@dataclasses.dataclass(frozen=True)
class Anything:
    """The wildcard: holds for every device."""

    def __call__(self, dev: device.Device) -> bool:
        return True


@dataclasses.dataclass(frozen=True)
class OneOf:
    """An attribute of the device is one of these values."""

    attribute: str
    values: frozenset[str | int]

    def __call__(self, dev: device.Device) -> bool:
        return getattr(dev, self.attribute) in self.values


@dataclasses.dataclass(frozen=True)
class ClassPrefix:
    """The class code starts with these digits."""

    prefix: str

    def __call__(self, dev: device.Device) -> bool:
        return dev.class_id.startswith(self.prefix)


@dataclasses.dataclass(frozen=True)
class Path:
    """The topological path matches a shell-style pattern."""

    pattern: re.Pattern[str]

    def __call__(self, dev: device.Device) -> bool:
        return self.pattern.match(dev.path) is not None


@dataclasses.dataclass(frozen=True)
class AddressRange:
    """Every part of the address lies in a range, both ends included.

    One single address also stands for the virtual functions of the physical
    function that sits there, as it does in nova's ``device_spec``.
    """

    domain: tuple[int, int]
    bus: tuple[int, int]
    slot: tuple[int, int]
    function: tuple[int, int]

    def __call__(self, dev: device.Device) -> bool:
        if isinstance(dev.address, device.UsbAddress):
            return False
        if self._holds(dev.address):
            return True
        return (
            dev.parent is not None
            and self._is_single
            and self._holds(dev.parent)
        )

    def _holds(self, address: device.PciAddress) -> bool:
        return (
            self.bus[0] <= address.bus <= self.bus[1]
            and self.slot[0] <= address.slot <= self.slot[1]
            and self.function[0] <= address.function <= self.function[1]
            and self.domain[0] <= address.domain <= self.domain[1]
        )

    @property
    def _is_single(self) -> bool:
        parts = (self.domain, self.bus, self.slot, self.function)
        return all(low == high for low, high in parts)


@dataclasses.dataclass(frozen=True)
class AddressRegex:
    """Every part of the address, in hex digits, starts with a match."""

    domain: re.Pattern[str]
    bus: re.Pattern[str]
    slot: re.Pattern[str]
    function: re.Pattern[str]

    def __call__(self, dev: device.Device) -> bool:
        address = dev.address
        if isinstance(address, device.UsbAddress):
            return False
        return all(
            (
                self.domain.match(f'{address.domain:04x}'),
                self.bus.match(f'{address.bus:02x}'),
                self.slot.match(f'{address.slot:02x}'),
                self.function.match(f'{address.function:x}'),
            )
        )


@dataclasses.dataclass(frozen=True)
class AnyOf:
    """At least one of these holds."""

    tests: tuple['Predicate', ...]

    def __call__(self, dev: device.Device) -> bool:
        return any(test(dev) for test in self.tests)


Predicate: ty.TypeAlias = (
    Anything | OneOf | ClassPrefix | Path | AddressRange | AddressRegex | AnyOf
)
Match: ty.TypeAlias = tuple[tuple[str, Predicate], ...]

_Reader: ty.TypeAlias = collections.abc.Callable[
    [cursor.Cursor], Predicate | None
]

_HEX_ID = re.compile(r'(?:0x)?([0-9a-f]{4})', re.ASCII | re.IGNORECASE)
_CLASS = re.compile(r'(?:[0-9a-f]{2}){1,3}', re.ASCII | re.IGNORECASE)
_PART = re.compile(
    r'(?P<open>\[)?(?P<low>[0-9a-f]+)(?:-(?P<high>[0-9a-f]+))?(?(open)\])',
    re.ASCII | re.IGNORECASE,
)
_MAX_NUMA_NODE = 1023
_MAX_PATTERN = 100

# The parts of an address, and the largest value of each.
_PARTS: dict[str, int] = {
    'domain': 0xFFFFFFFF,
    'bus': 0xFF,
    'slot': 0x1F,
    'function': 0x7,
}


def _hex_id(attribute: str) -> _Reader:
    def read(here: cursor.Cursor) -> Predicate | None:
        text = here.string()
        if text is None:
            return None
        if text == ANY:
            return Anything()
        found = _HEX_ID.fullmatch(text)
        if found is None:
            here.fail(
                f'must be four hexadecimal digits in quotes, like "10de", '
                f'or "*", is {cursor.shorten(text)}'
            )
            return None
        return OneOf(attribute, frozenset({found[1].lower()}))

    return read


def _text(attribute: str) -> _Reader:
    def read(here: cursor.Cursor) -> Predicate | None:
        text = here.string()
        return None if text is None else OneOf(attribute, frozenset({text}))

    return read


def _class(here: cursor.Cursor) -> Predicate | None:
    text = here.string()
    if text is None:
        return None
    if _CLASS.fullmatch(text) is None:
        here.fail(
            f'must be 2, 4 or 6 hexadecimal digits in quotes, like "0302", '
            f'is {cursor.shorten(text)}'
        )
        return None
    return ClassPrefix(text.lower())


def _numa_node(here: cursor.Cursor) -> Predicate | None:
    node = here.integer(0, _MAX_NUMA_NODE)
    return None if node is None else OneOf('numa_node', frozenset({node}))


def _path(here: cursor.Cursor) -> Predicate | None:
    text = here.string()
    if text is None:
        return None
    if not text.strip(ANY):
        return Anything()
    return Path(re.compile(fnmatch.translate(text)))


def _dev_type(here: cursor.Cursor) -> Predicate | None:
    text = here.choice((device.TYPE_PCI, device.TYPE_PF, device.TYPE_VF))
    return None if text is None else OneOf('dev_type', frozenset({text}))


def _address(here: cursor.Cursor) -> Predicate | None:
    if here.is_mapping:
        return _address_regex(here)
    text = here.string()
    return None if text is None else _address_range(here, text)


def _address_range(here: cursor.Cursor, text: str) -> Predicate | None:
    front, _dot, function = text.partition('.')
    fields = front.split(':')
    if len(fields) > 3:
        here.fail(
            f'{cursor.shorten(text)} is not a PCI address; write '
            f'domain:bus:slot.function, like "0000:3b:00.0"'
        )
        return None
    # As in nova, parts may be left out from the left: 3b:00.0, :00.1, .2
    fields = [''] * (3 - len(fields)) + fields + [function]
    ranges = [
        _part(here, name, field)
        for name, field in zip(_PARTS, fields, strict=True)
    ]
    good = [part for part in ranges if part is not None]
    if len(good) < len(ranges):
        return None
    if good == [(0, largest) for largest in _PARTS.values()]:
        return Anything()
    return AddressRange(*good)


def _part(here: cursor.Cursor, name: str, text: str) -> tuple[int, int] | None:
    largest = _PARTS[name]
    if text in ('', ANY):
        return 0, largest
    found = _PART.fullmatch(text)
    if found is not None:
        low = int(found['low'], 16)
        high = int(found['high'] or found['low'], 16)
        if low <= high <= largest:
            return low, high
    here.fail(
        f'{name} {cursor.shorten(text)} must be a hexadecimal number from 0 '
        f'to {largest:x}, a range of two like 0-{min(largest, 0x1F):x}, or *'
    )
    return None


def _address_regex(here: cursor.Cursor) -> Predicate | None:
    fields = here.known(_PARTS)
    if fields is None:
        return None
    if here.is_empty:
        here.fail(f'name at least one of {", ".join(_PARTS)}')
        return None
    patterns = {name: _regex(field) for name, field in fields.items()}
    good = {
        name: pattern
        for name, pattern in patterns.items()
        if pattern is not None
    }
    if not good or len(good) < len(patterns):
        return None
    if all(pattern.pattern == '.*' for pattern in good.values()):
        return Anything()
    return AddressRegex(
        **{name: good.get(name, re.compile('')) for name in _PARTS}
    )


def _regex(here: cursor.Cursor) -> re.Pattern[str] | None:
    text = here.string()
    if text is None:
        return None
    try:
        if len(text) <= _MAX_PATTERN:
            return re.compile(text, re.ASCII | re.IGNORECASE)
        reason = f'it is longer than {_MAX_PATTERN} characters'
    except (re.error, OverflowError) as error:
        reason = str(error)
    here.fail(
        f'{cursor.shorten(text)} is not a regular expression ({reason}); '
        f'for any value write ".*"'
    )
    return None


KEYS: dict[str, _Reader] = {
    'vendor_id': _hex_id('vendor_id'),
    'product_id': _hex_id('product_id'),
    'subsystem_vendor_id': _hex_id('subsystem_vendor_id'),
    'subsystem_product_id': _hex_id('subsystem_product_id'),
    'class': _class,
    'address': _address,
    'devname': _text('devname'),
    'driver': _text('driver'),
    'numa_node': _numa_node,
    'slot': _text('slot'),
    'serial': _text('serial'),
    'path': _path,
    'dev_type': _dev_type,
}
LATER_KEYS = frozenset({'parent_ifname'})
# What is known of a USB device.
USB_KEYS = ('vendor_id', 'product_id', 'serial', 'path')


def parse(
    here: cursor.Cursor, elsewhere: collections.abc.Iterable[str] = ()
) -> Match:
    """Read a ``match`` mapping; what is wrong is noted at the cursor.

    :param elsewhere: keys that belong one level up.
    """
    misplaced = dict.fromkeys(elsewhere, 'belongs beside match, not in it')
    fields = here.known(KEYS, LATER_KEYS, misplaced)
    if fields is None:
        return ()
    if here.is_empty:
        here.fail(f'must not be empty; name at least one of {", ".join(KEYS)}')
    match = tuple(
        (key, test)
        for key, field in fields.items()
        if (test := _alternatives(KEYS[key], field)) is not None
    )
    if match and len(match) == len(fields) and _is_open(match):
        here.fail(
            'would match every device of the host; narrow it by at least one '
            'value that is not a wildcard'
        )
    return match


def _is_open(match: Match) -> bool:
    return all(isinstance(test, Anything) for _key, test in match)


def _alternatives(reader: _Reader, here: cursor.Cursor) -> Predicate | None:
    tests = [reader(item) for item in here.alternatives()]
    good = [test for test in tests if test is not None]
    return _any_of(good) if good else None


def _any_of(tests: collections.abc.Sequence[Predicate]) -> Predicate:
    for test in tests:
        if len(tests) == 1 or isinstance(test, Anything):
            return test
    sets = [test for test in tests if isinstance(test, OneOf)]
    if len(sets) == len(tests):
        values = frozenset[str | int]().union(*(one.values for one in sets))
        return OneOf(sets[0].attribute, values)
    return AnyOf(tuple(tests))
