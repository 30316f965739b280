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
"""Accelerators that a server got while it existed, as values.

An attachment is a record in the server's own row, in its system metadata,
and a request group in its flavor. Nothing else remembers it.

=========  ===========================================  =========
state      event                                        next
=========  ===========================================  =========
absent     reserve                                      attaching
attaching  done: the device is the server's             attached
attaching  failed, or refused in the end; what was      error
           done is undone
attaching  detach: given up before nova-compute began   detaching
attached   detach                                       detaching
error      detach                                       detaching
error      reserve: asked for again with the same id    attaching
detaching  done: the guest has let go                   absent
detaching  cancel: the guest has not, and may keep it   attached
=========  ===========================================  =========

No other step exists; in particular no time-out leads out of detaching.
"""

import collections
import collections.abc
import dataclasses
import json
import re
import types
import typing as ty

from nova_accel.core.inventory import values
from nova_accel.core import request
from nova_accel import exception

ATTACHING = 'attaching'
ATTACHED = 'attached'
DETACHING = 'detaching'
ERROR = 'error'
STATES = (ATTACHING, ATTACHED, DETACHING, ERROR)

# State -> the states that may follow; '' is no record at all.
TRANSITIONS: collections.abc.Mapping[str, frozenset[str]] = (
    types.MappingProxyType(
        {
            '': frozenset({ATTACHING}),
            ATTACHING: frozenset({ATTACHED, ERROR, DETACHING}),
            ATTACHED: frozenset({DETACHING}),
            ERROR: frozenset({ATTACHING, DETACHING}),
            DETACHING: frozenset({ATTACHED, ''}),
        }
    )
)

Metadata = collections.abc.Mapping[str, str]
ExtraSpecs = collections.abc.Mapping[str, str]
Group = tuple[str, int]
"""Resource class and amount."""

_VERSION = 1
_PREFIX = 'accel_attachment_'
# A column of MySQL's; values are ASCII.
_MAX_VALUE = 255
_MAX_REASON = 500
_GROUP = '_ACCEL_'
_RESOURCES = f'resources{_GROUP}'
_POLICY = 'group_policy'
_NAMESPACE = 'accel_hotplug'
# Marks a policy that is not the flavor's own.
_ADDED_POLICY = f'{_NAMESPACE}:{_POLICY}'
_LIMIT = f'{_NAMESPACE}:max_'
_KEY = re.compile(
    rf'{_PREFIX}(?P<id>[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}})'
    r'(\.(?P<part>[1-9][0-9]*))?'
)


@dataclasses.dataclass(frozen=True)
class Attachment:
    """One accelerator, or several alike from one provider, of one server.

    :ivar id: a uuid, the client's choice.
    :ivar provider: uuid; '' until units of it are claimed.
    :ivar units: identifiers of what the server holds for it.
    :ivar created: ISO 8601, UTC, as all times here.
    :ivar reason: why it is in error, or what it waits for; for users.
    :ivar request_id: of the request that it is about; names the action.
    :ivar live_migratable: the server may be migrated live with it.
    """

    id: str
    resource_class: str
    amount: int
    state: str = ATTACHING
    provider: str = ''
    units: tuple[str, ...] = ()
    created: str = ''
    updated: str = ''
    reason: str = ''
    request_id: str = ''
    live_migratable: bool = True

    @property
    def claims(self) -> frozenset[values.Claim]:
        """What the server holds for it, as nova's record has it."""
        return frozenset(
            values.Claim(self.provider, self.resource_class, unit)
            for unit in self.units
        )

    def matches(self, resource_class: str, amount: int) -> bool:
        """Tell whether it is what somebody asks for again."""
        return (self.resource_class, self.amount) == (resource_class, amount)

    def to(self, state: str, now: str, reason: str = '') -> 'Attachment':
        """Take a step of the table.

        :param now: the time, ISO 8601.
        :raises AttachmentBusy: there is no such step.
        """
        if state not in TRANSITIONS[self.state]:
            raise exception.AttachmentBusy(
                attachment=self.id, state=self.state
            )
        return dataclasses.replace(
            self, state=state, updated=now, reason=reason[:_MAX_REASON]
        )

    def holding(
        self, claims: collections.abc.Iterable[values.Claim]
    ) -> 'Attachment':
        """Return it with these units instead of those it has."""
        found = sorted(claims)
        return dataclasses.replace(
            self,
            provider=found[0].provider if found else '',
            units=tuple(claim.unit for claim in found),
        )

    def primitive(self) -> dict[str, object]:
        """Return plain values, for a message."""
        return {**dataclasses.asdict(self), 'units': list(self.units)}

    @classmethod
    def of(
        cls, primitive: collections.abc.Mapping[str, object]
    ) -> 'Attachment':
        """Read what ``primitive`` returned; keys of later releases go."""
        names = {field.name for field in dataclasses.fields(cls)}
        given: dict[str, object] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in primitive.items()
            if name in names
        }
        return cls(**given)  # type: ignore[arg-type]


