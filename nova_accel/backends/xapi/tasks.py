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
"""Waiting for a task: by events, and by asking where they do not come."""

import collections.abc
import contextlib
import time
import typing as ty

from nova_accel.backends.xapi import errors
from nova_accel.backends.xapi import wire
from nova_accel import exception

if ty.TYPE_CHECKING:
    from nova_accel.backends.xapi import session

_SLICE = 20.0
_POLL = 0.5
_PENDING = ('pending', 'cancelling')


def result(
    xapi: 'session.Session',
    message: str,
    task: str,
    timeout: float | None = None,
) -> str:
    """Wait for a task, destroy it, and return its result.

    :param message: what the task does.
    :raises XapiFailure: it failed.
    :raises XapiUnsure: it did not end in time, or is not known any more.
    """
    try:
        record = wait(xapi, message, task, timeout)
    finally:
        with contextlib.suppress(exception.AccelError):
            xapi.call('task.destroy', task)
    check(message, record)
    return wire.task_result(record['result'])


def check(message: str, record: wire.Record) -> None:
    """Go on only if a task that has ended went well.

    :raises XapiFailure: what it failed with.
    """
    if record['status'] != 'success':
        details = list(record['error_info']) or ['TASK_CANCELLED']
        raise errors.typed(message, details)


def wait(
    xapi: 'session.Session',
    message: str,
    task: str,
    timeout: float | None = None,
    sleep: collections.abc.Callable[[float], object] = time.sleep,
) -> wire.Record:
    """Return the record of a task that has ended."""
    limit = timeout or xapi.options.task_timeout
    deadline = time.monotonic() + limit
    watch = _Watch(xapi, task)
    while (left := deadline - time.monotonic()) > 0:
        record = None
        if watch.works:
            record = watch.next(min(_SLICE, left))
        else:
            sleep(min(_POLL, left))
        # No news within such a time: an event may have been lost.
        record = record or _record(xapi, message, task)
        if record['status'] not in _PENDING:
            return record
    with contextlib.suppress(exception.AccelError):
        xapi.call('task.cancel', task)
    raise exception.XapiUnsure(
        call=message, reason=f'it did not end within {limit:.0f} seconds'
    )


class _Watch:
    """The events of one task.

    :ivar works: False once XAPI refuses to give events.
    """

    def __init__(self, xapi: 'session.Session', task: str) -> None:
        self._xapi = xapi
        self._task = task
        self._token = ''
        self.works = True

    def next(self, seconds: float) -> wire.Record | None:
        """Return the task as the next event has it, None without one."""
        try:
            batch = self._xapi.events(
                [f'task/{self._task}'], self._token, seconds
            )
        except exception.XapiFailure:
            # Whatever is wrong with events, a task can be asked for.
            self.works = False
            return None
        self._token = str(batch['token'])
        found = [
            event.get('snapshot')
            for event in batch['events']
            if event['ref'] == self._task
        ]
        return found[-1] if found else None


def _record(xapi: 'session.Session', message: str, task: str) -> wire.Record:
    try:
        return ty.cast(wire.Record, xapi.call('task.get_record', task))
    except exception.XapiGone:
        # The master forgets tasks when it restarts.
        raise exception.XapiUnsure(
            call=message, reason='XAPI has forgotten its task'
        ) from None
