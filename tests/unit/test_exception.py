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

from nova_accel import exception


class InvalidWhitelistTest(testtools.TestCase):
    def test_one_line_a_problem(self) -> None:
        error = exception.InvalidWhitelist(
            [
                exception.Problem('a.yaml', 3, 'devices.t4', 'is wrong'),
                exception.Problem('a.yaml', 4, '', 'is no YAML'),
                exception.Problem('b.yaml', None, '', 'no such file'),
            ]
        )
        self.assertEqual(
            'a.yaml:3: devices.t4: is wrong\n'
            'a.yaml:4: is no YAML\n'
            'b.yaml: no such file',
            str(error),
        )

    def test_a_long_list_is_cut_in_the_message_only(self) -> None:
        error = exception.InvalidWhitelist(
            exception.Problem('a.yaml', line, '', 'x') for line in range(60)
        )
        self.assertEqual(60, len(error.problems))
        lines = str(error).splitlines()
        self.assertEqual('a.yaml:49: x', lines[49])
        self.assertEqual(['... and 10 more'], lines[50:])
