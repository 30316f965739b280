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
"""Stories of hosts whose hardware changes under running servers.

One story is one seed: a machine, rules, servers, and a few rounds of changes.
The hardware knows which card is which, so every device that a server gets
can be compared with the one that it was given first.
"""

import collections
import dataclasses
import random

from nova_accel.backends import base
from nova_accel.backends import fake
from nova_accel.core import device
from nova_accel.core import facts
from nova_accel.core import identity
from nova_accel.core import invariant
from nova_accel.core import inventory
from nova_accel.core import naming
from nova_accel.core import remapping
from nova_accel.core import states
from nova_accel.core import whitelist
from nova_accel import exception
from nova_accel import manager
from nova_accel.testing import hardware
from tests.unit.core import hosts

NODE = hosts.NODE
T4 = hardware.Make('1eb8', (hosts.T4_8Q,))
A40 = hardware.Make('2235', (hosts.A40_8Q,), functions=4)
A100 = hardware.Make('20b0')
OTHER_A100 = hardware.Make('20b0', subsystem=('10de', '1463'))
V100 = hardware.Make('1db4')
MAKES = (T4, T4, A40, A100, A100, OTHER_A100, V100)


class Wrong(AssertionError):
    """What must never happen has."""


@dataclasses.dataclass(frozen=True)
class Given:
    """What a server was given first.

    :ivar serial: that the card told then.
    """

    server: str
    claim: inventory.Claim
    card: hardware.Card
    vf_index: int | None
    serial: str


@dataclasses.dataclass(frozen=True)
class _Product:
    """A test of a rule."""

    products: frozenset[str]
    dev_types: frozenset[str]

    def __call__(self, dev: device.Device) -> bool:
        return (
            dev.product_id in self.products and dev.dev_type in self.dev_types
        )


def _rule(name, kind, products, **kwargs):
    types = kwargs.pop('dev_types', ('type-PCI', 'type-PF', 'type-VF'))
    test = _Product(frozenset(products), frozenset(types))
    place = whitelist.Place('accel.yaml', 3)
    return whitelist.Rule(name, place, kind, (('x', test),), **kwargs)


