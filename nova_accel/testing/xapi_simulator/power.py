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
"""Starting and stopping VMs.

A start has two phases. Under the pool's lock the host's GPUs are reserved
(``scheduled_to_be_resident_on``); then, outside of it, the domain is built
(``resident_on``). Stages for faults: ``reserved``, between the two; and
``built``, when the domain is there.
"""

import typing as ty

from nova_accel.testing.xapi_simulator import domain
from nova_accel.testing.xapi_simulator import failure
from nova_accel.testing.xapi_simulator import guest
from nova_accel.testing.xapi_simulator import network
from nova_accel.testing.xapi_simulator import pci
from nova_accel.testing.xapi_simulator import power_state
from nova_accel.testing.xapi_simulator import scheduling
from nova_accel.testing.xapi_simulator import store as stores
from nova_accel.testing.xapi_simulator import vdi
from nova_accel.testing.xapi_simulator import world

NULL = stores.NULL
HALTED = power_state.HALTED
PAUSED = power_state.PAUSED
RUNNING = power_state.RUNNING
SUSPENDED = power_state.SUSPENDED

MOVES = ('suspend', 'pool_migrate', 'checkpoint')
"""What a VM with devices may not do."""

RESERVED = 'reserved'
BUILT = 'built'

_ANYWHERE = ''
_SUSPENDABLE = ('nvidia', 'nvidia_sriov')
_METADATA = 'nvidia'
_OF_TEMPLATES = ('snapshot', 'clone', 'copy', 'destroy')


def check_allowed(store: stores.Store, vm: str, operation: str) -> None:
    """Refuse what a VM does not allow right now.

    :raises Failure: it is a template, somebody blocked the operation, or
        the power state is wrong.
    """
    record = store.record('VM', vm)
    world.check_idle(store, 'VM', vm)
    if record['is_a_template'] and operation not in _OF_TEMPLATES:
        raise failure.Failure('VM_IS_TEMPLATE', vm)
    if operation in record['blocked_operations']:
        raise failure.Failure(
            'OPERATION_BLOCKED', vm, record['blocked_operations'][operation]
        )
    power_state.check(store, vm, *power_state.FROM[operation])
    guest.check(store, vm, operation)


def start_on(
    call: world.Call, vm: str, host: str, start_paused: bool, force: bool
) -> None:
    _bring_up(call, vm, host, 'start_on', start_paused)


def start(call: world.Call, vm: str, start_paused: bool, force: bool) -> None:
    _bring_up(call, vm, _ANYWHERE, 'start', start_paused)


def resume_on(
    call: world.Call, vm: str, host: str, start_paused: bool, force: bool
) -> None:
    _bring_up(call, vm, host, 'resume_on', start_paused)


def resume(call: world.Call, vm: str, start_paused: bool, force: bool) -> None:
    _bring_up(call, vm, _ANYWHERE, 'resume', start_paused)


def _bring_up(
    call: world.Call, vm: str, host: str, operation: str, paused: bool
) -> None:
    store = call.store
    with store.lock:
        check_allowed(store, vm, operation)
        before = store.get('VM', vm, 'power_state')
    with call.operation('VM', vm, operation):
        with store.lock:
            host = host or scheduling.choose_host(call, vm)
            scheduling.reserve(call.world, vm, host)
        try:
            call.stage(RESERVED)
            with store.lock:
                state = PAUSED if paused else RUNNING
                domain.build(call.world, vm, host, state)
            call.stage(BUILT)
        except BaseException:
            with store.lock:
                if store.exists(vm):
                    domain.leave(call.world, vm, before)
            raise
        with store.lock:
            _drop_suspend_image(call.world, vm)


def _drop_suspend_image(one: world.World, vm: str) -> None:
    image = one.store.get('VM', vm, 'suspend_VDI')
    if one.store.exists(image):
        vdi.remove(one, image)
    one.store.set('VM', vm, suspend_VDI=NULL)


def _take_down(call: world.Call, vm: str, operation: str) -> None:
    store = call.store
    with store.lock:
        check_allowed(store, vm, operation)
    with call.operation('VM', vm, operation):
        call.stage('stopping')
        with store.lock:
            domain.leave(call.world, vm, HALTED)
            _drop_suspend_image(call.world, vm)


def clean_shutdown(call: world.Call, vm: str) -> None:
    _take_down(call, vm, 'clean_shutdown')


def hard_shutdown(call: world.Call, vm: str) -> None:
    _take_down(call, vm, 'hard_shutdown')


def shutdown(call: world.Call, vm: str) -> None:
    """Cleanly if the guest can, hard if not."""
    try:
        _take_down(call, vm, 'clean_shutdown')
    except failure.Failure:
        _take_down(call, vm, 'hard_shutdown')


def power_state_reset(call: world.Call, vm: str) -> None:
    _take_down(call, vm, 'power_state_reset')


