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
"""Memory of hosts and VMs, in bytes."""

from nova_accel.testing.xapi_simulator import failure
from nova_accel.testing.xapi_simulator import store as stores
from nova_accel.testing.xapi_simulator import world

MIB = 2**20

LIMITS = (
    'memory_static_min',
    'memory_dynamic_min',
    'memory_dynamic_max',
    'memory_static_max',
)
"""Each must not exceed the next."""


def check_order(values: dict[str, int]) -> None:
    """:raises Failure: MEMORY_CONSTRAINT_VIOLATION_ORDER."""
    limits = [values[name] for name in LIMITS]
    if limits != sorted(limits):
        raise failure.Failure('MEMORY_CONSTRAINT_VIOLATION_ORDER')


def overhead(store: stores.Store, vm: str) -> int:
    """What Xen needs for a VM beside its memory: 1% and 1 MiB a vCPU.

    Of a real host's order of magnitude; the exact figure is Xen's.
    """
    memory: int = store.get('VM', vm, 'memory_static_max')
    vcpus: int = store.get('VM', vm, 'VCPUs_max')
    return (memory // 100 // MIB + vcpus + 1) * MIB


def free(store: stores.Store, host: str, without: str = '') -> int:
    """Return what a host has left, VMs that are being started counted."""
    metrics = store.get('host', host, 'metrics')
    total: int = store.get('host_metrics', metrics, 'memory_total')
    taken: int = sum(
        store.get('VM', vm, 'memory_static_max') + overhead(store, vm)
        for vm in on_host(store, host)
        if vm != without
    )
    reserved: int = store.get('host', host, 'memory_overhead')
    return max(total - reserved - taken, 0)


def on_host(store: stores.Store, host: str) -> list[str]:
    scheduled = store.find('VM', scheduled_to_be_resident_on=host)
    resident: list[str] = store.get('host', host, 'resident_VMs')
    return resident + [one for one in scheduled if one not in resident]


def needed(store: stores.Store, vm: str) -> int:
    memory: int = store.get('VM', vm, 'memory_static_max')
    return memory + overhead(store, vm)


def compute_free(call: world.Call, host: str) -> int:
    return free(call.store, host)


def compute_overhead(call: world.Call, vm: str) -> int:
    return overhead(call.store, vm)


def set_one(name: str) -> world.Handler:
    """Return the message that sets one limit."""

    def set_limit(call: world.Call, vm: str, value: int) -> None:
        set_limits(call, vm, **{name: value})

    return set_limit


def set_limits(call: world.Call, vm: str, **changes: int) -> None:
    record = call.store.record('VM', vm)
    if record['power_state'] != 'Halted' and 'memory_static' in ''.join(
        changes
    ):
        raise failure.Failure(
            'VM_BAD_POWER_STATE', vm, 'halted', record['power_state'].lower()
        )
    check_order({**record, **changes})
    call.store.set('VM', vm, **changes)


def set_all(
    call: world.Call,
    vm: str,
    static_min: int,
    static_max: int,
    dynamic_min: int,
    dynamic_max: int,
) -> None:
    values = (static_min, dynamic_min, dynamic_max, static_max)
    set_limits(call, vm, **dict(zip(LIMITS, values, strict=True)))


def set_memory(call: world.Call, vm: str, value: int) -> None:
    rest = dict.fromkeys(LIMITS[1:], value)
    minimum = min(call.store.get('VM', vm, LIMITS[0]), value)
    set_limits(call, vm, memory_static_min=minimum, **rest)


def set_static(call: world.Call, vm: str, low: int, high: int) -> None:
    set_limits(call, vm, memory_static_min=low, memory_static_max=high)


def set_dynamic(call: world.Call, vm: str, low: int, high: int) -> None:
    set_limits(call, vm, memory_dynamic_min=low, memory_dynamic_max=high)


MESSAGES: world.Messages = {
    'compute_memory_overhead': compute_overhead,
    'set_memory': set_memory,
    'set_memory_dynamic_range': set_dynamic,
    'set_memory_limits': set_all,
    'set_memory_static_range': set_static,
    **{f'set_{name}': set_one(name) for name in LIMITS},
}
