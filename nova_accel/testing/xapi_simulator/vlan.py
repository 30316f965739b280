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
"""VLANs: a network with a tag on somebody's wire."""

from nova_accel.testing.xapi_simulator import failure
from nova_accel.testing.xapi_simulator import store as stores
from nova_accel.testing.xapi_simulator import world

_TAGS = range(4095)


def _tag_pif(store: stores.Store, pif: str, network: str, tag: int) -> str:
    """Make the PIF of a VLAN on one host, and return its VLAN."""
    if tag not in _TAGS:
        raise failure.Failure('VLAN_TAG_INVALID', tag)
    record = store.record('PIF', pif)
    same = store.find(
        'PIF', host=record['host'], device=record['device'], VLAN=tag
    )
    if same:
        raise failure.Failure('PIF_VLAN_EXISTS', same[0])
    untagged = store.create(
        'PIF',
        device=record['device'],
        host=record['host'],
        MAC=record['MAC'],
        MTU=record['MTU'],
        VLAN=tag,
        network=network,
        currently_attached=True,
    )
    vlan = store.create('VLAN', tagged_PIF=pif, untagged_PIF=untagged, tag=tag)
    store.set('PIF', untagged, VLAN_master_of=vlan)
    return vlan


def create(call: world.Call, pif: str, tag: int, network: str) -> str:
    call.store.row('network', network)
    return _tag_pif(call.store, pif, network, tag)


def destroy(call: world.Call, vlan: str) -> None:
    untagged = call.store.get('VLAN', vlan, 'untagged_PIF')
    network = call.store.get('PIF', untagged, 'network')
    vifs = call.store.get('network', network, 'VIFs')
    for vif in vifs:
        if call.store.get('VIF', vif, 'currently_attached'):
            raise failure.Failure('VIF_IN_USE', network, vif)
    call.store.delete('VLAN', vlan)
    call.store.delete('PIF', untagged)


def create_from_pif(
    call: world.Call, pif: str, network: str, tag: int
) -> list[str]:
    """Make the VLAN on every host that has the PIF's network."""
    store = call.store
    store.row('network', network)
    wire = store.get('PIF', pif, 'network')
    device = store.get('PIF', pif, 'device')
    made = [
        _tag_pif(store, one, network, tag)
        for one in store.get('network', wire, 'PIFs')
        if store.get('PIF', one, 'device') == device
    ]
    return [store.get('VLAN', vlan, 'untagged_PIF') for vlan in made]


MESSAGES: world.Messages = {'create': create, 'destroy': destroy}
POOL_MESSAGES: world.Messages = {'create_VLAN_from_PIF': create_from_pif}