class Story:
    """One seed."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.machine = hardware.Machine(hardware.bays(self.rng))
        self.serials = 0
        self.counts: collections.Counter[str] = collections.Counter()
        for bay in self.machine.bays:
            if self.rng.random() < 0.7:
                self.machine.cards[bay] = self.new_card()
        self.shelf: list[hardware.Card] = []
        pool = self.rng.choice(['numa', 'device', 'host'])
        self.rules = whitelist.Whitelist(
            (
                _rule('t4', 'vgpu', ['1eb8']),
                _rule('a40', 'vgpu', ['2235']),
                _rule('whole', 'pci', ['20b0', '1db4'], pool=pool),
            )
        )
        self.sight = self.machine.look()
        self.backend = fake.FakeBackend(self.sight.devices)
        self.known: dict[str, inventory.KnownProvider] = {}
        self.given: dict[inventory.Claim, Given] = {}
        self.servers = 0
        # Ids that cards went by which nothing in this world tells apart.
        self.confused: set[str] = set()
        # Ids that an operator has decided on -> what the card told then.
        self.decided: dict[str, str] = {}
        # New ids of cards that may be in the place of one that is away.
        self.suspects: set[str] = set()
        self.restart()

    def new_card(self) -> hardware.Card:
        make = self.rng.choice(MAKES)
        self.serials += 1
        serial = self.rng.choice([f'{self.serials:06}'] * 4 + ['', '', '1234'])
        return hardware.Card(make, serial, deep=self.rng.random() < 0.3)

    # nova-compute

    def restart(self) -> None:
        self.manager = manager.Manager(self.backend)
        self.manager.start(NODE, self.rules, frozenset(self.given))
        self.update()

    def update(self) -> None:
        """As nova's periodic does it."""
        self.manager.refresh()
        self.manager.settle(frozenset(self.given))
        for _ in range(2):
            providers = self.manager.providers(NODE, self.known)
            self.check_providers(providers)
            self.known = {
                one.uuid: inventory.KnownProvider(
                    one.stable_id,
                    one.inventories,
                    one.traits | self.said(one.uuid),
                )
                for one in providers
                if not one.retired
            }

    def said(self, rp: str) -> set[str]:
        """Traits that we keep because they are not ours."""
        one = self.known.get(rp)
        return set(filter(naming.read_remap, one.traits)) if one else set()

    def check_providers(self, providers) -> None:
        names = [one.uuid for one in providers]
        _hold(len(set(names)) == len(names), 'a provider twice')
        held: dict[tuple[str, str], set[str]] = {}
        for claim in self.given:
            key = (claim.provider, claim.resource_class)
            held.setdefault(key, set()).add(claim.unit)
        seen = set()
        for one in providers:
            for rc, record in one.inventories.items():
                mine = held.get((one.uuid, rc), set())
                seen.add((one.uuid, rc))
                _hold(not (mine and one.retired), 'a provider in use deleted')
                _hold(mine <= one.units[rc], 'a held unit is not published')
                _hold(
                    record.total - record.reserved >= len(mine),
                    'an inventory below its use',
                )
                _hold(0 <= record.reserved <= record.total, 'reserved')
        _hold(held.keys() <= seen, 'an inventory in use deleted')

    # Servers

    def boot(self) -> None:
        """Give a server something that Placement says is free."""
        free = [
            (rp, rc)
            for rp, one in self.known.items()
            for rc, record in one.inventories.items()
            if record.total - record.reserved > self.used(rp, rc)
        ]
        if not free:
            return
        rp, rc = self.rng.choice(free)
        self.servers += 1
        server = f'server{self.servers}'
        try:
            (claim,) = self.manager.claim({rp: {rc: 1}}, server)
        except exception.NotEnoughUnits as error:
            raise Wrong(
                f'Placement offers what is not there: {error}'
            ) from error
        found = self.attach(server, claim)
        _hold(found is not None, 'a new server did not get its device')
        card = self.sight.owners[found.function.name]
        unit = inventory.read_unit(claim.unit)
        _hold(unit.device not in self.suspects, 'a new card was given at once')
        self.given[claim] = Given(
            server, claim, card, found.function.vf_index, card.told
        )
        self.counts['servers'] += 1

    def used(self, rp: str, rc: str) -> int:
        return sum(
            (claim.provider, claim.resource_class) == (rp, rc)
            for claim in self.given
        )

    def delete(self) -> None:
        if self.given:
            claim = self.rng.choice(sorted(self.given))
            gone = self.given.pop(claim)
            self.manager.detach(gone.server, [claim])
            self.manager.unclaim([claim])

    def attach(
        self, server: str, claim: inventory.Claim
    ) -> base.Assignment | None:
        """Start a server with its device; None if that is refused."""
        try:
            (found,) = self.manager.attach(server, [claim])
        except exception.DeviceUnavailable:
            return None
        return found

    # Hardware

    def change(self) -> None:
        """Switch the host off, change something, switch it on."""
        ids = {
            each.device.name: stable_id
            for stable_id, each in self.manager.now.offer.cards.items()
        }
        before = {
            id(card): (card, ids[head.name], card.told)
            for card in self.machine.cards.values()
            if (head := self.head_of(card)) is not None
            and self.is_offered(head)
        }
        known = self.manager.now.ids
        for _ in range(self.rng.randint(1, 3)):
            self.rng.choice(CHANGES)(self)
        self.sight = self.machine.look()
        self.backend.rewire(self.sight.devices)
        away = before.keys() - set(map(id, self.machine.cards.values()))
        if self.rng.random() < 0.7:
            self.restart()
        else:
            self.update()
        self.suspect_others(before, known)
        if away:
            self.suspect(known)

    def suspect_others(
        self,
        before: dict[int, tuple[hardware.Card, str, str]],
        known: identity.InUse,
    ) -> None:
        """Note the cards of which nobody can say who they are.

        Where they were they are still, and a serial number has come or gone.
        """
        now = self.manager.now.offer.cards
        for stable_id, card in now.items():
            if known.knows(stable_id):
                continue
            owner = self.sight.owners[card.device.name]
            if id(owner) not in before:
                continue
            _, was, told = before[id(owner)]
            if told != owner.told and was not in now:
                self.suspects.add(stable_id)

    def suspect(self, known: identity.InUse) -> None:
        """Note which cards nobody has seen, while one is away."""
        for stable_id in self.manager.now.offer.cards:
            if identity.is_place(stable_id) or known.knows(stable_id):
                continue
            if self.is_one_away():
                self.suspects.add(stable_id)

    def is_one_away(self) -> bool:
        """Tell whether something known by its serial number is away."""
        present = self.manager.now.offer.present_short
        return any(
            short not in present
            for one in self.known.values()
            if not identity.is_place(one.stable_id)
            for trait in one.traits
            if (who := naming.read_who(trait)) is not None
            and (short := who[0])
        )

    def is_offered(self, head: device.Device) -> bool:
        return any(
            head in pool.devices for pool in self.manager.now.offer.pools
        )

    def operate(self) -> None:
        """An operator enables or drains something."""
        marks = self.manager.service.marks
        if not marks:
            return
        stable_id = self.rng.choice(sorted(marks))
        verb = 'drain' if states.is_open(marks[stable_id]) else 'enable'
        for rp, one in self.known.items():
            if one.stable_id == stable_id:
                traits = states.changed(one.traits, verb)
            elif naming.short_id(stable_id) in map(
                _short, one.traits
            ) and naming.is_pool(one.stable_id):
                traits = states.changed(one.traits, verb, stable_id)
            else:
                continue
            self.known[rp] = dataclasses.replace(one, traits=traits)
            if verb == 'enable':
                self.suspects.discard(stable_id)
            self.counts[verb] += 1
        self.update()
        now = self.manager.service.marks[stable_id]
        _hold(
            states.is_open(now) == (verb == 'enable'), f'{verb} does nothing'
        )

    def occupied(self) -> list[hardware.Bay]:
        return sorted(self.machine.cards)

    def empty(self) -> list[hardware.Bay]:
        return [b for b in self.machine.bays if b not in self.machine.cards]

    def insert(self) -> None:
        if self.empty():
            bay = self.rng.choice(self.empty())
            back = self.shelf and self.rng.random() < 0.6
            card = self.shelf.pop() if back else self.new_card()
            self.machine.cards[bay] = card

    def remove(self) -> None:
        if self.occupied():
            bay = self.rng.choice(self.occupied())
            self.shelf.append(self.machine.cards.pop(bay))

    def move(self) -> None:
        if self.occupied() and self.empty():
            card = self.machine.cards.pop(self.rng.choice(self.occupied()))
            self.machine.cards[self.rng.choice(self.empty())] = card

    def swap(self) -> None:
        if len(self.occupied()) > 1:
            one, other = self.rng.sample(self.occupied(), 2)
            cards = self.machine.cards
            cards[one], cards[other] = cards[other], cards[one]

    def replace(self) -> None:
        """Put another card, often of the same make, in the place of one."""
        if self.occupied():
            bay = self.rng.choice(self.occupied())
            old, new = self.machine.cards[bay], self.new_card()
            if self.rng.random() < 0.7:
                new.make = old.make
            self.machine.cards[bay] = new
            self.shelf.append(old)

    def renumber(self) -> None:
        self.machine.spread = self.rng.randrange(4)
        self.machine.empty_take = self.rng.random() < 0.5

    def silence(self) -> None:
        if self.occupied():
            card = self.machine.cards[self.rng.choice(self.occupied())]
            card.silent = not card.silent

    def half(self) -> None:
        """Boot with half of the cards, or with those that lacked before."""
        for bay in self.occupied():
            if self.rng.random() < 0.5:
                self.shelf.append(self.machine.cards.pop(bay))

    # What must hold

    def check(self) -> None:
        carriers = collections.Counter(
            (stable_id, identity.make(dev))
            for dev in self.sight.devices
            if dev.dev_type != device.TYPE_VF
            for stable_id in identity.carried(dev)
        )
        claimed = {
            inventory.read_unit(claim.unit).device for claim in self.given
        }
        for given in list(self.given.values()):
            self.check_one(given, carriers, claimed)
        self.check_witnesses()

    def check_one(self, given: Given, carriers, claimed) -> None:
        stable_id = inventory.read_unit(given.claim.unit).device
        found = self.attach(given.server, given.claim)
        head = self.head_of(given.card)
        many = (
            head is not None and carriers[stable_id, identity.make(head)] > 1
        )
        if found is not None:
            _hold(
                not many or stable_id in self.decided,
                f'{stable_id} is ambiguous and was not refused',
            )
            self.check_found(given, stable_id, found.function)
            return
        self.counts['ambiguous' if many else 'refused'] += 1
        ids = identity.carried(head) if head else ()
        head_told = head.serial if head else ''
        # It is known by its serial number, too, or by another place.
        others = {
            i
            for i in ids
            if i in claimed
            or (not identity.is_place(i) and self.manager.now.ids.knows(i))
        } - {stable_id}
        _hold(
            stable_id not in ids
            or many
            or bool(others)
            or stable_id in self.confused
            or stable_id in self.decided
            # Another card might sit there: it gained a serial number, or
            # lost it.
            or (identity.is_place(stable_id) and given.serial != head_told),
            f'{stable_id} is here, and was refused',
        )

    def check_found(
        self, given: Given, stable_id: str, function: device.Device
    ) -> None:
        card = self.sight.owners[function.name]
        _hold(function.vf_index == given.vf_index, 'another function')
        if card is given.card:
            self.counts['healed'] += 1
            return
        # Nothing in this world tells these two apart.
        _hold(
            card.make == given.card.make
            and self.decided.get(stable_id, given.serial) == card.told,
            f'{given.server} got another card for {stable_id}',
        )
        self.confused.add(stable_id)
        self.counts['indistinguishable'] += 1

    def head_of(self, card: hardware.Card) -> device.Device | None:
        """Return the card as it is listed, None if it is not."""
        return next(
            (
                dev
                for dev in self.sight.devices
                if dev.dev_type != device.TYPE_VF
                and self.sight.owners[dev.name] is card
            ),
            None,
        )

    def check_witnesses(self) -> None:
        """What an audit says: nothing but that devices are not here."""
        findings = invariant.check(self.evidence())
        bad = [f for f in findings if f.kind != invariant.NO_DEVICE]
        _hold(not bad, '; '.join(map(str, bad)))

    def evidence(self) -> facts.Facts:
        """What an audit goes by."""
        now = self.manager.now
        return facts.Facts(
            NODE,
            now.offer,
            {
                rp: facts.Placed(
                    naming.provider_name(NODE.name, one.stable_id),
                    one,
                    self.allocations(rp),
                )
                for rp, one in self.known.items()
            },
            tuple(
                facts.Server(
                    given.server,
                    frozenset({given.server}),
                    frozenset({given.claim}),
                    state=facts.STOPPED,
                )
                for given in self.given.values()
            ),
            mdevs=frozenset(mdev.uuid for mdev in now.view.mdevs),
            ours=now.ours,
            strangers=self.manager.strangers,
            seen=self.manager.seen,
            held=self.manager.held,
        )

    def decide(self) -> None:
        """An operator says which card it is that a server does not find."""
        for given in list(self.given.values()):
            stable_id = inventory.read_unit(given.claim.unit).device
            head = self.head_of(given.card)
            if head is None or stable_id in self.manager.now.offer.cards:
                continue
            if stable_id in self.confused or self.rng.random() < 0.5:
                continue
            try:
                plan = remapping.plan(
                    self.evidence(),
                    self.manager.service,
                    stable_id,
                    str(head.address),
                )
            except (exception.NotRemapped, exception.NoSuchDevice):
                self.counts['not decided'] += 1
                continue
            self.decided[stable_id] = head.serial
            self.known = {
                rp: dataclasses.replace(
                    one, traits=plan.traits(rp, one.traits)
                )
                for rp, one in self.known.items()
            }
            self.update()
            found = self.attach(given.server, given.claim)
            _hold(
                found is not None
                and self.sight.owners[found.function.name] is given.card,
                f'{stable_id} was said to be {plan.new}, and is not',
            )
            self.counts['decided'] += 1

    def allocations(self, rp: str):
        found = {}
        for claim, given in self.given.items():
            if claim.provider == rp:
                found[given.server] = {claim.resource_class: 1}
        return found


CHANGES = (
    Story.insert,
    Story.insert,
    Story.remove,
    Story.move,
    Story.swap,
    Story.replace,
    Story.renumber,
    Story.renumber,
    Story.silence,
    Story.half,
)


def _short(trait: str) -> str:
    who = naming.read_who(trait)
    return who[0] if who else ''


def _hold(condition: bool, what: str) -> None:
    if not condition:
        raise Wrong(what)


def tell(seed: int) -> collections.Counter[str]:
    """Live through one story.

    :raises Wrong: something happened that must not.
    """
    story = Story(seed)
    for _ in range(story.rng.randint(2, 4)):
        for _ in range(story.rng.randint(1, 4)):
            story.boot()
        if story.rng.random() < 0.3:
            story.delete()
        story.update()
        while story.rng.random() < 0.3:
            story.operate()
        story.change()
        story.check()
        story.decide()
    return story.counts
