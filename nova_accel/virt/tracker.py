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
"""Nova's ResourceTracker, taught to let us choose among named slots.

Stock nova picks identifiers with ``set.pop()``, never tells the amount, and
forgets a claim that is not yet saved whenever its periodic refills
``assigned_resources`` from the database. So the tracker of this process is
given this class: the same object, some methods taught to ask the manager.

All overridden private methods run under nova's compute resource semaphore.
The signatures they rely on are pinned by tests/functional/test_seams.py.
"""

import collections.abc
import contextlib
import dataclasses
import itertools
import threading
import typing as ty

from nova.compute import resource_tracker
from nova.compute import task_states
from nova.compute import vm_states
from nova import context as nova_context
from nova import exception as nova_exception
from nova import objects
from nova import utils

from nova_accel.core import inventory
from nova_accel.core import request
from nova_accel import exception
from nova_accel import manager
from nova_accel.virt import records
from nova_accel.virt import tree

SEMAPHORE = resource_tracker.COMPUTE_RESOURCE_SEMAPHORE
Resources = collections.abc.Iterable[objects.Resource]


def adopt(
    rt: resource_tracker.ResourceTracker, accel: manager.Manager
) -> None:
    """Teach nova's tracker of this process. Idempotent."""
    if not isinstance(rt, AccelResourceTracker):
        rt.__class__ = AccelResourceTracker
    rt.accel = accel
    rt.local = threading.local()


def claims_of(resources: Resources | None) -> frozenset[inventory.Claim]:
    """Every named unit of a ResourceList, ours or not."""
    return frozenset(
        inventory.Claim(r.provider_uuid, r.resource_class, r.identifier)
        for r in resources or ()
    )


def held_on(
    context: nova_context.RequestContext, host: str, node: inventory.Node
) -> frozenset[inventory.Claim]:
    """Read what servers and migrations of a host hold, ahead of the tracker.

    Guests are resumed before the tracker first looks. Named units of the
    root provider (persistent memory) are stock nova's and left out.
    """
    instances = objects.InstanceList.get_by_host(
        context, host, expected_attrs=['resources']
    )
    resources = [r for each in instances for r in each.resources or ()]
    for _instance, _migration, moving in moves(context, host, node.name):
        resources += moving
    return _named(claims_of(resources), node)


_Move = tuple[objects.Instance, objects.Migration, list[objects.Resource]]


def moves(
    context: nova_context.RequestContext, host: str, nodename: str
) -> collections.abc.Iterator[_Move]:
    """Yield servers that move from, to or on a host, and what of it they hold.

    The same move may come twice.
    """
    for migration in objects.MigrationList.get_in_progress_and_error(
        context, host, nodename
    ):
        # Its server may have been deleted meanwhile.
        with contextlib.suppress(nova_exception.InstanceNotFound):
            yield _move(migration.instance, migration, host)
    for instance in _unfinished(context):
        migration = _migration(instance)
        if migration is not None:
            yield _move(instance, migration, host)


def _move(
    instance: objects.Instance, migration: objects.Migration, host: str
) -> _Move:
    return instance, migration, _moving(instance, _ends(migration, host))


_BOTH = ('old_resources', 'new_resources')


def _moving(
    instance: objects.Instance,
    fields: collections.abc.Iterable[str] = _BOTH,
) -> list[objects.Resource]:
    """Units that a server holds for a move, on the ends that are meant."""
    moving = instance.migration_context
    return [
        resource
        for field in fields
        # Records of old releases lack the fields.
        if moving is not None and field in moving
        for resource in getattr(moving, field) or ()
    ]


def _ends(
    migration: objects.Migration, host: str
) -> collections.abc.Iterator[str]:
    """The fields of a migration context that are about a host."""
    if migration.source_compute == host:
        yield 'old_resources'
    if migration.dest_compute == host:
        yield 'new_resources'


def _migration(instance: objects.Instance) -> objects.Migration | None:
    moving = instance.migration_context
    if moving is None:
        return None
    return objects.Migration.get_by_id(instance._context, moving.migration_id)


