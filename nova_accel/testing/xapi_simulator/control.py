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
"""Control of a pool that runs: faults, sessions, masters, what is left.

JSON over HTTP under ``/simulator``, at any host's address, without a session:

==================================  =====================================
``POST /simulator/faults``          arm a fault; keys as in a topology
``GET /simulator/faults``           those that are armed
``DELETE /simulator/faults``        disarm all
``POST /simulator/sessions/expire`` forget all sessions
``POST /simulator/events/lose``     ``{"count": 2}``: drop so many events
``POST /simulator/master``          ``{"host": "xen2"}``: change the master
``POST /simulator/host``            ``{"host": "xen2", "live": false}``
``POST /simulator/guests``          ``{"tools": false}``: of those that start
``POST /simulator/restart``         ``{"milliseconds": 200}``: the master's
                                    XAPI; sessions, tasks, calls are lost
``GET /simulator/calls``            message -> how often it came
``DELETE /simulator/calls``         count from 0
``GET /simulator/leftovers``        class -> objects that came since start
==================================  =====================================
"""

import collections.abc
import dataclasses
import json
import typing as ty

from nova_accel.conf import composer
from nova_accel.core import cursor
from nova_accel import exception
from nova_accel.testing.xapi_simulator import host as hosts
from nova_accel.testing.xapi_simulator import keys
from nova_accel.testing.xapi_simulator import session
from nova_accel.testing.xapi_simulator import task
from nova_accel.testing.xapi_simulator import world

PREFIX = '/simulator/'

Body: ty.TypeAlias = dict[str, ty.Any]
Verb: ty.TypeAlias = collections.abc.Callable[[world.World, Body], ty.Any]

_PASSING = ('session', 'task')
"""Classes whose objects come and go with every client."""


def answer(
    one: world.World, method: str, path: str, body: ty.Any
) -> tuple[int, ty.Any]:
    """Return the status and the document of an answer."""
    verb = VERBS.get((method, path.removeprefix(PREFIX)))
    if verb is None:
        known = ', '.join(f'{how} {PREFIX}{what}' for how, what in VERBS)
        return 404, {'error': f'no {method} {path}; there are: {known}'}
    if not isinstance(body, dict):
        return 400, {'error': 'a JSON object is needed'}
    try:
        return 200, verb(one, body)
    except (ValueError, exception.AccelError) as error:
        return 400, {'error': str(error)}


def arm(one: world.World, body: Body) -> Body:
    problems: list[exception.Problem] = []
    # JSON is YAML: a fault is read as one of a topology.
    node = composer.compose('request', json.dumps(body).encode())
    fault = keys.read_fault(cursor.Cursor(node, node.place, problems))
    if problems:
        raise exception.InvalidTopology(problems)
    one.faults.arm(fault)
    return {}


def list_faults(one: world.World, body: Body) -> list[Body]:
    return [dataclasses.asdict(fault) for fault in one.faults.armed()]


def disarm(one: world.World, body: Body) -> Body:
    one.faults.clear()
    one.lost_events = 0
    return {}


def expire(one: world.World, body: Body) -> Body:
    session.expire(one)
    return {}


def lose_events(one: world.World, body: Body) -> Body:
    count = body.get('count', 1)
    if type(count) is not int or count < 0:
        raise ValueError('count must be a number')
    one.lost_events = count
    return {}


def _host(one: world.World, body: Body) -> str:
    found = one.store.find('host', name_label=body.get('host'))
    if not found:
        names = [
            one.store.get('host', host, 'name_label')
            for host in one.store.refs('host')
        ]
        raise ValueError(f'host must be one of {", ".join(names)}')
    return found[0]


def change_master(one: world.World, body: Body) -> Body:
    with one.store.lock:
        hosts.make_master(one, _host(one, body))
    return {'url': one.urls[one.master]}


def set_live(one: world.World, body: Body) -> Body:
    host, live = _host(one, body), body.get('live')
    if not isinstance(live, bool):
        raise ValueError('live must be true or false')
    (one.offline.discard if live else one.offline.add)(host)
    metrics = one.store.get('host', host, 'metrics')
    one.store.set('host_metrics', metrics, live=live)
    return {}


def restart(one: world.World, body: Body) -> Body:
    """Restart the master's XAPI: sessions, tasks and calls are lost."""
    pause = body.get('milliseconds', 100)
    if type(pause) is not int or not 0 <= pause <= 600000:
        raise ValueError('milliseconds must be a number up to 600000')
    with one.store.lock:
        one.go_down(pause / 1000)
        task.cancel_all(one)
        session.expire(one)
    return {}


def set_tools(one: world.World, body: Body) -> Body:
    tools = body.get('tools')
    if not isinstance(tools, bool):
        raise ValueError('tools must be true or false')
    one.guest_tools = tools
    return {}


def calls(one: world.World, body: Body) -> dict[str, int]:
    return dict(sorted(one.counts.items()))


def forget_calls(one: world.World, body: Body) -> Body:
    one.counts.clear()
    return {}


def leftovers(one: world.World, body: Body) -> dict[str, list[str]]:
    """Name what came since the start, but for sessions and tasks."""
    found: dict[str, list[str]] = {}
    with one.store.lock:
        for row in one.store.rows():
            if row.ref not in one.initial and row.cls not in _PASSING:
                label = row.values.get('name_label', '')
                found.setdefault(row.cls, []).append(f'{row.ref} {label}')
    return found


VERBS: dict[tuple[str, str], Verb] = {
    ('POST', 'faults'): arm,
    ('GET', 'faults'): list_faults,
    ('DELETE', 'faults'): disarm,
    ('POST', 'sessions/expire'): expire,
    ('POST', 'events/lose'): lose_events,
    ('POST', 'master'): change_master,
    ('POST', 'host'): set_live,
    ('POST', 'guests'): set_tools,
    ('POST', 'restart'): restart,
    ('GET', 'calls'): calls,
    ('DELETE', 'calls'): forget_calls,
    ('GET', 'leftovers'): leftovers,
}
