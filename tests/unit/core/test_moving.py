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
import ddt
import testtools

from nova_accel.core import moving
from nova_accel import exception


def parts(text):
    """``a:1 a:2 b:3``: kind and name of each."""
    return [moving.Part(*part.split(':')) for part in text.split()]


@ddt.ddt
class PairTest(testtools.TestCase):
    @ddt.data(
        # there, claimed there, here -> pairs
        ('', {}, '', ''),
        ('a:1 a:2', {'a': 2}, 'a:8 a:9', '1-8 2-9'),
        ('b:1 a:2', {'a': 1, 'b': 1}, 'a:8 b:9', '1-9 2-8'),
        # Stock nova gave it one that stays stock nova's business.
        ('a:1 a:2 b:3', {'a': 1}, 'a:9', '1-9'),
        # Stock nova gave it all, and here they become ours.
        ('a:1 a:2', {}, 'a:8 a:9', '1-8 2-9'),
        ('a:1 b:2', {}, '', ''),
    )
    @ddt.unpack
    def test_pairs(self, there, claimed, here, expected):
        found = moving.pair('s', parts(there), claimed, parts(here))
        wanted = [pair.split('-') for pair in expected.split()]
        self.assertEqual(dict(wanted), found)

    @ddt.data(
        ('a:1 a:2', {'a': 2}, 'a:9', 'it has 2 of a and would get 1 here'),
        ('a:1', {'a': 1}, 'b:9', 'it has 1 of a and would get 0 here'),
        ('a:1', {}, 'b:9', 'it would get 1 of b here, and the host .* 0'),
        ('a:1', {}, 'a:8 a:9', 'it would get 2 of a here, and the host .* 1'),
    )
    @ddt.unpack
    def test_left_over(self, there, claimed, here, message):
        error = self.assertRaises(
            exception.NoCounterpart,
            moving.pair,
            's',
            parts(there),
            claimed,
            parts(here),
        )
        self.assertRegex(str(error), f'Server s .*: {message}')
