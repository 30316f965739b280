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
"""Which devices are in service, and what keeps the others out of it.

Placement is the memory: each mark is a trait of the provider, and in a pool
it ends in the short id of its device. Some are the operator's word, some are
ours; whoever sets one with the standard client is obeyed, too.

===========  ========  ==================================================
mark         set by    until
===========  ========  ==================================================
NOT_READY    us        READY: first seen under ``new_devices: not_ready``,
                       or while another device that we knew is away
READY        operator  taken back
DRAINING     operator  taken back
QUARANTINED  both      taken back, or the rule lets it recover
MISSING      us        the device is here again
MISMATCH     us        what a server holds is away, and another device is
                       in its place
===========  ========  ==================================================

A device in service has none of them but READY. One that is not keeps what
servers hold of it; the rest is reserved, and nobody gets it.
"""

import collections.abc
import dataclasses
import functools
import re

from nova_accel.core import naming

NOT_READY = 'NOT_READY'
READY = 'READY'
DRAINING = 'DRAINING'
QUARANTINED = 'QUARANTINED'
MISSING = 'MISSING'
MISMATCH = 'MISMATCH'

IN_SERVICE = 'in service'

# What the operator says, and we keep; the rest we work out ourselves.
SAID = frozenset({READY, DRAINING, QUARANTINED})
_CLOSING = (QUARANTINED, DRAINING, NOT_READY)
_WORDS = (NOT_READY, READY, DRAINING, QUARANTINED, MISSING, MISMATCH)
_PREFIX = 'CUSTOM_ACCEL_'

_TRAIT = re.compile(
    rf'{_PREFIX}(?P<word>{"|".join(_WORDS)})(_(?P<short>[0-9A-F]{{8}}))?'
)

Marks = frozenset[str]
_NONE: Marks = frozenset()

# What an operator does -> (marks to set, marks to take back).
VERBS: collections.abc.Mapping[str, tuple[Marks, Marks]] = {
    'enable': (
        frozenset({READY}),
        frozenset({DRAINING, QUARANTINED, NOT_READY}),
    ),
    'drain': (frozenset({DRAINING}), _NONE),
}


def trait(word: str, stable_id: str = '') -> str:
    """Return the trait of a mark.

    :param stable_id: of a device in a pool; '': of the whole provider.
    """
    name = f'{_PREFIX}{word}'
    return f'{name}_{naming.short_id(stable_id)}' if stable_id else name


@functools.lru_cache(maxsize=8192)
def read(text: str) -> tuple[str, str] | None:
    """Return the mark and the short id in a trait, None for any other.

    The short id of a mark on a whole provider is ''.
    """
    match = _TRAIT.fullmatch(text)
    return None if match is None else (match['word'], match['short'] or '')


def marks(traits: collections.abc.Iterable[str], short: str = '') -> Marks:
    """Return the marks among the traits of a provider.

    :param short: short id of a device of a pool; '': of the provider.
    """
    found = map(read, traits)
    return frozenset(each[0] for each in found if each and each[1] == short)


@dataclasses.dataclass(frozen=True)
class Sight:
    """What is known of one device when its state is worked out.

    :ivar marks: those that Placement has.
    :ivar new: nothing was ever known by this id.
    :ivar wants_word: its rule says ``new_devices: not_ready``.
    :ivar replaces: a device that we knew is away, and this one may be in
        its place.
    """

    marks: Marks = _NONE
    new: bool = False
    wants_word: bool = False
    replaces: bool = False


def after(sight: Sight) -> Marks:
    """Return the marks that a device which is here should have."""
    found = sight.marks.intersection(SAID)
    if READY in found:
        return found
    if (
        sight.wants_word
        or NOT_READY in sight.marks
        or (sight.new and sight.replaces)
    ):
        return found | {NOT_READY}
    return found


def is_open(found: Marks) -> bool:
    """Tell whether anybody may get the device."""
    return found.isdisjoint(_CLOSING)


def describe(found: Marks) -> str:
    """Say in words what state a device is in."""
    words = [word for word in _WORDS if word in found and word != READY]
    if not words:
        return IN_SERVICE
    return ', '.join(word.lower().replace('_', ' ') for word in words)


def changed(
    traits: collections.abc.Iterable[str], verb: str, stable_id: str = ''
) -> frozenset[str]:
    """Return the traits of a provider after an operator's word.

    :param verb: a key of ``VERBS``.
    :param stable_id: see ``trait``.
    """
    more, less = VERBS[verb]
    return frozenset(traits).difference(
        trait(word, stable_id) for word in less
    ) | {trait(word, stable_id) for word in more}
