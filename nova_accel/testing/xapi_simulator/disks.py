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
"""The disks of a VM that starts: VBDs are attached, VDIs are in use."""

from nova_accel.testing.xapi_simulator import failure
from nova_accel.testing.xapi_simulator import store as stores
from nova_accel.testing.xapi_simulator import world


def take(one: world.World, vm: str) -> None:
    """Attach all VBDs that have something to attach.

    :raises Failure: VDI_IN_USE.
    """
    store = one.store
    for vbd in store.get('VM', vm, 'VBDs'):
        attach(store, vbd)


def attach(store: stores.Store, vbd: str) -> None:
    vdi = store.get('VBD', vbd, 'VDI')
    if store.exists(vdi):
        check_sharing(store, vbd, vdi)
    store.set('VBD', vbd, currently_attached=True, device=name(store, vbd))


def check_sharing(store: stores.Store, vbd: str, vdi: str) -> None:
    """Refuse a disk that somebody writes to, or that we write to.

    :raises Failure: VDI_IN_USE.
    """
    if store.get('VDI', vdi, 'sharable'):
        return
    writes = store.get('VBD', vbd, 'mode') == 'RW'
    for other in store.get('VDI', vdi, 'VBDs'):
        record = store.record('VBD', other)
        if other != vbd and record['currently_attached']:
            if writes or record['mode'] == 'RW':
                raise failure.Failure('VDI_IN_USE', vdi, 'attach')


def is_attached(store: stores.Store, vdi: str, host: str = '') -> bool:
    """Tell whether a machine uses a disk, on one host or anywhere."""
    return any(
        record['currently_attached']
        and host in ('', store.get('VM', record['VM'], 'resident_on'))
        for vbd in store.get('VDI', vdi, 'VBDs')
        if (record := store.record('VBD', vbd))
    )


def name(store: stores.Store, vbd: str) -> str:
    """Return what the guest calls a disk: xvda, xvdaa..."""
    number = int(store.get('VBD', vbd, 'userdevice'))
    letters = ''
    while number >= 0:
        letters = chr(ord('a') + number % 26) + letters
        number = number // 26 - 1
    return f'xvd{letters}'
