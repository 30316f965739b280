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
"""Sessions: logging in, and being known."""

from nova_accel.testing.xapi_simulator import failure
from nova_accel.testing.xapi_simulator import store
from nova_accel.testing.xapi_simulator import world


def login_with_password(
    call: world.Call,
    uname: str,
    pwd: str,
    version: str = '',
    originator: str = '',
) -> str:
    users = call.world.users
    if uname not in users or users[uname] != pwd:
        raise failure.Failure('SESSION_AUTHENTICATION_FAILED')
    return call.store.create(
        'session',
        this_host=call.host,
        last_active=store.now(),
        validation_time=store.now(),
        originator=originator,
        auth_user_name=uname,
        is_local_superuser=True,
        pool=False,
    )


def logout(call: world.Call) -> None:
    call.store.delete('session', call.session)


def check(one: world.World, session: object) -> str:
    """Return the session, if it is known.

    :raises Failure: SESSION_INVALID.
    """
    if not isinstance(session, str) or session not in one.store.refs(
        'session'
    ):
        raise failure.Failure('SESSION_INVALID', session)
    return session


def expire(one: world.World) -> None:
    """Forget all sessions; who waits for events is told at once."""
    with one.store.lock:
        for session in one.store.refs('session'):
            one.store.delete('session', session)


MESSAGES: world.Messages = {
    'login_with_password': login_with_password,
    'logout': logout,
}
