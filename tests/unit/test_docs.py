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
"""What the documentation shows is what the code reads and says."""

import ast
import collections.abc
import contextlib
import functools
import io
import os
import pathlib
import re
import urllib.parse

import ddt
import testtools

import nova_accel
from nova_accel.cli import main
from nova_accel.conf import sources

ADMIN = pathlib.Path(__file__).parents[2] / 'doc' / 'source' / 'admin'
_CELL = re.compile(r'^ +\* - ``(.+?)``\n', re.MULTILINE | re.DOTALL)
_FIELD = re.compile(r'%(?:\(\w+\))?[sdr]')


def quoted_messages() -> list[str]:
    """Messages in the first column of the tables of troubleshooting.rst."""
    text = (ADMIN / 'troubleshooting.rst').read_text()
    return [' '.join(cell.split()) for cell in _CELL.findall(text)]


def texts() -> collections.abc.Iterator[tuple[str, ...]]:
    """Every text in our source, cut where something is filled in."""
    for path in pathlib.Path(nova_accel.__file__).parent.rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr | ast.Constant):
                yield tuple(_pieces(node))


def _pieces(node: ast.JoinedStr | ast.Constant) -> list[str]:
    pieces = ['']
    for part in node.values if isinstance(node, ast.JoinedStr) else [node]:
        if not isinstance(part, ast.Constant):
            pieces.append('')
        elif isinstance(part.value, str):
            first, *others = _FIELD.split(part.value)
            pieces[-1] += first
            pieces += others
    return pieces


def says(pieces: tuple[str, ...], message: str) -> bool:
    """Whether a text, filled in, can read like the message."""
    said = sum(map(len, pieces))
    if 2 * said < len(message.replace('...', '')):
        # Too little of it is fixed to prove anything.
        return False
    return _pattern(pieces).fullmatch(message) is not None


@functools.cache
def _pattern(pieces: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile('.+'.join(map(re.escape, pieces)))


class ExamplesTest(testtools.TestCase):
    def test_examples_are_read(self) -> None:
        examples = sorted(ADMIN.glob('examples/*.yaml'))
        self.assertNotEqual([], examples)
        for path in examples:
            rules = sources.load(sources.Paths(config=str(path))).rules
            self.assertNotEqual((), rules, path)


@ddt.ddt
class DesktopsTest(testtools.TestCase):
    """The outputs in desktops.rst.

    To write them anew: NOVA_ACCEL_WRITE_DOCS=1 tox -e unit -- test_docs
    """

    @ddt.data('small', 'large', 'dynamic')
    def test_output(self, set_up: str) -> None:
        folder = ADMIN / 'examples'
        where = urllib.parse.quote(str(folder))
        printed = io.StringIO()
        with contextlib.chdir(folder), contextlib.redirect_stdout(printed):
            code = main.run(
                [
                    'check',
                    '--node=compute1',
                    f'--connect=test://{where}/desktops-host.xml',
                    f'--config=desktops-{set_up}.yaml',
                ]
            )
        self.assertEqual(0, code)
        shown = printed.getvalue().replace(where, '/tmp')
        path = folder / f'desktops-{set_up}.out'
        if 'NOVA_ACCEL_WRITE_DOCS' in os.environ:
            path.write_text(shown)
        self.assertEqual(path.read_text(), shown)


class MessagesTest(testtools.TestCase):
    def test_quoted_messages_exist(self) -> None:
        quoted = quoted_messages()
        self.assertGreater(len(quoted), 20)
        known = set(texts())
        stale = [
            message
            for message in quoted
            if not any(says(pieces, message) for pieces in known)
        ]
        self.assertEqual([], stale)


@ddt.ddt
class HonestyTest(testtools.TestCase):
    """What nobody has seen is said where people look first."""

    @ddt.data(
        'README.rst',
        'doc/source/admin/xenserver.rst',
        'doc/source/admin/limits.rst',
    )
    def test_no_xen_host_was_seen(self, page: str) -> None:
        text = ADMIN.parents[2].joinpath(page).read_text()
        words = ' '.join(text.split()).casefold()
        self.assertIn('verified against a simulator built from the', words)
        self.assertIn('published data model', words)
        self.assertIn('not on a xen host', words)
