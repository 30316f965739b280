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
"""What an operator says about a device, written where it is remembered.

A read, a change and a write with the generation that was read: no trait of
anybody else's gets lost.
"""

import collections.abc
import dataclasses
import typing as ty

from nova import context as nova_context

from nova_accel.core import facts
from nova_accel.core import inventory
from nova_accel.core import naming
from nova_accel.core import states
from nova_accel import exception

_TRIES = 4
_VERSION = '1.6'


@dataclasses.dataclass(frozen=True)
class Ward:
    """One device of a host, as an operator points at it.

    :ivar provider: uuid of the provider that it is, or is a part of.
    :ivar part: its own id where it is one of a pool, else ''.
    :ivar servers: uuids of those that hold something of it.
    :ivar cleanable: its rule says how it is cleaned.
    """

    id: str
    provider: str
    provider_name: str
    marks: states.Marks
    part: str = ''
    address: str = ''
    label: str = ''
    rule: str = ''
    servers: tuple[str, ...] = ()
    cleanable: bool = False

    @property
    def in_service(self) -> bool:
        return states.is_in_service(self.marks)

    @property
    def state(self) -> str:
        return states.describe(self.marks)

    @property
    def reasons(self) -> tuple[str, ...]:
        return states.reasons(self.marks)


def wards(found: facts.Facts, service: inventory.Service) -> tuple[Ward, ...]:
    """Return every device that is offered, or that is missed as a whole."""
    holders = _holders(found.servers)
    listed = [
        _offered(found, service, pool, stable_id, holders)
        for pool in found.offer.pools
        for stable_id in sorted(pool.cards)
    ]
    here = {ward.provider for ward in listed}
    listed += [
        Ward(
            placed.known.stable_id,
            rp,
            placed.name,
            states.marks(placed.known.traits),
            servers=holders.get(placed.known.stable_id, ()),
        )
        for rp, placed in sorted(found.providers.items())
        if placed.known is not None and rp not in here
    ]
    return tuple(listed)


def _offered(
    found: facts.Facts,
    service: inventory.Service,
    pool: inventory.Pool,
    stable_id: str,
    holders: collections.abc.Mapping[str, tuple[str, ...]],
) -> Ward:
    dev = found.offer.cards[stable_id].device
    held = {c.unit for server in found.servers for c in server.claims}
    return Ward(
        stable_id,
        naming.provider_uuid(found.node.uuid, pool.stable_id),
        naming.provider_name(found.node.name, pool.stable_id),
        service.state(stable_id, held),
        part_of(pool, stable_id),
        str(dev.address),
        dev.label,
        pool.rule.name,
        holders.get(stable_id, ()),
        pool.rule.clean is not None,
    )


def _holders(
    servers: collections.abc.Iterable[facts.Server],
) -> dict[str, tuple[str, ...]]:
    found: dict[str, set[str]] = {}
    for server in servers:
        for claim in server.claims:
            unit = inventory.read_unit(claim.unit)
            if unit is not None:
                found.setdefault(unit.device, set()).add(server.uuid)
    return {device: tuple(sorted(uuids)) for device, uuids in found.items()}


def find(listed: collections.abc.Iterable[Ward], name: str) -> Ward:
    """Return the device that an operator means: by its id or its address.

    :raises NoSuchDevice: there is none, or several.
    """
    listed = tuple(listed)
    for test in (
        lambda ward: name in (ward.id, ward.address),
        lambda ward: ward.id.startswith(name),
    ):
        found = [ward for ward in listed if test(ward)]
        if len(found) == 1:
            return found[0]
        if found:
            raise exception.NoSuchDevice(
                device=name,
                reason=f'it may be {" or ".join(w.id for w in found)}; write '
                f'one of them in full',
            )
    raise exception.NoSuchDevice(
        device=name, reason='nova-accel device list shows what there is'
    )


def say(
    context: nova_context.RequestContext,
    client: ty.Any,
    ward: Ward,
    verb: str,
    dry_run: bool = False,
) -> tuple[frozenset[str], frozenset[str]]:
    """Write an operator's word about a device to Placement.

    :param client: nova's report client.
    :param verb: a key of ``states.VERBS``.
    :returns: the traits that were added and those that were taken back.
    :raises NotWritten: Placement did not take it.
    """
    return note(
        *(context, client, ward.provider, verb, ward.part),
        dry_run=dry_run,
    )


def note(
    context: nova_context.RequestContext,
    client: ty.Any,
    provider: str,
    verb: str,
    part: str = '',
    dry_run: bool = False,
) -> tuple[frozenset[str], frozenset[str]]:
    """Write marks of a device, or of a unit, to Placement.

    :param provider: its uuid.
    :param part: id of what the marks are about, '' for the provider.
    :returns: see ``say``.
    :raises NotWritten: Placement did not take it.
    """
    return rewrite(
        context,
        client,
        provider,
        lambda traits: states.changed(traits, verb, part),
        dry_run,
    )


def rewrite(
    context: nova_context.RequestContext,
    client: ty.Any,
    provider: str,
    change: collections.abc.Callable[
        [collections.abc.Iterable[str]], frozenset[str]
    ],
    dry_run: bool = False,
) -> tuple[frozenset[str], frozenset[str]]:
    """Change the traits of a provider.

    :param provider: its uuid.
    :param change: from the traits that it has to those it is to have.
    :returns: the traits that were added and those that were taken back.
    :raises NotWritten: Placement did not take it.
    """
    for _ in range(_TRIES):
        before = client.get_provider_traits(context, provider)
        after = change(before.traits)
        more = after - frozenset(before.traits)
        less = frozenset(before.traits) - after
        if dry_run or not (more or less):
            return more, less
        for trait in sorted(more):
            _put(context, client, f'/traits/{trait}', None)
        if _put(
            context,
            client,
            f'/resource_providers/{provider}/traits',
            {
                'resource_provider_generation': before.generation,
                'traits': sorted(after),
            },
        ):
            return more, less
    raise exception.NotWritten(
        provider=provider,
        reason='somebody else changes the provider all the time; try again',
    )


def part_of(pool: inventory.Pool, stable_id: str) -> str:
    """Return the id in the marks of a device: '' unless it is in a pool."""
    return stable_id if naming.is_pool(pool.stable_id) else ''


def _put(
    context: nova_context.RequestContext,
    client: ty.Any,
    url: str,
    payload: ty.Any,
) -> bool:
    """Put; False if somebody was faster."""
    answer = client.put(
        url, payload, version=_VERSION, global_request_id=context.global_id
    )
    if answer.status_code == 409:
        return False
    if not answer:
        raise exception.NotWritten(
            provider=url, reason=f'{answer.status_code}: {answer.text[:200]}'
        )
    return True
