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
import typing as ty
from unittest import mock

import testtools

from tests.cloud.harness import lists

_DATE = datetime.date(2026, 11, 21)
_OUTCOMES = {
    'broken': {
        'a.Flavors.test_list[id-1,smoke]': 'success',
        'a.Servers.test_boot[driver,id-2]': 'fail',
        'a.Servers.test_refused': 'success',
        'a.Volumes.test_x': 'skip',
        'a.Half.test_y': 'success',
    },
    'silent': {
        'a.Flavors.test_list[id-1,smoke]': 'success',
        'a.Servers.test_boot[driver,id-2]': 'fail',
        'a.Servers.test_refused': 'fail',
        'a.Volumes.test_x': 'skip',
    },
}
_NAMES = [*_OUTCOMES['broken'], 'a.Never.test_z[id-3]']


class BookTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        patch = mock.patch.object(
            lists, 'FOLDER', pathlib.Path(temporary.name)
        )
        patch.start()
        self.addCleanup(patch.stop)
        self.book = lists.Book('nova==34.0.0')
        for driver, found in _OUTCOMES.items():
            self.book.add(driver, found)
        self.book.write(_DATE, _NAMES)

    def lines(self, kind: str) -> list[str]:
        """As tempest reads a list."""
        text = lists.file_of(kind).read_text()
        lines = [line.partition('#')[0].strip() for line in text.splitlines()]
        return [line for line in lines if line]

    def test_each_list_is_dated(self) -> None:
        for kind in ('include', 'exclude', 'unjudged', 'outcomes'):
            text = lists.file_of(kind).read_text()
            self.assertIn('2026-11-21', text)
            self.assertIn('nova==34.0.0', text)

    def test_meaningless_is_what_passes_with_every_one(self) -> None:
        (pattern,) = self.lines('exclude')
        for name in ('a.Flavors.test_list', 'a.Flavors.test_list[id-9]'):
            self.assertTrue(re.search(pattern, name), name)
        self.assertFalse(re.search(pattern, 'a.Flavors.test_list_detail'))

    def test_meaningful_is_what_fails_with_one(self) -> None:
        self.assertEqual(
            {
                'a.Servers.test_boot': ['broken', 'silent'],
                'a.Servers.test_refused': ['silent'],
            },
            lists.meaningful(self.book.outcomes),
        )
        self.assertEqual(2, len(self.lines('include')))

    def test_what_was_not_judged_is_listed(self) -> None:
        self.assertEqual(
            ['a.Half.test_y', 'a.Never.test_z'], self.lines('unjudged')
        )
        self.assertEqual(['a.Volumes.test_x'], self.lines('skipped'))

    def test_the_next_run_goes_on_where_it_stopped(self) -> None:
        again = lists.Book('nova==34.0.0')
        self.assertEqual(self.book.outcomes, again.outcomes)
        self.assertEqual(
            ['a.Half.test_y', 'a.Never.test_z[id-3]'],
            again.open('silent', _NAMES),
        )
        self.assertEqual(
            ['a.Never.test_z[id-3]'], again.open('broken', _NAMES)
        )

    def test_some_are_run_again_on_demand(self) -> None:
        self.book.forget(['a.Servers.test_boot[driver,id-2]'])
        self.assertIn(
            'a.Servers.test_boot[driver,id-2]',
            self.book.open('broken', _NAMES),
        )

    def test_what_another_nova_did_does_not_count(self) -> None:
        other = lists.Book('nova==34.0.1')
        self.assertEqual({'broken': {}, 'silent': {}}, other.outcomes)


class PluginTestsTest(testtools.TestCase):
    def test_each_is_a_drivers_or_says_why_not(self) -> None:
        found = lists.plugin_tests()
        self.assertGreater(len(found), 30)
        for name, (tagged, reason) in found.items():
            self.assertNotEqual(tagged, bool(reason), name)

    def test_a_reason_may_be_shared(self) -> None:
        reasons = {
            reason
            for name, reason in lists.untagged().items()
            if '.OfferTest.' in name
        }
        (reason,) = reasons
        self.assertIn('serves nobody', reason)


class FaultTableTest(testtools.TestCase):
    ROWS: ty.ClassVar[dict[str, list[str]]] = {
        'wrong-device': ['Test.one', 'Test.two'],
        'none': [],
    }

    def test_a_fault_that_nobody_notices_stands_out(self) -> None:
        self.assertEqual(
            [
                'fault              noticed by',
                'wrong-device       Test.one',
                '                   Test.two',
                'none               NOBODY',
            ],
            lists.fault_table(self.ROWS).splitlines(),
        )

    def test_what_was_found_is_read_back(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder, 'faults.out')
            with mock.patch.object(lists, 'FAULTS', file):
                self.assertEqual({}, lists.known_faults())
                file.write_text(lists.fault_table(self.ROWS))
                self.assertEqual(self.ROWS, lists.known_faults())

    def test_a_short_name_is_class_and_test(self) -> None:
        self.assertEqual('C.test_x', lists.short('a.b.C.test_x[id-1.2,x]'))
