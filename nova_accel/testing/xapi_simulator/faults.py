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
"""What goes wrong on purpose: errors, delays, lost replies.

A fault waits for a message (``VM.start_on``, ``VDI.*``, ``import_raw_vdi``)
at a stage of it. Every message has ``before`` (nothing was done yet) and
``after`` (all was done, the reply is on its way); some have more, which their
modules name.
"""

import collections.abc
import dataclasses
import fnmatch
import threading
import time
import typing as ty

from nova_accel.testing.xapi_simulator import failure

BEFORE = 'before'
AFTER = 'after'

_STEP = 0.01


class Dropped(Exception):
    """The connection breaks instead of an answer."""


@dataclasses.dataclass(frozen=True)
class Fault:
    """One thing that goes wrong.

    :ivar message: pattern of the name of a message.
    :ivar error: code and parameters; a parameter ``$vm`` stands for the
        value that the message was given for ``vm``. () for none.
    :ivar delay: seconds to wait first.
    :ivar drop: break the connection without an answer.
    :ivar skip: let pass so many first.
    :ivar times: how often; None for ever.
    :ivar where: parameter of the message -> value that it must have.
    """

    message: str
    stage: str = BEFORE
    error: tuple[str, ...] = ()
    delay: float = 0.0
    drop: bool = False
    skip: int = 0
    times: int | None = 1
    where: tuple[tuple[str, str], ...] = ()


@dataclasses.dataclass
class _Armed:
    fault: Fault
    seen: int = 0

    def strikes(self) -> bool:
        self.seen += 1
        times, skip = self.fault.times, self.fault.skip
        return self.seen > skip and (
            times is None or self.seen <= skip + times
        )

    @property
    def is_spent(self) -> bool:
        times = self.fault.times
        return times is not None and self.seen >= self.fault.skip + times


class Faults:
    """The faults that are armed. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._armed: list[_Armed] = []
        self._stop = threading.Event()

    def arm(self, fault: Fault) -> None:
        with self._lock:
            self._armed.append(_Armed(fault))

    def clear(self) -> None:
        """Disarm all faults, and wake who waits for a delay."""
        with self._lock:
            self._armed.clear()
            self._stop.set()
            self._stop = threading.Event()

    def armed(self) -> list[Fault]:
        with self._lock:
            return [one.fault for one in self._armed]

    def strike(
        self,
        message: str,
        stage: str,
        values: collections.abc.Mapping[str, ty.Any] | None = None,
        wake: threading.Event | None = None,
    ) -> None:
        """Let every fault strike that waits for this.

        :param values: parameters of the message.
        :param wake: ends a delay early.
        :raises Failure: the error of a fault.
        :raises Dropped: the connection is to break.
        """
        with self._lock:
            due = [
                one.fault
                for one in self._armed
                if _fits(one.fault, message, stage, values or {})
                and one.strikes()
            ]
            self._armed = [one for one in self._armed if not one.is_spent]
            stop = self._stop
        for fault in due:
            _wait(fault.delay, stop, wake or stop)
            _happen(fault, values or {})


def _fits(
    fault: Fault,
    message: str,
    stage: str,
    values: collections.abc.Mapping[str, ty.Any],
) -> bool:
    return (
        fault.stage == stage
        and fnmatch.fnmatchcase(message, fault.message)
        and all(str(values.get(name)) == value for name, value in fault.where)
    )


def _wait(delay: float, *ends: threading.Event) -> None:
    deadline = time.monotonic() + delay
    while not any(end.is_set() for end in ends):
        left = deadline - time.monotonic()
        if left <= 0:
            return
        ends[0].wait(min(left, _STEP))


def _happen(
    fault: Fault, values: collections.abc.Mapping[str, ty.Any]
) -> None:
    if fault.drop:
        raise Dropped
    if fault.error:
        code, *parameters = fault.error
        raise failure.Failure(
            code,
            *(
                values.get(word[1:], word) if word.startswith('$') else word
                for word in parameters
            ),
        )
