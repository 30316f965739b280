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
"""How devices belong together: virtual functions to a card.

Every function here sorts, so that the order in which a hypervisor lists its
devices never matters.
"""

import collections.abc
import dataclasses

from nova_accel.core import device

# The field of a card takes the name of the module.
_Device = device.Device


@dataclasses.dataclass(frozen=True)
class Card:
    """What an operator would point at: a function and the VFs it hosts.

    :ivar device: the physical function, or a plain device. A virtual
        function only where the hypervisor does not list its parent.
    :ivar functions: its virtual functions, by index.
    """

    device: _Device
    functions: tuple[_Device, ...] = ()

    @property
    def members(self) -> tuple[_Device, ...]:
        return (self.device, *self.functions)

    @property
    def numbered(self) -> dict[int, _Device]:
        """Virtual functions by index, ascending.

        Positions stand in where the hypervisor does not tell each its own.
        """
        indexed = {
            function.vf_index: function
            for function in self.functions
            if function.vf_index is not None
        }
        if len(indexed) == len(self.functions):
            return indexed
        return dict(enumerate(self.functions))


def order(dev: device.Device) -> tuple[device.Address, str]:
    """Sort key of a device: today's address."""
    return dev.address, dev.name


def cards(
    devices: collections.abc.Iterable[device.Device],
) -> tuple[Card, ...]:
    """Group virtual functions under their physical function."""
    listed = sorted(devices, key=order)
    hosts = {d.address for d in listed if d.dev_type != device.TYPE_VF}
    functions: dict[device.Address, list[device.Device]] = {}
    heads = []
    for dev in listed:
        if dev.dev_type == device.TYPE_VF and dev.parent in hosts:
            functions.setdefault(dev.parent, []).append(dev)
        else:
            heads.append(dev)
    # Only the first of two devices at one address (two hypervisor names)
    # gets the functions: a function belongs to one card.
    return tuple(
        Card(head, tuple(sorted(functions.pop(head.address, ()), key=_index)))
        if head.dev_type != device.TYPE_VF
        else Card(head)
        for head in heads
    )


def _index(dev: device.Device) -> tuple[bool, int, device.Address, str]:
    return (dev.vf_index is None, dev.vf_index or 0, *order(dev))
