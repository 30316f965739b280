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
"""VGPU: a share of a GPU that a VM is to get when it starts."""

from nova_accel.testing.xapi_simulator import failure
from nova_accel.testing.xapi_simulator import gpu
from nova_accel.testing.xapi_simulator import power_state
from nova_accel.testing.xapi_simulator import store as stores
from nova_accel.testing.xapi_simulator import world

NULL = stores.NULL

# Slot of the guest's PCI bus, less 11.
_DEVICES = range(21)


def create(
    call: world.Call,
    vm: str,
    group: str,
    device: str = '0',
    other_config: dict[str, str] | None = None,
    vgpu_type: str = NULL,
) -> str:
    """Nothing is reserved: that is start's."""
    store = call.store
    store.row('GPU_group', group)
    if not store.get('VM', vm, 'is_a_snapshot'):
        power_state.check(store, vm, power_state.HALTED)
    if vgpu_type == NULL:
        vgpu_type = gpu.passthrough_type(store)
    if vgpu_type not in store.refs('VGPU_type'):
        raise failure.Failure('INVALID_VALUE', 'type', vgpu_type)
    _check_beside(store, vm, vgpu_type)
    device = _device(store, vm, device)
    return store.create(
        'VGPU',
        VM=vm,
        GPU_group=group,
        device=device,
        other_config=other_config or {},
        type=vgpu_type,
    )


def _device(store: stores.Store, vm: str, device: str) -> str:
    """Return the device; the first that is free for 0."""
    try:
        number = int(device)
    except ValueError as error:
        raise failure.Failure('INVALID_DEVICE', device) from error
    used = {
        int(store.get('VGPU', vgpu, 'device')) for vgpu in gpu.vgpus(store, vm)
    }
    if number == 0:
        for free in _DEVICES:
            if free not in used:
                return str(free)
        raise failure.Failure('VM_PCI_BUS_FULL', vm)
    if number in used:
        raise failure.Failure('DEVICE_ALREADY_EXISTS', device)
    if number not in _DEVICES:
        raise failure.Failure('INVALID_DEVICE', device)
    return str(number)


def _check_beside(store: stores.Store, vm: str, vgpu_type: str) -> None:
    """Each type that is there must allow the new one beside it."""
    for other in gpu.vgpus(store, vm):
        there = store.get('VGPU', other, 'type')
        if vgpu_type not in store.get(
            'VGPU_type', there, 'compatible_types_in_vm'
        ):
            raise failure.Failure('VGPU_TYPE_NOT_COMPATIBLE', vgpu_type)


def destroy(call: world.Call, vgpu: str) -> None:
    store = call.store
    vm = store.get('VGPU', vgpu, 'VM')
    if store.exists(vm) and power_state.is_up(store, vm):
        raise failure.Failure(
            'OPERATION_NOT_ALLOWED',
            'vGPU currently attached to a running VM',
        )
    store.delete('VGPU', vgpu)


MESSAGES: world.Messages = {'create': create, 'destroy': destroy}
