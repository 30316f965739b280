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

import subunit
import testtools

from tests.cloud.harness import tempest


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
                tempest.Result('a', 'success'),
                tempest.Result('b', 'fail'),
                tempest.Result('c', 'skip'),
                tempest.Result('d', 'success'),
                tempest.Result('e', 'fail'),
            ],
            tempest.read(stream),
        )

    def test_nothing_ran(self) -> None:
        self.assertEqual([], tempest.read(b''))


class SettleTest(testtools.TestCase):
    def settled(self, names: list[str], **found: str) -> dict[str, str]:
        results = [tempest.Result(*pair) for pair in found.items()]
        return {
            one.name: one.outcome for one in tempest.settle(names, results)
        }

    def test_a_class_that_is_not_set_up_fails_each_of_its_tests(self) -> None:
        found = {'setUpClass (a.B)': 'fail', 'a.C.test_z': 'success'}
        self.assertEqual(
            {
                'a.B.test_x[id-1]': 'fail',
                'a.B.test_y': 'fail',
                'a.C.test_z': 'success',
                'setUpClass (a.B)': 'fail',
            },
            self.settled(
                ['a.B.test_x[id-1]', 'a.B.test_y', 'a.C.test_z'], **found
            ),
        )

    def test_a_class_that_is_skipped_skips_each_of_its_tests(self) -> None:
        found = {'setUpClass (a.B)': 'skip'}
        self.assertEqual(
            {'a.B.test_x': 'skip'}, self.settled(['a.B.test_x'], **found)
        )

    def test_what_did_not_end_is_left_out(self) -> None:
        self.assertEqual({}, self.settled(['a.B.test_x']))


class BatchesTest(testtools.TestCase):
    NAMES = ('a.A.t1', 'b.B.t1', 'a.A.t2', 'c.C.t1[x]', 'c.C.t2[a.b]')

    def test_tests_of_one_class_stay_together(self) -> None:
        self.assertEqual(
            [['a.A.t1', 'a.A.t2'], ['b.B.t1'], ['c.C.t1[x]', 'c.C.t2[a.b]']],
            list(tempest.batches(self.NAMES, size=2)),
        )

    def test_no_batch_is_larger_where_classes_are_not(self) -> None:
        self.assertEqual(
            [['a.A.t1', 'a.A.t2', 'b.B.t1'], ['c.C.t1[x]', 'c.C.t2[a.b]']],
            list(tempest.batches(self.NAMES, size=3)),
        )

    def test_a_class_larger_than_a_batch_is_one(self) -> None:
        self.assertEqual(
            [['a.A.t1', 'a.A.t2', 'a.A.t3']],
            list(tempest.batches(['a.A.t1', 'a.A.t2', 'a.A.t3'], size=1)),
        )

    def test_nothing(self) -> None:
        self.assertEqual([], list(tempest.batches([])))
