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
"""Servers that stock nova gave vGPUs keep them, and their allocations move.

At the first start with a whitelist that offers a card which options of stock
nova offered before, the mediated devices of running servers become claims of
ours, and what they have allocated of the card's old provider moves to ours.

========================  =================================================
when                      what
========================  =================================================
init_host                 the guests' definitions tell who has what; a
                          device that can stand for no unit stops the start
first update              allocations are there to be moved: a reshape
its second call           allocations and inventories, moved in one request
after that update         the records of the servers name their units
========================  =================================================

Nothing is written before the reshape, and after a crash in between the next
start finds the same again.
"""

import collections
import collections.abc
import typing as ty

from nova.compute import provider_tree as nova_tree
from nova import context as nova_context
from nova import exception as nova_exception
from nova import objects
from oslo_log import log as logging

from nova_accel.core import adoption
from nova_accel.core import inventory
from nova_accel.core import memo
from nova_accel.core import naming
from nova_accel.core import snapshot
from nova_accel import exception
from nova_accel import manager
from nova_accel.virt import tracker
from nova_accel.virt import tree

LOG = logging.getLogger(__name__)

Guests = collections.abc.Callable[[objects.Instance], frozenset[str]]
Amounts = collections.abc.Mapping[str, int]
Users = collections.abc.Mapping[str, Amounts]
Pending = collections.abc.Mapping[str, frozenset[inventory.Claim]]

_OVER = frozenset(
    {'cancelled', 'completed', 'confirmed', 'done', 'error', 'failed'}
    | {'reverted'}
)


