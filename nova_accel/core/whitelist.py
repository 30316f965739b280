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
"""The operator's word: which devices this host offers, and as what.

``parse`` turns documents (what YAML made of the files, plus where each key
stood) into a frozen ``Whitelist``. Reading files is not done here.
"""

import collections.abc
import dataclasses
import math
import re
import typing as ty

import os_resource_classes
import os_traits

from nova_accel.core import cursor
from nova_accel.core import device
from nova_accel.core import document
from nova_accel.core import match
from nova_accel.core import upkeep
from nova_accel import exception

Place = document.Place

VERSION = 1

KIND_VGPU = 'vgpu'
KIND_PCI = 'pci'
KIND_USB = 'usb'
# Those that give out whole devices.
WHOLE = (KIND_PCI, KIND_USB)

MODE_FIXED = 'fixed'
MODE_DYNAMIC = 'dynamic'

READY = 'ready'
NOT_READY = 'not_ready'

POOL_NUMA = 'numa'
POOL_DEVICE = 'device'
POOL_HOST = 'host'

# Every slot becomes an identifier in nova's tables; no card comes near.
MAX_SLOTS = 4096
_MAX_LEVELS = 8

# Standard classes that describe an accelerator. The others belong to nova,
# neutron or cinder, most of them on the root provider.
STANDARD_CLASSES = frozenset(
    {
        os_resource_classes.FPGA,
        os_resource_classes.PCI_DEVICE,
        os_resource_classes.PGPU,
        os_resource_classes.SRIOV_NET_VF,
        os_resource_classes.VGPU,
    }
)
_STANDARD_TRAITS = frozenset(os_traits.get_traits())

# Traits that mean something to somebody else: prefix -> why not.
RESERVED_TRAITS = {
    'CUSTOM_ACCEL_': 'nova_accel sets the traits of this prefix itself',
    'COMPUTE_': 'it describes a compute node, and nova sets it',
    'OWNER_': 'it says who owns a provider, and nova_accel sets it',
    os_traits.MISC_SHARES_VIA_AGGREGATE: (
        'it would offer the devices to other hosts'
    ),
}

_NAME = re.compile(r'[A-Za-z0-9][A-Za-z0-9._-]{0,63}', re.ASCII)
_CUSTOM = re.compile(r'CUSTOM_[A-Z0-9_]{1,248}', re.ASCII)


@dataclasses.dataclass(frozen=True)
class Rule:
    """One named entry of ``devices:``.

    :ivar name: the operator's name for it.
    :ivar place: where it stands, for messages.
    :ivar match: key -> predicate over a device. All must hold.
    :ivar models: vGPU types wanted, by type id or by model name, in the
        operator's order. Empty: all that the card offers.
    :ivar resource_class: None when the default applies.
    :ivar levels: level name -> how many of it one of the level above holds,
        outermost first. ``(('region', 3), ('function', 4))`` is twelve
        slots; blocks of 12, of 4 and of 1 are placed aligned.
    :ivar live_migratable: None where the rule does not say.
    :ivar one_time_use: what a server has had, nobody else gets before it
        was cleaned.
    :ivar clean: how; None: an operator does it.
    """

    name: str
    place: Place
    kind: str
    match: match.Match
    models: tuple[str, ...] = ()
    mode: str = MODE_FIXED
    resource_class: str | None = None
    traits: frozenset[str] = frozenset()
    pool: str = POOL_NUMA
    levels: tuple[tuple[str, int], ...] = ()
    max_slots: int | None = None
    managed: bool = True
    live_migratable: bool | None = None
    new_devices: str = READY
    one_time_use: bool = False
    clean: str | upkeep.Command | None = None
    prepare: upkeep.Prepare | None = None
    health: upkeep.Health | None = None

    def matches(self, dev: device.Device) -> bool:
        if dev.is_usb != (self.kind == KIND_USB):
            return False
        return all(test(dev) for _key, test in self.match)


