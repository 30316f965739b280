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
"""Messages that every class has, and those of fields."""

import collections.abc
import typing as ty

from nova_accel.testing.xapi_simulator import facts
from nova_accel.testing.xapi_simulator import failure
from nova_accel.testing.xapi_simulator import kinds
from nova_accel.testing.xapi_simulator import store as stores
from nova_accel.testing.xapi_simulator import world

Answer: ty.TypeAlias = collections.abc.Callable[..., ty.Any]


def _get(call: world.Call, of: facts.Message, ref: str) -> ty.Any:
    return call.store.get(of.cls, ref, of.field)


def _set(call: world.Call, of: facts.Message, ref: str, value: ty.Any) -> None:
    call.store.set(of.cls, ref, **{of.field: value})


def _add_to(
    call: world.Call, of: facts.Message, ref: str, key: str, value: ty.Any
) -> None:
    known = call.store.get(of.cls, ref, of.field)
    if key in known:
        uuid = call.store.get(of.cls, ref, 'uuid')
        raise failure.Failure('MAP_DUPLICATE_KEY', of.cls, of.field, uuid, key)
    call.store.set(of.cls, ref, **{of.field: {**known, key: value}})


def _remove_from(
    call: world.Call, of: facts.Message, ref: str, key: str
) -> None:
    known = call.store.get(of.cls, ref, of.field)
    known.pop(key, None)
    call.store.set(of.cls, ref, **{of.field: known})


def _add(call: world.Call, of: facts.Message, ref: str, value: str) -> None:
    known = call.store.get(of.cls, ref, of.field)
    if value not in known:
        call.store.set(of.cls, ref, **{of.field: [*known, value]})


def _remove(call: world.Call, of: facts.Message, ref: str, value: str) -> None:
    known = call.store.get(of.cls, ref, of.field)
    kept = [one for one in known if one != value]
    call.store.set(of.cls, ref, **{of.field: kept})


def _get_all(call: world.Call, of: facts.Message) -> list[str]:
    return call.store.refs(of.cls)


def _get_record(call: world.Call, of: facts.Message, ref: str) -> ty.Any:
    return encode_record(call.store, of.cls, ref)


def _get_all_records(call: world.Call, of: facts.Message) -> ty.Any:
    return {
        ref: encode_record(call.store, of.cls, ref)
        for ref in call.store.refs(of.cls)
    }


def _get_by_uuid(call: world.Call, of: facts.Message, uuid: str) -> str:
    return call.store.by_uuid(of.cls, uuid)


def _get_by_name_label(
    call: world.Call, of: facts.Message, label: str
) -> list[str]:
    return call.store.find(of.cls, name_label=label)


def encode_record(
    store: stores.Store, cls: str, ref: str
) -> dict[str, ty.Any]:
    """Return an object as XML-RPC carries it."""
    fields = store.model.classes[cls].fields
    return {
        name: kinds.encode(fields[name].kind, value)
        for name, value in store.published(cls, ref).items()
    }


OF_FIELDS: dict[str, Answer] = {
    'get': _get,
    'set': _set,
    'add_to': _add_to,
    'remove_from': _remove_from,
    'add': _add,
    'remove': _remove,
}
OF_CLASSES: dict[str, Answer] = {
    'get_all': _get_all,
    'get_all_records': _get_all_records,
    'get_by_name_label': _get_by_name_label,
    'get_by_uuid': _get_by_uuid,
    'get_record': _get_record,
}


def answer(message: facts.Message) -> Answer | None:
    """Return what answers a message; None if it is not generic."""
    if message.verb:
        return OF_FIELDS[message.verb]
    return OF_CLASSES.get(message.name)
