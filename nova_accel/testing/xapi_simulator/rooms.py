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
"""Which module answers which message."""

from nova_accel.testing.xapi_simulator import event
from nova_accel.testing.xapi_simulator import gpu_group
from nova_accel.testing.xapi_simulator import host
from nova_accel.testing.xapi_simulator import memory
from nova_accel.testing.xapi_simulator import network
from nova_accel.testing.xapi_simulator import pbd
from nova_accel.testing.xapi_simulator import pgpu
from nova_accel.testing.xapi_simulator import power
from nova_accel.testing.xapi_simulator import scheduling
from nova_accel.testing.xapi_simulator import session
from nova_accel.testing.xapi_simulator import sr
from nova_accel.testing.xapi_simulator import task
from nova_accel.testing.xapi_simulator import usb
from nova_accel.testing.xapi_simulator import vbd
from nova_accel.testing.xapi_simulator import vdi
from nova_accel.testing.xapi_simulator import vgpu
from nova_accel.testing.xapi_simulator import vif
from nova_accel.testing.xapi_simulator import vlan
from nova_accel.testing.xapi_simulator import vm
from nova_accel.testing.xapi_simulator import world

_ROOMS: tuple[tuple[str, world.Messages], ...] = (
    ('GPU_group', gpu_group.MESSAGES),
    ('PBD', pbd.MESSAGES),
    ('PGPU', pgpu.MESSAGES),
    ('PUSB', usb.PUSB_MESSAGES),
    ('SR', sr.MESSAGES),
    ('USB_group', usb.GROUP_MESSAGES),
    ('VBD', vbd.MESSAGES),
    ('VDI', vdi.MESSAGES),
    ('VGPU', vgpu.MESSAGES),
    ('VIF', vif.MESSAGES),
    ('VLAN', vlan.MESSAGES),
    ('VM', vm.MESSAGES),
    ('VM', memory.MESSAGES),
    ('VM', power.MESSAGES),
    ('VM', scheduling.MESSAGES),
    ('VUSB', usb.VUSB_MESSAGES),
    ('event', {'get_current_id': event.get_current_id}),
    ('host', host.MESSAGES),
    ('host', {'compute_free_memory': memory.compute_free}),
    ('network', network.MESSAGES),
    ('network_sriov', network.SRIOV_MESSAGES),
    ('pool', host.POOL_MESSAGES),
    ('pool', vlan.POOL_MESSAGES),
    ('session', session.MESSAGES),
    ('task', task.MESSAGES),
)
_STAGED_ROOMS: tuple[tuple[str, world.Messages], ...] = (
    ('VM', power.STAGED_MESSAGES),
    ('event', {'from': event.from_}),
)


def _join(rooms: tuple[tuple[str, world.Messages], ...]) -> world.Messages:
    return {
        f'{cls}.{name}': handler
        for cls, table in rooms
        for name, handler in table.items()
    }


LOCKED = _join(_ROOMS)
"""Answered under the lock: all or nothing for everybody else."""

STAGED = _join(_STAGED_ROOMS)
"""These take the lock themselves, and leave it in between."""
