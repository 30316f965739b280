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
"""host and pool: who is there, and who is master."""

from nova_accel.testing.xapi_simulator import failure
from nova_accel.testing.xapi_simulator import session
from nova_accel.testing.xapi_simulator import store as stores
from nova_accel.testing.xapi_simulator import world


def disable(call: world.Call, host: str, auto_enable: bool = True) -> None:
    call.store.set('host', host, enabled=False)


def enable(call: world.Call, host: str) -> None:
    call.store.set('host', host, enabled=True)


def get_servertime(call: world.Call, host: str) -> str:
    call.store.row('host', host)
    return stores.now()


def get_management_interface(call: world.Call, host: str) -> str:
    for pif in call.store.get('host', host, 'PIFs'):
        if call.store.get('PIF', pif, 'management'):
            return str(pif)
    raise failure.Failure('HOST_HAS_NO_MANAGEMENT_IP')


def make_master(one: world.World, host: str) -> None:
    """Let another host be master; sessions were the old one's.

    Whoever still talks to the old one is told HOST_IS_SLAVE.
    """
    one.store.set('pool', one.pool, master=host)
    session.expire(one)


def designate_new_master(call: world.Call, host: str) -> None:
    call.store.row('host', host)
    make_master(call.world, host)


def list_methods(call: world.Call) -> list[str]:
    return sorted(
        f'{name}.{message}'
        for name, cls in call.world.model.classes.items()
        for message in cls.messages
    )


MESSAGES: world.Messages = {
    'disable': disable,
    'enable': enable,
    'get_management_interface': get_management_interface,
    'get_servertime': get_servertime,
    'list_methods': list_methods,
}
POOL_MESSAGES: world.Messages = {'designate_new_master': designate_new_master}
