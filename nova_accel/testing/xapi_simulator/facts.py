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
"""The data model of XAPI: what there is, as ``facts.json`` has it."""

import dataclasses
import functools
import importlib.resources
import json
import typing as ty

from nova_accel.testing.xapi_simulator import kinds

RUNTIME = 'RO/runtime'


@dataclasses.dataclass(frozen=True)
class Field:
    """A field of a class.

    :ivar default: as the model writes it; None where it has none.
    :ivar verbs: messages that exist for it: get, set, add_to...
    """

    name: str
    kind: kinds.Kind
    qualifier: str
    default: str | None
    verbs: frozenset[str]

    @property
    def in_constructor(self) -> bool:
        return self.qualifier != RUNTIME


@dataclasses.dataclass(frozen=True)
class Parameter:
    name: str
    kind: kinds.Kind
    required: bool = True


@dataclasses.dataclass(frozen=True)
class Message:
    """A message of a class.

    :ivar verb: for a message of a field: get, set, add_to, remove_from, add,
        remove; '' otherwise.
    """

    cls: str
    name: str
    parameters: tuple[Parameter, ...]
    result: kinds.Kind
    verb: str = ''
    field: str = ''

    @property
    def required(self) -> int:
        return sum(parameter.required for parameter in self.parameters)


@dataclasses.dataclass(frozen=True)
class Class:
    name: str
    fields: dict[str, Field]
    messages: dict[str, Message]
    enums: dict[str, tuple[str, ...]]


@dataclasses.dataclass(frozen=True)
class Facts:
    """The whole model.

    :ivar errors: code -> names of its parameters.
    """

    source: str
    classes: dict[str, Class]
    errors: dict[str, tuple[str, ...]]
    enums: dict[str, tuple[str, ...]]

    def message(self, method: str) -> Message | None:
        """Return ``VM.start_on``; None if there is no such message."""
        cls, _, name = method.partition('.')
        known = self.classes.get(cls)
        return known.messages.get(name) if known else None


@functools.cache
def load() -> Facts:
    """Read the table that ships."""
    path = importlib.resources.files(__package__) / 'facts.json'
    return parse(json.loads(path.read_text()))


def parse(document: dict[str, ty.Any]) -> Facts:
    classes = {
        name: _class(name, one) for name, one in document['classes'].items()
    }
    enums = {
        name: values
        for cls in classes.values()
        for name, values in cls.enums.items()
    }
    errors = {code: tuple(names) for code, names in document['errors'].items()}
    return Facts(document['source'], classes, errors, enums)


def _class(name: str, document: dict[str, ty.Any]) -> Class:
    fields = {
        field: Field(
            field,
            kinds.parse(kind),
            qualifier,
            default,
            frozenset(verbs.split()),
        )
        for field, (kind, qualifier, default, verbs) in document[
            'fields'
        ].items()
    }
    messages = {
        message: Message(
            name,
            message,
            tuple(
                Parameter(word, kinds.parse(kind), required)
                for word, kind, required in parameters
            ),
            kinds.parse(result),
        )
        for message, (parameters, result) in document['messages'].items()
    }
    for field in fields.values():
        messages.update(
            (f'{verb}_{field.name}', _of_field(name, verb, field))
            for verb in field.verbs
        )
    enums = {key: tuple(words) for key, words in document['enums'].items()}
    return Class(name, fields, messages, enums)


def _of_field(cls: str, verb: str, field: Field) -> Message:
    key, value = field.kind.key, field.kind.item
    further = {
        'get': (),
        'set': (Parameter('value', field.kind),),
        'add_to': (Parameter('key', key), Parameter('value', value)),
        'remove_from': (Parameter('key', key),),
        'add': (Parameter('value', value),),
        'remove': (Parameter('value', value),),
    }[verb]
    return Message(
        cls,
        f'{verb}_{field.name}',
        (Parameter('self', kinds.parse(f'{cls} ref')), *further),
        field.kind if verb == 'get' else kinds.parse('void'),
        verb,
        field.name,
    )
