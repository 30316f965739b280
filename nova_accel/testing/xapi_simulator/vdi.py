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
"""VDI: a virtual disk."""

import typing as ty

from nova_accel.testing.xapi_simulator import disks
from nova_accel.testing.xapi_simulator import failure
from nova_accel.testing.xapi_simulator import sr
from nova_accel.testing.xapi_simulator import store as stores
from nova_accel.testing.xapi_simulator import world

NULL = stores.NULL

# VHD's blocks, which XAPI rounds a size up to.
_BLOCK = 2 * 2**20
_COPIED = (
    'name_label',
    'name_description',
    'virtual_size',
    'physical_utilisation',
    'type',
    'sharable',
    'read_only',
    'other_config',
    'sm_config',
    'xenstore_data',
    'tags',
)


def make(one: world.World, **values: ty.Any) -> str:
    """Make a disk, if its SR has room.

    :raises Failure: SR_FULL and the like.
    """
    store = one.store
    place = values['SR']
    store.row('SR', place)
    sr.check_usable(store, place)
    if store.get('SR', place, 'content_type') == 'iso':
        raise failure.Failure('SR_OPERATION_NOT_SUPPORTED', place)
    size = values['virtual_size']
    if size <= 0:
        raise failure.Failure('INVALID_VALUE', 'virtual_size', size)
    values['virtual_size'] = -(-size // _BLOCK) * _BLOCK
    sr.check_space(store, place, values['virtual_size'])
    vdi = store.create(
        'VDI',
        **{'physical_utilisation': values['virtual_size'], **values},
        managed=True,
    )
    store.set('VDI', vdi, location=store.get('VDI', vdi, 'uuid'))
    sr.account(store, place)
    return vdi


def create(call: world.Call, args: dict[str, ty.Any]) -> str:
    return make(call.world, **args)


def introduce(
    call: world.Call,
    uuid: str,
    name_label: str,
    name_description: str,
    place: str,
    kind: str,
    sharable: bool,
    read_only: bool,
    other_config: dict[str, str],
    location: str,
    xenstore_data: dict[str, str] | None = None,
    sm_config: dict[str, str] | None = None,
    *rest: ty.Any,
) -> str:
    """Name a disk that is there already, as a scan would find it."""
    store = call.store
    sr.check_usable(store, place)
    if store.get('SR', place, 'type') == sr.ISCSI:
        sr.scan(call, place)
    found: list[str] = [
        vdi
        for vdi in store.get('SR', place, 'VDIs')
        if location in (store.get('VDI', vdi, 'location'), '')
        or uuid == store.get('VDI', vdi, 'uuid')
    ]
    if not found:
        raise failure.Failure('VDI_LOCATION_MISSING', place, location)
    store.set(
        'VDI',
        found[0],
        name_label=name_label,
        name_description=name_description,
        sharable=sharable,
        read_only=read_only,
        other_config=other_config,
    )
    return found[0]


def _check_free(store: stores.Store, vdi: str, operation: str) -> None:
    if disks.is_attached(store, vdi):
        raise failure.Failure('VDI_IN_USE', vdi, operation)


def remove(one: world.World, vdi: str) -> None:
    """Remove a disk, its bytes and what is plugged into it."""
    store = one.store
    place = store.get('VDI', vdi, 'SR')
    for vbd in store.get('VDI', vdi, 'VBDs'):
        if store.get('VBD', vbd, 'type') == 'CD':
            store.set('VBD', vbd, VDI=NULL, empty=True)
        else:
            store.delete('VBD', vbd)
    store.delete('VDI', vdi)
    one.images.erase(vdi)
    sr.account(store, place)


def destroy(call: world.Call, vdi: str) -> None:
    _check_free(call.store, vdi, 'destroy')
    if call.store.get('SR', call.store.get('VDI', vdi, 'SR'), 'type') in (
        'iscsi',
        'iso',
    ):
        raise failure.Failure(
            'SR_OPERATION_NOT_SUPPORTED', call.store.get('VDI', vdi, 'SR')
        )
    remove(call.world, vdi)


def forget(call: world.Call, vdi: str) -> None:
    _check_free(call.store, vdi, 'forget')
    remove(call.world, vdi)


def duplicate(one: world.World, vdi: str, **changes: ty.Any) -> str:
    """Make a disk with the same bytes."""
    store = one.store
    record = store.record('VDI', vdi)
    values = {name: record[name] for name in _COPIED}
    copy = make(one, **{**values, 'SR': record['SR'], **changes})
    one.images.copy(vdi, copy)
    return copy


def snapshot(
    call: world.Call, vdi: str, driver_params: dict[str, str] | None = None
) -> str:
    return duplicate(
        call.world,
        vdi,
        physical_utilisation=0,
        is_a_snapshot=True,
        snapshot_of=vdi,
        snapshot_time=stores.now(),
    )


def clone(
    call: world.Call, vdi: str, driver_params: dict[str, str] | None = None
) -> str:
    return duplicate(call.world, vdi)


def copy(
    call: world.Call,
    vdi: str,
    place: str = NULL,
    base: str = NULL,
    into: str = NULL,
) -> str:
    store = call.store
    _check_not_written(store, vdi, 'copy')
    if into == NULL:
        return duplicate(
            call.world,
            vdi,
            SR=store.get('VDI', vdi, 'SR') if place == NULL else place,
        )
    size = store.get('VDI', vdi, 'virtual_size')
    if store.get('VDI', into, 'virtual_size') < size:
        raise failure.Failure('VDI_TOO_SMALL', into, size)
    if store.get('VDI', into, 'read_only'):
        raise failure.Failure('VDI_READONLY', into)
    call.world.images.copy(vdi, into)
    return into


def _check_not_written(store: stores.Store, vdi: str, operation: str) -> None:
    for vbd in store.get('VDI', vdi, 'VBDs'):
        record = store.record('VBD', vbd)
        if record['currently_attached'] and record['mode'] == 'RW':
            raise failure.Failure('VDI_IN_USE', vdi, operation)


def resize(call: world.Call, vdi: str, size: int) -> None:
    _check_free(call.store, vdi, 'resize')
    resize_online(call, vdi, size)


def resize_online(call: world.Call, vdi: str, size: int) -> None:
    """Grow a disk, whoever uses it."""
    store = call.store
    old = store.get('VDI', vdi, 'virtual_size')
    if size < old:
        raise failure.Failure(
            'SR_BACKEND_FAILURE', 79, 'VDIInvalidSize', 'Shrinking not allowed'
        )
    place = store.get('VDI', vdi, 'SR')
    size = -(-size // _BLOCK) * _BLOCK
    sr.check_space(store, place, size - old)
    store.set('VDI', vdi, virtual_size=size, physical_utilisation=size)
    sr.account(store, place)


MESSAGES: world.Messages = {
    'clone': clone,
    'copy': copy,
    'create': create,
    'destroy': destroy,
    'forget': forget,
    'introduce': introduce,
    'resize': resize,
    'resize_online': resize_online,
    'snapshot': snapshot,
}