class Takeover:
    """What stock nova's providers and mediated devices become.

    :param virtapi: nova's, which leads to its client of Placement.
    """

    def __init__(self, accel: manager.Manager, virtapi: ty.Any) -> None:
        self._accel = accel
        self._virtapi = virtapi
        self._starting = True
        self._servers: frozenset[str] = frozenset()
        self._pending: dict[str, frozenset[inventory.Claim]] = {}
        self._left: frozenset[str] = frozenset()
        self._sources = memo.Memo(_sources)
        self._index: snapshot.Index | None = None

    @property
    def _client(self) -> ty.Any:
        return self._virtapi.reportclient

    def begin(
        self,
        context: nova_context.RequestContext,
        host: str,
        mdevs_of: Guests,
    ) -> None:
        """Find out which guests run on devices of stock nova.

        To be called once the manager has started.

        :param host: name of the compute service.
        :param mdevs_of: tells the uuids of all mediated devices that the
            definition of a guest names.
        :raises NotTakenOver: nova-compute must not start.
        """
        instances = objects.InstanceList.get_by_host(
            context, host, expected_attrs=['resources']
        )
        self._servers = frozenset(each.uuid for each in instances)
        # To read the definition of a guest takes a call for each.
        existing = {mdev.uuid for mdev in self._accel.now.view.mdevs}
        suspects = (
            instances
            if self._has_strangers()
            else [each for each in instances if _lacks(each, existing)]
        )
        self._pending = self._accel.take_over(
            adoption.Guest(each.uuid, mdevs_of(each), _claims(each))
            for each in suspects
        )

    def _has_strangers(self) -> bool:
        """Tell whether a card has mediated devices that we did not make."""
        now = self._accel.now
        cards = _pools_by_function(now.index)
        return any(
            mdev.parent in cards and mdev.uuid not in now.ours
            for mdev in now.view.mdevs
        )

    def pending(self, server: str) -> frozenset[inventory.Claim]:
        """Units of a server that its record does not name yet."""
        return self._pending.get(server, frozenset())

    def refuse(self, allocations: collections.abc.Iterable[str]) -> None:
        """Refuse to build a server with an allocation of an old provider.

        It was scheduled before the card changed hands.

        :raises ComputeResourcesUnavailable: nova tries another host.
        """
        left = self._left.intersection(allocations)
        if left:
            raise nova_exception.ComputeResourcesUnavailable(
                reason=f'provider {min(left)} of stock nova is out of use'
            )

    # Placement

    def update(
        self,
        provider_tree: nova_tree.ProviderTree,
        node: inventory.Node,
        allocations: ty.Any,
    ) -> None:
        """Take stock nova's providers of our cards out of the tree.

        :param allocations: as in ``update_provider_tree``.
        :raises ReshapeNeeded: there are allocations to be moved.
        :raises ReshapeFailed: one of them cannot be; nothing is changed.
        """
        index = self._accel.now.index
        if not self._starting and not self._left and index is self._index:
            # Stock nova makes no more of them while we run.
            return
        sources = self._sources(node, index)
        children = tree.children(provider_tree, node.name)
        old = {
            children[name]: function
            for name, function in sources.items()
            if name in children
        }
        for rp, function in old.items():
            users = self._users(rp, allocations)
            if users is None:
                continue
            if self._starting:
                users = self._moved(rp, function, users, allocations)
            self._shrink(provider_tree, node, rp, function, users)
        self._left = frozenset(old)
        self._index = index

    def _users(self, rp: str, allocations: ty.Any) -> Users | None:
        """Return consumer -> what it has of a provider, None if unknown."""
        if allocations is not None:
            return {
                consumer: dict(data['allocations'][rp]['resources'])
                for consumer, data in allocations.items()
                if rp in data['allocations']
            }
        try:
            info = self._client.get_allocations_for_resource_provider(
                nova_context.get_admin_context(), rp
            )
        except Exception as e:
            LOG.warning(
                'Provider %s of stock nova is kept: Placement does not tell '
                'whether it is in use: %s',
                rp,
                e,
            )
            return None
        return {
            consumer: dict(data['resources'])
            for consumer, data in info.allocations.items()
        }

    def _moved(
        self, rp: str, function: str, users: Users, allocations: ty.Any
    ) -> Users:
        """Move what servers of this host have; return what is left."""
        movable = {
            consumer: amounts
            for consumer, amounts in users.items()
            if self._is_movable(consumer)
        }
        if movable and allocations is None:
            LOG.info(
                'Requesting a reshape to move what %d server(s) have of '
                'provider %s of stock nova',
                len(movable),
                rp,
            )
            raise nova_exception.ReshapeNeeded()
        for consumer, amounts in movable.items():
            self._move(rp, function, consumer, amounts, allocations)
        return {c: users[c] for c in users.keys() - movable.keys()}

    def _is_movable(self, consumer: str) -> bool:
        return consumer in self._servers or self._migration(consumer)

    def _migration(self, consumer: str) -> ty.Any:
        """Return a migration that is not over, None if it is no such."""
        try:
            found = objects.Migration.get_by_uuid(
                nova_context.get_admin_context(), consumer
            )
        except nova_exception.MigrationNotFound:
            return None
        return None if found.status in _OVER else found

    def _move(
        self,
        rp: str,
        function: str,
        consumer: str,
        amounts: Amounts,
        allocations: ty.Any,
    ) -> None:
        if consumer not in self._servers:
            server = self._migration(consumer).instance_uuid
            raise _failed(
                f'server {server} is being moved; confirm or revert that '
                f'with the former configuration first'
            )
        theirs = allocations[consumer]['allocations']
        for rc, amount in amounts.items():
            units = self._units(consumer, function, rc, amount)
            for claim in units:
                mine = theirs.setdefault(claim.provider, {'resources': {}})
                mine['resources'].setdefault(rc, 0)
                mine['resources'][rc] += 1
        del theirs[rp]

    def _units(
        self, server: str, function: str, rc: str, amount: int
    ) -> list[inventory.Claim]:
        """Return the units that an allocation of stock nova's becomes.

        Where the guest has fewer devices (it may have no definition at the
        moment), the server gets others, which its next hard reboot attaches.
        """
        index = self._accel.now.index
        pool_of = _pools_by_function(index)
        rp, pool = pool_of[function]
        classes = {stock.resource_class for stock in pool.stocks}
        if rc not in classes:
            raise _failed(
                f'server {server} has {amount} of {rc} on {function}, which '
                f'rule {pool.rule.name!r} ({pool.rule.place}) makes '
                f'{" or ".join(sorted(classes))}; servers keep what their '
                f'flavor says: write resource_class: {rc}'
            )
        held = [
            claim
            for claim in sorted(self.pending(server))
            if claim.resource_class == rc
            and _function(self._accel.now, claim) == function
        ]
        missing = amount - len(held)
        if missing > 0:
            try:
                more = self._accel.claim({rp: {rc: missing}}, server)
            except exception.NotEnoughUnits as e:
                raise _failed(
                    f'server {server} has {amount} of {rc} on {function}: {e}'
                ) from e
            self._pending[server] = self.pending(server).union(more)
            held += more
        return held[:amount]

    def _shrink(
        self,
        provider_tree: nova_tree.ProviderTree,
        node: inventory.Node,
        rp: str,
        function: str,
        users: Users,
    ) -> None:
        """Leave nothing on an old provider that could be asked for."""
        used: collections.Counter[str] = collections.Counter()
        for amounts in users.values():
            used.update(amounts)
        name = provider_tree.data(rp).name
        if not used:
            LOG.info('Removing provider %s of stock nova', name)
            self._inherit(provider_tree, rp, function)
            provider_tree.remove(rp)
            return
        if rp not in self._left:
            LOG.warning(
                'Provider %s of stock nova is kept as long as these have '
                'allocations of it: %s',
                name,
                ', '.join(sorted(users)),
            )
        provider_tree.update_inventory(
            rp, {rc: _full(total) for rc, total in used.items()}
        )

    def _inherit(
        self, provider_tree: nova_tree.ProviderTree, rp: str, function: str
    ) -> None:
        """Let our provider have the traits that flavors may ask for."""
        heir, _pool = _pools_by_function(self._accel.now.index)[function]
        traits = [
            trait
            for trait in provider_tree.data(rp).traits
            if trait.startswith('CUSTOM_')
        ]
        if traits and provider_tree.exists(heir):
            provider_tree.add_traits(heir, *traits)

    # The records of servers

    def finish(self, context: nova_context.RequestContext) -> None:
        """Write down what servers hold, once Placement says the same.

        A device without an allocation is left alone: it goes on to serve
        its guest, and its place is reserved.
        """
        self._starting = False
        for server, claims in sorted(self._pending.items()):
            backed = self._backed(context, server, claims)
            for claim in sorted(claims - backed):
                LOG.warning(
                    'Server %s has a mediated device in place of unit %s of '
                    'provider %s, and no allocation: it is not taken over',
                    server,
                    claim.unit,
                    claim.provider,
                )
            self._accel.leave(claims - backed)
            if backed:
                _save(context, server, backed)
            del self._pending[server]

    def _backed(
        self,
        context: nova_context.RequestContext,
        server: str,
        claims: frozenset[inventory.Claim],
    ) -> frozenset[inventory.Claim]:
        found = self._client.get_allocs_for_consumer(context, server)
        left = {
            (rp, rc): amount
            for rp, data in found['allocations'].items()
            for rc, amount in data['resources'].items()
        }
        backed = set()
        for claim in sorted(claims):
            kind = claim.provider, claim.resource_class
            if left.get(kind, 0):
                left[kind] -= 1
                backed.add(claim)
        return frozenset(backed)