@dataclasses.dataclass(frozen=True)
class Whitelist:
    """All rules of all files, in the order they were read."""

    rules: tuple[Rule, ...] = ()

    def matching(self, dev: device.Device) -> tuple[Rule, ...]:
        """Return every rule that a device matches; more than one conflicts."""
        return tuple(rule for rule in self.rules if rule.matches(dev))


def parse(
    documents: collections.abc.Iterable[document.Node],
) -> Whitelist:
    """Read the documents of all files, in the order given.

    :raises InvalidWhitelist: with every problem of every document.
    """
    problems: list[exception.Problem] = []
    rules: dict[str, Rule] = {}
    for node in documents:
        found: list[exception.Problem] = []
        for rule in _document(cursor.Cursor(node, node.place, found)):
            first = rules.setdefault(rule.name, rule)
            if first is not rule:
                found.append(_twice(rule, first))
        problems.extend(sorted(found, key=lambda problem: problem.line or 0))
    if problems:
        raise exception.InvalidWhitelist(problems)
    return Whitelist(tuple(rules.values()))


def _twice(rule: Rule, first: Rule) -> exception.Problem:
    return exception.Problem(
        rule.place.file,
        rule.place.line,
        f'devices.{rule.name}',
        f'this name is taken by the rule at {first.place}; rename one of '
        f'the two',
    )


def _document(here: cursor.Cursor) -> list[Rule]:
    """Return the rules of one file, those with problems included."""
    fields = here.known(
        ('version', 'defaults', 'devices'),
        misplaced=dict.fromkeys(_KEYS, 'belongs to a rule below devices')
        | dict.fromkeys(match.KEYS, 'belongs under match, in a rule'),
    )
    if fields is None or not _is_version_1(here, fields.get('version')):
        return []
    defaults: dict[str, ty.Any] = {}
    if 'defaults' in fields:
        defaults = _values(fields['defaults'].known(_DEFAULTS), _DEFAULTS)
    if 'devices' not in fields:
        here.missing('devices', 'for a file without rules write devices: {}')
        return []
    rules = fields['devices'].fields() or {}
    return [_rule(name, rule, defaults) for name, rule in rules.items()]


def _is_version_1(here: cursor.Cursor, field: cursor.Cursor | None) -> bool:
    if field is None:
        here.missing('version', f'write version: {VERSION} as the first key')
        return False
    found = field.integer(1, 999)
    if found is not None and found != VERSION:
        field.fail(
            f'version {found} is not known to this release, which reads '
            f'version {VERSION}; upgrade nova_accel or rewrite the file'
        )
    return found == VERSION


_Reader: ty.TypeAlias = collections.abc.Callable[[cursor.Cursor], ty.Any]


def _values(
    fields: collections.abc.Mapping[str, cursor.Cursor] | None,
    readers: collections.abc.Mapping[str, _Reader],
) -> dict[str, ty.Any]:
    """Return what could be read, by name of the attribute of ``Rule``."""
    values = {
        key: readers[key](field) for key, field in (fields or {}).items()
    }
    return {
        key: value
        for key, value in values.items()
        if value is not None and key not in _WORDS_ONLY
    }


def _rule(
    name: str,
    here: cursor.Cursor,
    defaults: collections.abc.Mapping[str, ty.Any],
) -> Rule:
    if _NAME.fullmatch(name) is None:
        here.fail(
            'the name of a rule is made of up to 64 letters, digits, ".", '
            '"_" and "-", and starts with a letter or digit'
        )
    fields = here.known(
        _KEYS, _LATER_KEYS, dict.fromkeys(match.KEYS, 'belongs under match')
    )
    if fields is not None:
        for key, advice in _REQUIRED.items():
            if key not in fields:
                here.missing(key, advice)
    values = {'kind': '', 'match': (), **defaults, **_values(fields, _KEYS)}
    rule = Rule(name=name, place=here.place, **values)
    _check(rule, fields or {})
    return rule


def _models(here: cursor.Cursor) -> tuple[str, ...]:
    return tuple(text for text, _item in here.distinct())


