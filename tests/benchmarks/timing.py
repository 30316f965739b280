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
"""CPU time of what the drivers do about accelerators, and nothing else."""

import collections.abc
import contextlib
import time
import typing as ty
from unittest import mock

from nova.virt.libvirt import driver as libvirt_driver

_T = ty.TypeVar('_T')
_DRIVER = libvirt_driver.LibvirtDriver


@contextlib.contextmanager
def alone() -> collections.abc.Iterator[None]:
    """Leave out what nova's driver does for any host, on both sides.

    What is left of a refresh is one method of stock nova's, and the
    overrides of ours.
    """
    with (
        mock.patch.object(_DRIVER, 'get_available_resource', _nothing_else),
        mock.patch.object(_DRIVER, 'update_provider_tree', _vgpus_only),
    ):
        yield


def _nothing_else(_self: object, _nodename: str) -> dict[str, ty.Any]:
    return {'stats': {'uptime': 'up 5 days'}}


def _vgpus_only(
    self: ty.Any, tree: ty.Any, nodename: str, allocations: ty.Any = None
) -> None:
    self._update_provider_tree_for_vgpu(
        tree, nodename, allocations=allocations
    )


def milliseconds(
    action: collections.abc.Callable[[_T], object], host: _T
) -> float:
    """Return what an action takes of this thread's CPU time."""
    start = time.thread_time()
    action(host)
    return 1000 * (time.thread_time() - start)
