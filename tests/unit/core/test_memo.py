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
"""What is remembered, and when it is worked out anew."""

import testtools

from nova_accel.core import memo


class MemoTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.calls: list[tuple[object, object]] = []
        self.pair = memo.Memo(self._pair)

    def _pair(self, left: object, right: object) -> list[object]:
        self.calls.append((left, right))
        return [left, right]

    def test_the_same_arguments_give_the_same_object(self) -> None:
        left, right = object(), object()
        first = self.pair(left, right)
        self.assertEqual([left, right], first)
        self.assertIs(first, self.pair(left, right))
        self.assertEqual(1, len(self.calls))

    def test_any_other_argument_counts(self) -> None:
        left, right = object(), object()
        self.pair(left, right)
        other = object()
        self.assertEqual([left, other], self.pair(left, other))
        self.assertEqual([other, other], self.pair(other, other))

    def test_equal_is_not_the_same(self) -> None:
        first = self.pair([1], 2)
        self.assertIsNot(first, self.pair([1], 2))

    def test_one_result_is_remembered(self) -> None:
        left, right = object(), object()
        first = self.pair(left, right)
        self.pair(right, left)
        self.assertIsNot(first, self.pair(left, right))
        self.assertEqual(3, len(self.calls))

    def test_none_and_nothing_are_results_too(self) -> None:
        calls = []
        nothing = memo.Memo(calls.append)
        for _ in range(3):
            self.assertIsNone(nothing(calls))
        self.assertEqual(1, len(calls))
