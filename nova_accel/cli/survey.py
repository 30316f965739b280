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
"""What both commands look at: the files, the host, and how they meet.

Nothing raises for what an operator can cause. A file that is wrong and a
hypervisor that does not answer are findings like any other.
"""

import collections.abc
import dataclasses
import functools

from nova_accel.core import device
from nova_accel.core import inventory
from nova_accel.core import topology
from nova_accel.core import whitelist
from nova_accel import exception

OFFERED = 'offered'
SPARE = 'spare'
WITHHELD = 'withheld'
UNLISTED = 'unlisted'
HOST = 'host device'

# The kind of a stable id is the word before its colon.
SOURCES = {
    'sn': 'serial',
    'dsn': 'serial (config space)',
    'nvme': 'serial (NVMe)',
    'slot': 'slot',
    'path': 'path',
    'pci': 'address',
}


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Whether a device is offered, and why.

    :ivar pool: what it is a part of, None unless a rule takes it.
    :ivar classes: resource classes that it serves; empty for a function
        that only carries others.
    :ivar reason: why it is withheld, '' otherwise.
    """

    state: str
    rules: tuple[whitelist.Rule, ...] = ()
    pool: inventory.Pool | None = None
    classes: tuple[str, ...] = ()
    reason: str = ''

    def __str__(self) -> str:
        if self.pool is None:
            return self.state
        if self.state == SPARE:
            return f'{self.state}: {self.pool.rule.name} needs no more'
        how = (
            f'as {", ".join(self.classes)}'
            if self.classes
            else 'through its functions'
        )
        return f'{self.state} by {self.pool.rule.name} {how}'


@dataclasses.dataclass(frozen=True)
class Survey:
    """One look at one host.

    :ivar uri: the connection's, without anything secret.
    :ivar local: libvirt runs on this machine.
    :ivar node: of the compute node; its uuid stands for nothing unless
        ``node_uuid_known``.
    :ivar searched: files and directories where a whitelist could be.
    :ivar files: whitelist files that were read, in that order.
    :ivar problems: what is wrong in the files.
    :ivar failure: why the host could not be looked at, '' if it could.
    """

    uri: str
    local: bool
    node: inventory.Node
    node_uuid_known: bool
    searched: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    problems: tuple[exception.Problem, ...] = ()
    failure: str = ''
    view: device.HostView = device.HostView()
    offer: inventory.Offer = inventory.Offer()

    @functools.cached_property
    def providers(self) -> tuple[inventory.Provider, ...]:
        """What would be reported to Placement of an empty host."""
        return inventory.desired(self.node, self.offer, (), {})

    @property
    def idle(self) -> bool:
        """Whether there is no whitelist, or a rule that matches nothing."""
        return not self.files or bool(self.offer.idle_rules)

    @functools.cached_property
    def pools(self) -> dict[str, inventory.Pool]:
        """Pools by stable id."""
        return {pool.stable_id: pool for pool in self.offer.pools}

    @functools.cached_property
    def heads(self) -> dict[str, device.Device]:
        """The device that stands for the card of each, by name."""
        return {
            member.name: card.device
            for card in topology.cards(self.view.devices)
            for member in card.members
        }

    @functools.cached_property
    def verdicts(self) -> dict[str, Verdict]:
        """What became of each device, by ``Device.name``."""
        found = {
            dev.name: Verdict(UNLISTED, (), None)
            for dev in self.offer.unlisted
        }
        for pool in self.offer.pools:
            found.update(_of_pool(pool))
        for entry in self.offer.withheld:
            found[entry.device.name] = Verdict(
                WITHHELD, entry.rules, reason=entry.reason
            )
        for dev in self.offer.unlisted:
            if is_of_the_host(dev):
                found[dev.name] = Verdict(HOST)
        return found

    def stable_id(self, dev: device.Device) -> str:
        """Return the id by which a device goes, '' if it has none."""
        if dev.dev_type == device.TYPE_VF:
            return dev.ids[0]
        return self.offer.ids.get(dev.name, '')


def _of_pool(
    pool: inventory.Pool,
) -> collections.abc.Iterator[tuple[str, Verdict]]:
    classes: dict[str, list[str]] = {dev.name: [] for dev in pool.devices}
    for stock in pool.stocks:
        for name in {unit.function.name for unit in stock.units}:
            classes[name].append(stock.resource_class)
    for dev in pool.devices:
        served = tuple(classes[dev.name])
        # A card may hold fewer vGPUs than it has virtual functions.
        spare = not served and dev.dev_type == device.TYPE_VF
        state = SPARE if spare else OFFERED
        yield dev.name, Verdict(state, (pool.rule,), pool, served)


def is_of_the_host(dev: device.Device) -> bool:
    """Tell a bridge or system device, which no rule can offer."""
    return dev.class_id[:2] in device.HOST_CLASSES


def source(stable_id: str) -> str:
    """Name what a stable id was made from."""
    return SOURCES.get(stable_id.partition(':')[0], '')


def unknown(dev: device.Device) -> tuple[str, ...]:
    """Name the identifiers of a device that could not be established."""
    known = {
        'serial': dev.serial,
        'slot': dev.slot or dev.is_usb,
        'path': dev.path,
        'subsystem': dev.subsystem_vendor_id or dev.is_usb,
    }
    return tuple(name for name, value in known.items() if not value)
