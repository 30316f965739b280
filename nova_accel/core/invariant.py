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
"""What must always hold, and where it does not.

Every allocation has one claim, every claim one device in one guest, every
mediated device of ours a claim, every claim a server, and Placement's
amounts are those that claims and devices make. Pure: facts in, findings out.
"""

import collections
import collections.abc
import dataclasses
import functools

from nova_accel.core import attachment
from nova_accel.core import facts as evidence
from nova_accel.core import inventory
from nova_accel.core import naming

NOT_CLAIMED = 'allocation-without-claim'
NOT_ALLOCATED = 'claim-without-allocation'
OF_DELETED = 'allocation-of-deleted-server'
OF_MOVED = 'allocation-of-finished-move'
OF_ELSEWHERE = 'allocation-of-other-host'
OF_UNKNOWN = 'allocation-of-unknown-consumer'
TWICE = 'claim-twice'
NO_SERVER = 'claim-without-server'
FORGOTTEN = 'claim-forgotten'
NO_PROVIDER = 'claim-without-provider'
NOT_ASKED = 'claim-not-asked-for'
NO_DEVICE = 'claim-without-device'
NOT_ATTACHED = 'device-not-attached'
NOT_MADE = 'device-not-there'
SHARED = 'device-in-two-guests'
NOT_HELD = 'device-without-claim'
LOOSE = 'mdev-without-claim'
UNCLAIMED = 'attachment-without-claim'
NO_GROUP = 'attachment-without-group'
NO_RECORD = 'group-without-attachment'
UNREADABLE = 'attachment-unreadable'
SPEC = 'request-spec-differs'
ABSENT = 'provider-missing'
ORPHAN = 'provider-orphan'
NOT_OURS = 'provider-not-ours'
AMOUNTS = 'inventory-differs'
TRAITS = 'traits-differ'

_UPDATE = (
    'nova-compute corrects it when it refreshes its cache of Placement, '
    'after SIGHUP at its next update; if it stays, read its log'
)

ADVICE = {
    NOT_CLAIMED: 'cold-migrate the server: nova claims anew where it arrives',
    NOT_ALLOCATED: 'cold-migrate the server, which allocates anew; until '
    'then Placement offers the unit to others, and this host refuses them',
    OF_DELETED: 'nothing uses it: delete the allocation (nova-accel doctor '
    '--fix does, or openstack resource provider allocation delete)',
    OF_MOVED: 'the move is over: look at the server, then delete the '
    'allocation with openstack resource provider allocation delete',
    OF_ELSEWHERE: 'start nova-compute of the host that the server has left '
    'and let it update; if it stays, nova-manage placement '
    'heal_allocations',
    OF_UNKNOWN: 'nova has no record of it: it is being scheduled this very '
    'moment, or was purged; if it stays, nova-manage placement audit',
    TWICE: 'stop one of the servers, then cold-migrate it',
    NO_SERVER: 'nova-compute corrects it at its next update; if it stays, '
    'read its log',
    FORGOTTEN: 'restart nova-compute before it gives the unit away again',
    NO_PROVIDER: 'cold-migrate the server: nova claims anew where it arrives',
    NOT_ASKED: 'cold-migrate the server: it gets what its flavor asks for '
    'where it arrives',
    NO_DEVICE: 'bring the device back (power, slot, driver, virtual '
    'functions), or migrate the server',
    NOT_ATTACHED: 'hard-reboot the server: it is started with all it holds',
    NOT_MADE: 'hard-reboot the server: its devices are made again',
    SHARED: 'stop one of the servers, then hard-reboot the other',
    NOT_HELD: 'hard-reboot the server: it is started with what it holds; a '
    'guest that nova does not know can only go by hand (virsh)',
    LOOSE: 'nova-compute destroys it at its next update, nova-accel doctor '
    '--fix at once; if it stays, a guest uses it',
    UNCLAIMED: 'detach it (openstack server remove accelerator) and attach '
    'it again',
    NO_GROUP: 'detach it and attach it again: as it is, a move of the server '
    'would lose it',
    NO_RECORD: 'restart nova-compute; if it stays, somebody changed the '
    'system metadata of the server: cold-migrate it and report a bug',
    UNREADABLE: 'a later release wrote it, or it is damaged: upgrade '
    'nova-compute of this host, or delete the key accel_attachment_<id> '
    'from instance_system_metadata',
    SPEC: 'nova-accel doctor --fix, or the next request on the accelerators '
    'of the server, makes it the same; until then a move allocates wrongly',
    ABSENT: _UPDATE,
    ORPHAN: 'nova-compute deletes it at its next update, unless something '
    'is allocated from it still',
    NOT_OURS: 'something else made it: rename it, or delete it with '
    'openstack resource provider delete',
    AMOUNTS: _UPDATE,
    TRAITS: _UPDATE,
}

