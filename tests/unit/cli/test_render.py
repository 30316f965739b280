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
import io
import os
import typing as ty
import unittest.mock

import testtools

from nova_accel.cli import render

LONG = 'CUSTOM_' + 'X' * 150


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class ScreenTest(testtools.TestCase):
    def draw(
        self, file: io.StringIO, method: str, *args: ty.Any, **env: str
    ) -> str:
        clean = {
            key: value
            for key, value in os.environ.items()
            if key not in ('COLUMNS', 'NO_COLOR', 'FORCE_COLOR', 'TERM')
        }
        with unittest.mock.patch.dict(os.environ, {**clean, **env}, True):
            getattr(render.Screen(file), method)(*args)
        return file.getvalue()

    def test_table_in_a_file_is_as_wide_as_it_needs(self) -> None:
        drawn = self.draw(
            io.StringIO(), 'table', ('A', 'B'), [('1', LONG), ('22', '[red]')]
        )
        self.assertEqual(4, len(drawn.splitlines()))
        self.assertIn(LONG, drawn)
        self.assertIn('[red]', drawn)
        self.assertNotIn('\x1b', drawn)
        self.assertNotIn(' \n', drawn)

    def test_table_leaves_empty_columns_out(self) -> None:
        drawn = self.draw(
            io.StringIO(), 'table', ('A', 'B', 'C'), [('1', '', '3')]
        )
        self.assertNotIn('B', drawn)

    def test_table_without_rows_is_nothing(self) -> None:
        self.assertEqual('', self.draw(io.StringIO(), 'table', ('A',), []))

    def test_table_that_just_fits(self) -> None:
        row = ('1' * 10, '2' * 10)
        for columns, lines in (('22', 3), ('21', 2)):
            drawn = self.draw(
                io.StringIO(), 'table', ('A', 'B'), [row], COLUMNS=columns
            )
            self.assertEqual(lines, len(drawn.splitlines()))
            self.assertLessEqual(max(map(len, drawn.splitlines())), 22)

    def test_narrow_terminal_gets_records(self) -> None:
        drawn = self.draw(
            Terminal(),
            'table',
            ('Provider', 'Trait', 'Model'),
            [('one', LONG, 'T4'), ('two', LONG, '')],
            COLUMNS='60',
            NO_COLOR='1',
            TERM='xterm',
        )
        self.assertEqual(2, drawn.count(LONG))
        self.assertIn('  Model     T4\n', drawn)
        # Bold stays: NO_COLOR is about colours.
        self.assertNotIn('\x1b[3', drawn)

    def test_terminal_gets_colours(self) -> None:
        drawn = self.draw(
            Terminal(), 'table', ('Use',), [('offered as X',)], TERM='xterm'
        )
        self.assertIn('\x1b[32m', drawn)

    def test_no_color(self) -> None:
        drawn = self.draw(
            Terminal(),
            'table',
            ('Use',),
            [('offered as X',)],
            TERM='xterm',
            NO_COLOR='1',
        )
        self.assertNotIn('\x1b[32m', drawn)

    def test_tree(self) -> None:
        root = render.Branch(
            'host1', (render.Branch('a', (render.Branch(LONG),)),)
        )
        drawn = self.draw(io.StringIO(), 'tree', root)
        self.assertEqual(['host1', '└── a'], drawn.splitlines()[:2])
        self.assertIn(LONG, drawn)

    def test_tree_wraps_between_words(self) -> None:
        words = ' '.join(f'CUSTOM_TRAIT_{n}' for n in range(20))
        drawn = self.draw(io.StringIO(), 'tree', render.Branch(words))
        self.assertEqual(words.split(), drawn.split())
        self.assertGreater(len(drawn.splitlines()), 1)

    def test_line_shows_control_characters(self) -> None:
        self.assertEqual('a\\x07\n', self.draw(io.StringIO(), 'line', 'a\x07'))