# Records


def is_id(text: str) -> bool:
    """Tell a uuid in the one spelling that is used."""
    match = _KEY.fullmatch(f'{_PREFIX}{text}')
    return match is not None and match['part'] is None


def read(metadata: Metadata) -> dict[str, Attachment]:
    """Return the attachments of a server, by id, oldest first.

    Records that cannot be read are left out: see ``unreadable``.
    """
    found = [
        record
        for id_, text in _texts(metadata).items()
        if (record := _decoded(id_, text)) is not None
    ]
    found.sort(key=lambda record: (record.created, record.id))
    return {record.id: record for record in found}


def unreadable(metadata: Metadata) -> frozenset[str]:
    """Return the ids of records that nobody can make sense of."""
    return frozenset(
        id_
        for id_, text in _texts(metadata).items()
        if _decoded(id_, text) is None
    )


def written(metadata: Metadata, record: Attachment) -> dict[str, str]:
    """Return metadata with a record in it, in place of the one it has."""
    text = _encoded(record)
    parts = range(0, len(text), _MAX_VALUE)
    return {
        **erased(metadata, record.id),
        **{
            _key(record.id, number): text[start : start + _MAX_VALUE]
            for number, start in enumerate(parts)
        },
    }


def erased(metadata: Metadata, id_: str) -> dict[str, str]:
    """Return metadata without a record."""
    return {
        key: value
        for key, value in metadata.items()
        if (match := _KEY.fullmatch(key)) is None or match['id'] != id_
    }


def _key(id_: str, part: int) -> str:
    return f'{_PREFIX}{id_}.{part}' if part else f'{_PREFIX}{id_}'


def _texts(metadata: Metadata) -> dict[str, str]:
    parts: dict[str, dict[int, str]] = {}
    for key, value in metadata.items():
        match = _KEY.fullmatch(key)
        if match is not None:
            part = int(match['part'] or 0)
            parts.setdefault(match['id'], {})[part] = value
    return {
        id_: ''.join(text for _number, text in sorted(pieces.items()))
        for id_, pieces in parts.items()
    }


_FIXED = 'f'
# Name in the record -> field. Short: a value of a record is, too.
_NAMES = {
    'rc': 'resource_class',
    'n': 'amount',
    's': 'state',
    'p': 'provider',
    'u': 'units',
    'c': 'created',
    't': 'updated',
    'e': 'reason',
    'r': 'request_id',
}


def _encoded(record: Attachment) -> str:
    fields: dict[str, object] = {'v': _VERSION}
    for name, field in _NAMES.items():
        value = getattr(record, field)
        if value:
            fields[name] = value
    if not record.live_migratable:
        fields[_FIXED] = 1
    return json.dumps(fields, separators=(',', ':'))


def _decoded(id_: str, text: str) -> Attachment | None:
    try:
        fields = json.loads(text)
    except ValueError:
        return None
    if not isinstance(fields, dict) or fields.get('v') != _VERSION:
        return None
    given = {_NAMES[name]: fields[name] for name in fields if name in _NAMES}
    if not _is_sound(given):
        return None
    given['units'] = tuple(given.get('units', ()))
    return Attachment(id=id_, live_migratable=_FIXED not in fields, **given)


def _is_sound(given: collections.abc.Mapping[str, ty.Any]) -> bool:
    amount, units = given.get('amount'), given.get('units', [])
    texts = [v for k, v in given.items() if k not in ('amount', 'units')]
    return (
        {'resource_class', 'state'} <= given.keys()
        and isinstance(amount, int)
        and amount > 0
        and isinstance(units, list)
        and all(isinstance(text, str) for text in [*texts, *units])
        and given['state'] in STATES
    )


# Flavors


def groups(extra_specs: ExtraSpecs) -> dict[str, Group]:
    """Return what attachments add to a flavor, by the id of each."""
    found: dict[str, Group] = {}
    for key, value in extra_specs.items():
        suffix, colon, resource_class = key.partition(':')
        id_ = suffix.removeprefix(_RESOURCES)
        if colon and suffix != id_ and is_id(id_) and value.isdecimal():
            found[id_] = (resource_class, int(value))
    return found


def with_group(extra_specs: ExtraSpecs, record: Attachment) -> dict[str, str]:
    """Return extra specs that ask for what an attachment is about, too."""
    wanted = groups(extra_specs)
    wanted[record.id] = (record.resource_class, record.amount)
    return aligned(extra_specs, wanted)


