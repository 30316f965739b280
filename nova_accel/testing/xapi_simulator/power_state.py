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
"""Power states, and which operation starts from which."""

from nova_accel.testing.xapi_simulator import failure
from nova_accel.testing.xapi_simulator import store as stores

HALTED = 'Halted'
PAUSED = 'Paused'
RUNNING = 'Running'
SUSPENDED = 'Suspended'

UP = (RUNNING, PAUSED)

FROM: dict[str, tuple[str, ...]] = {
    'start': (HALTED,),
    'start_on': (HALTED,),
    'pause': (RUNNING,),
    'unpause': (PAUSED,),
    'suspend': (RUNNING,),
    'resume': (SUSPENDED,),
    'resume_on': (SUSPENDED,),
    'clean_shutdown': (RUNNING,),
    'clean_reboot': (RUNNING,),
    'hard_shutdown': (PAUSED, SUSPENDED, RUNNING),
    'hard_reboot': (PAUSED, RUNNING),
    'pool_migrate': (RUNNING,),
    'power_state_reset': (HALTED, PAUSED, SUSPENDED, RUNNING),
    'checkpoint': (PAUSED, SUSPENDED, RUNNING),
    'snapshot': (HALTED, PAUSED, SUSPENDED, RUNNING),
    'clone': (HALTED,),
    'copy': (HALTED,),
    'destroy': (HALTED, SUSPENDED),
    'shutdown': (PAUSED, SUSPENDED, RUNNING),
}
"""Operation -> the states that it starts from."""


def check(store: stores.Store, vm: str, *expected: str) -> None:
    """:raises Failure: VM_BAD_POWER_STATE."""
    actual = store.get('VM', vm, 'power_state')
    if actual not in expected:
        raise failure.Failure(
            'VM_BAD_POWER_STATE',
            vm,
            '; '.join(expected).lower(),
            actual.lower(),
        )


def is_up(store: stores.Store, vm: str) -> bool:
    return store.get('VM', vm, 'power_state') in UP
