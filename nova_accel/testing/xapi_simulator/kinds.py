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
"""Types of the data model, and how their values travel.

Over XML-RPC an int is a decimal string, both ways: XML-RPC's own has 32 bits
and many a size here has more. There is no nil. In the store an int is an int,
a set a list, a map a dict and a datetime its text.
"""

import collections.abc
import dataclasses
import functools
import re
import typing as ty
import xmlrpc.client

NULL = 'OpaqueRef:NULL'
EPOCH = '19700101T00:00:00Z'

_DECIMAL = re.compile(r'-?[0-9]{1,19}', re.ASCII)
_MAP = re.compile(r'\((.+?) -> (.+)\) map')
_PLAIN = ('string', 'bool', 'float', 'int', 'datetime', 'void')


class WrongType(Exception):
    """A value is not of the type that the model asks for."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """A type.

    :ivar base: string, int, bool, float, datetime, void, ref, record, enum,
        set, map, or any.
    :ivar name: class of a ref or record, name of an enum.
    """

    base: str
    name: str = ''
    key_kind: ty.Optional['Kind'] = None
    item_kind: ty.Optional['Kind'] = None

    @property
    def key(self) -> 'Kind':
        return self.key_kind or ANY

    @property
    def item(self) -> 'Kind':
        return self.item_kind or ANY


ANY = Kind('any')


@functools.cache
def parse(text: str) -> Kind:
    """Return the type that the model writes as ``VM ref set``."""
    if text.endswith(' set'):
        return Kind('set', item_kind=parse(text[: -len(' set')]))
    match = _MAP.fullmatch(text)
    if match:
        return Kind('map', '', parse(match[1]), parse(match[2]))
    for base in ('ref', 'record'):
        if text.endswith(f' {base}'):
            return Kind(base, text.removesuffix(f' {base}'))
    if text.startswith('enum '):
        return Kind('enum', text.removeprefix('enum '))
    if text in _PLAIN:
        return Kind(text)
    return ANY


def empty(kind: Kind) -> ty.Any:
    """Return the value of a field that nobody set."""
    return {
        'int': 0,
        'float': 0.0,
        'bool': False,
        'datetime': EPOCH,
        'ref': NULL,
        'set': [],
        'map': {},
    }.get(kind.base, '')


def default(kind: Kind, text: str | None) -> ty.Any:
    """Return the value that the model writes as ``text``."""
    if text is None or text in ('{}', 'Null', NULL):
        return empty(kind)
    words = text.strip('"')
    if kind.base == 'bool':
        return words == 'true'
    if kind.base in ('int', 'float'):
        return (int if kind.base == 'int' else float)(words)
    if kind.base in ('map', 'set'):
        # Two fields of host alone, which the simulator sets itself.
        return empty(kind)
    return words


def encode(kind: Kind, value: ty.Any) -> ty.Any:
    """Return a value as XML-RPC carries it."""
    if kind.base == 'set':
        return [encode(kind.item, item) for item in value]
    if kind.base == 'map':
        return {
            str(key): encode(kind.item, item) for key, item in value.items()
        }
    if kind.base == 'datetime':
        return xmlrpc.client.DateTime(value)
    if kind.base == 'int':
        return str(value)
    return value


def decode(
    kind: Kind, value: ty.Any, enums: dict[str, tuple[str, ...]]
) -> ty.Any:
    """Return a value that came over XML-RPC.

    :param enums: the words of every enum.
    :raises WrongType: it is another type, or no word of the enum.
    """
    if kind.base == 'set' and isinstance(value, list):
        return [decode(kind.item, item, enums) for item in value]
    if kind.base == 'map' and isinstance(value, dict):
        return {
            decode(kind.key, key, enums): decode(kind.item, item, enums)
            for key, item in value.items()
        }
    if kind.base in ('set', 'map'):
        raise WrongType(f'a {kind.base} is needed, not {value!r}')
    return _decode_one(kind, value, enums)


def _decode_one(
    kind: Kind, value: ty.Any, enums: dict[str, tuple[str, ...]]
) -> ty.Any:
    if kind.base == 'any':
        return value
    if kind.base == 'enum':
        if value in enums.get(kind.name, ()):
            return value
    elif isinstance(value, _ON_THE_WIRE[kind.base]) and (
        kind.base != 'int' or _DECIMAL.fullmatch(str(value))
    ):
        # XML-RPC's boolean is an int to Python.
        if kind.base == 'bool' or not isinstance(value, bool):
            return _TAKEN.get(kind.base, _as_it_is)(value)
    raise WrongType(f'{kind.name or kind.base} is needed, not {value!r}')


def _as_it_is(value: ty.Any) -> ty.Any:
    return value


_ON_THE_WIRE: dict[str, tuple[type, ...]] = {
    'string': (str,),
    'bool': (bool,),
    'float': (int, float),
    'int': (str,),
    'datetime': (xmlrpc.client.DateTime,),
    'ref': (str,),
    'record': (dict,),
}
_TAKEN: dict[str, collections.abc.Callable[[ty.Any], ty.Any]] = {
    'int': int,
    'float': float,
    'datetime': str,
    'ref': lambda value: value or NULL,
}
