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
"""Reading typed values out of a document, noting what is wrong.

A ``Cursor`` is a node plus the path of keys that led to it. Its readers
return the value, or None after noting a problem, so that one pass finds
every problem of a file and not only the first.
"""

import collections.abc
import dataclasses
import difflib
import re

from nova_accel.core import document
from nova_accel import exception

_DECIMAL = re.compile(r'0|[1-9][0-9]{0,8}', re.ASCII)
_TRUE = frozenset({'yes', 'true', 'on'})
_MAX_TEXT = 255
_PRINTABLE = f'1 to {_MAX_TEXT} printable characters'

_AS = {
    document.STRING: 'a string',
    document.INTEGER: 'a number',
    document.NUMBER: 'a number',
    document.BOOLEAN: 'yes or no',
    document.DATE: 'a date',
}


def near_miss(
    word: str, options: collections.abc.Iterable[str], cutoff: float = 0.6
) -> str | None:
    """Return the option that was probably meant, None if none is near."""
    if len(word) > _MAX_TEXT:
        return None
    by_lower = {option.lower(): option for option in options}
    near = difflib.get_close_matches(
        word.lower(), by_lower, n=1, cutoff=cutoff
    )
    # Too short to look alike, but part of one option only: VF, type-VF.
    near = near or [lower for lower in by_lower if word.lower() in lower]
    return by_lower[near[0]] if len(near) == 1 else None


def did_you_mean(word: str, options: collections.abc.Iterable[str]) -> str:
    """Return the hint to append to a message.

    It names the near miss, or all options when none is near.
    """
    options = sorted(options)
    near = near_miss(word, options)
    if near is not None:
        return f'did you mean {near!r}?'
    return f'known are: {", ".join(options)}'


def describe(node: document.Node) -> str:
    """Return what a node is, for the end of a sentence."""
    if isinstance(node, document.Mapping):
        return 'a mapping'
    if isinstance(node, document.Sequence):
        return 'a list'
    if node.type == document.NULL:
        return 'empty'
    return shorten(node.text)


def shorten(text: str) -> str:
    """Return a text quoted for a message, cut when it is long."""
    return repr(text if len(text) <= 60 else f'{text[:57]}...')


def _printable(text: str) -> bool:
    return 0 < len(text) <= _MAX_TEXT and text.isprintable()


