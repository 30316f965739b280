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
"""VM: made, copied and destroyed. Its power is power.py's."""

import collections.abc
import typing as ty
import uuid

from nova_accel.testing.xapi_simulator import failure
from nova_accel.testing.xapi_simulator import power
from nova_accel.testing.xapi_simulator import power_state
from nova_accel.testing.xapi_simulator import scheduling
from nova_accel.testing.xapi_simulator import store as stores
from nova_accel.testing.xapi_simulator import vbd
from nova_accel.testing.xapi_simulator import vdi
from nova_accel.testing.xapi_simulator import vif
from nova_accel.testing.xapi_simulator import world

NULL = stores.NULL

_DEVICES = (
    ('VBD', 'VBDs'),
    ('VIF', 'VIFs'),
    ('VGPU', 'VGPUs'),
    ('VUSB', 'VUSBs'),
    ('console', 'consoles'),
)
_SEED = 'mac_seed'
_METRICS = (('VM_metrics', 'metrics'), ('VM_guest_metrics', 'guest_metrics'))


def make(store: stores.Store, **values: ty.Any) -> str:
    """Make a VM that is halted."""
    vm = store.create('VM', **{**values, 'power_state': 'Halted', 'domid': -1})
    metrics = store.create(
        'VM_metrics',
        install_time=stores.now(),
        last_updated=stores.now(),
        VCPUs_number=0,
    )
    store.set('VM', vm, metrics=metrics)
    return vm


def create(call: world.Call, args: dict[str, ty.Any]) -> str:
    """Nothing is checked: that is start's. XAPI adds a seed for MACs."""
    config = {_SEED: str(uuid.uuid4()), **args['other_config']}
    return make(call.store, **{**args, 'other_config': config})


def set_vcpus_max(call: world.Call, vm: str, value: int) -> None:
    power_state.check(call.store, vm, power_state.HALTED)
    scheduling.check_vcpus(call.store.get('VM', vm, 'VCPUs_at_startup'), value)
    call.store.set('VM', vm, VCPUs_max=value)


def set_vcpus_at_startup(call: world.Call, vm: str, value: int) -> None:
    power_state.check(call.store, vm, power_state.HALTED)
    scheduling.check_vcpus(value, call.store.get('VM', vm, 'VCPUs_max'))
    call.store.set('VM', vm, VCPUs_at_startup=value)


def destroy(call: world.Call, vm: str) -> None:
    """Its disks stay: they are not the VM's."""
    power.check_allowed(call.store, vm, 'destroy')
    if call.store.get('VM', vm, 'is_default_template'):
        raise failure.Failure('VM_CANNOT_DELETE_DEFAULT_TEMPLATE', vm)
    if call.store.get('VM', vm, 'is_control_domain'):
        raise failure.Failure(
            'OPERATION_NOT_ALLOWED', 'dom0 cannot be destroyed'
        )
    remove(call.store, vm)


def remove(store: stores.Store, vm: str) -> None:
    record = store.record('VM', vm)
    for cls, field in _DEVICES:
        for ref in record[field]:
            store.delete(cls, ref)
    for cls, field in _METRICS:
        if store.exists(record[field]):
            store.delete(cls, record[field])
    store.delete('VM', vm)


def duplicate(
    call: world.Call,
    vm: str,
    name: str,
    copy_disk: collections.abc.Callable[[str], str],
    **changes: ty.Any,
) -> str:
    """Make a VM with the same devices and copies of the disks."""
    store = call.store
    record = store.record('VM', vm)
    fields = store.model.classes['VM'].fields
    values = {
        field: value
        for field, value in record.items()
        if fields[field].in_constructor and field != 'suspend_VDI'
    }
    copy = make(store, **{**values, 'name_label': name, **changes})
    made: list[str] = []
    try:
        for cls, field in _DEVICES[:3]:
            for device in record[field]:
                _copy_device(store, cls, device, copy, copy_disk, made)
    except failure.Failure:
        remove(store, copy)
        for disk in made:
            vdi.remove(call.world, disk)
        raise
    return copy


def _copy_device(
    store: stores.Store,
    cls: str,
    device: str,
    vm: str,
    copy_disk: collections.abc.Callable[[str], str],
    made: list[str],
) -> None:
    fields = store.model.classes[cls].fields
    keep = {'GPU_group', 'type', 'device', 'other_config'}
    values = {
        name: value
        for name, value in store.record(cls, device).items()
        if fields[name].in_constructor or (cls == 'VGPU' and name in keep)
    }
    values['VM'] = vm
    if cls != 'VGPU':
        values['currently_attached'] = False
    if cls == 'VIF':
        values['MAC'] = vif.random_mac()
    disk = values.get('VDI', NULL)
    if store.exists(disk) and values['type'] == 'Disk':
        values['VDI'] = copy_disk(disk)
        made.append(values['VDI'])
    store.create(cls, **values)


def snapshot(
    call: world.Call,
    vm: str,
    new_name: str,
    ignore_vdis: list[str] | None = None,
) -> str:
    store = call.store
    power.check_allowed(store, vm, 'snapshot')
    if store.get('VM', vm, 'VUSBs'):
        raise failure.Failure('VM_HAS_VUSBS', vm)
    copy = duplicate(
        call,
        vm,
        new_name,
        lambda disk: vdi.snapshot(call, disk),
        is_a_template=True,
    )
    store.set(
        'VM',
        copy,
        is_a_snapshot=True,
        snapshot_of=vm,
        snapshot_time=stores.now(),
    )
    return copy


def checkpoint(call: world.Call, vm: str, new_name: str) -> str:
    power.check_allowed(call.store, vm, 'checkpoint')
    power.check_movable(call.world, vm)
    return snapshot(call, vm, new_name)


def clone(call: world.Call, vm: str, new_name: str) -> str:
    power.check_allowed(call.store, vm, 'clone')
    return duplicate(call, vm, new_name, lambda disk: vdi.clone(call, disk))


def copy(call: world.Call, vm: str, new_name: str, place: str) -> str:
    power.check_allowed(call.store, vm, 'copy')
    return duplicate(
        call, vm, new_name, lambda disk: vdi.copy(call, disk, place)
    )


def provision(call: world.Call, vm: str) -> None:
    power_state.check(call.store, vm, power_state.HALTED)


def assert_operation_valid(call: world.Call, vm: str, operation: str) -> None:
    """Refuse as the operation itself would."""
    if operation in power_state.FROM:
        power.check_allowed(call.store, vm, operation)
    if operation in power.MOVES:
        power.check_movable(call.world, vm)


def update_allowed_operations(call: world.Call, vm: str) -> None:
    call.store.touch('VM', vm)


MESSAGES: world.Messages = {
    'assert_operation_valid': assert_operation_valid,
    'checkpoint': checkpoint,
    'clone': clone,
    'copy': copy,
    'create': create,
    'destroy': destroy,
    'get_allowed_VBD_devices': vbd.allowed_devices,
    'get_allowed_VIF_devices': vif.allowed_devices,
    'provision': provision,
    'set_VCPUs_at_startup': set_vcpus_at_startup,
    'set_VCPUs_max': set_vcpus_max,
    'snapshot': snapshot,
    'update_allowed_operations': update_allowed_operations,
}
