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
"""Objects: their fields, their relations, and what changed when.

One lock guards everything. Each change has a generation, which grows by one;
who waits for changes sleeps on ``changed``.
"""

import collections
import collections.abc
import copy
import dataclasses
import threading
import time
import typing as ty
import uuid as uuids

from nova_accel.testing.xapi_simulator import facts
from nova_accel.testing.xapi_simulator import failure
from nova_accel.testing.xapi_simulator import kinds
from nova_accel.testing.xapi_simulator import relations

NULL = kinds.NULL

# What XAPI remembers of objects that are gone is limited, too.
_TOMBSTONES = 10000

Values: ty.TypeAlias = dict[str, ty.Any]
Computed: ty.TypeAlias = collections.abc.Callable[[str], ty.Any]


@dataclasses.dataclass
class Row:
    cls: str
    ref: str
    values: Values
    created: int
    modified: int


@dataclasses.dataclass(frozen=True)
class Tombstone:
    """An object that is gone."""

    cls: str
    ref: str
    created: int
    deleted: int


class Store:
    """All objects of a pool.

    :ivar computed: fields whose value is made when it is read.
    """

    def __init__(self, model: facts.Facts) -> None:
        self.model = model
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.generation = 0
        self.tombstones: collections.deque[Tombstone] = collections.deque(
            maxlen=_TOMBSTONES
        )
        self.computed: dict[tuple[str, str], Computed] = {}
        self._rows: dict[str, Row] = {}
        self._tables: dict[str, dict[str, Row]] = {
            name: {} for name in model.classes
        }

    # Reading

    def row(self, cls: str, ref: str) -> Row:
        """:raises Failure: HANDLE_INVALID, if there is no such object."""
        row = self._tables[cls].get(ref)
        if row is None:
            raise failure.Failure('HANDLE_INVALID', cls, ref)
        return row

    def exists(self, ref: str) -> bool:
        return ref in self._rows

    def get(self, cls: str, ref: str, field: str) -> ty.Any:
        """Return the value of a field; a copy, where it could change."""
        row = self.row(cls, ref)
        if (cls, field) in self.computed:
            return self.computed[cls, field](ref)
        value = row.values[field]
        return copy.copy(value) if isinstance(value, list | dict) else value

    def record(self, cls: str, ref: str) -> Values:
        """Return the fields of an object that are stored."""
        return dict(self.row(cls, ref).values)

    def published(self, cls: str, ref: str) -> Values:
        """Return all fields of an object, as a client sees them."""
        return {
            name: self.get(cls, ref, name)
            for name in self.model.classes[cls].fields
        }

    def refs(self, cls: str) -> list[str]:
        return list(self._tables[cls])

    def rows(self) -> list[Row]:
        return list(self._rows.values())

    def find(self, cls: str, **wanted: ty.Any) -> list[str]:
        """Return the objects whose fields have these values."""
        return [
            ref
            for ref, row in self._tables[cls].items()
            if all(row.values[key] == value for key, value in wanted.items())
        ]

    def by_uuid(self, cls: str, uuid: str) -> str:
        """:raises Failure: UUID_INVALID, if there is no such object."""
        found = self.find(cls, uuid=uuid)
        if not found:
            raise failure.Failure('UUID_INVALID', cls, uuid)
        return found[0]

    # Writing

    def create(self, cls: str, **values: ty.Any) -> str:
        """Make an object; fields that are not given have their default."""
        fields = self.model.classes[cls].fields
        start: Values = {
            name: kinds.default(field.kind, field.default)
            for name, field in fields.items()
        }
        start['uuid'] = str(uuids.uuid4())
        ref = f'OpaqueRef:{uuids.uuid4()}'
        with self.lock:
            now = self._tick()
            row = Row(cls, ref, start, now, now)
            self._rows[ref] = self._tables[cls][ref] = row
            self.set(cls, ref, **values)
            row.created = row.modified
        return ref

    def set(self, cls: str, ref: str, **values: ty.Any) -> None:
        """Set fields, and the other side of their relations.

        Nothing happens where the value is what it was: no event either.
        """
        with self.lock:
            row = self.row(cls, ref)
            for name, value in values.items():
                self._check(cls, name)
                if row.values[name] != value:
                    old, row.values[name] = row.values[name], value
                    self._relate(row, name, old, value)
                    row.modified = self._tick()

    def _check(self, cls: str, field: str) -> None:
        if field not in self.model.classes[cls].fields:
            raise AssertionError(f'XAPI knows no field {cls}.{field}')
        if (cls, field) in relations.DERIVED:
            raise AssertionError(f'{cls}.{field} follows from its objects')

    def update(
        self, cls: str, ref: str, field: str, **changes: ty.Any
    ) -> None:
        """Set keys of a map; None removes a key."""
        with self.lock:
            value = self.get(cls, ref, field)
            value.update(changes)
            kept = {
                key: item for key, item in value.items() if item is not None
            }
            self.set(cls, ref, **{field: kept})

    def touch(self, cls: str, ref: str) -> None:
        """Let everybody know of the object anew."""
        with self.lock:
            self.row(cls, ref).modified = self._tick()

    def delete(self, cls: str, ref: str) -> None:
        """Remove an object; who referred to it refers to nothing."""
        with self.lock:
            row = self.row(cls, ref)
            for name, value in row.values.items():
                self._relate(
                    row, name, value, kinds.empty(self._kind(row, name))
                )
            self._forget(row)
            del self._rows[ref], self._tables[row.cls][ref]
            self.tombstones.append(
                Tombstone(row.cls, ref, row.created, self._tick())
            )

    def _forget(self, row: Row) -> None:
        for (cls, field), other in relations.FROM_REFERENCE.items():
            if other[0] == row.cls:
                for ref in row.values[other[1]]:
                    self.set(cls, ref, **{field: NULL})

    def _kind(self, row: Row, field: str) -> kinds.Kind:
        return self.model.classes[row.cls].fields[field].kind

    def _relate(self, row: Row, field: str, old: ty.Any, new: ty.Any) -> None:
        side = (row.cls, field)
        if side in relations.FROM_REFERENCE:
            other = relations.FROM_REFERENCE[side]
            self._drop(other, old, row.ref)
            self._join(other, new, row.ref)
        elif side in relations.FROM_SET:
            other = relations.FROM_SET[side]
            for ref in set(old) - set(new):
                self._drop(other, ref, row.ref)
            for ref in (ref for ref in new if ref not in old):
                self._join(other, ref, row.ref)

    def _join(self, side: relations.Side, ref: str, member: str) -> None:
        row = self._tables[side[0]].get(ref)
        if row is not None:
            row.values[side[1]] = [*row.values[side[1]], member]
            row.modified = self._tick()

    def _drop(self, side: relations.Side, ref: str, member: str) -> None:
        row = self._tables[side[0]].get(ref)
        if row is not None and member in row.values[side[1]]:
            row.values[side[1]] = [
                one for one in row.values[side[1]] if one != member
            ]
            row.modified = self._tick()

    def _tick(self) -> int:
        self.generation += 1
        self.changed.notify_all()
        return self.generation


def now() -> str:
    """Return the time as XAPI writes it."""
    return time.strftime('%Y%m%dT%H:%M:%SZ', time.gmtime())
