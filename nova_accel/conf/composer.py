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
"""YAML text -> document, with the place of everything in it.

Works on PyYAML's event stream, so nothing is ever constructed from the file
and no recursion depends on it. What makes YAML dangerous or ambiguous is
refused: aliases (they can multiply without bound), merge keys, tags and a
second document.
"""

import collections.abc
import dataclasses
import re
import typing as ty

import yaml

from nova_accel.core import document
from nova_accel import exception

LOADER: ty.Any = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)

_MAX_DEPTH = 20
_MAX_PROBLEMS = 20

# What PyYAML's own reader takes, which names no line when it refuses.
_UNPRINTABLE = re.compile(
    '[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]'
)

_TAG = 'tag:yaml.org,2002:'
_TYPES = {
    f'{_TAG}str': document.STRING,
    f'{_TAG}int': document.INTEGER,
    f'{_TAG}float': document.NUMBER,
    f'{_TAG}bool': document.BOOLEAN,
    f'{_TAG}timestamp': document.DATE,
    f'{_TAG}null': document.NULL,
    f'{_TAG}value': document.STRING,
}
_MERGE = f'{_TAG}merge'

# PyYAML speaks YAML 1.1, where 1e08 is a string. For the tools that speak 1.2
# and may have written the file, it is a number.
_FLOAT_1_2 = re.compile(r'[0-9]+[eE][0-9]+', re.ASCII)

_RESOLVER = yaml.resolver.Resolver()


@dataclasses.dataclass
class _Open:
    """A list or mapping whose end has not been seen."""

    place: document.Place
    is_mapping: bool
    nodes: list[document.Node] = dataclasses.field(default_factory=list)

    def close(self) -> document.Node:
        if not self.is_mapping:
            return document.Sequence(self.place, tuple(self.nodes))
        pairs = zip(self.nodes[::2], self.nodes[1::2], strict=True)
        return document.Mapping(self.place, tuple(pairs))


def compose(file: str, data: bytes) -> document.Node:
    """Turn the bytes of a file into a document.

    :param file: its name, for messages.
    :raises InvalidWhitelist: it is no text, no YAML, empty, or uses a
        feature of YAML that is refused.
    """
    text = _decode(file, data)
    try:
        node = _Composer(file).compose(yaml.parse(text, Loader=LOADER))
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(file, text, error) from error
    except yaml.YAMLError as error:
        raise _failure(file, None, f'not YAML: {error}') from error
    if node is None:
        raise _failure(
            file, None, 'the file is empty; write version: 1 and devices: {}'
        )
    return node


def _failure(
    file: str, line: int | None, text: str
) -> exception.InvalidWhitelist:
    return exception.InvalidWhitelist(
        [exception.Problem(file, line, '', text)]
    )


def _decode(file: str, data: bytes) -> str:
    if b'\0' in data:
        raise _failure(
            file, None, 'this is a binary file or not UTF-8; must be YAML text'
        )
    try:
        text = data.decode('utf-8-sig')
    except UnicodeDecodeError as error:
        line = data.count(b'\n', 0, error.start) + 1
        raise _failure(
            file, line, f'not UTF-8 text: byte 0x{data[error.start]:02x}'
        ) from error
    unprintable = _UNPRINTABLE.search(text)
    if unprintable is not None:
        line = text.count('\n', 0, unprintable.start()) + 1
        raise _failure(
            file,
            line,
            f'unprintable character U+{ord(unprintable[0]):04X}; remove it',
        )
    return text


# What stands where the scanner stopped -> what to do about it.
_ADVICE = {
    '\t': 'a tab cannot indent; use spaces',
    '*': 'a value that starts with * needs quotes',
    '@': 'a value that starts with @ needs quotes',
    '`': 'a value that starts with ` needs quotes',
    '[': 'a value that holds [ needs quotes here, or a comma is missing',
}


