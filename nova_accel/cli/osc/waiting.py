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
"""``--wait``: tell what goes on until it is over."""

import collections.abc
import time
import typing as ty

from osc_lib import exceptions as osc_exceptions

from nova_accel.cli.osc import client

_PAUSES = (0.5, 1.0, 2.0)


class Waiter:
    """Looks at one accelerator again and again, and says what changed.

    :param say: gets one line for each change.
    :param timeout: seconds; None to wait for ever.
    """

    def __init__(
        self,
        api: client.Client,
        say: collections.abc.Callable[[str], None],
        timeout: float | None = None,
        sleep: collections.abc.Callable[[float], None] = time.sleep,
        clock: collections.abc.Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._say = say
        self._timeout = timeout
        self._sleep = sleep
        self._clock = clock

    def attached(
        self, server: str, now: client.Accelerator
    ) -> client.Accelerator:
        """Wait for an attach.

        :raises CommandError: it failed, or takes too long.
        """
        for found in self._looks(server, now):
            now = found
            if now['status'] != 'attaching':
                break
        if now['status'] == 'error':
            raise osc_exceptions.CommandError(
                f'Accelerator {now["id"]} was not attached: '
                f'{now["reason"]}. Send the same --id again to try anew, '
                'or remove it'
            )
        return now

    def detached(self, server: str, now: client.Accelerator) -> None:
        """Wait for a detach.

        :raises CommandError: somebody cancelled it, or it takes too long.
        """
        try:
            for found in self._looks(server, now):
                if found['status'] in ('attached', 'error'):
                    raise osc_exceptions.CommandError(
                        f'Accelerator {found["id"]} is {found["status"]} '
                        f'again: {found["reason"] or "it was cancelled"}'
                    )
        except osc_exceptions.NotFound:
            self._say('detached')

    def _looks(
        self, server: str, found: client.Accelerator
    ) -> collections.abc.Iterator[client.Accelerator]:
        began, said = self._clock(), ''
        rounds = 0
        while True:
            line = _line(found)
            seconds = self._clock() - began
            if line != said:
                said = line
                self._say(f'{line} ({seconds:.0f} s)' if rounds else line)
            yield found
            if self._timeout is not None and seconds >= self._timeout:
                raise osc_exceptions.CommandError(
                    f'Accelerator {found["id"]} is still {line} after '
                    f'{seconds:.0f} s; it goes on, and this can be asked '
                    'again: openstack server accelerator show '
                    f'{server} {found["id"]}'
                )
            self._sleep(_PAUSES[min(rounds, len(_PAUSES) - 1)])
            rounds += 1
            found = self._api.show(server, found['id'])


def _line(found: client.Accelerator) -> str:
    status, reason = ty.cast(str, found['status']), found['reason']
    return f'{status}: {reason}' if reason else status