# All but what nova-compute itself may leave to its next update.
AT_ONCE = frozenset(ADVICE) - {LOOSE, NOT_MADE, ORPHAN, TRAITS}

_FATES = {
    evidence.DELETED: OF_DELETED,
    evidence.MOVED: OF_MOVED,
    evidence.ELSEWHERE: OF_ELSEWHERE,
    evidence.UNKNOWN: OF_UNKNOWN,
}


@dataclasses.dataclass(frozen=True, order=True)
class Finding:
    """One thing that does not hold.

    :ivar kind: a key of ``ADVICE``.
    :ivar text: what is wrong.
    :ivar device: unit, uuid of a mediated device, or PCI address; '' where
        it is about none.
    :ivar server: uuid of a server or of a migration, or ''.
    :ivar provider: uuid, or ''.
    """

    kind: str
    text: str
    device: str = ''
    server: str = ''
    provider: str = ''

    @property
    def advice(self) -> str:
        """What to do about it."""
        return ADVICE[self.kind]

    def __str__(self) -> str:
        return f'{self.kind}: {self.text}; {self.advice}'


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one finding when somebody set out to repair it.

    :ivar text: what was done, or why nothing was.
    """

    finding: Finding
    done: bool
    text: str


def check(facts: evidence.Facts) -> tuple[Finding, ...]:
    """Return all that does not hold, sorted.

    Nothing is said about a server that nova is at work on.
    """
    case = _Case(facts)
    return tuple(
        sorted(
            {
                finding
                for test in _TESTS
                for finding in test(case)
                if finding.server not in case.busy
            }
        )
    )


@dataclasses.dataclass(frozen=True)
class _Case:
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


_Findings = collections.abc.Iterator[Finding]
_Amounts = collections.Counter[tuple[str, str]]


def _allocations(case: _Case) -> _Findings:
    """Nova's records and Placement say the same, server by server."""
    allocated: dict[str, _Amounts] = collections.defaultdict(
        collections.Counter
    )
    for rp, placed in case.facts.providers.items():
        for consumer, classes in placed.allocations.items():
            server = case.by_consumer.get(consumer)
            if server is None:
                yield from _stray(case, rp, consumer, classes)
                continue
            for rc, amount in classes.items():
                allocated[server.uuid][rp, rc] += amount
    for server in case.facts.servers:
        claimed = collections.Counter(
            (claim.provider, claim.resource_class) for claim in server.claims
        )
        yield from _compared(
            case, server.uuid, allocated[server.uuid], claimed
        )


def _stray(
    case: _Case,
    rp: str,
    consumer: str,
    classes: collections.abc.Mapping[str, int],
) -> _Findings:
    kind = _FATES.get(case.facts.fates.get(consumer, evidence.UNKNOWN))
    if kind is None:
        return
    amounts = ', '.join(f'{n} of {rc}' for rc, n in sorted(classes.items()))
    yield Finding(
        kind,
        f'{consumer} has {amounts} of {case.name(rp)} allocated and holds '
        f'nothing on this host',
        server=consumer,
        provider=rp,
    )


def _compared(
    case: _Case, server: str, allocated: _Amounts, claimed: _Amounts
) -> _Findings:
    for rp, rc in sorted(allocated.keys() | claimed.keys()):
        wanted, found = allocated[rp, rc], claimed[rp, rc]
        if wanted != found:
            yield Finding(
                NOT_CLAIMED if wanted > found else NOT_ALLOCATED,
                f'server {server} has {wanted} of {rc} of {case.name(rp)} '
                f'allocated and {found} claimed',
                server=server,
                provider=rp,
            )


