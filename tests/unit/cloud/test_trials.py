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
import io
import pathlib
import tempfile
import typing as ty
from unittest import mock

import subunit
import testtools

from tests.cloud.harness import lists
from tests.cloud.harness import trials


def _stream(**outcomes: str) -> bytes:
    """A subunit stream as stestr keeps one."""
    file = io.BytesIO()
    writer = subunit.StreamResultToBytes(file)
    for name, outcome in outcomes.items():
        writer.status(test_id=name, test_status='inprogress')
        writer.status(test_id=name, test_status=outcome)
    writer.status(file_name='log', file_bytes=b'text', eof=True)
    return file.getvalue()


class ReadTest(testtools.TestCase):
    def test_every_outcome_is_one_of_three(self) -> None:
        stream = _stream(
            a='success', b='fail', c='skip', d='xfail', e='uxsuccess'
        )
        self.assertEqual(
            [
                trials.Result('a', 'success'),
                trials.Result('b', 'fail'),
                trials.Result('c', 'skip'),
                trials.Result('d', 'success'),
                trials.Result('e', 'fail'),
            ],
            trials.read(stream),
        )

    def test_nothing_ran(self) -> None:
        self.assertEqual([], trials.read(b''))


class TotalsTest(testtools.TestCase):
    def test_in_the_words_that_tiers_are_counted_by(self) -> None:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            trials.print_totals(trials.read(_stream(a='success', b='fail')))
        self.assertEqual(
            ['fail    b', '', ' - Passed: 1', ' - Skipped: 0', ' - Failed: 1'],
            out.getvalue().splitlines(),
        )


class ChosenTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.list = pathlib.Path(temporary.name, 'exclude.txt')
        self.list.touch()
        patch = mock.patch.object(lists, 'EXCLUDE', self.list)
        patch.start()
        self.addCleanup(patch.stop)

    def chosen(self, *words: str) -> trials.Choice:
        parser = argparse.ArgumentParser()
        trials.add_options(parser)
        with contextlib.redirect_stdout(io.StringIO()) as out:
            choice = trials.chosen(parser.parse_args(words))
        self.said = out.getvalue()
        return choice

    def test_by_default_what_means_something(self) -> None:
        self.assertEqual(self.list, self.chosen().exclude)

    def test_everything_while_there_is_no_list(self) -> None:
        self.list.unlink()
        self.assertIsNone(self.chosen().exclude)

    def test_everything_on_demand(self) -> None:
        self.assertIsNone(self.chosen('--all').exclude)

    def test_named_tests_are_run_whatever_they_mean(self) -> None:
        choice = self.chosen('test_boot')
        self.assertEqual(trials.Choice('test_boot', None), choice)

    def test_a_seed_makes_the_same_choice_again(self) -> None:
        found: set[ty.Any] = set()
        for seed in map(str, range(40)):
            words = ('--all-probability', '0.5', '--seed', seed)
            first = self.chosen(*words)
            self.assertIn(f'--seed {seed}', self.said)
            self.assertEqual(first, self.chosen(*words))
            found.add(first.exclude)
        self.assertEqual({None, self.list}, found)


class TagTest(testtools.TestCase):
    def test_only_the_tag_makes_a_driver_test(self) -> None:
        self.assertTrue(trials.is_driver_test('a.b[driver,id-1]'))
        self.assertTrue(trials.is_driver_test('a.b[id-1,driver,smoke]'))
        self.assertFalse(trials.is_driver_test('a.driver.b[id-1]'))
        self.assertFalse(trials.is_driver_test('a.driver'))
