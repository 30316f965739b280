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
"""An operator's word on which device is which.

Providers, allocations and claims stay as they are. What is written is a
trait of the provider of the old id: from then on the card that is found as
the new one goes by the old one, and no other card does.
"""

import collections
import collections.abc
import dataclasses

from nova_accel.core import device
from nova_accel.core import facts
from nova_accel.core import identity
from nova_accel.core import inventory
from nova_accel.core import naming
from nova_accel.core import topology
from nova_accel.core import whereabouts
from nova_accel import exception

_NAMED = 3
_No = collections.abc.Callable[[str], exception.NotRemapped]


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is written when an operator says who a device is.

    :ivar old: id by which providers and claims know it.
    :ivar new: id by which it is found, one that no other card carries.
    :ivar address: where that is today.
    :ivar provider: uuid of the provider that remembers ``old``.
    :ivar servers: uuids of those that hold something of ``old``.
    :ivar trait: what says so.
    :ivar fits: short ids by which that card may be found, each with what is
        said of it then, as ``naming.read_remap`` gives them.
    """

    old: str
    new: str
    address: str
    label: str
    provider: str
    provider_name: str
    servers: tuple[str, ...]
    trait: str
    fits: frozenset[tuple[str, str]] = frozenset()

    def traits(
        self, provider: str, before: collections.abc.Iterable[str]
    ) -> frozenset[str]:
        """Return the traits of a provider after it.

        An earlier word on either of the two is taken back, also one that
        was meant for another card with the same serial number.
        """
        kept = frozenset(t for t in before if not self._contradicts(t))
        return kept | {self.trait} if provider == self.provider else kept

    def _contradicts(self, trait: str) -> bool:
        said = naming.read_remap(trait)
        return said is not None and (
            said[0] == naming.short_id(self.old)
            or said[1] == naming.short_id(self.new)
            or said[1:] in self.fits
        )


def plan(
    found: facts.Facts, service: inventory.Service, old: str, new: str
) -> Plan:
    """Check that what is found as ``new`` can be ``old``.

    :param old: id of a device that is remembered and not here; the
        beginning of it will do.
    :param new: id or address of a card that is here and that nobody holds.
    :raises NoSuchDevice: either is unknown.
    :raises NotRemapped: it must not be.
    """
    return _Check(whereabouts.Host(found, service)).plan(old, new)


class _Check:
    """Checks one word against one look at a host."""

    def __init__(self, host: whereabouts.Host) -> None:
        self._host = host

    def plan(self, old_name: str, new_name: str) -> Plan:
        old = self._find_old(old_name)
        card = self._find_new(new_name)
        dev = card.device
        new = self._key(dev)

        def no(reason: str) -> exception.NotRemapped:
            return exception.NotRemapped(old=old, new=new, reason=reason)

        provider = self._host.provider_of(old)
        if provider not in self._host.known:
            raise no(
                'Placement has no provider for it; nova-compute puts it back '
                'with its next update'
            )
        self._check_card(old, card, no)
        self._check_servers(old, no)
        return Plan(
            old,
            new,
            str(dev.address),
            dev.label,
            provider,
            self._host.name_of(provider),
            self._host.holders.get(old, ()),
            naming.remap_trait(old, new, identity.who(new, dev)),
            frozenset(
                (naming.short_id(i), naming.short_id(identity.who(i, dev)))
                for i in self._fitted(dev)
            ),
        )

    def _find_old(self, name: str) -> str:
        found = [i for i in self._host.lost if i == name] or [
            i for i in self._host.lost if i.startswith(name)
        ]
        if len(found) == 1:
            return found[0]
        if found:
            raise exception.NoSuchDevice(
                device=name,
                reason=f'it may be {" or ".join(found[:_NAMED])}; write one '
                f'of them in full',
            )
        here = self._host.offer.cards.get(name)
        reason = 'nova-accel identify shows what is remembered'
        if here is not None:
            reason = (
                f'it is not lost, but at {here.device.address}; to remap is '
                f'for what nova-accel identify lists as not here'
            )
        raise exception.NoSuchDevice(device=name, reason=reason)

    def _find_new(self, name: str) -> topology.Card:
        found = [
            card
            for card in self._host.heads.values()
            if name
            in (
                str(card.device.address),
                self._host.id_of(card.device) or None,
                *identity.carried(card.device),
            )
        ]
        if len(found) == 1:
            return found[0]
        reason = 'nova-accel identify shows what is here'
        if found:
            where = ' and '.join(str(card.device.address) for card in found)
            reason = f'{where} both tell it; name one by its address'
        raise exception.NoSuchDevice(device=name, reason=reason)

    def _key(self, dev: device.Device) -> str:
        """Return the best id of a card that no other card carries."""
        carriers = collections.Counter(
            stable_id
            for card in self._host.heads.values()
            for stable_id in set(self._fitted(card.device))
        )
        # Where it is now it may not be tomorrow.
        best = [
            i
            for i in self._fitted(dev)
            if carriers[i] == 1 and not i.startswith('pci:')
        ]
        if not best:
            raise exception.NotRemapped(
                old='it',
                new=dev.address,
                reason='nothing tells that card from others but its address, '
                'which changes; put it into a slot of its own',
            )
        return best[0]

    def _fitted(self, dev: device.Device) -> list[str]:
        node = self._host.found.node.name
        return [naming.fit(node, each) for each in identity.carried(dev)]

    def _check_card(
        self,
        old: str,
        card: topology.Card,
        no: _No,
    ) -> None:
        dev = card.device
        if dev in self._host.offer.unlisted:
            raise no(f'no rule of the whitelist names {dev.address}')
        holders = {
            server
            for stable_id in (
                self._host.id_of(dev),
                *self._fitted(dev),
            )
            if stable_id != old
            for server in self._host.holders.get(stable_id, ())
        }
        if holders:
            raise no(
                f'server {min(holders)} holds something of the card at '
                f'{dev.address}; delete or move it first'
            )
        if not self._host.is_make(old, dev):
            raise no(
                f'the card at {dev.address} is of another make '
                f'({identity.make(dev)}); servers that were made with the '
                f'old one may not run with it. Delete or move them instead'
            )
        there = dataclasses.replace(self._host.offer, cards={old: card})
        for _server, claim in self._host.claims.get(old, ()):
            if not _serves(there, claim):
                raise no(
                    f'the card at {dev.address} has no {claim.unit}, which a '
                    f'server holds'
                )

    def _check_servers(
        self,
        old: str,
        no: _No,
    ) -> None:
        running = {g.server for g in self._host.found.guests if g.running}
        for server in self._host.found.servers:
            if server.uuid not in self._host.holders.get(old, ()):
                continue
            if server.uuid in running or server.state == facts.RUNNING:
                raise no(f'server {server.uuid} holds it and runs; stop it')
            if server.state == facts.BUSY:
                raise no(
                    f'nova is at work on server {server.uuid}, which holds '
                    f'it; wait for that'
                )


def _serves(there: inventory.Offer, claim: inventory.Claim) -> bool:
    unit = inventory.read_unit(claim.unit)
    function = there.locate(unit) if unit is not None else None
    if unit is None or function is None:
        return False
    return not unit.is_vgpu or unit.part in (
        model.type_id for model in function.models
    )
