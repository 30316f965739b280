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
"""Which stable id each card goes by.

The rules, in this order:

1. An id that a provider or a claim already goes by stays, as long as this
   card alone carries it.
2. Otherwise the first id, best source first, that no other card carries.
3. Two cards that cannot be told apart have none: ambiguity is refused,
   never guessed. The same holds for a card that shares the id by which a
   provider already goes: either could be the one that is in use.

Virtual functions of a listed physical function need no id of their own:
they are numbered within it.
"""

import collections.abc
import dataclasses

from nova_accel.core import device
from nova_accel.core import naming
from nova_accel.core import topology

_NAMED = 4


@dataclasses.dataclass(frozen=True)
class Identities:
    """What ``establish`` found.

    :ivar cards: stable id -> the card that goes by it.
    :ivar ids: ``Device.name`` of a card -> its stable id.
    :ivar faults: ``Device.name`` of a card without an id -> why.
    :ivar present: every id that any card here carries, used or not.
    """

    cards: collections.abc.Mapping[str, topology.Card]
    ids: collections.abc.Mapping[str, str]
    faults: collections.abc.Mapping[str, str]
    present: frozenset[str]


def establish(
    node_name: str,
    cards: collections.abc.Iterable[topology.Card],
    known_ids: collections.abc.Set[str] = frozenset(),
) -> Identities:
    """Give each card its stable id.

    :param known_ids: stable ids already in use by a provider or a claim.
    """
    carried = [
        (
            card,
            tuple(
                dict.fromkeys(
                    naming.fit(node_name, i) for i in card.device.ids
                )
            ),
        )
        for card in cards
    ]
    carriers: dict[str, list[device.Device]] = {}
    for card, ids in carried:
        for stable_id in ids:
            carriers.setdefault(stable_id, []).append(card.device)
    chosen: dict[str, topology.Card] = {}
    faults: dict[str, str] = {}
    for card, ids in carried:
        choice = _choose(ids, carriers, known_ids)
        if choice is None:
            faults[card.device.name] = _fault(card.device, ids, carriers)
        else:
            chosen[choice] = card
    names = {card.device.name: i for i, card in chosen.items()}
    return Identities(chosen, names, faults, frozenset(carriers))


def _choose(
    ids: tuple[str, ...],
    carriers: collections.abc.Mapping[str, list[device.Device]],
    known_ids: collections.abc.Set[str],
) -> str | None:
    known = [i for i in ids if i in known_ids]
    return next((i for i in known or ids if len(carriers[i]) == 1), None)


def _fault(
    dev: device.Device,
    ids: tuple[str, ...],
    carriers: collections.abc.Mapping[str, list[device.Device]],
) -> str:
    shared = next((i for i in ids if len(carriers[i]) > 1), None)
    if shared is None:
        return 'the hypervisor gives no stable id for it'
    twins = [twin for twin in carriers[shared] if twin.name != dev.name]
    names = ', '.join(f'{t.label} at {t.address}' for t in twins[:_NAMED])
    more = ' and others' if len(twins) > _NAMED else ''
    return (
        f'it cannot be told from {names}{more}: all carry the id {shared!r}; '
        f'remove one of them, or put them into slots that the firmware '
        f'numbers'
    )
