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

``claim``, ``unclaim``, ``settle``, ``announce`` and ``providers`` are called
under nova's compute resource semaphore; everything else may run in any
thread and reads one immutable snapshot.
"""

import collections
import collections.abc
import contextlib
import dataclasses
import logging
import threading
import types

from nova_accel.backends import assigning
from nova_accel.backends import base
from nova_accel.core import adoption
from nova_accel.core import blame
from nova_accel.core import device
from nova_accel.core import identity
from nova_accel.core import inventory
from nova_accel.core import ledger
from nova_accel.core import memo
from nova_accel.core import naming
from nova_accel.core import news
from nova_accel.core import packing
from nova_accel.core import place
from nova_accel.core import recall
from nova_accel.core import request
from nova_accel.core import snapshot
from nova_accel.core import states
from nova_accel.core import upkeep
from nova_accel.core import whitelist
from nova_accel import exception
from nova_accel.objects import vgpu_capabilities

LOG = logging.getLogger(__name__)

Claims = collections.abc.Iterable[inventory.Claim]
Known = recall.Known


class Manager:
    """All accelerators of one compute node.

    :param backend: the hypervisor's devices.
    """

    def __init__(self, backend: base.Backend) -> None:
        self._backend = backend
        self._elsewhere: inventory.Elsewhere = inventory.nowhere
        self._rules = whitelist.Whitelist()
        self._snapshot = snapshot.NOTHING
        self._looking = threading.Lock()
        self._taking = threading.Lock()
        # Every device that a pool has had: what it lost is remembered in
        # Placement, and an update that fails does not make us forget it.
        self._seen: inventory.Members = {}
        self._ledger = ledger.Ledger()
        self._known: Known = {}
        # What servers hold, and the part of it Placement has been told of.
        self._held: frozenset[inventory.Claim] = frozenset()
        self._announced: frozenset[inventory.Claim] = frozenset()
        # Units that no server holds and that a guest uses nonetheless.
        self._stuck: frozenset[inventory.Claim] = frozenset()
        self._ids = memo.Memo(recall.in_use)
        self._who = memo.Memo(recall.who)
        self._remaps = memo.Memo(recall.remaps)
        self._loose = memo.Memo(_loose)
        self._occupied = memo.Memo(_union)
        self._service = memo.Memo(_service)
        self._places = memo.Memo(place.places)
        self._followed = place.Followed()
        self._described = memo.Memo(_described)
        # What is wrong with devices, until Placement has been told.
        self._faults: inventory.Faults = types.MappingProxyType({})
        self._settled = False
        self._holding: frozenset[str] = frozenset()
        self._said: frozenset[object] = frozenset()
        self._told: frozenset[news.News] = frozenset()
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
        self._rules = rules
        self._look(node, full=True)

    def reload(
        self,
        rules: whitelist.Whitelist,
        check: collections.abc.Callable[[inventory.Offer], None],
    ) -> None:
        """Go by other rules from now on; Placement hears of it next time.

        What servers hold stays theirs, whether it is listed or not.

        :param check: raises if what they offer will not do. Then the rules
            there are stay.
        :raises BackendUnavailable: the hypervisor does not answer.
        """
        node = self.now.node
        with self._looking:
            view = self._discover(rules)
            check(self._offer(node, rules, view))
            self._rules = rules
            self._take(node, view)

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
            self._look(self.now.node)
            if self._collect():
                self._look(self.now.node)
        except exception.BackendUnavailable as e:
            LOG.warning('%s; going by what was there before', e)

    def remember(self, known: Known) -> None:
        """Go by what Placement remembers of devices, ahead of an update.

        Servers may be started before the first one.
        """
        self._known = known
        self._take(self.now.node)

    def rescan(self) -> None:
        """Look at all devices anew, trusting no cache.

        :raises BackendUnavailable: the hypervisor does not answer.
        """
        self._look(self.now.node, full=True)

    @property
    def places(self) -> place.Places:
        """Where each PCI function is that a server holds, by its unit."""
        return self._places(self.now.offer, self._held)

    def moved(self, found: place.Places) -> bool:
        """Tell whether one is elsewhere than guests are defined with."""
        return self._followed.differs(found)

    def followed(self, found: place.Places) -> None:
        """Note that guests are defined with what is there."""
        self._followed.follow(found)

    def _look(self, node: inventory.Node, full: bool = False) -> None:
        # A view must not be taken after one that was made later.
        with self._looking:
            self._take(node, self._discover(self._rules, full))

    def _discover(
        self, rules: whitelist.Whitelist, full: bool = False
    ) -> device.HostView:
        if rules.rules or self._held:
            return self._backend.discover(full=full)
        return device.HostView()

    def _take(
        self, node: inventory.Node, view: device.HostView | None = None
    ) -> None:
        """Make a new snapshot, unless nothing it depends on changed.

        :param view: None for the one there is.
        """
        with self._taking:
            old, rules = self._snapshot, self._rules
            ids = self._in_use()
            view = old.view if view is None else view
            same = old.serves(node, rules, ids)
            if same and old.view is view and old.ids.who == ids.who:
                return
            if same and old.view.devices == view.devices:
                self._snapshot = dataclasses.replace(old, view=view, ids=ids)
                return
            offer = self._offer(node, rules, view)
            self._seen = inventory.joined(self._seen, offer)
            self._snapshot = snapshot.Snapshot(
                node,
                rules,
                view,
                ids,
                snapshot.Index(node, offer),
                old.adopted,
            )
        self._say(offer)

    def _in_use(self) -> identity.InUse:
        known = self._known
        return self._ids(
            known, self._held, self._who(known), self._remaps(known)
        )

    def _offer(
        self,
        node: inventory.Node,
        rules: whitelist.Whitelist,
        view: device.HostView,
    ) -> inventory.Offer:
        ids = self._in_use()
        return inventory.offer(node, rules, view.devices, ids, self._elsewhere)

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
    def providing(self) -> frozenset[str]:
        """Providers of this node, by uuid, that can be asked for units.

        A provider of another node is none of them, though a server on its
        way may hold units of both.
        """
        return frozenset(self.now.index.pools.keys() | self._known.keys())

    @property
    def known(self) -> Known:
        """Providers of ours as Placement had them last, by uuid."""
        return self._known

    @property
    def held(self) -> frozenset[inventory.Claim]:
        """Every unit that servers and migrations of this host hold."""
        return self._held

    @property
    def seen(self) -> inventory.Members:
        """Every device that each pool has had in this process."""
        return self._seen

    @property
    def picks(self) -> dict[inventory.Claim, str]:
        """Units picked and not seen saved yet, each with its server."""
        return self._ledger.servers()

    def claim(
        self, wants: request.Amounts, server: str = ''
    ) -> tuple[inventory.Claim, ...]:
        """Choose units for one server, all or none.

        :param server: its uuid.
        :raises NotEnoughUnits: this node cannot give them, whatever
            Placement believed.
        """
        picks: list[inventory.Claim] = []
        for provider, classes in sorted(wants.items()):
            for resource_class, amount in sorted(classes.items()):
                held = inventory.Holdings.of(
                    self._held.union(picks, self.strangers)
                )
                units = self._choose(provider, resource_class, amount, held)
                picks += [
                    inventory.Claim(provider, resource_class, str(unit.id))
                    for unit in units
                ]
        self._ledger.add(picks, server)
        # Ahead of the units: a look in between sees no unit without a place.
        self._followed.claimed(place.places(self.now.offer, picks))
        self._held = self._held.union(picks)
        return tuple(picks)

    @property
    def strangers(self) -> frozenset[inventory.Claim]:
        """Units that nobody can get, though no server holds them."""
        return self._occupied(
            self.now.strangers, self._stuck, self.service.out
        )

    @property
    def service(self) -> inventory.Service:
        """Which devices are in service, by what Placement said last."""
        now = self.now
        return self._service(now.node, now.offer, self._known, self._faults)

    def quarantine(self, stable_id: str, reasons: states.Marks) -> bool:
        """Give a device to nobody any more; Placement hears of it next.

        :param reasons: of ``states.REASONS``.
        :returns: whether that is news.
        """
        if reasons <= self.marks(stable_id):
            return False
        with self._taking:
            before = self._faults.get(stable_id, frozenset())
            self._faults = types.MappingProxyType(
                {**self._faults, stable_id: before | reasons}
            )
        LOG.error(
            'Device %s is quarantined: %s; nobody gets it any more; see to '
            'it, then: nova-accel device enable %s',
            stable_id,
            '; '.join(states.reasons(reasons)),
            stable_id,
        )
        return True

    @property
    def suspects(self) -> frozenset[str]:
        """Devices that Placement is to be told are quarantined."""
        return frozenset(self._faults)

    def absolve(self, stable_id: str) -> None:
        """Forget what was wrong with a device; Placement was told so."""
        with self._taking:
            self._faults = types.MappingProxyType(
                {k: v for k, v in self._faults.items() if k != stable_id}
            )

    def _absolve_told(self) -> None:
        """Forget what Placement remembers from now on."""
        if not self._faults:
            return
        now = self.now
        told = inventory.service(now.node, now.offer, self._known)
        for stable_id, reasons in self._faults.items():
            if reasons <= self._marks(stable_id, told):
                self.absolve(stable_id)

    def marks(self, stable_id: str) -> states.Marks:
        """Return the marks of a device, also of one that is not offered."""
        found = self._marks(stable_id, self.service)
        wrong = self._faults.get(stable_id)
        return found | {states.QUARANTINED, *wrong} if wrong else found

    def _marks(
        self, stable_id: str, service: inventory.Service
    ) -> states.Marks:
        rp = naming.provider_uuid(self.now.node.uuid, stable_id)
        memory = self._known.get(rp)
        if stable_id in service.marks or memory is None:
            return service.marks.get(stable_id, frozenset())
        return states.marks(memory.traits)

    def knows(self, stable_id: str) -> bool:
        """Tell whether a card has a provider of its own."""
        rp = naming.provider_uuid(self.now.node.uuid, stable_id)
        return rp in self._known

    def is_held(self, stable_id: str) -> bool:
        """Tell whether a server holds something of a device."""
        return any(
            unit is not None and unit.device == stable_id
            for unit in (inventory.read_unit(c.unit) for c in self._held)
        )

    def readings(
        self, devices: collections.abc.Iterable[device.Device]
    ) -> dict[str, upkeep.Reading]:
        """Return what tells about the health of devices, by their names."""
        try:
            return self._backend.readings(devices)
        except exception.BackendUnavailable:
            return {}

    def blame(self, server: str, claims: Claims, text: str) -> None:
        """Quarantine the devices that an error names as its cause.

        :param claims: what the server was to be given.
        :param text: what the hypervisor says.
        """
        for claim in claims:
            with contextlib.suppress(exception.DeviceUnavailable):
                assignment = assigning.resolve(self.now, claim, server)
                names = [str(assignment.function.address)]
                if assignment.mdev_uuid:
                    names.append(assignment.mdev_uuid)
                if blame.blames(text, names):
                    self._fail(naming.UnitId.parse(claim.unit))

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
        self._followed.released(claim.unit for claim in claims)
        self._held -= claims
        self._announced -= claims

    def settle(
        self,
        persisted: frozenset[inventory.Claim],
        meant: frozenset[inventory.Claim] = frozenset(),
    ) -> None:
        """Take over what the database says is held.

        :param meant: units that are held too, although nova has just
            forgotten them: picks that their server's record does not name
            yet, for one. Whatever else it does not name is nobody's.
        """
        self._ledger.settle(meant)
        self._hold(persisted | meant)
        self._settled = True

    @property
    def unannounced(self) -> bool:
        """True when a claim changed an inventory Placement does not know."""
        if self._held == self._announced:
            return False
        pools = self.now.index.pools
        return self.owes or any(
            (pool := pools.get(claim.provider)) is not None
            and pool.exclusive
            and len(pool.stocks) > 1
            for claim in self._held ^ self._announced
        )

    @property
    def owes(self) -> bool:
        """True while Placement does not know what is to be cleaned later."""
        pools = self.now.index.pools
        return any(
            (pool := pools.get(claim.provider)) is not None
            and pool.rule.one_time_use
            for claim in self._held - self._announced
        )

    def announce(self) -> None:
        """Let the next update tell Placement of every claim."""
        self._announced = self._held

    # Devices of stock nova

    def take_over(
        self, guests: collections.abc.Iterable[adoption.Guest]
    ) -> dict[str, frozenset[inventory.Claim]]:
        """Let guests keep the mediated devices that stock nova gave them.

        :returns: server -> units that it holds from now on, and that its
            record does not name yet.
        :raises NotTakenOver: one of them can stand for no unit; nothing is
            changed.
        """
        adopted, misfits = adoption.adopt(self.now, guests, self._held)
        if misfits:
            raise exception.NotTakenOver(reasons='; '.join(map(str, misfits)))
        found: dict[str, set[inventory.Claim]] = {}
        for one in adopted:
            if one.new:
                found.setdefault(one.server, set()).add(one.claim)
        for server, claims in found.items():
            self._ledger.add(claims, server)
            self._held = self._held.union(claims)
        self._hold(self._held)
        if adopted:
            with self._taking:
                self._snapshot = dataclasses.replace(
                    self._snapshot,
                    adopted={one.mdev: one.claim for one in adopted},
                )
        return {server: frozenset(claims) for server, claims in found.items()}

    def leave(self, claims: Claims) -> None:
        """Undo ``take_over`` for some units; their devices go on."""
        claims = frozenset(claims)
        self.unclaim(claims)
        with self._taking:
            gone = {
                uuid
                for uuid, claim in self._snapshot.adopted.items()
                if claim in claims
            }
            self._snapshot = self._snapshot.without(gone)

    def _disown(self, assignment: base.Assignment) -> None:
        """Let a unit go by its own name: what stood for it is gone."""
        if assignment.adopted:
            with self._taking:
                gone = {assignment.mdev_uuid or ''}
                self._snapshot = self._snapshot.without(gone, destroyed=True)

    # Placement

    @property
    def basis(self) -> tuple[object, ...]:
        """What ``providers`` goes by, apart from its arguments."""
        return self._snapshot, self._announced, self._stuck, self._faults

    def providers(
        self, node: inventory.Node, known: Known
    ) -> tuple[inventory.Provider, ...]:
        """Return the desired providers of this node.

        :param known: those of ours that Placement has now.
        """
        if known != self._known:
            self._known = known
        self._take(node)
        self._absolve_told()
        now = self.now
        wanted = inventory.desired(
            node,
            now.offer,
            self._announced | self.strangers,
            known,
            self._seen,
            self._faults,
        )
        self._tell(
            news.between(known, wanted, now.offer, self._held, self._seen)
        )
        return wanted

    def _tell(self, found: tuple[news.News, ...]) -> None:
        """Log what has become of devices; not again if Placement is down."""
        for one in found:
            if one not in self._told:
                level = logging.WARNING if one.bad else logging.INFO
                LOG.log(level, '%s', one.text)
        self._told = frozenset(found)

    def capabilities(self) -> vgpu_capabilities.VGPUCapabilities:
        """What the vGPU cards here can do, and how much of it is free.

        The very same object while nothing changed: to make one and to
        serialize it costs more than the rest of a quiet update.
        """
        now = self.now
        return self._described(now.index, self._held, self.strangers)

    # Devices

    def attach(self, server: str, claims: Claims) -> list[object]:
        """Make a server's devices ready and return their guest config.

        Idempotent: a mediated device that a reboot lost is made again under
        the same uuid.

        :raises DeviceUnavailable: one cannot be had; none is left behind.
        """
        assignments = self.assignments(server, claims)
        with contextlib.ExitStack() as undo:
            for claim, assignment in assignments.items():
                undo.callback(self._release, claim, assignment)
                self._prepare(server, claim, assignment)
            rendered = list(map(self._backend.render, assignments.values()))
            undo.pop_all()
        return rendered

    def assignments(
        self, server: str, claims: Claims
    ) -> dict[inventory.Claim, base.Assignment]:
        """Find the device that serves each claim, and touch none.

        :raises DeviceUnavailable: one is not in this host.
        """
        return {claim: self._find(server, claim) for claim in sorted(claims)}

    def configs(self, server: str, claims: Claims) -> list[object]:
        """Return the guest config of devices that a guest has already.

        :raises DeviceUnavailable: one is not in this host.
        """
        assignments = self.assignments(server, claims)
        return list(map(self._backend.render, assignments.values()))

    def _find(self, server: str, claim: inventory.Claim) -> base.Assignment:
        try:
            return assigning.resolve(self.now, claim, server)
        except exception.DeviceUnavailable:
            # It may have come back since the last look.
            self._look(self.now.node)
            return assigning.resolve(self.now, claim, server)

    def _prepare(
        self, server: str, claim: inventory.Claim, assignment: base.Assignment
    ) -> None:
        try:
            with self._locks[claim.provider]:
                self._backend.prepare(assignment)
        except exception.DeviceRefused as e:
            self._blame_card(claim, str(e))
            raise exception.DeviceUnavailable(
                device=claim.unit, server=server, reason=e.kwargs['reason']
            ) from e

    def _blame_card(self, claim: inventory.Claim, text: str) -> None:
        """Quarantine a card that does not make a mediated device."""
        unit = inventory.read_unit(claim.unit)
        if unit is not None and unit.is_vgpu and blame.blames(text):
            self._fail(unit)

    def _fail(self, unit: naming.UnitId) -> None:
        self.quarantine(unit.device, frozenset({states.ATTACH_FAILED}))

    def detach(self, server: str, claims: Claims) -> None:
        """Undo ``attach``.

        What is still in use stays, and is collected once it is free.
        """
        for claim in sorted(claims):
            with self._tolerated():
                self._release(
                    claim, assigning.resolve(self.now, claim, server)
                )

    def locate(self, unit: str) -> base.Assignment:
        """Find what serves a unit that nobody holds.

        :raises DeviceUnavailable: it is not offered here now.
        """
        return assigning.locate(self.now, unit)

    def reset(self, assignment: base.Assignment) -> None:
        """Reset a PCI device that nobody holds.

        :raises DeviceRefused: it cannot be reset, or is in use.
        """
        self._backend.reset(assignment)

    def remake(self, assignment: base.Assignment) -> None:
        """Make a mediated device anew, and destroy it.

        :raises DeviceRefused: it cannot be made, or is in use.
        """
        self._backend.release(assignment)
        self._backend.prepare(assignment)
        self._backend.release(assignment)

    def guests(self) -> tuple[device.Guest, ...]:
        """Return every guest of the hypervisor and the devices it has.

        :raises BackendUnavailable: the hypervisor does not answer.
        """
        return self._backend.guests()

    def is_ours(self, mdev_uuid: str) -> bool:
        """Tell whether a mediated device is one that we make."""
        return (
            mdev_uuid in self.now.index.by_mdev
            or mdev_uuid in self.now.ours
            or mdev_uuid in self.now.adopted
        )

    def _release(
        self, claim: inventory.Claim, assignment: base.Assignment
    ) -> None:
        with self._tolerated(), self._locks[claim.provider]:
            self._backend.release(assignment)
            self._disown(assignment)

    def _collect(self) -> bool:
        """Destroy mediated devices of ours that no server holds.

        :returns: whether any is gone now.
        """
        if not self._settled:
            return False
        orphans = self._loose(self.now, self._held)
        left = [each for each in orphans if not self._is_swept(each)]
        stuck = frozenset(inventory.Claim('', '', each.unit) for each in left)
        if stuck != self._stuck:
            self._stuck = stuck
        return len(left) < len(orphans)

    def _is_swept(self, orphan: inventory.Claim) -> bool:
        """Destroy an orphan; False if a guest uses it, whoever that is."""
        with self._locks[orphan.provider]:
            # A claim made meanwhile prepares under the same lock.
            if _place(orphan) in map(_place, self._held):
                return True
            LOG.info('Destroying %s: no server holds it', orphan.unit)
            try:
                assignment = assigning.resolve(self.now, orphan)
                self._backend.release(assignment)
                self._disown(assignment)
            except exception.DeviceUnavailable as e:
                LOG.warning(
                    'Unit %s is out of service, though no server holds it: %s',
                    orphan.unit,
                    e,
                )
                return False
            return True

    def sweep(self, mdev: str) -> None:
        """Destroy a mediated device of ours that no server holds.

        :raises DeviceUnavailable: it is held or in use.
        """
        orphan = self.now.ours[mdev]
        assignment = assigning.resolve(self.now, orphan)
        if _place(orphan) in map(_place, self._held):
            raise exception.DeviceUnavailable(
                device=mdev, server='-', reason='a server holds it'
            )
        self._backend.release(assignment)

    @contextlib.contextmanager
    def _tolerated(self) -> collections.abc.Iterator[None]:
        # What stays behind is collected later.
        try:
            yield
        except exception.AccelError as e:
            LOG.warning('%s', e)


def _service(
    node: inventory.Node,
    offer: inventory.Offer,
    known: Known,
    faults: inventory.Faults,
) -> inventory.Service:
    return inventory.service(node, offer, known, faults)


def _place(claim: inventory.Claim) -> tuple[str, str]:
    # The class of a unit that is offered no more is not known.
    return claim.provider, claim.unit


def _loose(
    now: snapshot.Snapshot, held: frozenset[inventory.Claim]
) -> list[inventory.Claim]:
    """Units of ours that nobody holds and that have a mediated device."""
    places = set(map(_place, held))
    return [
        claim for claim in now.ours.values() if _place(claim) not in places
    ]


def _union(
    *claims: frozenset[inventory.Claim],
) -> frozenset[inventory.Claim]:
    return frozenset().union(*claims)


def _described(
    index: snapshot.Index,
    held: frozenset[inventory.Claim],
    strangers: frozenset[inventory.Claim],
) -> vgpu_capabilities.VGPUCapabilities:
    return vgpu_capabilities.from_offer(
        index.node, index.offer, held | strangers
    )
