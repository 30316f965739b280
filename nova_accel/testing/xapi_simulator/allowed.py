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
"""allowed_operations: computed when they are read."""

import collections.abc
import functools

from nova_accel.testing.xapi_simulator import disks
from nova_accel.testing.xapi_simulator import failure
from nova_accel.testing.xapi_simulator import network
from nova_accel.testing.xapi_simulator import power
from nova_accel.testing.xapi_simulator import power_state
from nova_accel.testing.xapi_simulator import world

_FIXED = {
    'host': ['provision', 'vm_start', 'vm_resume', 'vm_migrate'],
    'SR': ['scan', 'vdi_create', 'vdi_destroy', 'vdi_clone', 'vdi_resize'],
    'network': ['attaching'],
}


def install(one: world.World) -> None:
    """Let the store compute the field of every class that has it."""
    makers: dict[str, collections.abc.Callable[[str], list[str]]] = {
        'VM': lambda ref: _of_vm(one, ref),
        'VBD': lambda ref: _of_device(one, 'VBD', ref),
        'VIF': lambda ref: _of_device(one, 'VIF', ref),
        'VUSB': lambda ref: _of_vusb(one, ref),
        'VDI': lambda ref: _of_vdi(one, ref),
    }
    for cls, maker in makers.items():
        one.store.computed[cls, 'allowed_operations'] = maker
    for cls in _FIXED:
        one.store.computed[cls, 'allowed_operations'] = functools.partial(
            _fixed, cls
        )


def _fixed(cls: str, ref: str) -> list[str]:
    return list(_FIXED[cls])


def _of_vm(one: world.World, vm: str) -> list[str]:
    if one.store.get('VM', vm, 'current_operations'):
        return []
    return [name for name in power_state.FROM if _is_allowed(one, vm, name)]


def _is_allowed(one: world.World, vm: str, operation: str) -> bool:
    try:
        power.check_allowed(one.store, vm, operation)
        if operation in power.MOVES:
            power.check_movable(one, vm)
    except failure.Failure:
        return False
    return operation != 'snapshot' or not one.store.get('VM', vm, 'VUSBs')


def _of_device(one: world.World, cls: str, ref: str) -> list[str]:
    store = one.store
    vm = store.get(cls, ref, 'VM')
    if not store.exists(vm) or not power_state.is_up(store, vm):
        return ['attach']
    if cls == 'VIF' and network.is_sriov(
        store, store.get(cls, ref, 'network')
    ):
        return ['attach']
    attached = store.get(cls, ref, 'currently_attached')
    return ['attach', 'unplug' if attached else 'plug']


def _of_vusb(one: world.World, vusb: str) -> list[str]:
    attached = one.store.get('VUSB', vusb, 'currently_attached')
    return ['attach', 'unplug'] if attached else ['attach']


def _of_vdi(one: world.World, vdi: str) -> list[str]:
    always = ['clone', 'snapshot']
    if disks.is_attached(one.store, vdi):
        return always
    return [*always, 'copy', 'destroy', 'forget', 'resize', 'update']
