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
PREPARED     us        an operator enables it anew: what ``prepare:`` of
                       its rule asks for was done
DRAINING     operator  taken back
QUARANTINED  both      taken back, or the rule lets it recover
CLEANING     us        cleaned. A unit under ``one_time_use`` has it from
                       before a server gets it; it ends in the short id of
                       the unit, in every provider
MISSING      us        the device is here again
MISMATCH     us        what a server holds is away, and another device is
                       in its place
WHY_...      us        the mark goes that it gives the reason of
===========  ========  ==================================================

A device in service has none of them but READY and PREPARED. One that is not
keeps what servers hold of it; the rest is reserved, and nobody gets it.
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
PREPARED = 'PREPARED'
CLEANING = 'CLEANING'

IN_SERVICE = 'in service'

ATTACH_FAILED = 'WHY_ATTACH_FAILED'
DRIVER_GONE = 'WHY_DRIVER_GONE'
LINK_DOWN = 'WHY_LINK_DOWN'
AER_FATAL = 'WHY_AER_FATAL'
AER_NONFATAL = 'WHY_AER_NONFATAL'
AER_CORRECTABLE = 'WHY_AER_CORRECTABLE'
PREPARE_FAILED = 'WHY_PREPARE_FAILED'
CLEAN_FAILED = 'WHY_CLEAN_FAILED'

# Mark -> the reason that it stands for.
REASONS: collections.abc.Mapping[str, str] = {
    ATTACH_FAILED: 'it could not be attached, and the error named it',
    DRIVER_GONE: 'it is not bound to a driver that its rule allows',
    LINK_DOWN: 'its link is down',
    AER_FATAL: 'too many fatal PCI Express errors',
    AER_NONFATAL: 'too many nonfatal PCI Express errors',
    AER_CORRECTABLE: 'too many correctable PCI Express errors',
    PREPARE_FAILED: 'it could not be prepared',
    CLEAN_FAILED: 'it could not be cleaned',
}

# What the operator says, and we keep; the rest we work out ourselves.
SAID = frozenset({READY, DRAINING, QUARANTINED})
# What we have said, and keep as well.
_NOTED = frozenset({PREPARED, *REASONS}) - {CLEAN_FAILED}
_OF_QUARANTINE = _NOTED - {PREPARED, PREPARE_FAILED}
# What alone is reason enough to keep the provider of a card that is here and
# cannot be offered now. The rest is worked out anew when it can be.
_WORD = SAID | {PREPARED, CLEANING}
# What a device or a unit of a pool has still when it was away and is back:
# its provider stays anyway, so this is all that was said or noted.
_KEPT = SAID | _NOTED | {NOT_READY, CLEANING, CLEAN_FAILED}
_QUIET = frozenset({READY, PREPARED})
_CLOSING = (QUARANTINED, DRAINING, NOT_READY)
_STATES = (NOT_READY, DRAINING, QUARANTINED, CLEANING, MISSING, MISMATCH)
_WORDS = (*_STATES, READY, PREPARED, *REASONS)
_PREFIX = 'CUSTOM_ACCEL_'

_TRAIT = re.compile(
    rf'{_PREFIX}(?P<word>{"|".join(_WORDS)})(_(?P<short>[0-9A-F]{{8}}))?'
)

Marks = frozenset[str]
_NONE: Marks = frozenset()

_TAKEN_BACK = frozenset({DRAINING, QUARANTINED, NOT_READY})

# What an operator does -> (marks to set, marks to take back).
VERBS: collections.abc.Mapping[str, tuple[Marks, Marks]] = {
    'enable': (
        frozenset({READY}),
        _TAKEN_BACK | _NOTED,
    ),
    # Of one that servers hold, which cannot be prepared meanwhile.
    'enable_in_use': (
        frozenset({READY}),
        _TAKEN_BACK | _NOTED - {PREPARED},
    ),
    'drain': (frozenset({DRAINING}), _NONE),
    # What we say ourselves.
    'prepared': (frozenset({PREPARED}), frozenset({PREPARE_FAILED})),
    'unprepared': (frozenset({PREPARE_FAILED}), frozenset({PREPARED})),
    'recovered': (
        _NONE,
        _OF_QUARANTINE | {QUARANTINED},
    ),
    'cleaned': (_NONE, frozenset({CLEANING, CLEAN_FAILED})),
    'uncleaned': (frozenset({CLEAN_FAILED}), _NONE),
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


def is_word(text: str) -> bool:
    """Tell a trait for whose sake a provider is kept.

    Of a card of its own that is here and withheld; see ``kept`` for pools.
    """
    found = read(text)
    return found is not None and found[0] in _WORD


def kept(text: str) -> str:
    """Return whose mark a trait is, if that outlives an absence.

    Of a device of a pool that is away, while its pool goes on; see
    ``is_word`` for cards.

    :returns: the short id of a device or a unit of a pool; '': none such.
    """
    word, short = read(text) or ('', '')
    return short if word in _KEPT else ''


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
    :ivar wants_preparing: its rule says ``prepare:``.
    """

    marks: Marks = _NONE
    new: bool = False
    wants_word: bool = False
    replaces: bool = False
    wants_preparing: bool = False


def after(sight: Sight) -> Marks:
    """Return the marks that a device which is here should have."""
    found = sight.marks & (SAID | _NOTED)
    if QUARANTINED not in found:
        found -= _OF_QUARANTINE
    if READY in found:
        waits = sight.wants_preparing and PREPARED not in found
        return found | {NOT_READY} if waits else found
    if (
        sight.wants_word
        or NOT_READY in sight.marks
        or (sight.new and sight.replaces)
    ):
        return found | {NOT_READY}
    return found


def is_due(found: Marks) -> bool:
    """Tell whether a device only waits to be prepared."""
    return {READY, NOT_READY} <= found and found.isdisjoint(
        {PREPARE_FAILED, QUARANTINED}
    )


def is_in_service(found: Marks) -> bool:
    """Tell whether nothing is the matter with a device."""
    return found <= _QUIET


def is_open(found: Marks) -> bool:
    """Tell whether anybody may get the device."""
    return found.isdisjoint(_CLOSING)


def describe(found: Marks) -> str:
    """Say in words what state a device is in."""
    words = [word for word in _STATES if word in found]
    if not words:
        return IN_SERVICE
    return ', '.join(word.lower().replace('_', ' ') for word in words)


def reasons(found: Marks) -> tuple[str, ...]:
    """Say in words why a device is in the state it is in."""
    return tuple(text for mark, text in REASONS.items() if mark in found)


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
