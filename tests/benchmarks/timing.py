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
"""CPU time, and whom it serves: the accelerators, or any host."""

import collections
import collections.abc
import contextlib
import dataclasses
import functools
import threading
import time
import typing as ty
from unittest import mock

from nova.compute import resource_tracker
from nova.virt.libvirt import driver as libvirt_driver

from nova_accel.virt import drivers
from nova_accel.virt import mixin
from nova_accel.virt import tracker

ACCELERATORS = 'accelerators'
OTHERS = 'others'

# What we override is for accelerators, until it hands on to nova's own; of
# nova's own, what reads node devices is.
_SERVES: tuple[tuple[type, str, str], ...] = (
    (mixin.AccelDriverMixin, 'init_host', ACCELERATORS),
    (mixin.AccelDriverMixin, 'get_available_resource', ACCELERATORS),
    (drivers.LibvirtAccelDriver, 'update_provider_tree', ACCELERATORS),
    (
        tracker.AccelResourceTracker,
        '_populate_assigned_resources',
        ACCELERATORS,
    ),
    (libvirt_driver.LibvirtDriver, 'init_host', OTHERS),
    (libvirt_driver.LibvirtDriver, 'get_available_resource', OTHERS),
    (libvirt_driver.LibvirtDriver, 'update_provider_tree', OTHERS),
    (
        resource_tracker.ResourceTracker,
        '_populate_assigned_resources',
        OTHERS,
    ),
    (
        libvirt_driver.LibvirtDriver,
        '_get_pci_passthrough_devices',
        ACCELERATORS,
    ),
    (
        libvirt_driver.LibvirtDriver,
        '_update_provider_tree_for_vgpu',
        ACCELERATORS,
    ),
)


class _Span(threading.local):
    """What a thread is doing, and since which of its CPU seconds."""

    serves = OTHERS
    since = 0.0


class Stopwatch:
    """CPU time of all threads that nova's code ran in.

    :ivar spent: whom it served -> seconds.
    """

    def __init__(self) -> None:
        self.spent: collections.Counter[str] = collections.Counter()
        self._span = _Span()

    @contextlib.contextmanager
    def running(self) -> collections.abc.Iterator[None]:
        with contextlib.ExitStack() as patches:
            for owner, name, serves in _SERVES:
                method = self._timed(owner.__dict__[name], serves)
                patches.enter_context(mock.patch.object(owner, name, method))
            self._turn(OTHERS)
            yield
            self._turn(OTHERS)

    def _timed(
        self, method: collections.abc.Callable[..., ty.Any], serves: str
    ) -> collections.abc.Callable[..., ty.Any]:
        @functools.wraps(method)
        def call(*args: ty.Any, **kwargs: ty.Any) -> ty.Any:
            before = self._turn(serves)
            try:
                return method(*args, **kwargs)
            finally:
                self._turn(before)

        return call

    def _turn(self, serves: str) -> str:
        """Let the thread serve somebody else from now on."""
        span, now = self._span, time.thread_time()
        before = span.serves
        self.spent[before] += now - span.since
        span.serves, span.since = serves, now
        return before


@dataclasses.dataclass(frozen=True)
class Spent:
    """Milliseconds of CPU: those for accelerators, and all."""

    accelerators: float
    whole: float


def spent(action: collections.abc.Callable[[], object]) -> Spent:
    """Tell what an action takes."""
    watch = Stopwatch()
    with watch.running():
        start = time.process_time()
        action()
        whole = time.process_time() - start
    return Spent(1000 * watch.spent[ACCELERATORS], 1000 * whole)


def least(runs: collections.abc.Collection[Spent]) -> Spent:
    """Return the least of each: what disturbs a run can only add."""
    return Spent(
        min(run.accelerators for run in runs), min(run.whole for run in runs)
    )
