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
"""Facts, and ways into them."""

import dataclasses
import functools

from nova_accel.core import facts as evidence
from nova_accel.core.invariant import finding
from nova_accel.core import inventory
from nova_accel.core import naming


@dataclasses.dataclass(frozen=True)
class Case:
    """Facts, and ways into them."""

    facts: evidence.Facts

    @functools.cached_property
    def busy(self) -> frozenset[str]:
        return frozenset(
            consumer
            for server in self.facts.servers
            if server.state == evidence.BUSY
            for consumer in (server.uuid, *server.consumers)
        )

    @functools.cached_property
    def unsettled(self) -> frozenset[str]:
        """Providers on which a server at work may change something."""
        found = {
            claim.provider
            for server in self.facts.servers
            if server.state == evidence.BUSY
            for claim in server.claims
        }
        for rp, placed in self.facts.providers.items():
            fates = map(self.facts.fates.get, placed.allocations)
            if evidence.BUSY in fates or not self.busy.isdisjoint(
                placed.allocations
            ):
                found.add(rp)
        return frozenset(found)

    @functools.cached_property
    def servers(self) -> dict[str, evidence.Server]:
        return {server.uuid: server for server in self.facts.servers}

    @functools.cached_property
    def by_consumer(self) -> dict[str, evidence.Server]:
        return {
            consumer: server
            for server in self.facts.servers
            for consumer in server.consumers
        }

    @functools.cached_property
    def claims(self) -> frozenset[inventory.Claim]:
        return frozenset(
            claim for server in self.facts.servers for claim in server.claims
        )

    @functools.cached_property
    def guests(self) -> dict[str, frozenset[str]]:
        return {guest.server: guest.devices for guest in self.facts.guests}

    @functools.cached_property
    def known(self) -> dict[str, inventory.KnownProvider]:
        return {
            rp: placed.known
            for rp, placed in self.facts.providers.items()
            if placed.known is not None
        }

    @functools.cached_property
    def desired(self) -> dict[str, inventory.Provider]:
        facts = self.facts
        found = inventory.desired(
            facts.node,
            facts.offer,
            self.claims | facts.strangers,
            self.known,
            facts.seen,
        )
        return {provider.uuid: provider for provider in found}

    @functools.cached_property
    def devices(self) -> dict[inventory.Claim, str | None]:
        """What a guest has for each claim; None: it is not in this host."""
        return {claim: self._device(claim) for claim in self.claims}

    def _device(self, claim: inventory.Claim) -> str | None:
        unit = inventory.read_unit(claim.unit)
        function = self.facts.offer.locate(unit) if unit else None
        if unit is None or function is None:
            return None
        if not unit.is_vgpu:
            return str(function.address)
        made = naming.mdev_uuid(claim.provider, claim.unit)
        return self._mdevs.get((claim.provider, claim.unit), made)

    @functools.cached_property
    def _mdevs(self) -> dict[tuple[str, str], str]:
        """What stands for a unit; it may be of stock nova's making."""
        return {
            (claim.provider, claim.unit): mdev
            for mdev, claim in self.facts.ours.items()
        }

    @functools.cached_property
    def sources(self) -> dict[str, str]:
        """All that a guest can only have from us -> its provider."""
        facts = self.facts
        found = {
            str(dev.address): naming.provider_uuid(
                facts.node.uuid, pool.stable_id
            )
            for pool in facts.offer.pools
            for dev in pool.devices
        }
        for claim, device in self.devices.items():
            if device is not None:
                found[device] = claim.provider
        found.update(
            (mdev, claim.provider) for mdev, claim in facts.ours.items()
        )
        return found

    def name(self, rp: str) -> str:
        """Name a provider in a sentence."""
        placed = self.facts.providers.get(rp)
        if placed is not None:
            return placed.name
        return self.desired[rp].name if rp in self.desired else rp

    def about(
        self, kind: str, claim: inventory.Claim, server: str, text: str
    ) -> finding.Finding:
        """Say what is the matter with a unit."""
        owner = f' of server {server}' if server else ''
        return finding.Finding(
            kind,
            f'unit {claim.unit} of {self.name(claim.provider)}{owner}: {text}',
            claim.unit,
            server,
            claim.provider,
        )
