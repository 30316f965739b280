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
import argparse
import contextlib
import datetime
import io
import pathlib
import tempfile
from unittest import mock

import testtools

from tests.cloud.harness import lists
from tests.cloud.harness import tempest
from tests.cloud.harness import trials

_OURS = 'nova_accel_tempest.tests.T.test_a[driver,id-1]'
_KNOWN = 'tempest.api.compute.servers.A-B.test_it[id-2,smoke]'
_OTHER = 'tempest.api.compute.flavors.F.test_list[id-3]'
_NAMES = (_OTHER, _KNOWN, _OURS)


class TotalsTest(testtools.TestCase):
    def test_in_the_words_that_tiers_are_counted_by(self) -> None:
        out = io.StringIO()
        results = [
            tempest.Result('a', 'success'),
            tempest.Result('b', 'fail'),
        ]
        with contextlib.redirect_stdout(out):
            trials.print_totals(results)
        self.assertEqual(
            ['fail    b', '', ' - Passed: 1', ' - Skipped: 0', ' - Failed: 1'],
            out.getvalue().splitlines(),
        )

    def test_what_did_not_run_is_said_aloud(self) -> None:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            trials.print_left_out(['a', 'b'], 2.0)
        self.assertIn('!!!\n2 TESTS DID NOT RUN', out.getvalue())
        self.assertIn('2 minutes', out.getvalue())


class ChosenTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        folder = pathlib.Path(temporary.name)
        book_patch = mock.patch.object(lists, 'FOLDER', folder)
        book_patch.start()
        self.addCleanup(book_patch.stop)
        book = lists.Book('x==1')
        book.add('broken', {_KNOWN: 'fail', _OTHER: 'success'})
        book.write(datetime.date(2026, 11, 21), _NAMES)

    def chosen(self, *words: str) -> trials.Choice:
        parser = argparse.ArgumentParser()
        trials.add_options(parser)
        with contextlib.redirect_stdout(io.StringIO()) as out:
            choice = trials.chosen(parser.parse_args(words))
        self.said = out.getvalue()
        return choice

    def selected(self, *words: str) -> list[str]:
        return trials.selected(self.chosen(*words), _NAMES)

    def test_by_default_what_means_something(self) -> None:
        self.assertEqual([_OURS, _KNOWN], self.selected())

    def test_the_plugin_alone_while_there_is_no_list(self) -> None:
        lists.file_of('include').unlink()
        self.assertEqual([_OURS], self.selected())

    def test_everything_on_demand_the_plugin_first(self) -> None:
        self.assertEqual([_OURS, _KNOWN, _OTHER], self.selected('--all'))

    def test_named_tests_are_run_whatever_they_mean(self) -> None:
        self.assertEqual('test_list', self.chosen('test_list').regex)
        found = self.selected('test_list')
        self.assertEqual({*_NAMES}, {*found})

    def test_a_seed_makes_the_same_choice_again(self) -> None:
        found: set[bool] = set()
        for seed in map(str, range(40)):
            words = ('--all-probability', '0.5', '--seed', seed)
            first = self.chosen(*words)
            self.assertIn(f'--seed {seed}', self.said)
            self.assertEqual(first, self.chosen(*words))
            found.add(first.everything)
        self.assertEqual({True, False}, found)


class OrderTest(testtools.TestCase):
    NAMES = tuple(
        f'tempest.{cls}.test_{number}' for cls in 'abcdef' for number in '12'
    )

    def test_without_a_seed_it_is_as_it_was(self) -> None:
        self.assertEqual([*self.NAMES], trials.in_order(self.NAMES))

    def test_a_seed_mixes_classes_and_keeps_their_tests_together(
        self,
    ) -> None:
        orders = {tuple(trials.in_order(self.NAMES, s)) for s in range(9)}
        self.assertGreater(len(orders), 1)
        for order in orders:
            self.assertEqual({*self.NAMES}, {*order})
            classes = [tempest.class_of(name) for name in order]
            self.assertEqual(classes[::2], classes[1::2])


class TagTest(testtools.TestCase):
    def test_only_the_tag_makes_a_driver_test(self) -> None:
        self.assertTrue(trials.is_driver_test('a.b[driver,id-1]'))
        self.assertTrue(trials.is_driver_test('a.b[id-1,driver,smoke]'))
        self.assertFalse(trials.is_driver_test('a.driver.b[id-1]'))
        self.assertFalse(trials.is_driver_test('a.driver'))
