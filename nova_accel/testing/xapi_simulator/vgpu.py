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

# Slots of the emulated PCI bus that XAPI gives to vGPUs.
_DEVICES = range(21)
_AUTOMATIC = range(11, 21)


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
    power_state.check(store, vm, power_state.HALTED)
    store.row('GPU_group', group)
    if vgpu_type == NULL:
        vgpu_type = gpu.passthrough_type(store)
    store.row('VGPU_type', vgpu_type)
    device = _device(store, vm, device)
    _check_beside(store, vm, vgpu_type)
    return store.create(
        'VGPU',
        VM=vm,
        GPU_group=group,
        device=device,
        other_config=other_config or {},
        type=vgpu_type,
    )


def _device(store: stores.Store, vm: str, device: str) -> str:
    if not device.isascii() or not device.isdigit():
        raise failure.Failure('INVALID_DEVICE', device)
    if int(device) not in _DEVICES:
        raise failure.Failure('INVALID_DEVICE', device)
    used = {
        int(store.get('VGPU', vgpu, 'device')) for vgpu in gpu.vgpus(store, vm)
    }
    if int(device) != 0:
        if int(device) in used:
            raise failure.Failure('DEVICE_ALREADY_EXISTS', device)
        return device
    for free in (0, *_AUTOMATIC):
        if free not in used:
            return str(free)
    raise failure.Failure('VM_PCI_BUS_FULL', vm)


def _check_beside(store: stores.Store, vm: str, vgpu_type: str) -> None:
    for other in gpu.vgpus(store, vm):
        other_type = store.get('VGPU', other, 'type')
        for one, beside in ((other_type, vgpu_type), (vgpu_type, other_type)):
            if beside not in store.get(
                'VGPU_type', one, 'compatible_types_in_vm'
            ):
                raise failure.Failure('VGPU_TYPE_NOT_COMPATIBLE', vgpu_type)


def destroy(call: world.Call, vgpu: str) -> None:
    store = call.store
    vm = store.get('VGPU', vgpu, 'VM')
    if store.exists(vm) and power_state.is_up(store, vm):
        raise failure.Failure(
            'OPERATION_NOT_ALLOWED',
            f'Cannot destroy VGPU {vgpu}: VM {vm} is not halted',
        )
    store.delete('VGPU', vgpu)


MESSAGES: world.Messages = {'create': create, 'destroy': destroy}