def _unfinished(
    context: nova_context.RequestContext,
) -> collections.abc.Iterable[objects.Instance]:
    """Servers whose move nova's tracker may not see, although it goes on.

    A revert is over for the tracker once the destination has let go, well
    before the server is back. An evacuation of a server in error is none.
    """
    filters = {'deleted': False, 'task_state': _UNFINISHED}
    return ty.cast(
        collections.abc.Iterable[objects.Instance],
        objects.InstanceList.get_by_filters(
            context, filters, expected_attrs=['migration_context']
        ),
    )


def _arrived(
    context: nova_context.RequestContext, host: str
) -> collections.abc.Iterable[Resources]:
    """What servers hold that are on a host at this very moment.

    nova reads first which servers are here and then which are on their way,
    so one whose live migration ends in between is neither.
    """
    instances = objects.InstanceList.get_by_host(
        context, host, expected_attrs=['resources']
    )
    return [
        each.resources or ()
        for each in instances
        if each.vm_state != vm_states.SHELVED_OFFLOADED
    ]


_UNFINISHED = [task_states.RESIZE_REVERTING, *task_states.rebuild_states]


def _named(
    claims: collections.abc.Iterable[inventory.Claim], node: inventory.Node
) -> frozenset[inventory.Claim]:
    return frozenset(c for c in claims if c.provider != node.uuid)


@dataclasses.dataclass
class _Call:
    """One claim call under way."""

    server: str = ''
    picks: tuple[inventory.Claim, ...] = ()


