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
"""GPU_group: GPUs of one kind, all over the pool."""

from nova_accel.testing.xapi_simulator import failure
from nova_accel.testing.xapi_simulator import gpu
from nova_accel.testing.xapi_simulator import store as stores
from nova_accel.testing.xapi_simulator import world

NULL = stores.NULL


def kind_of(store: stores.Store, pgpu: str) -> str:
    """Return what GPU_types says of a GPU: vendor/device."""
    pci = store.record('PCI', store.get('PGPU', pgpu, 'PCI'))
    return f'{pci["vendor_id"]}/{pci["device_id"]}'


def update(store: stores.Store, group: str) -> None:
    """Make the group say what its GPUs say."""
    if not store.exists(group):
        return
    pgpus = store.get('GPU_group', group, 'PGPUs')
    fields = {
        name: list(
            dict.fromkeys(
                one for pgpu in pgpus for one in store.get('PGPU', pgpu, name)
            )
        )
        for name in ('supported_VGPU_types', 'enabled_VGPU_types')
    }
    kinds = sorted({kind_of(store, pgpu) for pgpu in pgpus})
    store.set('GPU_group', group, GPU_types=kinds, **fields)


def create(
    call: world.Call,
    name_label: str = '',
    name_description: str = '',
    other_config: dict[str, str] | None = None,
) -> str:
    return call.store.create(
        'GPU_group',
        name_label=name_label,
        name_description=name_description,
        other_config=other_config or {},
    )


def destroy(call: world.Call, group: str) -> None:
    """vGPUs that no VM runs with go with it."""
    store = call.store
    record = store.record('GPU_group', group)
    running = [
        vgpu
        for vgpu in record['VGPUs']
        if store.get('VGPU', vgpu, 'currently_attached')
    ]
    for code, found in (
        ('GPU_GROUP_CONTAINS_VGPU', running),
        ('GPU_GROUP_CONTAINS_PGPU', record['PGPUs']),
    ):
        if found:
            raise failure.Failure(code, *found)
    for vgpu in record['VGPUs']:
        store.delete('VGPU', vgpu)
    store.delete('GPU_group', group)


def get_remaining_capacity(
    call: world.Call, group: str, vgpu_type: str
) -> int:
    """The figure of the whole pool, which is of little use to a host."""
    store = call.store
    return sum(
        gpu.remaining(store, pgpu, vgpu_type)
        for pgpu in store.get('GPU_group', group, 'PGPUs')
    )


MESSAGES: world.Messages = {
    'create': create,
    'destroy': destroy,
    'get_remaining_capacity': get_remaining_capacity,
}
