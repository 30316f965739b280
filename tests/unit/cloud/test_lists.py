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
import datetime
import pathlib
import re
import tempfile
from unittest import mock

import testtools

from tests.cloud.harness import lists

_OUTCOMES = {
    'accel.BrokenDriver': {
        'a.Flavors.test_list[id-1,smoke]': 'success',
        'a.Servers.test_boot[driver,id-2]': 'fail',
        'a.Servers.test_refused': 'success',
        'a.Volumes.test_x': 'skip',
    },
    'accel.SilentDriver': {
        'a.Flavors.test_list[id-1,smoke]': 'success',
        'a.Servers.test_boot[driver,id-2]': 'fail',
        'a.Servers.test_refused': 'fail',
        'a.Volumes.test_x': 'skip',
    },
}


class ListsTest(testtools.TestCase):
    def test_meaningless_is_what_passes_with_every_one(self) -> None:
        self.assertEqual(['a.Flavors.test_list'], lists.meaningless(_OUTCOMES))
        self.assertEqual([], lists.meaningless({}))

    def test_meaningful_is_what_fails_with_one(self) -> None:
        self.assertEqual(
            {
                'a.Servers.test_boot': [
                    'accel.BrokenDriver',
                    'accel.SilentDriver',
                ],
                'a.Servers.test_refused': ['accel.SilentDriver'],
            },
            lists.meaningful(_OUTCOMES),
        )

    def test_written_lists_match_names_with_and_without_tags(self) -> None:
        folder = self.useFixture_folder()
        lists.write(_OUTCOMES, datetime.date(2026, 11, 21), 'nova==34.0.0')
        text = (folder / 'exclude.txt').read_text()
        self.assertIn('2026-11-21', text)
        self.assertIn('nova==34.0.0', text)
        (pattern,) = _patterns(text)
        for name in ('a.Flavors.test_list', 'a.Flavors.test_list[id-9]'):
            self.assertTrue(re.search(pattern, name), name)
        self.assertFalse(re.search(pattern, 'a.Flavors.test_list_detail'))
        patterns = _patterns((folder / 'include.txt').read_text())
        self.assertEqual(2, len(patterns))

    def useFixture_folder(self) -> pathlib.Path:
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        folder = pathlib.Path(temporary.name)
        for name in ('FOLDER', 'INCLUDE', 'EXCLUDE'):
            old: pathlib.Path = getattr(lists, name)
            new = folder if name == 'FOLDER' else folder / old.name
            patch = mock.patch.object(lists, name, new)
            patch.start()
            self.addCleanup(patch.stop)
        return folder


def _patterns(text: str) -> list[str]:
    """As tempest reads a list."""
    lines = [line.partition('#')[0].strip() for line in text.splitlines()]
    return [line for line in lines if line]


class FaultTableTest(testtools.TestCase):
    def test_a_fault_that_nobody_notices_stands_out(self) -> None:
        table = lists.fault_table(
            {'wrong-device': ['a.b.Test.one[x]', 'a.b.Test.two'], 'none': []}
        )
        self.assertEqual(
            [
                'fault              noticed by',
                'wrong-device       Test.one',
                '                   Test.two',
                'none               NOBODY',
            ],
            table.splitlines(),
        )