def _syntax_error(
    file: str, text: str, error: yaml.MarkedYAMLError
) -> exception.InvalidWhitelist:
    mark = error.problem_mark or error.context_mark
    advice = _ADVICE.get(_culprit(text, mark))
    if advice is None:
        said = error.problem or 'it cannot be read'
        if error.context and error.context_mark:
            line = error.context_mark.line + 1
            said = f'{said} ({error.context}, line {line})'
        advice = (
            f'{said}; up to here, check indentation, quotes, brackets and '
            f'the space after each colon'
        )
    return _failure(
        file, mark.line + 1 if mark else None, f'YAML syntax error: {advice}'
    )


def _culprit(text: str, mark: yaml.Mark | None) -> str:
    """Return the character that the scanner could not take, '' if unknown."""
    lines = text.splitlines()
    if mark is None or mark.line >= len(lines):
        return ''
    line = lines[mark.line]
    if '\t' in line[: len(line) - len(line.lstrip())]:
        return '\t'
    # The scanner is one further on where it has taken an alias for one.
    before = line[max(mark.column - 1, 0) : mark.column]
    return '*' if before == '*' else line[mark.column : mark.column + 1]


class _Composer:
    """Builds one document from the events of one file."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._open: list[_Open] = []
        self._root: document.Node | None = None
        self._problems: list[exception.Problem] = []
        self._documents = 0

    def compose(
        self, events: collections.abc.Iterable[yaml.Event]
    ) -> document.Node | None:
        """Return the document, None for a file that says nothing."""
        for event in events:
            self._take(event)
            if len(self._problems) >= _MAX_PROBLEMS:
                break
        if self._problems:
            raise exception.InvalidWhitelist(self._problems)
        if self._root is not None and self._is_null(self._root):
            return None
        return self._root

    @staticmethod
    def _is_null(node: document.Node) -> bool:
        return isinstance(node, document.Scalar) and node.type == document.NULL

    def _take(self, event: yaml.Event) -> None:
        place = document.Place(self._file, event.start_mark.line + 1)
        if getattr(event, 'tag', None) is not None:
            self._refuse(place, f'the tag {event.tag} is not supported')
        match event:
            case yaml.DocumentStartEvent():
                self._start_document(place)
            case yaml.ScalarEvent():
                self._add(self._scalar(event, place))
            case yaml.AliasEvent():
                self._refuse(
                    place,
                    f'the alias *{event.anchor} is not supported; write the '
                    f'value out, or quote it if it starts with a wildcard',
                )
                self._add(document.Scalar(place, ''))
            case yaml.SequenceStartEvent() | yaml.MappingStartEvent():
                self._start(place, isinstance(event, yaml.MappingStartEvent))
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                self._add(self._open.pop().close())

    def _refuse(self, place: document.Place, text: str) -> None:
        self._problems.append(
            exception.Problem(place.file, place.line, '', text)
        )

    def _start_document(self, place: document.Place) -> None:
        self._documents += 1
        if self._documents > 1:
            raise _failure(
                place.file,
                place.line,
                'a second document starts here; put it into a file of its own',
            )

    def _start(self, place: document.Place, is_mapping: bool) -> None:
        if len(self._open) >= _MAX_DEPTH:
            raise _failure(
                place.file,
                place.line,
                f'lists and mappings are nested deeper than {_MAX_DEPTH}',
            )
        self._open.append(_Open(place, is_mapping))

    def _add(self, node: document.Node) -> None:
        if self._open:
            self._open[-1].nodes.append(node)
        else:
            self._root = node

    def _scalar(
        self, event: yaml.ScalarEvent, place: document.Place
    ) -> document.Scalar:
        if not event.implicit[0]:
            return document.Scalar(place, event.value)
        tag = _RESOLVER.resolve(yaml.ScalarNode, event.value, (True, False))
        if tag == _MERGE:
            self._refuse(
                place, 'the merge key << is not supported; write the keys out'
            )
        kind = _TYPES.get(tag, document.STRING)
        if kind == document.STRING and _FLOAT_1_2.fullmatch(event.value):
            kind = document.NUMBER
        return document.Scalar(place, event.value, kind)
