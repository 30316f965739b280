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
"""Tables and trees on a terminal, and the same text in a file.

On a terminal they fit its width: a table that does not fit becomes one
record a row, since a broken identifier is worth nothing. Anywhere else (a
pipe, a file) a table is as wide as it needs and its text always the same.
"""

import collections.abc
import dataclasses
import os
import shutil
import textwrap
import typing as ty

import rich.box
import rich.console
import rich.table
import rich.text
import rich.tree

from nova_accel.cli import text

_TREE_WIDTH = 100
_GAP = 2
_INDENT = 4
_UNLIMITED = 1_000_000

_STYLES = {
    'offered': 'green',
    'withheld': 'red',
    'spare:': 'dim',
    'unlisted': 'dim',
    'host': 'dim',
}


@dataclasses.dataclass(frozen=True)
class Branch:
    """A node of a tree: its text, whether it stands out, what hangs on it."""

    text: str
    children: tuple['Branch', ...] = ()
    strong: bool = False


Row = collections.abc.Sequence[str]


class Screen:
    """Where a command writes what a person reads.

    :param file: a text stream; colours are used if it is a terminal and
        NO_COLOR is not set.
    """

    def __init__(self, file: ty.TextIO) -> None:
        self._file = file
        # What fits is decided here: rich would cut identifiers.
        self._width = _width(file)
        self._console = rich.console.Console(
            file=file,
            highlight=False,
            markup=False,
            emoji=False,
            width=_UNLIMITED,
        )

    def line(self, words: str = '') -> None:
        """Write one line as it stands, however long."""
        print(text.printable(words), file=self._file)

    def heading(self, words: str) -> None:
        self._print(rich.text.Text(words, style='bold'))

    def table(self, titles: Row, rows: collections.abc.Iterable[Row]) -> None:
        """Write a table; a column that is empty in every row is left out."""
        titles, lines = _trim(titles, [tuple(row) for row in rows])
        if not lines:
            return
        if self._fits(titles, lines):
            self._print(_table(titles, lines))
            return
        for row in lines:
            self._record(titles, row)

    def tree(self, root: Branch) -> None:
        self._print(_tree(root, min(_TREE_WIDTH, self._width)))

    def _fits(self, titles: Row, rows: collections.abc.Sequence[Row]) -> bool:
        columns = zip(titles, *rows, strict=True)
        needed = sum(max(map(len, column)) + _GAP for column in columns)
        return needed - _GAP <= self._width

    def _record(self, titles: Row, row: Row) -> None:
        """Write a row as a paragraph whose first cell is its title."""
        self._print(rich.text.Text(row[0], style='bold'))
        wide = max(map(len, titles))
        for title, cell in zip(titles[1:], row[1:], strict=True):
            if cell:
                line = rich.text.Text(f'  {title:{wide}}  ') + _cell(cell)
                self._print(line)

    def _print(self, what: rich.console.RenderableType) -> None:
        with self._console.capture() as capture:
            self._console.print(what)
        for line in capture.get().splitlines():
            print(line.rstrip(), file=self._file)


def _width(file: ty.TextIO) -> int:
    """Columns of a terminal, or as COLUMNS says; else no limit."""
    if file.isatty() or 'COLUMNS' in os.environ:
        return shutil.get_terminal_size().columns
    return _UNLIMITED


def _trim(
    titles: Row, rows: list[tuple[str, ...]]
) -> tuple[Row, list[tuple[str, ...]]]:
    used = [
        index
        for index in range(len(titles))
        if any(row[index] for row in rows)
    ]
    return (
        [titles[index] for index in used],
        [tuple(text.printable(row[index]) for index in used) for row in rows],
    )


def _cell(words: str) -> rich.text.Text:
    word = words.partition(' ')[0]
    return rich.text.Text(words, style=_STYLES.get(word, ''))


def _table(
    titles: Row, rows: collections.abc.Sequence[Row]
) -> rich.table.Table:
    table = rich.table.Table(
        box=rich.box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for title in titles:
        table.add_column(title, no_wrap=True)
    for row in rows:
        table.add_row(*map(_cell, row))
    return table


def _tree(root: Branch, width: int) -> rich.tree.Tree:
    lines = textwrap.wrap(
        text.printable(root.text),
        max(width, _INDENT),
        break_long_words=False,
        break_on_hyphens=False,
    )
    tree = rich.tree.Tree(
        rich.text.Text('\n'.join(lines), style='bold' if root.strong else '')
    )
    tree.children.extend(
        _tree(child, width - _INDENT) for child in root.children
    )
    return tree
