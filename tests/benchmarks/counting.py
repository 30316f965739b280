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
"""What is sent to libvirt: about which kind of object, under which lock."""

import collections
import collections.abc
import contextlib
import dataclasses
import re
import threading
import typing as ty
from unittest import mock

from nova.tests.fixtures import libvirt as fakelibvirt
from oslo_concurrency import lockutils

from nova_accel.testing import connection

DEVICES = 'node devices'
GUESTS = 'guests'
HOST = 'the host itself'

TO_BE_TOLD = 'nodeDeviceEventRegisterAny'
LIST_INACTIVE = 'listAllDevices of inactive ones'

_KINDS = (
    (re.compile(r'[nN]odeDevice|^list(All)?Devices\b'), DEVICES),
    (re.compile(r'Domain\.|Domains|^(define|create)XML$|^lookup'), GUESTS),
    (re.compile(''), HOST),
)
# A lock with a uuid in its name is that of one server.
_OWN = re.compile('[0-9a-f]{8}-[0-9a-f]{4}-')


def kind_of(verb: str) -> str:
    """Say what kind of object a verb of libvirt's is about."""
    return next(kind for pattern, kind in _KINDS if pattern.search(verb))


@dataclasses.dataclass(frozen=True)
class Count:
    """Round trips to libvirt.

    :ivar verbs: verb -> how many.
    :ivar locked: those of them during which a lock was held that others
        need too.
    """

    verbs: collections.Counter[str]
    locked: collections.Counter[str]

    @property
    def total(self) -> int:
        return self.verbs.total()

    def about(self, *kinds: str) -> int:
        """How many were about these kinds of object."""
        return sum(
            n for verb, n in self.verbs.items() if kind_of(verb) in kinds
        )


class _Locks(threading.local):
    """Locks for everybody that the thread holds."""

    held = 0


_LOCKS = _Locks()


class CountingConnection(connection.HybridConnection):
    """A connection that knows which calls were made under a lock."""

    def __init__(self, *args: ty.Any, **kwargs: ty.Any) -> None:
        self.locked: collections.Counter[str] = collections.Counter()
        super().__init__(*args, **kwargs)

    def answer(
        self, verb: str, *args: ty.Any, cost: int = 1, **kwargs: ty.Any
    ) -> ty.Any:
        if _LOCKS.held:
            self.locked[verb] += cost
        return super().answer(verb, *args, cost=cost, **kwargs)

    def listAllDevices(self, flags: int = 0) -> ty.Any:
        if not flags & fakelibvirt.VIR_CONNECT_LIST_NODE_DEVICES_INACTIVE:
            return super().listAllDevices(flags)
        # Nova starts those that the start of the host has left off.
        found = super().listAllDevices(flags)
        self.calls['listAllDevices'] -= 1
        self.calls[LIST_INACTIVE] += 1
        return found

    @contextlib.contextmanager
    def counted(self) -> collections.abc.Iterator[Count]:
        """Count what is sent inside the block; read it after the block."""
        before = self.calls.copy(), self.locked.copy()
        found = Count(collections.Counter(), collections.Counter())
        yield found
        found.verbs.update(self.calls - before[0])
        found.locked.update(self.locked - before[1])


def watched_locks() -> contextlib.AbstractContextManager[ty.Any]:
    """Take note of nova's locks while the context is active."""
    original = lockutils.lock

    @contextlib.contextmanager
    def lock(
        name: str, *args: ty.Any, **kwargs: ty.Any
    ) -> collections.abc.Iterator[ty.Any]:
        with original(name, *args, **kwargs) as held:
            weight = 0 if _OWN.search(name) else 1
            _LOCKS.held += weight
            try:
                yield held
            finally:
                _LOCKS.held -= weight

    return mock.patch.object(lockutils, 'lock', lock)
