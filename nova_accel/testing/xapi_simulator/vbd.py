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
"""VBD: a disk in a VM."""

import typing as ty

from nova_accel.testing.xapi_simulator import disks
from nova_accel.testing.xapi_simulator import failure
from nova_accel.testing.xapi_simulator import power_state
from nova_accel.testing.xapi_simulator import store as stores
from nova_accel.testing.xapi_simulator import world

NULL = stores.NULL
AUTODETECT = 'autodetect'
MAX_DEVICES = 255
CD = 'CD'


def free_devices(store: stores.Store, vm: str) -> list[str]:
    used = {
        store.get('VBD', vbd, 'userdevice')
        for vbd in store.get('VM', vm, 'VBDs')
    }
    return [
        str(number) for number in range(MAX_DEVICES) if str(number) not in used
    ]


def allowed_devices(call: world.Call, vm: str) -> list[str]:
    return free_devices(call.store, vm)


def create(call: world.Call, args: dict[str, ty.Any]) -> str:
    store = call.store
    vm, vdi, kind = args['VM'], args['VDI'], args['type']
    store.row('VM', vm)
    if not args['empty']:
        store.row('VDI', vdi)
    elif kind != CD:
        raise failure.Failure('VBD_NOT_REMOVABLE_MEDIA', 'in constructor')
    if kind == CD and args['mode'] != 'RO':
        raise failure.Failure('VBD_CDS_MUST_BE_READONLY')
    _check_readonly(store, vdi, args['mode'])
    device = _device(store, vm, args['userdevice'])
    # A drive that is new is never attached, whatever is said.
    values = {**args, 'userdevice': device, 'currently_attached': False}
    return store.create('VBD', **values)


def _check_readonly(store: stores.Store, vdi: str, mode: str) -> None:
    if store.exists(vdi) and mode == 'RW':
        if store.get('VDI', vdi, 'read_only'):
            raise failure.Failure('VDI_READONLY', vdi)


def _device(store: stores.Store, vm: str, wanted: str) -> str:
    free = free_devices(store, vm)
    if wanted == AUTODETECT:
        return free[0]
    if not (wanted.isascii() and wanted.isdigit()):
        raise failure.Failure('INVALID_DEVICE', wanted)
    if int(wanted) >= MAX_DEVICES:
        raise failure.Failure('INVALID_DEVICE', wanted)
    if wanted not in free:
        raise failure.Failure('DEVICE_ALREADY_EXISTS', wanted)
    return wanted


def plug(call: world.Call, vbd: str) -> None:
    store = call.store
    record = store.record('VBD', vbd)
    power_state.check(store, record['VM'], *power_state.UP)
    if record['currently_attached']:
        raise failure.Failure('DEVICE_ALREADY_ATTACHED', vbd)
    dom0 = store.get('VM', record['VM'], 'is_control_domain')
    if record['mode'] == 'RO' and record['type'] != CD and not dom0:
        # A read-only disk can be there at the start, but not come later.
        raise failure.Failure('DISK_VBD_MUST_BE_READWRITE_FOR_HVM', vbd)
    disks.attach(store, vbd)


def unplug(call: world.Call, vbd: str) -> None:
    store = call.store
    record = store.record('VBD', vbd)
    power_state.check(store, record['VM'], *power_state.UP)
    if not record['currently_attached']:
        raise failure.Failure('DEVICE_ALREADY_DETACHED', vbd)
    if not record['unpluggable']:
        raise failure.Failure('VBD_NOT_UNPLUGGABLE', vbd)
    store.set('VBD', vbd, currently_attached=False)


def destroy(call: world.Call, vbd: str) -> None:
    record = call.store.record('VBD', vbd)
    if record['currently_attached']:
        raise failure.Failure(
            'OPERATION_NOT_ALLOWED',
            f"VBD '{record['uuid']}' still attached to '{record['VM']}'",
        )
    call.store.delete('VBD', vbd)


def insert(call: world.Call, vbd: str, vdi: str) -> None:
    _check_drive(call.store, vbd)
    if not call.store.get('VBD', vbd, 'empty'):
        raise failure.Failure('VBD_NOT_EMPTY', vbd)
    call.store.row('VDI', vdi)
    call.store.set('VBD', vbd, VDI=vdi, empty=False)


def eject(call: world.Call, vbd: str) -> None:
    _check_drive(call.store, vbd)
    if call.store.get('VBD', vbd, 'empty'):
        raise failure.Failure('VBD_IS_EMPTY', vbd)
    call.store.set('VBD', vbd, VDI=NULL, empty=True)


def _check_drive(store: stores.Store, vbd: str) -> None:
    if store.get('VBD', vbd, 'type') != CD:
        raise failure.Failure('VBD_NOT_REMOVABLE_MEDIA', vbd)


def assert_attachable(call: world.Call, vbd: str) -> None:
    vdi = call.store.get('VBD', vbd, 'VDI')
    if call.store.exists(vdi):
        disks.check_sharing(call.store, vbd, vdi)


MESSAGES: world.Messages = {
    'assert_attachable': assert_attachable,
    'create': create,
    'destroy': destroy,
    'eject': eject,
    'insert': insert,
    'plug': plug,
    'unplug': unplug,
    'unplug_force': unplug,
}
