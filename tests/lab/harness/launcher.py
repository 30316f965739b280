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
"""What the zygote runs: nova-compute, its calls of libvirt counted.

The first argument names a fault of ``faults`` to plant in the driver, or is
``-``; the others are nova-compute's.
"""

import collections.abc
import mmap
import pathlib
import re
import struct
import sys
import threading
import typing as ty

import libvirtmod
from nova.cmd import compute
from nova.compute import manager

from tests.lab.harness import faults
from tests.lab.harness import settings

# Answered by the binding or the library itself, without a round trip
_LOCAL = re.compile(
    r'vir(Event|Initialize|RegisterError|\w*GetLastError|\w*ResetLastError'
    r'|ConnectIsAlive|ConnectClose|ConnectOpen|ConnectRef'
    r'|ConnectSetKeepAlive|\w+GetName$|\w+GetUUID\w*$|DomainGetID$'
    r'|\w+(Free|GetConnect)$|TypedParam)'
)


def _count_calls() -> None:
    path = pathlib.Path(settings.CALLS)
    path.write_bytes(bytes(8))
    with path.open('r+b') as file:
        counter = mmap.mmap(file.fileno(), 8)
    lock = threading.Lock()

    def counted(
        call: collections.abc.Callable[..., ty.Any],
    ) -> collections.abc.Callable[..., ty.Any]:
        def wrapper(*arguments: ty.Any, **named: ty.Any) -> ty.Any:
            with lock:
                (number,) = struct.unpack('=Q', counter[:])
                counter[:] = struct.pack('=Q', number + 1)
            return call(*arguments, **named)

        return wrapper

    for name, call in vars(libvirtmod).copy().items():
        if name.startswith('vir') and not _LOCAL.match(name):
            setattr(libvirtmod, name, counted(call))


def _heed_interval() -> None:
    """Set what nova reads when its manager is imported.

    The zygote has done that, before there was a configuration.
    """
    spacing = manager.ComputeManager._periodic_spacing
    spacing['update_available_resource'] = settings.UPDATE_INTERVAL


def main() -> None:
    _count_calls()
    _heed_interval()
    fault = sys.argv.pop(1)
    if fault != '-':
        faults.FAULTS[fault].plant()
    compute.main()
