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
import testtools

from tests.cloud.harness import rounds


class NodeTest(testtools.TestCase):
    def test_one_of_all_who_were_let_win_gets_the_unit(self) -> None:
        node = rounds.Node()
        servers = [f'{n:08d}-0000-4000-8000-000000000000' for n in range(16)]
        for count in (1, 2, 8, 16) * 5:
            self.assertEqual(1, node.decide(servers[:count]))
        self.assertEqual(0, node.decide([]))


class TableTest(testtools.TestCase):
    def test_what_was_over_booked_and_what_was_given_twice(self) -> None:
        row = rounds.Row('defaults', 8)
        for winners, kept in ((1, 1), (3, 1), (0, 0), (2, 2)):
            row.add(winners, kept)
        head, line = rounds.table([row]).splitlines()
        self.assertEqual(
            ['defaults', '8', '4', '2', '(50.0', '%)', '3', '1', '1'],
            line.split(),
        )
        self.assertEqual(len(head), len(line))

    def test_no_round(self) -> None:
        self.assertIn('0 (0.0 %)', rounds.table([rounds.Row('defaults', 2)]))

    def test_the_table_of_the_manual_is_read_back(self) -> None:
        rows = rounds.known_rows()
        self.assertEqual(9, len(rows))
        self.assertEqual(rounds.TABLE.read_text(), rounds.table(rows))
