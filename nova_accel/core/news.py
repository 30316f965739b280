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
"""What has become of devices since Placement was told last, for the log.

Worked out from what Placement remembers, so that it is said once, whether
it happened while nova-compute ran or before it was started.
"""

import collections
import collections.abc
import dataclasses
import itertools
import types

from nova_accel.core import inventory
from nova_accel.core import naming
from nova_accel.core import states

_Traits = collections.abc.Collection[tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class News:
    """One thing that has happened to a device.

    :ivar bad: an operator has to see to it.
    """

    text: str
    bad: bool = True


def between(
    known: collections.abc.Mapping[str, inventory.KnownProvider],
    wanted: collections.abc.Iterable[inventory.Provider],
    offer: inventory.Offer,
    held: frozenset[inventory.Claim],
    seen: inventory.Members = types.MappingProxyType({}),
) -> tuple[News, ...]:
    """Compare what Placement remembers with what it is told now.

    :param known: provider uuid -> what Placement has of ours.
    :param wanted: what it is to have.
    :param held: units of servers.
    :param seen: the devices that pools have had in this process.
    """
    before = [
        (one.stable_id, trait)
        for one in known.values()
        for trait in one.traits
    ]
    after = [
        (one.stable_id, trait)
        for one in wanted
        if not one.retired
        for trait in one.traits
    ]
    if set(before) == set(after):
        return ()
    return tuple(_Change(before, after, offer, held, seen).news())


class _Change:
    """What Placement has, and what it is told; all by short ids."""

    def __init__(
        self,
        before: _Traits,
        after: _Traits,
        offer: inventory.Offer,
        held: frozenset[inventory.Claim],
        seen: inventory.Members,
    ) -> None:
        self._before, self._after = _marks(before), _marks(after)
        self._was, self._is = _places(before), _places(after)
        self._here = offer.offered
        units = (inventory.read_unit(claim.unit) for claim in held)
        in_use = {unit.device for unit in units if unit is not None}
        self._in_use = frozenset(map(naming.short_id, in_use))
        self._ids = {
            naming.short_id(stable_id): stable_id
            for stable_id in itertools.chain(
                dict(before), in_use, offer.cards, *seen.values()
            )
        }

    def news(self) -> collections.abc.Iterator[News]:
        for short in sorted(self._before.keys() | self._after.keys()):
            before, after = self._before[short], self._after[short]
            for word in sorted((after - before) & _BEGINS.keys()):
                # Said by an operator just now: it is being prepared.
                if word != states.NOT_READY or states.READY not in after:
                    yield News(_BEGINS[word](self, short))
        for short in sorted(self._here & self._is.keys()):
            name, now = self._id(short), self._is[short]
            was = self._was.get(short, now)
            if states.MISSING in self._before[short] - self._after[short]:
                text = f'Device {name} is here again, at {now}'
            elif was != now:
                text = f'Device {name} is now at {now}; it was at {was}'
            else:
                continue
            yield News(text, bad=False)

    def _id(self, short: str) -> str:
        # Of what a pool had before we started, the short id is known only.
        return self._ids.get(short, short)

    @staticmethod
    def _at(
        text: str, places: collections.abc.Mapping[str, str], short: str
    ) -> str:
        return f'{text} {places[short]}' if short in places else ''

    def missing(self, short: str) -> str:
        at = self._at('; it was at', self._was, short)
        meanwhile = (
            'the server that holds it does not start'
            if short in self._in_use
            else 'nobody gets it'
        )
        return (
            f'Device {self._id(short)} is not in this host{at}; until it is '
            f'back, {meanwhile}; nova-accel identify tells what is where'
        )

    def mismatch(self, short: str) -> str:
        return (
            f'Another device is in the place of {self._id(short)}, which a '
            f'server holds; the server does not get it; nova-accel identify '
            f'tells what is where'
        )

    def not_ready(self, short: str) -> str:
        at = self._at(' at', self._is, short)
        return (
            f'Device {self._id(short)}{at} is not ready, and nobody gets it; '
            f'see to it, then: nova-accel device enable {self._id(short)}'
        )


_BEGINS: collections.abc.Mapping[
    str, collections.abc.Callable[[_Change, str], str]
] = {
    states.MISSING: _Change.missing,
    states.MISMATCH: _Change.mismatch,
    states.NOT_READY: _Change.not_ready,
}


def _marks(traits: _Traits) -> collections.defaultdict[str, frozenset[str]]:
    """Return the marks by the device they are of."""
    found: collections.defaultdict[str, frozenset[str]] = (
        collections.defaultdict(frozenset)
    )
    for stable_id, trait in traits:
        word, short = states.read(trait) or ('', '')
        if short or not naming.is_pool(stable_id):
            found[short or naming.short_id(stable_id)] |= {word}
    return found


def _places(traits: _Traits) -> dict[str, str]:
    """Return where devices are, by short id."""
    return dict(
        at
        for _stable_id, trait in traits
        if (at := naming.read_at(trait)) is not None
    )
