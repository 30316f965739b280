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
"""event.from: what changed since a token.

As XAPI does it: no log, but the objects whose generation is newer than the
token's; so changes between two calls come as one. A token has two numbers of
20 digits, of the database and of messages.
"""

import dataclasses
import re
import time
import typing as ty

from nova_accel.testing.xapi_simulator import failure
from nova_accel.testing.xapi_simulator import generic
from nova_accel.testing.xapi_simulator import session
from nova_accel.testing.xapi_simulator import store as stores
from nova_accel.testing.xapi_simulator import world

_TOKEN = re.compile(r'(\d{1,20}),(\d{1,20})', re.ASCII)
_SUBSCRIPTION = re.compile(r'(\*|\w+)(?:/(\S+))?', re.ASCII)

# XAPI waits this long for more changes, so that they come together.
_GATHER = 0.005

# Sessions are not in XAPI's database.
_NO_EVENTS = ('session', 'event')


@dataclasses.dataclass(frozen=True)
class Subscription:
    """Classes in lower case; objects as (class, ref)."""

    everything: bool
    classes: frozenset[str]
    objects: frozenset[tuple[str, str]]

    def wants(self, cls: str, ref: str) -> bool:
        lower = cls.lower()
        return (
            self.everything
            or lower in self.classes
            or (lower, ref) in self.objects
        )


def _subscribe(words: list[str]) -> Subscription:
    classes, objects = set(), set()
    for word in words:
        match = _SUBSCRIPTION.fullmatch(word)
        if not match:
            raise failure.Failure('EVENT_SUBSCRIPTION_PARSE_FAILURE', word)
        if match[2]:
            objects.add((match[1].lower(), match[2]))
        else:
            classes.add(match[1].lower())
    return Subscription('*' in classes, frozenset(classes), frozenset(objects))


def parse_token(token: str) -> int:
    """Return the generation of a token; -1 for the very first one."""
    match = _TOKEN.fullmatch(token)
    if token and not match:
        raise failure.Failure('EVENT_FROM_TOKEN_PARSE_FAILURE', token)
    return int(match[1]) if match else -1


def from_(
    call: world.Call, classes: list[str], token: str, timeout: float
) -> dict[str, ty.Any]:
    wanted = _subscribe(classes)
    since = parse_token(token)
    store = call.store
    deadline = time.monotonic() + max(timeout, 0)
    with store.lock:
        while True:
            session.check(call.world, call.session)
            found = _changes(store, wanted, since)
            left = deadline - time.monotonic()
            if found or left <= 0:
                break
            store.changed.wait(left)
        if found and since >= 0 and not call.world.lost_events:
            store.changed.wait(min(_GATHER, max(left, 0)))
            session.check(call.world, call.session)
            found = _changes(store, wanted, since)
        return _batch(call.world, found)


def _changes(
    store: stores.Store, wanted: Subscription, since: int
) -> list[dict[str, ty.Any]]:
    if store.generation <= since:
        return []
    found = []
    for row in store.rows():
        if row.modified > since and _is_told(row.cls, row.ref, wanted):
            operation = 'add' if row.created > since else 'mod'
            event = _event(row.cls, row.ref, operation, row.modified)
            found.append(event)
    for gone in store.tombstones:
        # Who never knew of it is not told that it is gone.
        known = gone.created <= since < gone.deleted
        if known and _is_told(gone.cls, gone.ref, wanted):
            found.append(_event(gone.cls, gone.ref, 'del', gone.deleted))
    return sorted(found, key=lambda event: ty.cast(int, event['id']))


def _is_told(cls: str, ref: str, wanted: Subscription) -> bool:
    return cls not in _NO_EVENTS and wanted.wants(cls, ref)


def _event(
    cls: str, ref: str, operation: str, generation: int
) -> dict[str, ty.Any]:
    return {
        'id': generation,
        'timestamp': '0.0',
        'class': cls,
        'operation': operation,
        'ref': ref,
    }


def _batch(
    one: world.World, found: list[dict[str, ty.Any]]
) -> dict[str, ty.Any]:
    store = one.store
    if one.lost_events:
        lost, found = found[: one.lost_events], found[one.lost_events :]
        one.lost_events -= len(lost)
    for event in found:
        _complete(store, event)
    # Of all classes, whoever asks; and native ints, alone in XAPI.
    counts = {
        cls.lower(): len(store.refs(cls))
        for cls in one.model.classes
        if cls not in _NO_EVENTS
    }
    return {
        'events': found,
        'valid_ref_counts': counts,
        'token': f'{store.generation:020d},{0:020d}',
    }


def _complete(store: stores.Store, event: dict[str, ty.Any]) -> None:
    cls = event['class']
    if event['operation'] != 'del':
        event['snapshot'] = generic.encode_record(store, cls, event['ref'])
    event['id'] = str(event['id'])
    event['class'] = cls.lower()


def get_current_id(call: world.Call) -> int:
    return call.store.generation
