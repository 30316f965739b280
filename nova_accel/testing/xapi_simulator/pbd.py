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
"""PBD: how a host reaches an SR."""

import typing as ty

from nova_accel.testing.xapi_simulator import disks
from nova_accel.testing.xapi_simulator import failure
from nova_accel.testing.xapi_simulator import sr
from nova_accel.testing.xapi_simulator import world


def create(call: world.Call, args: dict[str, ty.Any]) -> str:
    store = call.store
    store.row('SR', args['SR'])
    store.row('host', args['host'])
    existing = store.find('PBD', SR=args['SR'], host=args['host'])
    if existing:
        raise failure.Failure(
            'PBD_EXISTS', args['SR'], args['host'], existing[0]
        )
    return store.create('PBD', **args)


def plug(call: world.Call, pbd: str) -> None:
    store = call.store
    record = store.record('PBD', pbd)
    if record['currently_attached']:
        return
    if store.get('SR', record['SR'], 'type') == sr.ISCSI:
        sr.log_in(call.world, record['device_config'])
        store.set('PBD', pbd, currently_attached=True)
        sr.find_luns(call.world, record['SR'], pbd)
    store.set('PBD', pbd, currently_attached=True)


def unplug(call: world.Call, pbd: str) -> None:
    store = call.store
    record = store.record('PBD', pbd)
    # What other hosts do with the repository is no obstacle.
    for vdi in store.get('SR', record['SR'], 'VDIs'):
        if disks.is_attached(store, vdi, record['host']):
            raise failure.Failure('VDI_IN_USE', vdi, 'detach')
    store.set('PBD', pbd, currently_attached=False)


def destroy(call: world.Call, pbd: str) -> None:
    if call.store.get('PBD', pbd, 'currently_attached'):
        raise failure.Failure(
            'OPERATION_NOT_ALLOWED', f'PBD {pbd} is still attached'
        )
    call.store.delete('PBD', pbd)


MESSAGES: world.Messages = {
    'create': create,
    'destroy': destroy,
    'plug': plug,
    'unplug': unplug,
}
