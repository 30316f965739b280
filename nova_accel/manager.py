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
"""The one place that orchestrates: refresh, claim, attach, release.

It owns no truth. What may be offered is the whitelist's word, what is there
the backend's, what is held the ResourceTracker's. It joins the three and
keeps only what nova would forget: picks that are not saved yet.

``claim``, ``unclaim``, ``settle`` and ``providers`` are called under nova's
compute resource semaphore; everything else may run in any thread and reads
one immutable snapshot.
"""

import collections
import collections.abc
import contextlib
import dataclasses
import logging
import threading

from nova_accel.backends import base
from nova_accel.core import device
from nova_accel.core import inventory
from nova_accel.core import ledger
from nova_accel.core import memo
from nova_accel.core import naming
from nova_accel.core import packing
from nova_accel.core import request
from nova_accel.core import snapshot
from nova_accel.core import whitelist
from nova_accel import exception
from nova_accel.objects import vgpu_capabilities

LOG = logging.getLogger(__name__)

Claims = collections.abc.Iterable[inventory.Claim]
Known = collections.abc.Mapping[str, inventory.KnownProvider]


class Manager:
    """All accelerators of one compute node.

    :param backend: the hypervisor's devices.
    """

    def __init__(self, backend: base.Backend) -> None:
        self._backend = backend
        self._elsewhere: inventory.Elsewhere = inventory.nowhere
        self._snapshot = snapshot.NOTHING
        self._taking = threading.Lock()
        # The offer before the last change of the hardware: what a pool has
        # lost since is remembered in Placement.
        self._former: inventory.Offer | None = None
        self._ledger = ledger.Ledger()
        self._known: Known = {}
        # What servers hold, and the part of it Placement has been told of.
        self._held: frozenset[inventory.Claim] = frozenset()
        self._announced: frozenset[inventory.Claim] = frozenset()
        self._known_ids = memo.Memo(_known_ids)
        self._loose = memo.Memo(_loose)
        self._described = memo.Memo(_described)
        self._settled = False
        self._holding: frozenset[str] = frozenset()
        self._said: frozenset[object] = frozenset()
        self._locks: collections.defaultdict[str, threading.Lock] = (
            collections.defaultdict(threading.Lock)
        )

    # Discovery

    def start(
        self,
        node: inventory.Node,
        rules: whitelist.Whitelist,
        held: frozenset[inventory.Claim] = frozenset(),
        elsewhere: inventory.Elsewhere = inventory.nowhere,
    ) -> None:
        """Look at the hardware for the first time.

        :param held: what the database says servers of this host hold; they
            may have to be started before the tracker knows.
        :param elsewhere: tells the devices that somebody else gives away.
        """
        self._elsewhere = elsewhere
        self._hold(held)
        self._look(node, rules, full=True)

    def _hold(self, held: frozenset[inventory.Claim]) -> None:
        if held != self._held:
            self._held = held
        self._announced = self._held
        self._holding = frozenset(claim.provider for claim in held)

    @property
    def now(self) -> snapshot.Snapshot:
        """What was there at the last look. Never changes under a reader."""
        return self._snapshot

    @property
    def idle(self) -> bool:
        """True where no rule and no claim makes us differ from stock."""
        return not (self.now.rules.rules or self._held or self._known)

    def refresh(self) -> None:
        """Notice what changed on the host. Cheap when nothing did."""
        if self.idle:
            return
        try:
            self._look(self.now.node, self.now.rules)
        except exception.BackendUnavailable as e:
            LOG.warning('%s; going by what was there before', e)
            return
        self._collect()

    def _look(
        self,
        node: inventory.Node,
        rules: whitelist.Whitelist,
        full: bool = False,
    ) -> None:
        view = device.HostView()
        if rules.rules or self._held:
            view = self._backend.discover(full=full)
        self._take(node, rules, view)

    def _take(
        self,
        node: inventory.Node,
        rules: whitelist.Whitelist,
        view: device.HostView | None = None,
    ) -> None:
        """Make a new snapshot, unless nothing it depends on changed.

        :param view: None for the one there is.
        """
        with self._taking:
            old, ids = self._snapshot, self._known_ids(self._known, self._held)
            view = old.view if view is None else view
            same = old.serves(node, rules, ids)
            if same and old.view is view:
                return
            if same and old.view.devices == view.devices:
                self._snapshot = dataclasses.replace(old, view=view)
                return
            offer = inventory.offer(
                node, rules, view.devices, ids, self._elsewhere
            )
            self._former = old.offer
            self._snapshot = snapshot.Snapshot(
                node, rules, view, ids, snapshot.Index(node, offer)
            )
        self._say(offer)

    def _say(self, offer: inventory.Offer) -> None:
        """Log why a device is withheld, once per reason."""
        said = frozenset(
            (withheld.device.ids, withheld.reason)
            for withheld in offer.withheld
        )
        for withheld in offer.withheld:
            if (withheld.device.ids, withheld.reason) not in self._said:
                LOG.warning(
                    'Device %s (%s) is not offered: %s',
                    withheld.device.address,
                    withheld.device.label,
                    withheld.reason,
                )
        self._said = said

    # Claims

    def __contains__(self, provider: object) -> bool:
        """Tell whether a provider is one of ours, by its uuid."""
        return (
            provider in self.now.index.pools
            or provider in self._known
            or provider in self._holding
        )

    @property
    def held(self) -> frozenset[inventory.Claim]:
        """Every unit that servers and migrations of this host hold."""
        return self._held

    def holds(self, claim: inventory.Claim) -> bool:
        return claim in self._held

    def claim(self, wants: request.Amounts) -> tuple[inventory.Claim, ...]:
        """Choose units for one server, all or none.

        :raises NotEnoughUnits: this node cannot give them, whatever
            Placement believed.
        """
        picks: list[inventory.Claim] = []
        for provider, classes in sorted(wants.items()):
            for resource_class, amount in sorted(classes.items()):
                held = inventory.Holdings.of(
                    self._held.union(picks, self.now.strangers)
                )
                units = self._choose(provider, resource_class, amount, held)
                picks += [
                    inventory.Claim(provider, resource_class, str(unit.id))
                    for unit in units
                ]
        self._ledger.add(picks)
        self._held = self._held.union(picks)
        return tuple(picks)

    def _choose(
        self,
        provider: str,
        resource_class: str,
        amount: int,
        held: inventory.Holdings,
    ) -> tuple[inventory.Unit, ...]:
        pool = self.now.index.pools.get(provider)
        for stock in pool.stocks if pool else ():
            if pool and stock.resource_class == resource_class:
                free = inventory.free(pool, stock, held)
                return packing.choose(pool, stock, free, amount)
        raise exception.NotEnoughUnits(
            provider=provider,
            amount=amount,
            resource_class=resource_class,
            reason='it is not offered here any more',
        )

    def unclaim(self, claims: Claims) -> None:
        """Forget claims that were released or never came to be."""
        claims = frozenset(claims)
        self._ledger.release(claims)
        self._held -= claims
        self._announced = self._held

    def settle(
        self, persisted: frozenset[inventory.Claim]
    ) -> frozenset[inventory.Claim]:
        """Take over what the database says is held.

        :returns: the picks that are not saved yet: nova has just forgotten
            them and must be told again.
        """
        self._ledger.settle(persisted)
        unsaved = self._ledger.held()
        self._hold(persisted | unsaved)
        self._settled = True
        return unsaved

    @property
    def unannounced(self) -> bool:
        """True when a claim changed an inventory Placement does not know."""
        if self._held == self._announced:
            return False
        pools = self.now.index.pools
        return any(
            (pool := pools.get(claim.provider)) is not None
            and pool.exclusive
            and len(pool.stocks) > 1
            for claim in self._held ^ self._announced
        )

    def announce(self) -> None:
        """Let the next update tell Placement of every claim."""
        self._announced = self._held

    # Placement

    @property
    def basis(self) -> tuple[object, object]:
        """What ``providers`` goes by, apart from its arguments."""
        return self._snapshot, self._announced

    def providers(
        self, node: inventory.Node, known: Known
    ) -> tuple[inventory.Provider, ...]:
        """Return the desired providers of this node.

        :param known: those of ours that Placement has now.
        """
        self._known = known
        self._take(node, self.now.rules)
        now = self.now
        return inventory.desired(
            node,
            now.offer,
            self._announced | now.strangers,
            known,
            self._former,
        )

    def capabilities(self) -> vgpu_capabilities.VGPUCapabilities:
        """What the vGPU cards here can do, and how much of it is free.

        The very same object while nothing changed: to make one and to
        serialize it costs more than the rest of a quiet update.
        """
        now = self.now
        return self._described(now.index, self._held, now.strangers)

    # Devices

    def attach(self, server: str, claims: Claims) -> list[object]:
        """Make a server's devices ready and return their guest config.

        Idempotent: a mediated device that a reboot lost is made again under
        the same uuid.

        :raises DeviceUnavailable: one cannot be had; none is left behind.
        """
        assignments = {
            claim: self._resolve(server, claim) for claim in sorted(claims)
        }
        with contextlib.ExitStack() as undo:
            for claim, assignment in assignments.items():
                undo.callback(self._release, claim, assignment)
                self._prepare(server, claim, assignment)
            rendered = list(map(self._backend.render, assignments.values()))
            undo.pop_all()
        return rendered

    def _prepare(
        self, server: str, claim: inventory.Claim, assignment: base.Assignment
    ) -> None:
        try:
            with self._locks[claim.provider]:
                self._backend.prepare(assignment)
        except exception.DeviceRefused as e:
            raise exception.DeviceUnavailable(
                device=claim.unit, server=server, reason=e.kwargs['reason']
            ) from e

    def detach(self, server: str, claims: Claims) -> None:
        """Undo ``attach``.

        What is still in use stays, and is collected once it is free.
        """
        for claim in sorted(claims):
            with self._tolerated():
                self._release(claim, self._resolve(server, claim))

    def is_ours(self, mdev_uuid: str) -> bool:
        """Tell whether a mediated device is one that we make."""
        return mdev_uuid in self.now.index.by_mdev

    def _release(
        self, claim: inventory.Claim, assignment: base.Assignment
    ) -> None:
        with self._tolerated(), self._locks[claim.provider]:
            self._backend.release(assignment)

    def _collect(self) -> None:
        """Destroy mediated devices of ours that no server holds."""
        if not self._settled:
            return
        for mdev, claim in self._loose(self.now, self._held):
            with self._locks[claim.provider]:
                # A claim made meanwhile prepares under the same lock.
                if claim in self._held:
                    continue
                LOG.info(
                    'Destroying mediated device %s: no server holds %s',
                    mdev.uuid,
                    claim.unit,
                )
                with self._tolerated():
                    self._backend.release(self._resolve('-', claim))

    @contextlib.contextmanager
    def _tolerated(self) -> collections.abc.Iterator[None]:
        try:
            yield
        except exception.DeviceUnavailable as e:
            LOG.warning('%s', e)

    def _resolve(self, server: str, claim: inventory.Claim) -> base.Assignment:
        """Find what serves a claim, listed in the whitelist or not."""
        unit = naming.UnitId.parse(claim.unit)
        function = self.now.offer.locate(unit)
        if function is None:
            raise exception.DeviceUnavailable(
                device=claim.unit,
                server=server,
                reason='it is not in this host any more',
            )
        pool = self.now.index.pools.get(claim.provider)
        vgpu = unit.is_vgpu
        return base.Assignment(
            unit=claim.unit,
            function=function,
            mdev_uuid=(
                naming.mdev_uuid(claim.provider, claim.unit) if vgpu else None
            ),
            mdev_type=unit.part if vgpu else None,
            managed=pool.rule.managed if pool else True,
        )


def _known_ids(
    known: Known, held: frozenset[inventory.Claim]
) -> frozenset[str]:
    """Stable ids already in use; they are never changed again."""
    return frozenset(
        [one.stable_id for one in known.values()]
        + [naming.UnitId.parse(claim.unit).device for claim in held]
    )


def _loose(
    now: snapshot.Snapshot, held: frozenset[inventory.Claim]
) -> list[tuple[device.Mdev, inventory.Claim]]:
    """Mediated devices of ours whose unit nobody holds."""
    ours = now.index.by_mdev
    return [
        (mdev, ours[mdev.uuid])
        for mdev in now.view.mdevs
        if mdev.uuid in ours and ours[mdev.uuid] not in held
    ]


def _described(
    index: snapshot.Index,
    held: frozenset[inventory.Claim],
    strangers: frozenset[inventory.Claim],
) -> vgpu_capabilities.VGPUCapabilities:
    return vgpu_capabilities.from_offer(
        index.node, index.offer, held | strangers
    )
