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
"""network: what VIFs are plugged into, and who sees it."""

from nova_accel.testing.xapi_simulator import failure
from nova_accel.testing.xapi_simulator import store as stores
from nova_accel.testing.xapi_simulator import world


def is_seen(store: stores.Store, network: str, host: str) -> bool:
    """Whether a host has it: by a PIF, or because it needs none."""
    pifs = store.get('network', network, 'PIFs')
    return not pifs or any(
        store.get('PIF', pif, 'host') == host for pif in pifs
    )


def sriov_of(store: stores.Store, network: str) -> list[str]:
    """Return the network_sriov objects that make a network one of VFs."""
    if not store.exists(network):
        return []
    return [
        sriov
        for pif in store.get('network', network, 'PIFs')
        for sriov in store.get('PIF', pif, 'sriov_logical_PIF_of')
    ]


def is_sriov(store: stores.Store, network: str) -> bool:
    return bool(sriov_of(store, network))


def free_functions(
    one: world.World, network: str, host: str, without: str = ''
) -> int:
    """Return how many virtual functions of a host are free."""
    store = one.store
    total = 0
    for sriov in sriov_of(store, network):
        pif = store.get('network_sriov', sriov, 'physical_PIF')
        if store.get('PIF', pif, 'host') == host:
            total += one.functions.get(sriov, 0)
    used: int = sum(
        store.get('VIF', vif, 'currently_attached')
        and store.get('VIF', vif, 'VM') != without
        and _host_of(store, store.get('VIF', vif, 'VM')) == host
        for vif in store.get('network', network, 'VIFs')
    )
    return total - used


def _host_of(store: stores.Store, vm: str) -> str:
    return str(store.get('VM', vm, 'resident_on'))


def remaining_functions(call: world.Call, sriov: str) -> int:
    store = call.store
    physical = store.get('network_sriov', sriov, 'physical_PIF')
    logical = store.get('network_sriov', sriov, 'logical_PIF')
    return free_functions(
        call.world,
        store.get('PIF', logical, 'network'),
        store.get('PIF', physical, 'host'),
    )


def create(call: world.Call, args: dict[str, object]) -> str:
    network = call.store.create('network', **args)
    if not args.get('bridge'):
        number = len(call.store.refs('network'))
        call.store.set('network', network, bridge=f'xapi{number}')
    return network


def destroy(call: world.Call, network: str) -> None:
    """VIFs that no VM runs with go with it."""
    store = call.store
    record = store.record('network', network)
    running = [
        vif
        for vif in record['VIFs']
        if store.get('VIF', vif, 'currently_attached')
    ]
    for code, found in (
        ('NETWORK_CONTAINS_VIF', running),
        ('NETWORK_CONTAINS_PIF', record['PIFs']),
    ):
        if found:
            raise failure.Failure(code, *found)
    for vif in record['VIFs']:
        store.delete('VIF', vif)
    store.delete('network', network)


MESSAGES: world.Messages = {'create': create, 'destroy': destroy}
SRIOV_MESSAGES: world.Messages = {
    'get_remaining_capacity': remaining_functions
}
