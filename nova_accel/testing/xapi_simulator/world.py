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
"""Everything there is, and the call that is being answered."""

import collections
import collections.abc
import contextlib
import dataclasses
import threading
import time
import typing as ty

from nova_accel.testing.xapi_simulator import facts
from nova_accel.testing.xapi_simulator import failure
from nova_accel.testing.xapi_simulator import faults
from nova_accel.testing.xapi_simulator import images
from nova_accel.testing.xapi_simulator import store as stores

NULL = stores.NULL

Handler: ty.TypeAlias = collections.abc.Callable[..., ty.Any]
"""Answers one message: takes the call, then its parameters."""

Messages: ty.TypeAlias = dict[str, Handler]
"""Name of a message of one class -> who answers it."""


@dataclasses.dataclass(frozen=True)
class Lun:
    """What an iSCSI target offers: one disk."""

    number: int
    scsi_id: str
    size: int


@dataclasses.dataclass(frozen=True)
class Target:
    """An iSCSI target.

    :ivar portal: address:port.
    :ivar user: of CHAP; '' for none.
    """

    portal: str
    iqn: str
    luns: tuple[Lun, ...]
    user: str = ''
    password: str = ''


class World:
    """A pool: its objects, and what the data model has no object for.

    :ivar users: name -> password.
    :ivar urls: host -> URL that its XAPI answers at.
    :ivar hidden_pci: host -> addresses of devices that XAPI does not list.
    :ivar counts: message -> how often it came.
    :ivar guest_tools: guests that start have tools that obey.
    :ivar starts: how often XAPI was restarted.
    :ivar cancelled: task -> set when it is to stop.
    """

    def __init__(self, model: facts.Facts | None = None) -> None:
        self.model = model or facts.load()
        self.store = stores.Store(self.model)
        self.faults = faults.Faults()
        self.images = images.Images()
        self.users: dict[str, str] = {}
        self.urls: dict[str, str] = {}
        self.hidden_pci: dict[str, frozenset[str]] = {}
        self.targets: tuple[Target, ...] = ()
        self.counts: collections.Counter[str] = collections.Counter()
        self.cancelled: dict[str, threading.Event] = {}
        self.holding_pci: dict[str, tuple[str, frozenset[str]]] = {}
        self.initial: frozenset[str] = frozenset()
        self.next_domid = 1
        self.offline: set[str] = set()
        self.lost_events = 0
        self.guest_tools = True
        self.starts = 0
        self._down_until = 0.0
        self.functions: dict[str, int] = {}

    @property
    def pool(self) -> str:
        return self.store.refs('pool')[0]

    @property
    def master(self) -> str:
        return ty.cast(str, self.store.get('pool', self.pool, 'master'))

    def address(self, host: str) -> str:
        return ty.cast(str, self.store.get('host', host, 'address'))

    def go_down(self, seconds: float) -> None:
        """Let XAPI of the master be restarted: no answer for a while."""
        self.starts += 1
        self._down_until = time.monotonic() + seconds

    def is_down(self, host: str) -> bool:
        return time.monotonic() < self._down_until and host == self.master

    def close(self) -> None:
        self.faults.clear()
        self.images.close()


@dataclasses.dataclass
class Call:
    """One message that is being answered.

    :ivar host: whose XAPI answers.
    :ivar task: of an Async message; NULL otherwise.
    :ivar values: the parameters that were given.
    :ivar stop: set when the task is to end.
    """

    world: World
    host: str
    method: str
    session: str = NULL
    task: str = NULL
    values: dict[str, ty.Any] = dataclasses.field(default_factory=dict)
    stop: threading.Event | None = None

    @property
    def store(self) -> stores.Store:
        return self.world.store

    def stage(self, name: str) -> None:
        """Come to a stage: faults strike, and a task may be cancelled.

        :raises Failure: a fault's error, or TASK_CANCELLED.
        """
        stop = self.stop or self.world.cancelled.get(self.task)
        self.world.faults.strike(self.method, name, self.values, stop)
        if stop is not None and stop.is_set():
            raise failure.Failure('TASK_CANCELLED', self.task)

    @contextlib.contextmanager
    def operation(
        self, cls: str, ref: str, name: str
    ) -> collections.abc.Iterator[None]:
        """Have an operation on an object: one at a time.

        :raises Failure: OTHER_OPERATION_IN_PROGRESS.
        """
        key = self.task if self.task != NULL else f'OpaqueRef:{id(self)}'
        with self.store.lock:
            check_idle(self.store, cls, ref)
            self.store.update(cls, ref, 'current_operations', **{key: name})
        try:
            yield
        finally:
            with self.store.lock:
                if self.store.exists(ref):
                    self.store.update(
                        cls, ref, 'current_operations', **{key: None}
                    )


def check_idle(store: stores.Store, cls: str, ref: str) -> None:
    """:raises Failure: OTHER_OPERATION_IN_PROGRESS."""
    for other, operation in store.get(cls, ref, 'current_operations').items():
        raise failure.Failure(
            'OTHER_OPERATION_IN_PROGRESS', cls, ref, operation, other
        )
