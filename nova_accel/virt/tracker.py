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
given this class: the same object, four methods taught to ask the manager.

All overridden private methods run under nova's compute resource semaphore.
The signatures they rely on are pinned by tests/functional/test_seams.py.
"""

import collections.abc
import contextlib
import threading
import typing as ty

from nova.compute import resource_tracker
from nova import context as nova_context
from nova import exception as nova_exception
from nova import objects
from nova import utils

from nova_accel.core import inventory
from nova_accel.core import request
from nova_accel import exception
from nova_accel import manager
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
    for migration in objects.MigrationList.get_in_progress_and_error(
        context, host, node.name
    ):
        # Its server may have been deleted meanwhile.
        with contextlib.suppress(nova_exception.InstanceNotFound):
            moving = migration.instance.migration_context
            if moving is not None:
                resources += moving.old_resources or ()
                resources += moving.new_resources or ()
    return _named(claims_of(resources), node)


def _named(
    claims: collections.abc.Iterable[inventory.Claim], node: inventory.Node
) -> frozenset[inventory.Claim]:
    return frozenset(c for c in claims if c.provider != node.uuid)


class AccelResourceTracker(resource_tracker.ResourceTracker):  # type: ignore[misc]
    accel: manager.Manager
    local: threading.local

    # The four public claims differ only in what they do besides: when one
    # fails after the pick, nova knows no claim to abort, so we undo it.

    def instance_claim(self, *args: ty.Any, **kwargs: ty.Any) -> ty.Any:
        with self._undone_on_error():
            return super().instance_claim(*args, **kwargs)

    def rebuild_claim(self, *args: ty.Any, **kwargs: ty.Any) -> ty.Any:
        with self._undone_on_error():
            return super().rebuild_claim(*args, **kwargs)

    def resize_claim(self, *args: ty.Any, **kwargs: ty.Any) -> ty.Any:
        with self._undone_on_error():
            return super().resize_claim(*args, **kwargs)

    def live_migration_claim(self, *args: ty.Any, **kwargs: ty.Any) -> ty.Any:
        with self._undone_on_error():
            return super().live_migration_claim(*args, **kwargs)

    @contextlib.contextmanager
    def _undone_on_error(self) -> collections.abc.Iterator[None]:
        self.local.picks = ()
        try:
            yield
        except Exception:
            if self.local.picks:
                self._undo_picks(self.local.picks)
            raise
        finally:
            self.local.picks = ()

    @utils.synchronized(SEMAPHORE, fair=True)
    def _undo_picks(self, picks: tuple[inventory.Claim, ...]) -> None:
        self._release_assigned_resources(
            [
                tree.resource(p.provider, p.resource_class, p.unit)
                for p in picks
                if self.accel.holds(p)
            ]
        )

    def _claim_resources(
        self, allocations: ty.Any
    ) -> objects.ResourceList | None:
        wants = request.wants(allocations, self.accel)
        if not wants.ours:
            return super()._claim_resources(allocations)
        with contextlib.ExitStack() as undo:
            picks = self._pick(wants.ours)
            undo.callback(self.accel.unclaim, picks)
            resources = [
                tree.resource(p.provider, p.resource_class, p.unit)
                for p in picks
            ]
            theirs = super()._claim_resources(wants.rest)
            self._add_assigned_resources(resources)
            undo.pop_all()
        self.local.picks = picks
        return objects.ResourceList(objects=[*(theirs or ()), *resources])

    def _pick(self, wants: request.Amounts) -> tuple[inventory.Claim, ...]:
        try:
            return self.accel.claim(wants)
        except exception.NotEnoughUnits as e:
            # The one error nova reschedules for.
            raise nova_exception.ComputeResourcesUnavailable(
                reason=str(e)
            ) from e

    def _release_assigned_resources(self, resources: Resources | None) -> None:
        super()._release_assigned_resources(resources)
        self.accel.unclaim(self._ours(claims_of(resources)))

    def _populate_assigned_resources(
        self, context: nova_context.RequestContext, instance_by_uuid: ty.Any
    ) -> None:
        super()._populate_assigned_resources(context, instance_by_uuid)
        persisted = {
            resource
            for classes in self.assigned_resources.values()
            for resources in classes.values()
            for resource in resources
        }
        unsaved = self.accel.settle(self._ours(claims_of(persisted)))
        self._add_assigned_resources(
            [
                tree.resource(c.provider, c.resource_class, c.unit)
                for c in unsaved
            ]
        )

    def _ours(
        self, claims: collections.abc.Iterable[inventory.Claim]
    ) -> frozenset[inventory.Claim]:
        # Right after a start not all providers of ours are known yet.
        return _named(claims, self.accel.now.node)

    @utils.synchronized(SEMAPHORE, fair=True)
    def publish(
        self, context: nova_context.RequestContext, nodename: str
    ) -> None:
        """Send what a claim changed, in an update of its own.

        Inside the claim it would meet the generation that the scheduler has
        just bumped, and refetch the whole tree under the semaphore.
        """
        self._update_to_placement(
            context, self.compute_nodes[nodename], startup=False
        )
