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
import contextlib
import io

import ddt
import testtools

from nova_accel.cli import main
from nova_accel.cli import outcome


@ddt.ddt
class UsageTest(testtools.TestCase):
    @ddt.data(
        (['drain'], 'drain needs the ID'),
        (['show'], 'show needs the ID'),
        (['clean'], 'clean needs the ID'),
        (['enable', 'sn:1', '--done'], '--done goes with clean'),
        (['list', 'sn:1'], 'list takes no ID'),
        (['rescan', 'sn:1'], 'rescan takes no ID'),
    )
    @ddt.unpack
    def test_wrong_usage_is_said_before_anybody_is_asked(self, words, said):
        printed = io.StringIO()
        with contextlib.redirect_stderr(printed):
            code = main.run(['device', *words])
        self.assertEqual(outcome.USAGE, code)
        self.assertIn(said, printed.getvalue())

    def test_no_such_action(self):
        with contextlib.redirect_stderr(io.StringIO()):
            error = self.assertRaises(
                SystemExit, main.run, ['device', 'explode', 'sn:1']
            )
        self.assertEqual(outcome.USAGE, error.code)
