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
"""How much a GPU has left, and which one a vGPU gets.

As xen-api's xapi_pgpu_helpers and its scheduler: every vGPU on a GPU has the
same type; a vGPU takes 2^20 / (how many of its type fit) of the GPU's 2^20.
"""

import collections.abc
import types
import typing as ty

from nova_accel.testing.xapi_simulator import failure
from nova_accel.testing.xapi_simulator import store as stores

SIZE = 2**20
PASSTHROUGH = 'passthrough'
DEPTH_FIRST = 'depth_first'

NULL = stores.NULL

Plan: ty.TypeAlias = collections.abc.Mapping[str, str]
"""vGPU -> GPU that it is to get."""

_NO_PLAN: Plan = types.MappingProxyType({})


def is_pci(store: stores.Store, vgpu_type: str) -> bool:
    """Whether a vGPU of the type is a PCI device: whole, or a function."""
    implementation = store.get('VGPU_type', vgpu_type, 'implementation')
    return implementation in (PASSTHROUGH, 'mxgpu', 'nvidia_sriov')


def is_passthrough(store: stores.Store, vgpu_type: str) -> bool:
    implementation = store.get('VGPU_type', vgpu_type, 'implementation')
    return bool(implementation == PASSTHROUGH)


def passthrough_type(store: stores.Store) -> str:
    return store.find('VGPU_type', implementation=PASSTHROUGH)[0]


def holders(store: stores.Store, pgpu: str) -> list[str]:
    """Return the vGPUs that are on a GPU, or will be."""
    scheduled = store.find('VGPU', scheduled_to_be_resident_on=pgpu)
    resident: list[str] = store.get('PGPU', pgpu, 'resident_VGPUs')
    return resident + [one for one in scheduled if one not in resident]


def _size(store: stores.Store, pgpu: str, vgpu_type: str) -> int:
    maximum: dict[str, int] = store.get(
        'PGPU', pgpu, 'supported_VGPU_max_capacities'
    )
    return SIZE // max(maximum.get(vgpu_type, 1), 1)


def assert_capacity(
    store: stores.Store,
    pgpu: str,
    vgpu_type: str,
    plan: Plan = _NO_PLAN,
) -> None:
    """Refuse a type that the GPU has no room for, in XAPI's order.

    :raises Failure: VGPU_TYPE_NOT_SUPPORTED, VGPU_TYPE_NOT_ENABLED,
        VGPU_TYPE_NOT_COMPATIBLE_WITH_RUNNING_TYPE or
        PGPU_INSUFFICIENT_CAPACITY_FOR_VGPU.
    """
    for code, field in (
        ('VGPU_TYPE_NOT_SUPPORTED', 'supported_VGPU_types'),
        ('VGPU_TYPE_NOT_ENABLED', 'enabled_VGPU_types'),
    ):
        types = store.get('PGPU', pgpu, field)
        if vgpu_type not in types:
            raise failure.Failure(code, vgpu_type, *types)
    for holder in holders(store, pgpu):
        running = store.get('VGPU', holder, 'type')
        if running != vgpu_type:
            raise failure.Failure(
                'VGPU_TYPE_NOT_COMPATIBLE_WITH_RUNNING_TYPE',
                pgpu,
                vgpu_type,
                running,
            )
    if _left(store, pgpu, vgpu_type, plan) < 1:
        raise failure.Failure(
            'PGPU_INSUFFICIENT_CAPACITY_FOR_VGPU', pgpu, vgpu_type
        )


def _left(store: stores.Store, pgpu: str, vgpu_type: str, plan: Plan) -> int:
    planned = [vgpu for vgpu, place in plan.items() if place == pgpu]
    held = holders(store, pgpu) + planned
    if is_passthrough(store, vgpu_type):
        return 0 if held or is_attached(store, pgpu) else 1
    used = sum(
        _size(store, pgpu, store.get('VGPU', vgpu, 'type')) for vgpu in held
    )
    return (SIZE - used) // _size(store, pgpu, vgpu_type)


def is_attached(store: stores.Store, pgpu: str) -> bool:
    """Whether a VM has the GPU's PCI device, as other_config:pci gives it."""
    pci = store.get('PGPU', pgpu, 'PCI')
    return any(
        pci in store.get('VM', vm, 'attached_PCIs') for vm in store.refs('VM')
    )


def remaining(
    store: stores.Store,
    pgpu: str,
    vgpu_type: str,
    plan: Plan = _NO_PLAN,
) -> int:
    """Return how many more fit; 0 where none may, whatever the reason."""
    store.row('VGPU_type', vgpu_type)
    store.row('PGPU', pgpu)
    try:
        assert_capacity(store, pgpu, vgpu_type, plan)
    except failure.Failure:
        return 0
    return _left(store, pgpu, vgpu_type, plan)


def of_host(store: stores.Store, group: str, host: str) -> list[str]:
    """Return the GPUs of a group on one host."""
    pgpus: list[str] = store.get('GPU_group', group, 'PGPUs')
    return [one for one in pgpus if store.get('PGPU', one, 'host') == host]


def choose(
    store: stores.Store,
    group: str,
    host: str,
    vgpu_type: str,
    plan: Plan = _NO_PLAN,
) -> str | None:
    """Return the GPU that a vGPU gets; None if none has room.

    depth_first fills the fullest, breadth_first takes the emptiest.

    :param plan: what other vGPUs of the same VM are to get.
    """
    if not store.exists(group):
        return None
    room: list[tuple[int, int, str]] = []
    for number, pgpu in enumerate(of_host(store, group, host)):
        left = remaining(store, pgpu, vgpu_type, plan)
        if left:
            room.append((left, number, pgpu))
    if not room:
        return None
    algorithm = store.get('GPU_group', group, 'allocation_algorithm')
    sign = 1 if algorithm == DEPTH_FIRST else -1
    return min(room, key=lambda one: (sign * one[0], one[1]))[2]


def vgpus(store: stores.Store, vm: str) -> list[str]:
    return ty.cast(list[str], store.get('VM', vm, 'VGPUs'))
