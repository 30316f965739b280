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
"""PGPU: one physical GPU, and which types it may be cut into."""

from nova_accel.testing.xapi_simulator import failure
from nova_accel.testing.xapi_simulator import gpu
from nova_accel.testing.xapi_simulator import gpu_group
from nova_accel.testing.xapi_simulator import store as stores
from nova_accel.testing.xapi_simulator import world

NULL = stores.NULL


def get_remaining_capacity(call: world.Call, pgpu: str, vgpu_type: str) -> int:
    return gpu.remaining(call.store, pgpu, vgpu_type)


def set_enabled(call: world.Call, pgpu: str, types: list[str]) -> None:
    store = call.store
    supported = store.get('PGPU', pgpu, 'supported_VGPU_types')
    for one in types:
        store.row('VGPU_type', one)
        if one not in supported:
            raise failure.Failure('VGPU_TYPE_NOT_SUPPORTED', one, *supported)
    running = [
        store.get('VGPU', vgpu, 'VM')
        for vgpu in gpu.holders(store, pgpu)
        if store.get('VGPU', vgpu, 'type') not in types
    ]
    if running:
        raise failure.Failure('PGPU_IN_USE_BY_VM', *running)
    kept = list(dict.fromkeys(types))
    store.set('PGPU', pgpu, enabled_VGPU_types=kept)
    gpu_group.update(store, store.get('PGPU', pgpu, 'GPU_group'))


def add_enabled(call: world.Call, pgpu: str, vgpu_type: str) -> None:
    enabled = call.store.get('PGPU', pgpu, 'enabled_VGPU_types')
    set_enabled(call, pgpu, [*enabled, vgpu_type])


def remove_enabled(call: world.Call, pgpu: str, vgpu_type: str) -> None:
    enabled = call.store.get('PGPU', pgpu, 'enabled_VGPU_types')
    set_enabled(call, pgpu, [one for one in enabled if one != vgpu_type])


def set_group(call: world.Call, pgpu: str, group: str) -> None:
    store = call.store
    held = gpu.holders(store, pgpu)
    if held:
        vms = [store.get('VGPU', vgpu, 'VM') for vgpu in held]
        raise failure.Failure('PGPU_IN_USE_BY_VM', *vms)
    if group != NULL:
        _check_kind(store, pgpu, group)
    old = store.get('PGPU', pgpu, 'GPU_group')
    store.set('PGPU', pgpu, GPU_group=group)
    for one in (old, group):
        gpu_group.update(store, one)


def _check_kind(store: stores.Store, pgpu: str, group: str) -> None:
    kind = gpu_group.kind_of(store, pgpu)
    kinds = store.get('GPU_group', group, 'GPU_types')
    if kinds and kind not in kinds:
        raise failure.Failure(
            'PGPU_NOT_COMPATIBLE_WITH_GPU_GROUP',
            kind,
            f'[{", ".join(kinds)}]',
        )


MESSAGES: world.Messages = {
    'get_remaining_capacity': get_remaining_capacity,
    'set_enabled_VGPU_types': set_enabled,
    'add_enabled_VGPU_types': add_enabled,
    'remove_enabled_VGPU_types': remove_enabled,
    'set_GPU_group': set_group,
}
