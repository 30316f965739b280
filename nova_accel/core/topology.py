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
"""How devices belong together: functions to a card, cards to a board.

Every function here sorts, so that the order in which a hypervisor lists its
devices never matters.
"""

import collections.abc
import dataclasses
import typing as ty

from nova_accel.core import device

_K = ty.TypeVar('_K')
# The field of a card takes the name of the module.
_Device: ty.TypeAlias = device.Device


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


def order(dev: device.Device) -> tuple[device.PciAddress, str]:
    """Sort key of a device: today's address."""
    return dev.address, dev.name


def cards(
    devices: collections.abc.Iterable[device.Device],
) -> tuple[Card, ...]:
    """Group virtual functions under their physical function."""
    listed = sorted(devices, key=order)
    hosts = {d.address for d in listed if d.dev_type != device.TYPE_VF}
    functions: dict[device.PciAddress, list[device.Device]] = {}
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


def _index(dev: device.Device) -> tuple[bool, int, device.PciAddress, str]:
    return (dev.vf_index is None, dev.vf_index or 0, *order(dev))


def boards(
    devices: collections.abc.Iterable[device.Device],
) -> tuple[tuple[Card, ...], ...]:
    """Group cards that sit behind one bridge.

    A card of which no bridge is known is a board of its own.
    """
    groups = _group(
        cards(devices),
        lambda card: card.device.upstream or f'/{card.device.name}',
    )
    return tuple(groups.values())


def numa_groups(
    devices: collections.abc.Iterable[device.Device],
) -> dict[int | None, tuple[Card, ...]]:
    """Group cards by NUMA node; None holds those whose node is unknown."""
    return _group(cards(devices), lambda card: card.device.numa_node)


def _group(
    members: collections.abc.Iterable[Card],
    key: collections.abc.Callable[[Card], _K],
) -> dict[_K, tuple[Card, ...]]:
    groups: dict[_K, list[Card]] = {}
    for card in members:
        groups.setdefault(key(card), []).append(card)
    return {name: tuple(group) for name, group in groups.items()}