def _traits(here: cursor.Cursor) -> frozenset[str]:
    return frozenset(
        text for text, item in here.distinct() if _is_trait(text, item)
    )


def _is_trait(text: str, here: cursor.Cursor) -> bool:
    for prefix, why in RESERVED_TRAITS.items():
        if text.startswith(prefix):
            here.fail(f'{text} is reserved: {why}; remove it')
            return False
    if _CUSTOM.fullmatch(text) or text in _STANDARD_TRAITS:
        return True
    near = cursor.near_miss(text, _STANDARD_TRAITS, cutoff=0.85)
    here.fail(
        f'{cursor.shorten(text)} is neither a standard trait nor a custom '
        f'one; did you mean {near or _customised(text)!r}?'
    )
    return False


def _resource_class(here: cursor.Cursor) -> str | None:
    text = here.string()
    if text is None or text in STANDARD_CLASSES or _CUSTOM.fullmatch(text):
        return text
    known = ', '.join(sorted(STANDARD_CLASSES))
    if text in os_resource_classes.STANDARDS:
        here.fail(
            f'{text} does not stand for a device; use {known} or a class of '
            f'your own that starts with CUSTOM_'
        )
        return None
    near = cursor.near_miss(text, STANDARD_CLASSES, cutoff=0.75)
    here.fail(
        f'{cursor.shorten(text)} is neither one of {known} nor a custom '
        f'class; did you mean {near or _customised(text)!r}?'
    )
    return None


def _customised(text: str) -> str:
    """Return what a custom class or trait of that name would be spelt."""
    bare = re.sub('^custom_?', '', text, flags=re.IGNORECASE)
    return str(os_resource_classes.normalize_name(bare or 'name'))[:255]


def _levels(here: cursor.Cursor) -> tuple[tuple[str, int], ...] | None:
    fields = here.fields()
    if fields is None:
        return None
    if not 0 < len(fields) <= _MAX_LEVELS:
        here.fail(f'name 1 to {_MAX_LEVELS} levels, the outermost first')
        return None
    counts = {
        name: field.integer(1, MAX_SLOTS) for name, field in fields.items()
    }
    levels = tuple(
        (name, count) for name, count in counts.items() if count is not None
    )
    slots = _slots(levels)
    if slots > MAX_SLOTS:
        here.fail(
            f'the levels multiply to {slots} slots; a card has at most '
            f'{MAX_SLOTS}'
        )
        return None
    return levels


def _slots(levels: tuple[tuple[str, int], ...]) -> int:
    return math.prod(count for _name, count in levels)


def _word(*words: str, later: tuple[str, ...] = ()) -> _Reader:
    return lambda here: here.choice(words, later)


_pool = _word(POOL_NUMA, POOL_DEVICE, POOL_HOST)
_new_devices = _word(READY, NOT_READY)
_owner = _word('nova', later=('cyborg',))

# Keys that a later version will know.
_LATER_KEYS = frozenset(
    {
        'expose',
        'physical_network',
        'remote_managed',
        'trusted',
    }
)
# Every key of a rule and what reads it.
_KEYS: dict[str, _Reader] = {
    'kind': _word(KIND_VGPU, KIND_PCI, KIND_USB, later=('net',)),
    'match': lambda here: match.parse(here, set(_KEYS) | _LATER_KEYS),
    'models': _models,
    'mode': _word(MODE_FIXED, MODE_DYNAMIC),
    'resource_class': _resource_class,
    'traits': _traits,
    'pool': _pool,
    'levels': _levels,
    'max_slots': lambda here: here.integer(1, MAX_SLOTS),
    'managed': cursor.Cursor.boolean,
    'live_migratable': cursor.Cursor.boolean,
    'new_devices': _new_devices,
    'one_time_use': cursor.Cursor.boolean,
    'clean': upkeep.clean,
    'prepare': upkeep.prepare,
    'health': upkeep.health,
    'owner': _owner,
}
_DEFAULTS: dict[str, _Reader] = {
    'pool': _pool,
    'new_devices': _new_devices,
    'owner': _owner,
}
# Accepted where they say what happens anyway; a rule does not carry them.
_WORDS_ONLY = frozenset({'owner'})
_REQUIRED = {
    'kind': 'write kind: vgpu, kind: pci or kind: usb',
    'match': 'say which devices the rule is for',
}
_ONLY_WITH: dict[str, tuple[str, ...]] = {
    'models': (KIND_VGPU,),
    'mode': (KIND_VGPU,),
    'levels': (KIND_VGPU, KIND_PCI),
    'max_slots': (KIND_VGPU, KIND_PCI),
    'live_migratable': (KIND_VGPU, KIND_PCI),
    'pool': WHOLE,
    'managed': WHOLE,
}


