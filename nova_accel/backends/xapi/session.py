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
"""Calls to XAPI: the one door through which all of them go.

``call('VM.start_on', ...)``: the message is written out at each place, so
that what is called can be compared with the published data model without
running anything. ``Async.`` in front of it waits for the task.

A call is repeated where it cannot have been carried out, or where it only
reads: when a session has ended, when another member is the master now, when
no connection could be made. A call that changes something and whose answer
got lost is an error of its own: nobody knows.
"""

import collections.abc
import contextlib
import logging
import ssl
import threading
import time
import typing as ty

from nova_accel.backends.xapi import errors
from nova_accel.backends.xapi import link
from nova_accel.backends.xapi import settings
from nova_accel.backends.xapi import tasks
from nova_accel.backends.xapi import transport
from nova_accel.backends.xapi import wire
from nova_accel import exception

LOG = logging.getLogger(__name__)

ASYNC = 'Async.'
_READS = ('get_', 'assert_', 'compute_')
_TRIES = 12
# Answered late, a call of event.from is not late.
_MARGIN = 10.0


class Session:
    """A pool of sessions with a pool of hosts.

    Thread-safe. Nothing is contacted before the first call.

    :param pause: waits between two looks for a master.
    """

    def __init__(
        self,
        options: settings.Settings,
        pause: collections.abc.Callable[[float], object] = time.sleep,
    ) -> None:
        self.options = options
        self._pause = pause
        self._lock = threading.Lock()
        self._idle: list[link.Link] = []
        self._room = threading.BoundedSemaphore(options.sessions)
        self._master = options.url
        self._members: tuple[str, ...] = ()
        self.calls = 0
        """How many were made, for tests and measurements."""

    def remember(self, addresses: collections.abc.Iterable[str]) -> None:
        """Note the members of the pool: one may be the master one day."""
        self._members = tuple(
            self.options.at(address) for address in addresses if address
        )

    @property
    def master(self) -> str:
        """URL of the member that answered last."""
        return self._master

    def call(
        self, message: str, *args: object, timeout: float | None = None
    ) -> ty.Any:
        """Call one message of XAPI and return its result.

        :param message: ``Class.message``; with ``Async.`` in front it is
            started as a task, and the task's result is returned.
        :param timeout: seconds for the answer, or for the task.
        :raises XapiFailure: XAPI refuses; the kinds are in ``errors``.
        :raises XapiUnavailable: no member answers.
        :raises XapiUnsure: nobody knows whether it was carried out.
        """
        encoded = tuple(wire.encode(each) for each in args)
        if not message.startswith(ASYNC):
            return self._request(message, encoded, timeout)
        task = self._request(message, encoded, None)
        return tasks.result(self, message, task, timeout)

    def events(
        self,
        classes: collections.abc.Sequence[str],
        token: str,
        seconds: float,
    ) -> dict[str, ty.Any]:
        """Ask for what changed since a token, waiting for it."""
        return ty.cast(
            dict[str, ty.Any],
            self.call(
                'event.from',
                list(classes),
                token,
                float(seconds),
                timeout=self.options.timeout + seconds + _MARGIN,
            ),
        )

    def _request(
        self, message: str, args: tuple[object, ...], timeout: float | None
    ) -> ty.Any:
        deadline = time.monotonic() + self.options.patience
        for attempt in range(_TRIES):
            try:
                return self._once(message, args, timeout)
            except _Again as again:
                late = time.monotonic() >= deadline
                if late or attempt == _TRIES - 1:
                    raise exception.XapiUnavailable(
                        reason=f'{self._master}: {again}'
                    ) from None
                if again.wait:
                    self._pause(min(5.0, 0.1 * 2**attempt))
        raise AssertionError

    def _once(
        self, message: str, args: tuple[object, ...], timeout: float | None
    ) -> ty.Any:
        with self._linked(message) as used:
            self.calls += 1
            try:
                return used.request(
                    message, args, timeout or self.options.timeout
                )
            except link.Failure as failure:
                self._judge(message, failure, used)
                raise
            except transport.BROKEN as error:
                used.close()
                if used.sent and not _only_reads(message):
                    raise exception.XapiUnsure(
                        call=message, reason=_words(error)
                    ) from None
                raise _Again(_words(error)) from None

    def _judge(
        self, message: str, failure: link.Failure, used: link.Link
    ) -> None:
        """Say what a failure means.

        :raises _Again: it was not carried out, and may be elsewhere.
        """
        if link.is_moved(failure):
            used.close()
            self._follow(failure)
            raise _Again('another host is the master', wait=False)
        if failure.details[:1] == [errors.HOST_STILL_BOOTING]:
            used.close()
            raise _Again('the host is still booting')
        raise errors.typed(message, failure.details) from None

    @contextlib.contextmanager
    def _linked(self, message: str) -> collections.abc.Iterator[link.Link]:
        """Lend a session out; it comes back unless its connection broke."""
        # Who waits for an event must not keep others from calling.
        waits = message == 'event.from'
        with contextlib.nullcontext() if waits else self._room:
            used = self._take()
            try:
                yield used
            except (_Again, exception.XapiUnsure, exception.XapiUnavailable):
                used.close()
                raise
            except BaseException:
                self._give(used)
                raise
            self._give(used)

    def _take(self) -> link.Link:
        with self._lock:
            while self._idle:
                used = self._idle.pop()
                if used.url == self._master:
                    return used
                used.close()
        return self._fresh()

    def _give(self, used: link.Link) -> None:
        with self._lock:
            if used.url == self._master:
                self._idle.append(used)
                return
        used.close()

    def _fresh(self) -> link.Link:
        """Log in to the master, whichever of the known hosts that is.

        :raises _Again: none answers.
        :raises XapiUnavailable: none is one that we trust.
        """
        urls = dict.fromkeys((self._master, self.options.url, *self._members))
        reasons = []
        strangers = 0
        for url in urls:
            made = link.Link(self.options, url)
            try:
                made.login()
            except link.Failure as failure:
                made.close()
                if link.is_moved(failure):
                    self._follow(failure)
                    raise _Again(
                        'another host is the master', wait=False
                    ) from None
                if failure.details[:1] != [errors.HOST_STILL_BOOTING]:
                    raise errors.typed('login', failure.details) from None
                reasons.append(f'{url} is still booting')
            except transport.BROKEN as error:
                made.close()
                reasons.append(f'{url}: {_words(error)}')
                strangers += isinstance(error, ssl.SSLCertVerificationError)
            else:
                self._master = url
                return made
        if strangers == len(reasons):
            # Asking again makes no certificate better.
            raise exception.XapiUnavailable(
                reason=f'{"; ".join(reasons)}; put the certificates of the '
                f'hosts into [accel_xapi]ca_file'
            )
        raise _Again('; '.join(reasons))

    def _follow(self, failure: link.Failure) -> None:
        """Go to the master that a slave names."""
        address = str(failure.details[1]) if failure.details[1:] else ''
        if address:
            with self._lock:
                self._master = self.options.at(address)
            LOG.info('The master of the XAPI pool is %s', self._master)

    @contextlib.contextmanager
    def borrowed(self) -> collections.abc.Iterator[tuple[str, str]]:
        """Lend out a session for a request over HTTP.

        :returns: URL of the master, and the session's handle.
        """
        # It has to be known to be good: nothing logs in anew over HTTP.
        with self._room:
            for _attempt in range(_TRIES):
                try:
                    used = self._proven()
                    break
                except _Again as again:
                    reason = str(again)
                    if again.wait:
                        self._pause(0.1)
            else:
                raise exception.XapiUnavailable(reason=reason)
            try:
                yield used.url, used.handle
            finally:
                self._give(used)

    def _proven(self) -> link.Link:
        used = self._take()
        try:
            used.request('pool.get_all', (), self.options.timeout)
        except link.Failure as failure:
            self._judge('pool.get_all', failure, used)
            raise
        except transport.BROKEN as error:
            used.close()
            raise _Again(_words(error)) from None
        return used

    def close(self) -> None:
        """Log out everywhere."""
        with self._lock:
            idle, self._idle = self._idle, []
        for used in idle:
            used.logout()


class _Again(Exception):
    """Not carried out; it may be tried once more."""

    def __init__(self, reason: str, wait: bool = True) -> None:
        super().__init__(reason)
        self.wait = wait


def _only_reads(message: str) -> bool:
    name = message.rpartition('.')[2]
    return name.startswith(_READS) or message == 'event.from'


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
