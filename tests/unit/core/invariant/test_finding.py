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
"""What to do about each finding."""

import testtools

from nova_accel.core import facts
from nova_accel.core import invariant
from tests.unit.core import hosts


class AdviceTest(testtools.TestCase):
    def test_every_kind_has_advice(self):
        kinds = {
            value
            for name, value in vars(invariant).items()
            if name.isupper()
            and isinstance(value, str)
            and '-' in value
            and ' ' not in value
        }
        self.assertEqual(kinds, invariant.ADVICE.keys())

    def test_what_holds_at_once_is_part_of_all(self):
        self.assertLess(invariant.AT_ONCE, invariant.ADVICE.keys())

    def test_a_host_without_anything(self):
        self.assertEqual((), invariant.check(facts.Facts(hosts.NODE)))