class AccelResourceTracker(resource_tracker.ResourceTracker):  # type: ignore[misc]
    accel: manager.Manager
    local: threading.local
    assigned_resources: ty.Any

    def update_available_resource(
        self,
        context: nova_context.RequestContext,
        nodename: str,
        startup: bool = False,
    ) -> None:
        super().update_available_resource(context, nodename, startup=startup)
        if not self.driver.node_is_available(nodename):
            return
        self.driver.accel_tend(context, startup)
        if startup:
            self.driver.accel_audit(context)

    # The four public claims differ only in what they do besides: when one
    # fails after the pick, nova knows no claim to abort, so we undo it.

    def instance_claim(
        self,
        context: nova_context.RequestContext,
        instance: objects.Instance,
        *args: ty.Any,
        **kwargs: ty.Any,
    ) -> ty.Any:
        with self._undone_on_error(instance):
            return super().instance_claim(context, instance, *args, **kwargs)

    def rebuild_claim(
        self,
        context: nova_context.RequestContext,
        instance: objects.Instance,
        *args: ty.Any,
        **kwargs: ty.Any,
    ) -> ty.Any:
        with self._undone_on_error(instance) as call:
            claim = super().rebuild_claim(context, instance, *args, **kwargs)
            return _informed(claim, instance, call)

    def resize_claim(
        self,
        context: nova_context.RequestContext,
        instance: objects.Instance,
        *args: ty.Any,
        **kwargs: ty.Any,
    ) -> ty.Any:
        records.check_flavor(instance, kwargs.get('flavor') or args[0])
        with self._undone_on_error(instance) as call:
            claim = super().resize_claim(context, instance, *args, **kwargs)
            return _informed(claim, instance, call)

    def live_migration_claim(
        self,
        context: nova_context.RequestContext,
        instance: objects.Instance,
        *args: ty.Any,
        **kwargs: ty.Any,
    ) -> ty.Any:
        with self._undone_on_error(instance) as call:
            claim = super().live_migration_claim(
                context, instance, *args, **kwargs
            )
            return _informed(claim, instance, call)

    def update_usage(
        self,
        context: nova_context.RequestContext,
        instance: objects.Instance,
        nodename: str,
    ) -> None:
        super().update_usage(context, instance, nodename)
        if vm_states.allow_resource_removal(
            vm_state=instance.vm_state, task_state=instance.task_state
        ):
            self._leave(context, instance, nodename)

    @utils.synchronized(SEMAPHORE, fair=True)
    def _leave(
        self,
        context: nova_context.RequestContext,
        instance: objects.Instance,
        nodename: str,
    ) -> None:
        """Release what a server holds that has come a moment ago.

        Until the next periodic nova takes it for one on its way, and lets it
        go without a look at what it holds.
        """
        if instance.uuid in self.tracked_instances or self.disabled(nodename):
            return
        held = self.accel.held & self._ours(claims_of(instance.resources))
        servers = self.accel.picks
        mine = [
            c for c in held if servers.get(c, instance.uuid) == instance.uuid
        ]
        if mine:
            self._release_assigned_resources(_resources(mine))
            self._update(context.elevated(), self.compute_nodes[nodename])

    def hotplug_claim(
        self, instance: objects.Instance, wants: request.Amounts
    ) -> frozenset[inventory.Claim]:
        """Claim units for a server that is here already.

        The caller writes them down; until then they stand in the ledger.

        :raises ComputeResourcesUnavailable: there are not as many here.
        """
        with self._undone_on_error(instance) as call:
            self._hotplug_claim(
                {rp: {'resources': dict(each)} for rp, each in wants.items()}
            )
            return frozenset(call.picks)

    @utils.synchronized(SEMAPHORE, fair=True)
    def _hotplug_claim(self, allocations: ty.Any) -> None:
        self._claim_resources(allocations)

    @utils.synchronized(SEMAPHORE, fair=True)
    def hotplug_release(
        self, claims: collections.abc.Iterable[inventory.Claim]
    ) -> None:
        """Give back units that no record names any more."""
        self._release_assigned_resources(_resources(claims))

    @utils.synchronized(SEMAPHORE, fair=True)
    def hotplug_forget(
        self, uuid: str, saved: collections.abc.Set[inventory.Claim]
    ) -> None:
        """Give back what was picked for a server and never written down."""
        self._release_assigned_resources(
            _resources(
                pick
                for pick, server in self.accel.picks.items()
                if server == uuid and pick not in saved
            )
        )

    @contextlib.contextmanager
    def _undone_on_error(
        self, instance: objects.Instance
    ) -> collections.abc.Iterator[_Call]:
        outer = getattr(self.local, 'call', None)
        call = self.local.call = _Call(instance.uuid)
        try:
            yield call
        except Exception:
            if call.picks:
                self._undo(call)
            raise
        finally:
            self.local.call = outer

    @utils.synchronized(SEMAPHORE, fair=True)
    def _undo(self, call: _Call) -> None:
        # Since the claim call let go of the semaphore, another server may
        # have got the unit.
        servers = self.accel.picks
        self._release_assigned_resources(
            _resources(p for p in call.picks if servers.get(p) == call.server)
        )

    def _claim_resources(
        self, allocations: ty.Any
    ) -> objects.ResourceList | None:
        wants = request.wants(allocations, self.accel.providing)
        if not wants.ours:
            return super()._claim_resources(allocations)
        call = getattr(self.local, 'call', None) or _Call()
        with contextlib.ExitStack() as undo:
            picks = self._pick(wants.ours, call.server)
            undo.callback(self.accel.unclaim, picks)
            resources = _resources(picks)
            theirs = super()._claim_resources(wants.rest)
            self._add_assigned_resources(resources)
            undo.pop_all()
        call.picks = picks
        return objects.ResourceList(objects=[*(theirs or ()), *resources])

    def _pick(
        self, wants: request.Amounts, server: str
    ) -> tuple[inventory.Claim, ...]:
        try:
            return self.accel.claim(wants, server)
        except exception.NotEnoughUnits as e:
            # The one error nova reschedules for.
            raise nova_exception.ComputeResourcesUnavailable(
                reason=str(e)
            ) from e

    def _release_assigned_resources(self, resources: Resources | None) -> None:
        super()._release_assigned_resources(resources)
        self.accel.unclaim(self._ours(claims_of(resources)))

    def _update(
        self,
        context: nova_context.RequestContext,
        compute_node: objects.ComputeNode,
        *args: ty.Any,
        **kwargs: ty.Any,
    ) -> None:
        super()._update(context, compute_node, *args, **kwargs)
        # What was released is to be cleaned, and by now that is known.
        self.driver.accel_caretaker.tend()

    def _populate_assigned_resources(
        self, context: nova_context.RequestContext, instance_by_uuid: ty.Any
    ) -> None:
        super()._populate_assigned_resources(context, instance_by_uuid)
        saved = self._saved(instance_by_uuid)
        persisted = self._ours(itertools.chain.from_iterable(saved.values()))
        meant = self._unsaved(saved)
        meant |= self._moved(context, self.accel.held - persisted - meant)
        self.accel.settle(persisted, meant)
        self._add_assigned_resources(_resources(meant))

    def _saved(
        self, instance_by_uuid: ty.Any
    ) -> dict[str, frozenset[inventory.Claim]]:
        """What the record of each server names, as far as it is here."""
        found = {
            uuid: claims_of(instance_by_uuid[uuid].resources)
            for uuid in self.tracked_instances
            # While it is being unshelved, that is what it had before.
            if instance_by_uuid[uuid].vm_state != vm_states.SHELVED_OFFLOADED
        }
        for uuid, migration in self.tracked_migrations.items():
            units = _moving(migration.instance, _ends(migration, self.host))
            found[uuid] = found.get(uuid, frozenset()) | claims_of(units)
        return found

    def _unsaved(
        self,
        saved: collections.abc.Mapping[str, frozenset[inventory.Claim]],
    ) -> frozenset[inventory.Claim]:
        """Units of servers that are being built or unshelved."""
        return frozenset(
            pick
            for pick, server in self.accel.picks.items()
            if server in self.tracked_instances
            and pick not in saved.get(server, ())
        )

    def _moved(
        self,
        context: nova_context.RequestContext,
        absent: frozenset[inventory.Claim],
    ) -> frozenset[inventory.Claim]:
        """Units of servers whose move nova's refill does not see."""
        if not absent:
            return absent
        moving = map(_moving, _unfinished(context))
        return absent & claims_of(
            itertools.chain(*moving, *_arrived(context, self.host))
        )

    def _check_resources(self, context: nova_context.RequestContext) -> None:
        """Let stock check what is stock's.

        It stops the service where a server holds a unit that is not there.
        Without one of ours, that server does not start, and all others do.
        """
        everything = self.assigned_resources
        root = self.accel.now.node.uuid
        self.assigned_resources = {
            rp: classes for rp, classes in everything.items() if rp == root
        }
        try:
            super()._check_resources(context)
        finally:
            self.assigned_resources = everything
        self.driver.accel_started(context)

    def _ours(
        self, claims: collections.abc.Iterable[inventory.Claim]
    ) -> frozenset[inventory.Claim]:
        # Right after a start not all providers of ours are known yet.
        return _named(claims, self.accel.now.node)

    @utils.synchronized(SEMAPHORE, fair=True)
    def publish(self, context: nova_context.RequestContext) -> None:
        """Send what a claim changed, in an update of its own.

        Inside the claim it would meet the generation that the scheduler has
        just bumped, and refetch the whole tree under the semaphore.
        """
        self.accel.announce()
        node = self.compute_nodes[self.accel.now.node.name]
        self._update_to_placement(context, node, startup=False)


def _resources(
    claims: collections.abc.Iterable[inventory.Claim],
) -> list[objects.Resource]:
    return [
        tree.resource(c.provider, c.resource_class, c.unit) for c in claims
    ]


def _informed(
    claim: ty.Any, instance: objects.Instance, call: _Call
) -> ty.Any:
    """Let a claim on a move know what it has to release.

    It works on a copy of the server, made before the move was noted down.
    If that says that there is no move, as it does in an evacuation, nova
    would release nothing when the claim is aborted.
    """
    if call.picks:
        claim.instance.migration_context = instance.migration_context
    return claim
