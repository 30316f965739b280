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

from nova_accel.core import states

NR, R, D, Q = (
    states.NOT_READY,
    states.READY,
    states.DRAINING,
    states.QUARANTINED,
)


@ddt.ddt
class AfterTest(testtools.TestCase):
    @ddt.data(
        # marks, new, the rule wants a word, replaces; marks after, open.
        ((), False, False, False, (), True),
        ((), True, False, False, (), True),
        ((), True, True, False, (NR,), False),
        # Positive: what is forgotten opens nothing.
        ((), False, True, False, (NR,), False),
        ((), True, False, True, (NR,), False),
        # It was known before the other one went.
        ((), False, False, True, (), True),
        ((NR,), False, False, False, (NR,), False),
        ((R, NR), False, True, True, (R,), True),
        ((R,), True, True, True, (R,), True),
        ((D,), False, False, False, (D,), False),
        ((R, D), False, True, False, (R, D), False),
        ((Q,), False, False, False, (Q,), False),
        ((D,), False, True, False, (NR, D), False),
        # What we work out ourselves is worked out anew.
        ((states.MISSING, states.MISMATCH), False, False, False, (), True),
    )
    @ddt.unpack
    def test_after(self, marks, new, wants_word, replaces, expected, is_open):
        sight = states.Sight(frozenset(marks), new, wants_word, replaces)
        found = states.after(sight)
        self.assertEqual(set(expected), found)
        self.assertEqual(is_open, states.is_open(found))


class TraitTest(testtools.TestCase):
    def test_both_directions(self):
        for word in (NR, R, D, Q, states.MISSING, states.MISMATCH):
            self.assertEqual((word, ''), states.read(states.trait(word)))
            found = states.read(states.trait(word, 'sn:1'))
            self.assertEqual(word, found[0])
            self.assertRegex(found[1], '^[0-9A-F]{8}$')

    def test_others(self):
        for text in (
            'CUSTOM_ACCEL_MANAGED',
            'CUSTOM_ACCEL_READY_STEADY',
            'CUSTOM_ACCEL_READY_',
            'CUSTOM_DRAINING',
        ):
            self.assertIsNone(states.read(text))

    def test_of_one_device(self):
        traits = [states.trait(D), states.trait(R, 'sn:1'), 'CUSTOM_X']
        short = states.read(traits[1])[1]
        self.assertEqual({D}, states.marks(traits))
        self.assertEqual({R}, states.marks(traits, short))


class VerbTest(testtools.TestCase):
    def test_a_verb_touches_its_device_alone(self):
        before = {'CUSTOM_X', states.trait(D, 'sn:1'), states.trait(D, 'sn:2')}
        found = states.changed(before, 'enable', 'sn:1')
        self.assertEqual(
            {'CUSTOM_X', states.trait(R, 'sn:1'), states.trait(D, 'sn:2')},
            found,
        )
        self.assertEqual(
            found | {states.trait(D, 'sn:1')},
            states.changed(found, 'drain', 'sn:1'),
        )

    def test_whatever_it_was_an_enabled_device_is_open(self):
        everything = {states.trait(w) for w in (NR, R, D, Q)}
        found = states.marks(states.changed(everything, 'enable'))
        sight = states.Sight(found, wants_word=True, replaces=True)
        self.assertTrue(states.is_open(states.after(sight)))


class DescribeTest(testtools.TestCase):
    def test_words(self):
        self.assertEqual('in service', states.describe(frozenset({R})))
        self.assertEqual(
            'not ready, draining', states.describe(frozenset({D, NR}))
        )
