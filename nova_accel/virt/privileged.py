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
"""What only root may read. Nothing else belongs here.

It runs in the privsep daemon that nova-compute has anyway. Everything that
comes in is checked: the daemon trusts nobody.
"""

import collections.abc
import contextlib
import os
import typing as ty

import nova.privsep

from nova_accel.core import device
from nova_accel import exception

_DEVICES = '/sys/bus/pci/devices'
_SIZE = 4096

_Function = ty.TypeVar(
    '_Function', bound=collections.abc.Callable[..., object]
)


def _privileged(function: _Function) -> _Function:
    """Have the daemon run it, which finds it by its name."""
    return ty.cast(
        _Function, nova.privsep.sys_admin_pctxt.entrypoint(function)
    )


@_privileged
def config_spaces(addresses: list[str]) -> dict[str, str]:
    """Read the configuration space of PCI functions.

    :returns: address -> hex digits, without those that cannot be read, or are
        no addresses.
    """
    found = {}
    for each in addresses:
        # Of our own errors the daemon would make others on the way back.
        with contextlib.suppress(OSError, exception.InvalidAddress):
            address = str(device.PciAddress.parse(each))
            with open(os.path.join(_DEVICES, address, 'config'), 'rb') as file:
                found[address] = file.read(_SIZE).hex()
    return found
