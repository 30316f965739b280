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
"""The values that inventory is about."""

import collections.abc
import dataclasses
import functools

from nova_accel.core import device
from nova_accel.core import naming
from nova_accel.core import topology
from nova_accel.core import whitelist


@dataclasses.dataclass(frozen=True)
class Node:
    """The compute node: name and uuid of the root provider.

    :ivar hotplug: a server that exists can get devices here, and let go of
        them.
    """

    name: str
    uuid: str
    hotplug: bool = False


@dataclasses.dataclass(frozen=True)
class Unit:
    """The smallest thing one can claim, and the function that serves it.

    :ivar id: what ``instance.resources`` carries.
    :ivar function: the device to attach: the whole device, the virtual
        function, or the parent to create the mediated device on.
    """

    id: naming.UnitId
    function: device.Device


@dataclasses.dataclass(frozen=True)
class Stock:
    """What one resource class of one pool consists of.

    :ivar model: the vGPU model, None for whole devices and functions.
    :ivar units: all units, in slot order; ``len`` is the total.
    """

    resource_class: str
    units: tuple[Unit, ...]
    model: device.VgpuModel | None = None

    @functools.cached_property
    def by_id(self) -> collections.abc.Mapping[str, Unit]:
        """Units by the identifier that a claim carries."""
        return {str(unit.id): unit for unit in self.units}

    @functools.cached_property
    def ids(self) -> frozenset[str]:
        return frozenset(self.by_id)

    @functools.cached_property
    def devices(self) -> frozenset[str]:
        """Stable ids of the cards that the units are parts of."""
        return frozenset(unit.id.device for unit in self.units)


@dataclasses.dataclass(frozen=True)
class Pool:
    """What becomes one provider: a card, or identical whole devices.

    :ivar stable_id: identity of the provider.
    :ivar devices: all that it consists of: the card, then functions that
        a rule names or that serve a unit; or the whole devices.
    :ivar exclusive: True where units of one class keep units of the others
        from being used (one model per card).
    :ivar parts: of how many alike GPUs it consists, each with one model at
        a time, from which the hypervisor chooses; 0: it does not.
    :ivar blocks: amounts that are placed aligned, largest first, ending
        in 1. ``(12, 4, 1)``.
    """

    stable_id: str
    rule: whitelist.Rule
    stocks: tuple[Stock, ...]
    traits: frozenset[str]
    devices: tuple[device.Device, ...] = ()
    numa_node: int | None = None
    exclusive: bool = True
    parts: int = 0
    blocks: tuple[int, ...] = (1,)

    @functools.cached_property
    def cards(self) -> frozenset[str]:
        """Stable ids of the cards that it offers something of."""
        return frozenset().union(*(stock.devices for stock in self.stocks))


@dataclasses.dataclass(frozen=True)
class Withheld:
    """A device that the whitelist names and that is not offered, and why."""

    device: device.Device
    rules: tuple[whitelist.Rule, ...]
    reason: str


@dataclasses.dataclass(frozen=True)
class Offer:
    """What this host would offer if nobody held anything.

    Every device is in exactly one of ``pools``, ``withheld``, ``unlisted``.

    :ivar unlisted: devices that no rule names and no pool needs.
    :ivar idle_rules: rules that match no device here.
    :ivar rules: all rules of the whitelist.
    :ivar cards: stable id -> card, offered or not: who a claim is about.
    :ivar present: every stable id that a device here carries, used or not.
    :ivar contested: see ``identity.Identities``.
    """

    pools: tuple[Pool, ...] = ()
    withheld: tuple[Withheld, ...] = ()
    unlisted: tuple[device.Device, ...] = ()
    idle_rules: tuple[whitelist.Rule, ...] = ()
    rules: tuple[whitelist.Rule, ...] = ()
    cards: collections.abc.Mapping[str, topology.Card] = dataclasses.field(
        default_factory=dict
    )
    present: frozenset[str] = frozenset()
    contested: frozenset[str] = frozenset()

    @property
    def devices(self) -> tuple[device.Device, ...]:
        """All devices of the host."""
        return (
            *(dev for pool in self.pools for dev in pool.devices),
            *(entry.device for entry in self.withheld),
            *self.unlisted,
        )

    @functools.cached_property
    def ids(self) -> collections.abc.Mapping[str, str]:
        """``Device.name`` of a card -> the id that it goes by."""
        return {
            card.device.name: stable_id
            for stable_id, card in self.cards.items()
        }

    @functools.cached_property
    def kept_back(self) -> collections.abc.Mapping[str, device.Device]:
        """Withheld devices that a rule names: ``Device.name`` -> it."""
        return {
            entry.device.name: entry.device
            for entry in self.withheld
            if entry.rules
        }

    @functools.cached_property
    def offered(self) -> frozenset[str]:
        """Short ids of the cards that are parts of a pool."""
        return frozenset(
            naming.short_id(stable_id)
            for pool in self.pools
            for stable_id in pool.cards
        )

    @functools.cached_property
    def offered_units(self) -> frozenset[str]:
        """Short ids of the units that are parts of a pool."""
        return frozenset(
            naming.short_id(name)
            for pool in self.pools
            for stock in pool.stocks
            for name in stock.by_id
        )

    @functools.cached_property
    def present_short(self) -> frozenset[str]:
        """Short ids of everything that a device here carries."""
        return frozenset(map(naming.short_id, self.present))

    def locate(self, unit: naming.UnitId) -> device.Device | None:
        """Return the function that serves a unit, None if it is not here.

        Works for units of devices that the whitelist no longer lists, too.
        """
        card = self.cards.get(unit.device)
        if card is None:
            return None
        if not unit.part:
            return card.device
        if unit.is_vgpu and (card.device.models or not card.functions):
            return card.device
        return card.numbered.get(unit.slot)


@dataclasses.dataclass(frozen=True, order=True)
class Claim:
    """One unit that a server or a migration of this host holds."""

    provider: str
    resource_class: str
    unit: str


@dataclasses.dataclass(frozen=True)
class Inventory:
    """One inventory record as Placement knows it.

    step_size and allocation_ratio are always 1.
    """

    total: int
    reserved: int
    max_unit: int


@dataclasses.dataclass(frozen=True)
class KnownProvider:
    """A provider of ours as Placement has it now: our only memory."""

    stable_id: str
    inventories: collections.abc.Mapping[str, Inventory]
    traits: frozenset[str]


@dataclasses.dataclass(frozen=True)
class Provider:
    """A provider as it should be.

    :ivar units: resource class -> every unit id that exists or is held.
    :ivar retired: nothing of it is offered or held any more: delete it once
        Placement has no allocation left on it, else keep it as it stands
        here (everything reserved).
    """

    uuid: str
    name: str
    stable_id: str
    inventories: collections.abc.Mapping[str, Inventory]
    traits: frozenset[str]
    units: collections.abc.Mapping[str, frozenset[str]]
    retired: bool = False
