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
import time

import ddt
import fixtures
import testtools
import yaml

from nova_accel.conf import composer
from nova_accel.core import document
from nova_accel import exception

# Both readers of PyYAML: libyaml is not there on every platform.
LOADERS = (composer.LOADER, yaml.SafeLoader)


def problem(test, data):
    """Return the one thing that is wrong with a file."""
    error = test.assertRaises(
        exception.InvalidWhitelist, composer.compose, 'f', data
    )
    test.assertEqual(1, len(error.problems), str(error))
    return str(error)


class DocumentTest(testtools.TestCase):
    def test_values_and_where_they_stand(self) -> None:
        data = b'# first\na: "1"\nb:\n  - yes\n  - {c: 2}\n'

        def place(line):
            return document.Place('f', line)

        def word(line, text, kind=document.STRING):
            return document.Scalar(place(line), text, kind)

        inner = document.Mapping(
            place(5), ((word(5, 'c'), word(5, '2', document.INTEGER)),)
        )
        items = (word(4, 'yes', document.BOOLEAN), inner)
        expected = document.Mapping(
            place(2),
            (
                (word(2, 'a'), word(2, '1')),
                (word(3, 'b'), document.Sequence(place(4), items)),
            ),
        )
        for loader in LOADERS:
            self.useFixture(
                fixtures.MonkeyPatch('nova_accel.conf.composer.LOADER', loader)
            )
            self.assertEqual(expected, composer.compose('f', data))

    def test_what_yaml_takes_a_word_for(self) -> None:
        types = {
            '10de': document.STRING,
            '=': document.STRING,
            "'1137'": document.STRING,
            '1137': document.INTEGER,
            '0x10de': document.INTEGER,
            '0302': document.INTEGER,
            '12:30:45': document.INTEGER,
            '1.5': document.NUMBER,
            '1e08': document.NUMBER,
            '00:10:00.0': document.NUMBER,
            'on': document.BOOLEAN,
            '2020-01-02': document.DATE,
            '~': document.NULL,
            '': document.NULL,
        }
        for text, kind in types.items():
            node = composer.compose('f', f'a: {text}'.encode())
            self.assertEqual(kind, node.entries[0][1].type, text)

    def test_byte_order_mark(self) -> None:
        node = composer.compose('f', b'\xef\xbb\xbfa: 1')
        self.assertEqual('a', node.entries[0][0].text)

    def test_windows_line_ends(self) -> None:
        node = composer.compose('f', b'a: 1\r\nb: 2\r\n')
        self.assertEqual(2, node.entries[1][0].place.line)


@ddt.ddt
class RefusalTest(testtools.TestCase):
    @ddt.data(
        (b'\x7fELF\0\0', 'f: this is a binary file or not UTF-8'),
        ('a: 1'.encode('utf-16'), 'f: this is a binary file or not UTF-8'),
        (b'a: 1\nb: \xff\n', 'f:2: not UTF-8 text: byte 0xff'),
        (b'\x1f\x8b\x08', 'f:1: not UTF-8 text: byte 0x8b'),
        (b'a: 1\n\nb: \x1b\n', 'f:3: unprintable character U+001B; remove'),
        ('a: \ufeff'.encode(), 'f:1: unprintable character U+FEFF; remove'),
        (b'', 'f: the file is empty; write version: 1'),
        (b'\n\n', 'f: the file is empty; write version: 1'),
        (b'---\n', 'f: the file is empty; write version: 1'),
        (b'%YAML 3.0\n---\na: 1\n', 'f:1: YAML syntax error: found incompat'),
        (b'[' * 10_000, 'f:1: lists and mappings are nested deeper than 20'),
        (b'a: ' + b'{a: ' * 50, 'f:1: lists and mappings are nested deeper'),
        (
            b''.join(b' ' * n + b'a:\n' for n in range(50)),
            'f:21: lists and mappings are nested deeper than 20',
        ),
        (b'a: 1\n...\nb: 2\n', 'f:3: '),
    )
    @ddt.unpack
    def test_files(self, data, expected) -> None:
        for loader in LOADERS:
            self.useFixture(
                fixtures.MonkeyPatch('nova_accel.conf.composer.LOADER', loader)
            )
            self.assertThat(
                problem(self, data), testtools.matchers.StartsWith(expected)
            )

    @ddt.data(
        (b'a:\n\tb: 1\n', 'f:2: YAML syntax error: a tab cannot indent'),
        (b'a: *\n', 'f:1: YAML syntax error: a value that starts with *'),
        (b'a: @b\n', 'f:1: YAML syntax error: a value that starts with @'),
        (b'a: b: c\n', 'f:1: YAML syntax error: mapping values are not'),
        (b'a: [b\n', 'f:2: YAML syntax error: '),
        (b'a: "b\n', 'f:2: YAML syntax error: found unexpected end of stream'),
    )
    @ddt.unpack
    def test_syntax_errors_read_alike_without_libyaml(
        self, data, expected
    ) -> None:
        for loader in LOADERS:
            self.useFixture(
                fixtures.MonkeyPatch('nova_accel.conf.composer.LOADER', loader)
            )
            self.assertThat(
                problem(self, data), testtools.matchers.StartsWith(expected)
            )

    def test_a_bomb_of_aliases_is_refused_at_once(self) -> None:
        lines = ['a0: &a0 [x, x, x, x, x, x, x, x, x]']
        lines += [
            f'a{n}: &a{n} [{", ".join([f"*a{n - 1}"] * 9)}]'
            for n in range(1, 30)
        ]
        start = time.process_time()
        error = self.assertRaises(
            exception.InvalidWhitelist,
            composer.compose,
            'f',
            '\n'.join(lines).encode(),
        )
        self.assertLess(time.process_time() - start, 0.5)
        self.assertEqual(20, len(error.problems))
        self.assertIn('f:2: the alias *a0 is not supported', str(error))

    def test_every_refused_feature_is_named(self) -> None:
        data = b'a: &x 1\nb: *x\nc: !!str 1\nd: {<<: {}}\n'
        error = self.assertRaises(
            exception.InvalidWhitelist, composer.compose, 'f', data
        )
        self.assertEqual([2, 3, 4], [p.line for p in error.problems])