def _holders(case: _Case) -> _Findings:
    """A unit is held once, by a server, from a provider of this node."""
    holders = collections.defaultdict(list)
    for server in case.facts.servers:
        for claim in server.claims:
            holders[claim.unit].append((server.uuid, claim))
            if claim.provider not in case.desired:
                yield _about(
                    case,
                    NO_PROVIDER,
                    claim,
                    server.uuid,
                    'this node has no such provider',
                )
    for (first, _claim), *others in holders.values():
        for other, claim in others if first not in case.busy else ():
            text = f'server {first} holds it too'
            yield _about(case, TWICE, claim, other, text)


def _about(
    case: _Case, kind: str, claim: inventory.Claim, server: str, text: str
) -> Finding:
    owner = f' of server {server}' if server else ''
    return Finding(
        kind,
        f'unit {claim.unit} of {case.name(claim.provider)}{owner}: {text}',
        claim.unit,
        server,
        claim.provider,
    )


def _service(case: _Case) -> _Findings:
    """What nova-compute takes for held is what nova's records say."""
    held = case.facts.held
    if held is None:
        return
    sides = (
        (
            NO_SERVER,
            held - case.claims,
            'nova-compute takes it for held, and no record of nova names it',
        ),
        (
            FORGOTTEN,
            case.claims - held,
            'nova-compute takes it for free, and a server holds it',
        ),
    )
    owners = {c: s.uuid for s in case.facts.servers for c in s.claims}
    for kind, claims, text in sides:
        for claim in claims:
            if claim.provider not in case.unsettled:
                owner = owners.get(claim, '')
                yield _about(case, kind, claim, owner, text)


def _attached(case: _Case) -> _Findings:
    """Every claim has its device, in the guest of its server."""
    for server in case.facts.servers:
        for claim in server.claims:
            if case.devices[claim] is None:
                text = 'its device is not in this host'
                yield _about(case, NO_DEVICE, claim, server.uuid, text)
        for claim in server.attached:
            yield from _present(case, server, claim)


def _present(
    case: _Case, server: evidence.Server, claim: inventory.Claim
) -> _Findings:
    device = case.devices[claim]
    guest = case.guests.get(server.uuid)
    if device is None or server.state == evidence.IDLE:
        return
    if guest is None and server.state == evidence.STOPPED:
        return
    if guest is None:
        text = f'{device} is not attached: the server has no guest here'
        yield _about(case, NOT_ATTACHED, claim, server.uuid, text)
    elif device not in guest:
        text = f'{device} is not in its guest'
        yield _about(case, NOT_ATTACHED, claim, server.uuid, text)


def _attachments(case: _Case) -> _Findings:
    """Records of attachments, claims, flavor and request spec agree."""
    for server in case.facts.servers:
        asked = server.asked
        if asked is None:
            continue
        for id_ in asked.unreadable:
            yield _of(UNREADABLE, server, id_, 'its record cannot be read')
        for record in asked.records:
            yield from _recorded(server, asked, record)
        known = {record.id for record in asked.records} | asked.unreadable
        for id_ in asked.groups.keys() - known:
            yield _of(NO_RECORD, server, id_, 'only the flavor knows it')
        if asked.spec is not None and asked.spec != asked.groups:
            yield Finding(
                SPEC,
                f'the request spec of server {server.uuid} asks for '
                f'{_groups(asked.spec)}, and its flavor for '
                f'{_groups(asked.groups)}',
                server=server.uuid,
            )
        yield from _asked(case, server, asked)


def _recorded(
    server: evidence.Server,
    asked: evidence.Asked,
    record: attachment.Attachment,
) -> _Findings:
    attached = record.state == attachment.ATTACHED
    if not record.claims <= server.claims or (attached and not record.units):
        text = f'it is {record.state}, and the server does not hold its units'
        yield _of(UNCLAIMED, server, record.id, text)
    group = asked.groups.get(record.id)
    if attached and group != (record.resource_class, record.amount):
        text = 'the flavor does not ask for it'
        yield _of(NO_GROUP, server, record.id, text)


def _asked(
    case: _Case, server: evidence.Server, asked: evidence.Asked
) -> _Findings:
    held = collections.Counter(c.resource_class for c in server.attached)
    for rc, amount in sorted(held.items()):
        if amount > asked.flavor.get(rc, 0):
            yield Finding(
                NOT_ASKED,
                f'server {server.uuid} holds {amount} of {rc}, and its '
                f'flavor asks for {asked.flavor.get(rc, 0)}',
                server=server.uuid,
            )