def pci_devices(
    context: nova_context.RequestContext, node: inventory.Node
) -> collections.abc.Iterable[objects.PciDevice]:
    """Return nova's records of the PCI devices of this host."""
    try:
        found = objects.ComputeNode.get_by_uuid(context, node.uuid)
    except nova_exception.ComputeHostNotFound:
        # The first start.
        return []
    return list(objects.PciDeviceList.get_by_compute_node(context, found.id))


def _claims(instance: objects.Instance) -> frozenset[inventory.Claim]:
    return tracker.claims_of(instance.resources)


def _lacks(
    instance: objects.Instance, existing: collections.abc.Container[str]
) -> bool:
    """Tell whether a server holds a vGPU for which we made no device."""
    guest = adoption.Guest(instance.uuid, frozenset(), _claims(instance))
    return bool(adoption.unserved(guest, existing))


def _save(
    context: nova_context.RequestContext,
    server: str,
    claims: frozenset[inventory.Claim],
) -> None:
    instance = objects.Instance.get_by_uuid(
        context, server, expected_attrs=['resources']
    )
    units = [
        tree.resource(c.provider, c.resource_class, c.unit)
        for c in sorted(claims - _claims(instance))
    ]
    instance.resources = objects.ResourceList(
        objects=[*(instance.resources or ()), *units]
    )
    instance.save()
    LOG.info(
        'Server %s keeps its devices, now as %s',
        server,
        ', '.join(claim.unit for claim in sorted(claims)),
    )


def _sources(node: inventory.Node, index: snapshot.Index) -> dict[str, str]:
    """Names that providers of stock nova had -> the function it was about."""
    return {
        f'{node.name}_{function}': function
        for function in _pools_by_function(index)
    }


def _pools_by_function(
    index: snapshot.Index,
) -> dict[str, tuple[str, inventory.Pool]]:
    return {
        function.name: (rp, pool)
        for rp, pool in index.pools.items()
        if any(stock.model for stock in pool.stocks)
        for function in pool.devices
    }


def _function(now: snapshot.Snapshot, claim: inventory.Claim) -> str:
    function = now.offer.locate(naming.UnitId.parse(claim.unit))
    return '' if function is None else function.name


def _full(total: int) -> dict[str, int | float]:
    return {
        'total': total,
        'reserved': 0,
        'min_unit': 1,
        'max_unit': total,
        'step_size': 1,
        'allocation_ratio': 1.0,
    }


def _failed(reason: str) -> nova_exception.ReshapeFailed:
    return nova_exception.ReshapeFailed(
        error=f'{reason}. Nothing was changed.'
    )
