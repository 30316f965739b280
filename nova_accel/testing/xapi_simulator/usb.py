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
"""PUSB, USB_group and VUSB: whole USB devices for VMs.

A group has one device here, as XAPI makes them. A VUSB attaches only when its
VM starts; it unplugs at any time.
"""

from nova_accel.testing.xapi_simulator import failure
from nova_accel.testing.xapi_simulator import power_state
from nova_accel.testing.xapi_simulator import store as stores
from nova_accel.testing.xapi_simulator import world

MAX_VUSBS = 6


def of_host(store: stores.Store, group: str, host: str) -> list[str]:
    pusbs: list[str] = store.get('USB_group', group, 'PUSBs')
    return [one for one in pusbs if store.get('PUSB', one, 'host') == host]


def is_here(store: stores.Store, group: str, host: str) -> bool:
    """Whether the group's device is on a host and may be given away."""
    return store.exists(group) and any(
        store.get('PUSB', pusb, 'passthrough_enabled')
        for pusb in of_host(store, group, host)
    )


def set_passthrough(call: world.Call, pusb: str, value: bool) -> None:
    """The group stays; a VUSB of it that no VM runs with goes."""
    store = call.store
    group = store.get('PUSB', pusb, 'USB_group')
    for vusb in () if value else store.get('USB_group', group, 'VUSBs'):
        if store.get('VUSB', vusb, 'currently_attached'):
            vm = store.get('VUSB', vusb, 'VM')
            raise failure.Failure('USB_ALREADY_ATTACHED', pusb, vm)
        store.delete('VUSB', vusb)
    store.set('PUSB', pusb, passthrough_enabled=value)


def join_group(store: stores.Store, pusb: str) -> None:
    """Give a device the group that XAPI makes for it."""
    record = store.record('PUSB', pusb)
    name = f'{record["vendor_desc"]}, {record["product_desc"]}'
    group = store.create('USB_group', name_label=f'Group of {name} USBs')
    store.set('PUSB', pusb, USB_group=group)


def scan(call: world.Call, host: str) -> None:
    call.store.row('host', host)


def create(
    call: world.Call,
    vm: str,
    group: str,
    other_config: dict[str, str] | None = None,
) -> str:
    store = call.store
    store.row('VM', vm)
    if not store.get('USB_group', group, 'PUSBs'):
        raise failure.Failure('USB_GROUP_CONTAINS_NO_PUSBS', group)
    if len(store.get('VM', vm, 'VUSBs')) >= MAX_VUSBS:
        raise failure.Failure('TOO_MANY_VUSBS', MAX_VUSBS)
    if store.get('USB_group', group, 'VUSBs'):
        raise failure.Failure('USB_GROUP_CONFLICT', group)
    return store.create(
        'VUSB', VM=vm, USB_group=group, other_config=other_config or {}
    )


def unplug(call: world.Call, vusb: str) -> None:
    store = call.store
    vm = store.get('VUSB', vusb, 'VM')
    power_state.check(store, vm, power_state.RUNNING)
    if not store.get('VUSB', vusb, 'currently_attached'):
        raise failure.Failure('DEVICE_ALREADY_DETACHED', vusb)
    store.set('VUSB', vusb, currently_attached=False)


def destroy(call: world.Call, vusb: str) -> None:
    if call.store.get('VUSB', vusb, 'currently_attached'):
        raise failure.Failure(
            'OPERATION_NOT_ALLOWED', f'VUSB {vusb} is still attached'
        )
    call.store.delete('VUSB', vusb)


def destroy_group(call: world.Call, group: str) -> None:
    """VUSBs that no VM runs with go with it."""
    store = call.store
    record = store.record('USB_group', group)
    running = [
        vusb
        for vusb in record['VUSBs']
        if store.get('VUSB', vusb, 'currently_attached')
    ]
    for code, found in (
        ('USB_GROUP_CONTAINS_VUSB', running),
        ('USB_GROUP_CONTAINS_PUSB', record['PUSBs']),
    ):
        if found:
            raise failure.Failure(code, *found)
    for vusb in record['VUSBs']:
        store.delete('VUSB', vusb)
    store.delete('USB_group', group)


PUSB_MESSAGES: world.Messages = {
    'set_passthrough_enabled': set_passthrough,
    'scan': scan,
}
VUSB_MESSAGES: world.Messages = {
    'create': create,
    'destroy': destroy,
    'unplug': unplug,
}
GROUP_MESSAGES: world.Messages = {'destroy': destroy_group}