def _of(kind: str, server: evidence.Server, id_: str, text: str) -> Finding:
    return Finding(
        kind,
        f'attachment {id_} of server {server.uuid}: {text}',
        server=server.uuid,
    )


def _groups(
    groups: collections.abc.Mapping[str, attachment.Group],
) -> str:
    if not groups:
        return 'no attachment'
    return ', '.join(
        f'{amount} of {rc} ({id_})'
        for id_, (rc, amount) in sorted(groups.items())
    )


def _made(case: _Case) -> _Findings:
    """A guest that runs has no mediated device that does not exist."""
    units = {device: claim for claim, device in case.devices.items()}
    for guest in case.facts.guests:
        for device in guest.devices if guest.running else ():
            claim = units.get(device)
            unit = inventory.read_unit(claim.unit) if claim else None
            if not claim or not unit or not unit.is_vgpu:
                continue
            if device not in case.facts.mdevs:
                text = f'mediated device {device} does not exist'
                yield _about(case, NOT_MADE, claim, guest.server, text)


def _guests(case: _Case) -> _Findings:
    """No guest has a device of ours that its server does not hold."""
    users: dict[str, str] = {}
    for guest in case.facts.guests:
        server = case.servers.get(guest.server)
        mine = {case.devices[c] for c in server.claims} if server else set()
        for device in sorted(guest.devices & case.sources.keys()):
            other = users.setdefault(device, guest.server)
            if other != guest.server and other not in case.busy:
                yield _used(
                    case,
                    SHARED,
                    device,
                    guest.server,
                    f'is in the guests of servers {other} and {guest.server}',
                )
            if device not in mine:
                yield _used(
                    case,
                    NOT_HELD,
                    device,
                    guest.server,
                    f'is in the guest of server {guest.server}, which does '
                    f'not hold it',
                )


def _used(
    case: _Case, kind: str, device: str, server: str, text: str
) -> Finding:
    provider = case.sources[device]
    return Finding(
        kind,
        f'{device} of {case.name(provider)} {text}',
        device,
        server,
        provider,
    )


def _loose(case: _Case) -> _Findings:
    """Every mediated device of ours has a claim."""
    held = {(claim.provider, claim.unit) for claim in case.claims}
    for mdev, claim in case.facts.ours.items():
        # The class of a unit that is offered no more is not known.
        if (claim.provider, claim.unit) in held:
            continue
        if claim.provider not in case.unsettled:
            yield Finding(
                LOOSE,
                f'mediated device {mdev} stands for unit {claim.unit} of '
                f'{case.name(claim.provider)}, which no server holds',
                mdev,
                provider=claim.provider,
            )


def _providers(case: _Case) -> _Findings:
    """Placement has what claims and devices make, and nothing besides."""
    for rp, placed in case.facts.providers.items():
        if placed.known is None:
            text = (
                f'{placed.name} ({rp}) is named like a provider of ours and '
                f'is none'
            )
            yield Finding(NOT_OURS, text, provider=rp)
    for rp, wanted in case.desired.items():
        if rp not in case.unsettled:
            yield from _differing(case, rp, wanted)


def _differing(case: _Case, rp: str, wanted: inventory.Provider) -> _Findings:
    known = case.known.get(rp)
    if wanted.retired:
        text = f'{wanted.name} stands for nothing that is offered or held'
        yield Finding(ORPHAN, text, provider=rp)
        return
    if known is None:
        text = f'Placement has no {wanted.name}'
        yield Finding(ABSENT, text, provider=rp)
        return
    for rc in sorted(wanted.inventories.keys() | known.inventories.keys()):
        right, there = wanted.inventories.get(rc), known.inventories.get(rc)
        if right != there:
            text = (
                f'{rc} of {wanted.name} is {_said(there)} in Placement, and '
                f'claims and devices make it {_said(right)}'
            )
            yield Finding(AMOUNTS, text, provider=rp)
    lacking = wanted.traits - known.traits
    if lacking:
        text = f'{wanted.name} lacks {", ".join(sorted(lacking))}'
        yield Finding(TRAITS, text, provider=rp)


def _said(record: inventory.Inventory | None) -> str:
    if record is None:
        return 'absent'
    return (
        f'total {record.total}, reserved {record.reserved}, '
        f'max_unit {record.max_unit}'
    )


_TESTS = (
    _allocations,
    _holders,
    _service,
    _attached,
    _attachments,
    _made,
    _guests,
    _loose,
    _providers,
)
