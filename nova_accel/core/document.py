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
"""A configuration file as values: what was written, and where it stands.

What a YAML reader makes of a file before anybody knows what the keys mean.
Nothing is converted yet: a scalar keeps the text the operator typed.
"""

import dataclasses
import typing as ty

STRING = 'string'
INTEGER = 'integer'
NUMBER = 'number'
BOOLEAN = 'boolean'
DATE = 'date'
NULL = 'null'


@dataclasses.dataclass(frozen=True)
class Place:
    """Where something stands. Lines count from 1."""

    file: str
    line: int

    def __str__(self) -> str:
        return f'{self.file}:{self.line}'


@dataclasses.dataclass(frozen=True)
class Scalar:
    """One word or value.

    :ivar text: as typed, without quotes.
    :ivar type: what YAML takes it for: one of the constants above. A quoted
        value is always a string.
    """

    place: Place
    text: str
    type: str = STRING


@dataclasses.dataclass(frozen=True)
class Sequence:
    place: Place
    items: tuple['Node', ...]


@dataclasses.dataclass(frozen=True)
class Mapping:
    """Keys and values in file order; a key may stand twice."""

    place: Place
    entries: tuple[tuple['Node', 'Node'], ...]


Node: ty.TypeAlias = Scalar | Sequence | Mapping
