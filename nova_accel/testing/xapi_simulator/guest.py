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
"""The guest's side: whether tools run in it that obey.

Without them XAPI refuses what needs the guest: VM_LACKS_FEATURE.
"""

from nova_accel.testing.xapi_simulator import failure
from nova_accel.testing.xapi_simulator import store as stores
from nova_accel.testing.xapi_simulator import world

NULL = stores.NULL

_NEEDS_GUEST = (
    'checkpoint',
    'clean_reboot',
    'clean_shutdown',
    'pool_migrate',
    'suspend',
)
_FEATURES = ('balloon', 'reboot', 'shutdown', 'suspend', 'vcpu-hotplug')


def boot(one: world.World, vm: str) -> None:
    """Let the tools of a guest report, if it has any."""
    if one.guest_tools:
        metrics = one.store.create(
            'VM_guest_metrics',
            PV_drivers_detected=True,
            PV_drivers_up_to_date=True,
            last_updated=stores.now(),
            live=True,
            other={f'feature-{name}': '1' for name in _FEATURES},
        )
        one.store.set('VM', vm, guest_metrics=metrics)


def leave(store: stores.Store, vm: str) -> None:
    metrics = store.get('VM', vm, 'guest_metrics')
    if store.exists(metrics):
        store.delete('VM_guest_metrics', metrics)
    store.set('VM', vm, guest_metrics=NULL)


def check(store: stores.Store, vm: str, operation: str) -> None:
    """:raises Failure: VM_LACKS_FEATURE."""
    up = store.get('VM', vm, 'domid') != -1
    if up and operation in _NEEDS_GUEST:
        if not store.exists(store.get('VM', vm, 'guest_metrics')):
            raise failure.Failure('VM_LACKS_FEATURE', vm)