def _reboot(call: world.Call, vm: str, operation: str) -> None:
    """A new domain on the same host, with the same GPUs."""
    store = call.store
    with store.lock:
        check_allowed(store, vm, operation)
    with call.operation('VM', vm, operation):
        call.stage('stopping')
        with store.lock:
            domid = call.world.next_domid
            call.world.next_domid += 1
            store.set('VM', vm, domid=domid, power_state=RUNNING)


def clean_reboot(call: world.Call, vm: str) -> None:
    _reboot(call, vm, 'clean_reboot')


def hard_reboot(call: world.Call, vm: str) -> None:
    _reboot(call, vm, 'hard_reboot')


def pause(call: world.Call, vm: str) -> None:
    check_allowed(call.store, vm, 'pause')
    call.store.set('VM', vm, power_state=PAUSED)


def unpause(call: world.Call, vm: str) -> None:
    check_allowed(call.store, vm, 'unpause')
    call.store.set('VM', vm, power_state=RUNNING)


def _is_suspendable(store: stores.Store, vgpu: str) -> bool:
    """Whether the driver of the vGPU's host says that it can."""
    record = store.record('VGPU', vgpu)
    implementation = store.get('VGPU_type', record['type'], 'implementation')
    holder = record['resident_on']
    return (
        implementation in _SUSPENDABLE
        and store.exists(holder)
        and _METADATA in store.get('PGPU', holder, 'compatibility_metadata')
    )


def check_movable(one: world.World, vm: str) -> None:
    """Refuse to suspend or migrate what holds a device.

    :raises Failure: VM_HAS_PCI_ATTACHED, VM_HAS_VGPU, VM_HAS_VUSBS or
        VM_HAS_SRIOV_VIF.
    """
    store = one.store
    record = store.record('VM', vm)
    if record['power_state'] == SUSPENDED:
        return
    if record['attached_PCIs'] or pci.wanted(store, vm):
        raise failure.Failure('VM_HAS_PCI_ATTACHED', vm)
    for vgpu in record['VGPUs']:
        if not _is_suspendable(store, vgpu):
            raise failure.Failure('VM_HAS_VGPU', vm)
    if record['VUSBs']:
        raise failure.Failure('VM_HAS_VUSBS', vm)
    for vif in record['VIFs']:
        if network.is_sriov(store, store.get('VIF', vif, 'network')):
            raise failure.Failure('VM_HAS_SRIOV_VIF', vm)


def suspend(call: world.Call, vm: str) -> None:
    store = call.store
    with store.lock:
        check_allowed(store, vm, 'suspend')
        check_movable(call.world, vm)
        place = _suspend_sr(store, vm)
    with call.operation('VM', vm, 'suspend'):
        call.stage('stopping')
        with store.lock:
            image = vdi.make(
                call.world,
                SR=place,
                name_label='Suspend image',
                virtual_size=store.get('VM', vm, 'memory_static_max'),
                type='suspend',
            )
            domain.leave(call.world, vm, SUSPENDED)
            store.set('VM', vm, suspend_VDI=image)


def _suspend_sr(store: stores.Store, vm: str) -> str:
    host = store.get('VM', vm, 'resident_on')
    pool = store.refs('pool')[0]
    for place in (
        store.get('VM', vm, 'suspend_SR'),
        store.get('host', host, 'suspend_image_sr'),
        store.get('pool', pool, 'suspend_image_SR'),
    ):
        if store.exists(place):
            return ty.cast(str, place)
    raise failure.Failure('VM_NO_SUSPEND_SR', vm)


def pool_migrate(
    call: world.Call, vm: str, host: str, options: dict[str, str]
) -> None:
    """Move a VM that holds no device to another host."""
    store = call.store
    with store.lock:
        check_allowed(store, vm, 'pool_migrate')
        check_movable(call.world, vm)
        if store.get('VM', vm, 'VGPUs'):
            # Moving a vGPU's state is not simulated.
            raise failure.Failure('VM_HAS_VGPU', vm)
    with call.operation('VM', vm, 'pool_migrate'):
        with store.lock:
            scheduling.check(call.world, vm, host)
        call.stage(RESERVED)
        with store.lock:
            store.set('VM', vm, resident_on=host)


STAGED_MESSAGES: world.Messages = {
    'clean_reboot': clean_reboot,
    'clean_shutdown': clean_shutdown,
    'hard_reboot': hard_reboot,
    'hard_shutdown': hard_shutdown,
    'pool_migrate': pool_migrate,
    'power_state_reset': power_state_reset,
    'resume': resume,
    'resume_on': resume_on,
    'shutdown': shutdown,
    'start': start,
    'start_on': start_on,
    'suspend': suspend,
}
MESSAGES: world.Messages = {'pause': pause, 'unpause': unpause}
