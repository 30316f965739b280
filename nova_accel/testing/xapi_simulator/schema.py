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
"""Reading mappings of a YAML file by a table of their keys."""

import collections.abc
import dataclasses
import pathlib
import typing as ty

from nova_accel.conf import composer
from nova_accel.core import cursor
from nova_accel import exception

REQUIRED: ty.Final = object()

Reader: ty.TypeAlias = collections.abc.Callable[[cursor.Cursor], ty.Any]
Values: ty.TypeAlias = dict[str, ty.Any]
T = ty.TypeVar('T')


@dataclasses.dataclass(frozen=True)
class Key:
    """What a key holds, and what stands for one that is not there."""

    read: Reader
    default: ty.Any = REQUIRED


Keys: ty.TypeAlias = collections.abc.Mapping[str, Key]


def text(here: cursor.Cursor) -> str | None:
    return here.string()


def flag(here: cursor.Cursor) -> bool | None:
    return here.boolean()


def whole(low: int, high: int) -> Reader:
    return lambda here: here.integer(low, high)


def word(*options: str) -> Reader:
    return lambda here: here.choice(options)


def texts(here: cursor.Cursor) -> tuple[str, ...]:
    return tuple(one for one, _ in here.distinct())


def parsed(
    parse: collections.abc.Callable[[str], ty.Any], what: str
) -> Reader:
    """Return the reader of a string that is more than a string.

    :param parse: raises ValueError or AccelError where it is not.
    """

    def read(here: cursor.Cursor) -> ty.Any:
        found = here.string()
        if found is None:
            return None
        try:
            return parse(found)
        except (ValueError, exception.AccelError):
            here.fail(f'{cursor.shorten(found)} is no {what}')
            return None

    return read


def items(read: Reader) -> Reader:
    """Return the reader of a list."""
    return lambda here: tuple(read(one) for one in here.items() or ())


def words(here: cursor.Cursor) -> dict[str, str]:
    """Read a mapping of strings to strings."""
    fields = here.fields() or {}
    return {name: one.string() or '' for name, one in fields.items()}


def mapping(keys: Keys, make: collections.abc.Callable[..., T]) -> Reader:
    """Return the reader of a mapping with known keys."""
    return lambda here: _build(here, keys, make)


def named(keys: Keys, make: collections.abc.Callable[..., T]) -> Reader:
    """Return the reader of a mapping of names to mappings."""

    def read(here: cursor.Cursor) -> dict[str, T]:
        found = {}
        for name, one in (here.fields() or {}).items():
            value = _build(one, keys, make, name=name)
            if value is not None:
                found[name] = value
        return found

    return read


def _build(
    here: cursor.Cursor,
    keys: Keys,
    make: collections.abc.Callable[..., T],
    **values: ty.Any,
) -> T | None:
    before = len(here.problems)
    fields = here.known(keys)
    if fields is None:
        return None
    for name, key in keys.items():
        if name in fields:
            values[name] = key.read(fields[name])
        elif key.default is REQUIRED:
            here.missing(name, 'add it')
        else:
            values[name] = key.default
    if len(here.problems) > before:
        return None
    return make(**values)


def load(path: pathlib.Path, read: Reader) -> ty.Any:
    """Read a file.

    :raises InvalidTopology: with every problem of it.
    """
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, 'strerror', None) or error
        raise _unusable(path, f'cannot be read: {reason}') from error
    if not data.strip():
        raise _unusable(path, 'the file is empty')
    problems: list[exception.Problem] = []
    try:
        node = composer.compose(str(path), data)
    except exception.InvalidWhitelist as error:
        raise exception.InvalidTopology(error.problems) from error
    value = read(cursor.Cursor(node, node.place, problems))
    if problems:
        raise exception.InvalidTopology(problems)
    return value


def _unusable(path: pathlib.Path, reason: str) -> exception.InvalidTopology:
    return exception.InvalidTopology(
        [exception.Problem(str(path), None, '', reason)]
    )