@dataclasses.dataclass(frozen=True)
class Cursor:
    """A node, how one got there, and where problems are noted.

    :ivar path: dotted keys, ``devices.t4.models[1]``; '' at the top.
    :ivar place: of the key for a value of a mapping, else of the node.
    """

    node: document.Node
    place: document.Place
    problems: list[exception.Problem]
    path: str = ''

    def fail(self, text: str) -> None:
        """Note a problem here."""
        self.problems.append(
            exception.Problem(
                self.place.file, self.place.line, self.path, text
            )
        )

    def missing(self, key: str, advice: str) -> None:
        """Note that a key of this mapping is not there."""
        self._child(self.node, self.place, f'.{key}').fail(
            f'this key is missing; {advice}'
        )

    def _child(
        self, node: document.Node, place: document.Place, suffix: str
    ) -> 'Cursor':
        path = f'{self.path}{suffix}'.removeprefix('.')
        return Cursor(node, place, self.problems, path)

    @property
    def is_mapping(self) -> bool:
        return isinstance(self.node, document.Mapping)

    @property
    def is_empty(self) -> bool:
        """Whether this is a mapping without any key."""
        node = self.node
        return isinstance(node, document.Mapping) and not node.entries

    def fields(self) -> dict[str, 'Cursor'] | None:
        """Return the values of a mapping by key; None if it is none.

        Notes keys that are no strings and keys that stand twice.
        """
        if not isinstance(self.node, document.Mapping):
            self.fail(
                f'must be a mapping of keys to values, is '
                f'{describe(self.node)}'
            )
            return None
        found: dict[str, Cursor] = {}
        for key, value in self.node.entries:
            name = self._name(key)
            if name is None:
                continue
            child = self._child(value, key.place, f'.{name}')
            if name in found:
                child.fail(
                    f'this key stands twice, first on line '
                    f'{found[name].place.line}; keep one'
                )
            else:
                found[name] = child
        return found

    def known(
        self,
        keys: collections.abc.Collection[str],
        later: collections.abc.Collection[str] = (),
        misplaced: collections.abc.Mapping[str, str] | None = None,
    ) -> dict[str, 'Cursor'] | None:
        """Return those fields of a mapping that have a known key.

        :param later: keys that a later version will know.
        :param misplaced: keys that belong elsewhere -> where.
        """
        fields = self.fields()
        if fields is None:
            return None
        for key in [key for key in fields if key not in keys]:
            field = fields.pop(key)
            if key in later:
                field.fail('this key is not supported yet by this version')
            elif misplaced and key in misplaced:
                field.fail(f'this key {misplaced[key]}')
            else:
                field.fail(f'unknown key; {did_you_mean(key, keys)}')
        return fields

    def _name(self, key: document.Node) -> str | None:
        here = self._child(key, key.place, '')
        if not isinstance(key, document.Scalar):
            here.fail(f'a key must be a string, is {describe(key)}')
            return None
        if key.type != document.STRING:
            here.fail(
                f'a key must be a string, and YAML reads {key.text or "this"} '
                f'as {_AS.get(key.type, "nothing")}; quote it: "{key.text}"'
            )
            return None
        if not _printable(key.text):
            here.fail(f'a key must be {_PRINTABLE}, is {shorten(key.text)}')
            return None
        return key.text

    def items(self) -> list['Cursor'] | None:
        """Return the items of a list; None if it is no list or empty."""
        if not isinstance(self.node, document.Sequence):
            self.fail(
                f'must be a list, is {describe(self.node)}; write [a, b], '
                f'also for one item'
            )
            return None
        if not self.node.items:
            self.fail('the list is empty; add an item or remove the key')
            return None
        return self._items(self.node)

    def _items(self, node: document.Sequence) -> list['Cursor']:
        return [
            self._child(item, item.place, f'[{index}]')
            for index, item in enumerate(node.items)
        ]

    def alternatives(self) -> list['Cursor']:
        """Return the items of a list, or this very value if it is none."""
        if isinstance(self.node, document.Sequence):
            return self.items() or []
        return [self]

    def distinct(self) -> list[tuple[str, 'Cursor']]:
        """Return the strings of a list, and where each stands.

        Notes a string that stands twice.
        """
        found: dict[str, Cursor] = {}
        for item in self.items() or ():
            text = item.string()
            if text in found:
                item.fail(f'{shorten(text)} stands twice; remove one')
            elif text is not None:
                found[text] = item
        return list(found.items())

    def _scalar(self, wanted: str) -> document.Scalar | None:
        if isinstance(self.node, document.Scalar):
            if self.node.type != document.NULL:
                return self.node
            self.fail(f'has no value; must be {wanted}')
        else:
            self.fail(f'must be {wanted}, is {describe(self.node)}')
        return None

    def string(self) -> str | None:
        """Return a printable string of 1 to 255 characters."""
        scalar = self._scalar('a string')
        if scalar is None:
            return None
        text = scalar.text
        if scalar.type != document.STRING:
            self.fail(
                f'YAML reads {text} as {_AS[scalar.type]}; quote it: "{text}"'
            )
            return None
        if not _printable(text):
            self.fail(f'must be {_PRINTABLE}, is {shorten(text)}')
            return None
        if text != text.strip():
            self.fail(f'{text!r} has spaces around it; remove them')
            return None
        return text

    def integer(self, minimum: int, maximum: int) -> int | None:
        """Return a whole number written in plain decimal."""
        wanted = f'a whole number from {minimum} to {maximum}'
        scalar = self._scalar(wanted)
        if scalar is None:
            return None
        if scalar.type == document.STRING and _DECIMAL.fullmatch(scalar.text):
            self.fail(f'must be {wanted}; remove the quotes')
            return None
        # YAML 1.1 would read 010 as eight and 1:30 as ninety.
        plain = scalar.type == document.INTEGER and _DECIMAL.fullmatch(
            scalar.text
        )
        if not plain or not minimum <= int(scalar.text) <= maximum:
            self.fail(f'must be {wanted}, is {shorten(scalar.text)}')
            return None
        return int(scalar.text)

    def boolean(self) -> bool | None:
        """Return yes or no."""
        scalar = self._scalar('yes or no')
        if scalar is None:
            return None
        if scalar.type != document.BOOLEAN:
            self.fail(
                f'must be yes or no, without quotes, is {shorten(scalar.text)}'
            )
            return None
        return scalar.text.lower() in _TRUE

    def choice(
        self,
        options: collections.abc.Iterable[str],
        later: collections.abc.Iterable[str] = (),
    ) -> str | None:
        """Return one of a few words.

        :param later: words that a later version will know.
        """
        text = self.string()
        if text is None or text in options:
            return text
        if text in later:
            self.fail(f'{text!r} is not supported yet by this version')
        else:
            self.fail(
                f'{shorten(text)} is not a value of this key; '
                f'{did_you_mean(text, options)}'
            )
        return None
