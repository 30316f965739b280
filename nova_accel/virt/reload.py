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
"""Hears SIGHUP: the one signal that tells a service to read its files anew.

========================  =============================================
nova-compute runs with    then SIGHUP
========================  =============================================
eventlet                  has oslo.service read the configuration anew,
                          which calls our hook, and reset the service
native threads            ends the process: oslo.service has not got
                          further. There we do what it does elsewhere
========================  =============================================
"""

import collections.abc
import logging
import queue
import signal
import threading
import typing as ty
import weakref

import nova.conf
from nova import utils

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)

Reload = collections.abc.Callable[[], None]


def subscribe(reload: Reload, reset: Reload) -> None:
    """Call a method whenever the service reads its configuration anew.

    :param reload: a bound method, of whose object no reference is kept.
    :param reset: what resets the service, where nobody else does.
    """
    method = weakref.WeakMethod(reload)

    def hook(_conf: ty.Any, _fresh: ty.Any) -> None:
        found = method()
        if found is not None:
            found()

    CONF.register_mutate_hook(hook)
    if utils.concurrency_mode_threading() and _is_taken():
        _Listener(reset).start()


def _is_taken() -> bool:
    """Tell whether the launcher of the service handles the signal.

    In a program that is no service it is left alone.
    """
    handler = signal.getsignal(signal.SIGHUP)
    return callable(handler) and (
        threading.current_thread() is threading.main_thread()
    )


class _Listener:
    """Reloads in a thread of its own, one time after the other."""

    def __init__(self, reset: Reload) -> None:
        self._reset = reset
        # The one queue that a signal handler may use: it interrupts
        # whatever the main thread is at, with any lock held.
        self._asked: queue.SimpleQueue[None] = queue.SimpleQueue()

    def start(self) -> None:
        signal.signal(signal.SIGHUP, self._on_signal)
        threading.Thread(
            target=self._serve, name='accel-reload', daemon=True
        ).start()

    def _on_signal(self, _number: int, _frame: object) -> None:
        self._asked.put(None)

    def _serve(self) -> None:
        while True:
            self._asked.get()
            LOG.info('SIGHUP: reading the configuration anew')
            try:
                CONF.mutate_config_files()
                self._reset()
            except Exception:
                LOG.exception('The configuration could not be read anew')