def _check(
    rule: Rule, fields: collections.abc.Mapping[str, cursor.Cursor]
) -> None:
    """Note what keys say against each other."""
    for key, kinds in _ONLY_WITH.items():
        if key in fields and rule.kind not in ('', *kinds):
            named = ' or '.join(f'kind: {kind}' for kind in kinds)
            fields[key].fail(f'has a meaning only with {named}')
    for key, contradiction in _CONTRADICTIONS:
        text = contradiction(rule)
        if text is not None:
            fields[key].fail(text)


def _several_models(rule: Rule) -> str | None:
    if rule.resource_class is None or len(rule.models) < 2:
        return None
    return (
        f'one class cannot stand for {len(rule.models)} models; remove it '
        f'(each model then gets a class of its own) or list one model'
    )


def _dynamic(rule: Rule) -> str | None:
    if rule.resource_class is None or rule.mode != MODE_DYNAMIC:
        return None
    return 'with mode: dynamic each model has a class of its own; remove it'


def _not_a_vgpu(rule: Rule) -> str | None:
    if rule.resource_class != os_resource_classes.VGPU:
        return None
    if rule.kind not in WHOLE:
        return None
    return (
        'VGPU is for kind: vgpu; for a whole GPU use PGPU or a CUSTOM_ class'
    )


def _not_of_usb(rule: Rule) -> str | None:
    if rule.kind != KIND_USB:
        return None
    keys = [key for key, _test in rule.match if key not in match.USB_KEYS]
    if not keys:
        return None
    return (
        f'{", ".join(keys)} says nothing of a USB device; with kind: usb use '
        f'{", ".join(match.USB_KEYS)}'
    )


def _too_few_slots(rule: Rule) -> str | None:
    if rule.max_slots is None or _slots(rule.levels) <= rule.max_slots:
        return None
    return (
        f'{rule.max_slots} is less than the {_slots(rule.levels)} slots of '
        f'the levels; correct one of the two'
    )


_CLEANING = {upkeep.FLR: KIND_PCI, upkeep.MDEV: KIND_VGPU}


def _clean_of_another_kind(rule: Rule) -> str | None:
    if not isinstance(rule.clean, str):
        return None
    kind = _CLEANING[rule.clean]
    if rule.kind in ('', kind):
        return None
    return f'{rule.clean} has a meaning only with kind: {kind}'


def _clean_for_nothing(rule: Rule) -> str | None:
    if rule.clean is None or rule.one_time_use:
        return None
    return 'has a meaning only with one_time_use: yes'


def _prepare_for_nothing(rule: Rule) -> str | None:
    if rule.prepare is None or rule.new_devices == NOT_READY:
        return None
    return 'has a meaning only with new_devices: not_ready'


_CONTRADICTIONS: tuple[
    tuple[str, collections.abc.Callable[[Rule], str | None]], ...
] = (
    ('resource_class', _several_models),
    ('resource_class', _dynamic),
    ('resource_class', _not_a_vgpu),
    ('match', _not_of_usb),
    ('max_slots', _too_few_slots),
    ('clean', _clean_of_another_kind),
    ('clean', _clean_for_nothing),
    ('prepare', _prepare_for_nothing),
)