def without_group(extra_specs: ExtraSpecs, id_: str) -> dict[str, str]:
    """Return extra specs that ask for an attachment no more."""
    wanted = groups(extra_specs)
    wanted.pop(id_, None)
    return aligned(extra_specs, wanted)


def aligned(
    extra_specs: ExtraSpecs, wanted: collections.abc.Mapping[str, Group]
) -> dict[str, str]:
    """Return extra specs with these groups of ours and no others.

    The flavor's own stay as they are. Without a policy, Placement refuses
    two groups with a suffix; and where one group with and one without share
    a provider, Placement 16 adds up what candidates have in common, and so
    allocates too much. So it is ``none``, until the last attachment is gone.

    :param wanted: id of an attachment -> what it asks for.
    """
    found = {
        key: value
        for key, value in extra_specs.items()
        if not key.startswith(_RESOURCES)
    }
    if found.pop(_ADDED_POLICY, None) is not None:
        found.pop(_POLICY, None)
    for id_, (resource_class, amount) in wanted.items():
        found[f'{_RESOURCES}{id_}:{resource_class}'] = str(amount)
    if wanted and _POLICY not in found:
        found[_POLICY] = 'none'
        found[_ADDED_POLICY] = 'none'
    return found


def limit(extra_specs: ExtraSpecs, resource_class: str) -> int | None:
    """Return how much of a class a flavor lets be attached; None: nothing.

    :raises InvalidRequest: the flavor's figure is none.
    """
    key = f'{_LIMIT}{resource_class}'
    value = extra_specs.get(key)
    if value is None:
        return None
    if not (value.isascii() and value.isdecimal()):
        raise exception.InvalidRequest(
            key=key, value=value, reason='a limit is a whole number'
        )
    return int(value)


def attachable(extra_specs: ExtraSpecs) -> tuple[str, ...]:
    """Return the classes that a flavor lets be attached."""
    return tuple(
        sorted(
            key.removeprefix(_LIMIT)
            for key in extra_specs
            if key.startswith(_LIMIT)
        )
    )


# Claims


def apart(
    extra_specs: ExtraSpecs,
    held: collections.abc.Iterable[values.Claim],
) -> frozenset[str]:
    """Return providers that one more group must not use.

    Under ``isolate`` no two groups with a suffix share a provider. Which
    one serves which group is not recorded, so all that hold a class that
    one of them asks for are left out.
    """
    if extra_specs.get(_POLICY) != 'isolate':
        return frozenset()
    asked = {
        resource_class
        for group in request.parse(extra_specs).groups
        if group.suffix
        for resource_class, _amount in group.resources
    }
    return frozenset(
        claim.provider for claim in held if claim.resource_class in asked
    )


def mixes(extra_specs: ExtraSpecs, resource_class: str) -> bool:
    """Tell whether one more group would be counted wrongly when it moves.

    Under ``isolate``, Placement 16 adds up what the candidates of a group
    with a suffix and of the group without one have in common.
    """
    if extra_specs.get(_POLICY) != 'isolate':
        return False
    return any(
        not group.suffix and group.amount(resource_class)
        for group in request.parse(extra_specs).groups
    )


def rebound(
    records: collections.abc.Iterable[Attachment],
    held: collections.abc.Iterable[values.Claim],
) -> tuple[Attachment, ...]:
    """Tell anew which units are whose, after a server has moved.

    Units of one class are alike. An attachment has all of its own from one
    provider; it takes where least is left over, so that those of the flavor
    stay together. One that finds none keeps what it has.
    """
    records, free = tuple(records), set(held)
    kept = {r.id for r in records if r.units and r.claims <= free}
    for record in records:
        if record.id in kept:
            free -= record.claims
    found = []
    for record in records:
        if record.units and record.id not in kept:
            taken = _fitting(record, free)
            if taken:
                free -= taken
                record = record.holding(taken)
        found.append(record)
    return tuple(found)


def _fitting(
    record: Attachment, free: collections.abc.Iterable[values.Claim]
) -> frozenset[values.Claim]:
    by_provider: dict[str, list[values.Claim]] = collections.defaultdict(list)
    for claim in sorted(free):
        if claim.resource_class == record.resource_class:
            by_provider[claim.provider].append(claim)
    enough = [c for c in by_provider.values() if len(c) >= record.amount]
    if not enough:
        return frozenset()
    return frozenset(min(enough, key=len)[-record.amount :])


def leaving(
    records: collections.abc.Iterable[Attachment],
) -> frozenset[values.Claim]:
    """Return units that a guest which is started now must not get."""
    return frozenset(
        claim
        for record in records
        if record.state == DETACHING
        for claim in record.claims
    )
