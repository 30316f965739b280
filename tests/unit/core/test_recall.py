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

from nova_accel.core import inventory
from nova_accel.core import naming
from nova_accel.core import recall

CARD, OTHER = 'sn:1', 'slot:3:10de-1eb8'


def known(*traits):
    return {'rp': inventory.KnownProvider(CARD, {}, frozenset(traits))}


class RecallTest(testtools.TestCase):
    def test_nothing(self):
        self.assertEqual({}, recall.who({}))
        self.assertEqual({}, recall.remaps({}))
        found = recall.in_use({}, frozenset(), {}, {})
        self.assertFalse(found.knows(CARD))

    def test_traits(self):
        memory = known(
            naming.MANAGED,
            naming.who_trait(CARD, '10de-1eb8'),
            naming.remap_trait(OTHER, CARD, '10de-1eb8'),
        )
        short, dev = map(naming.short_id, (CARD, '10de-1eb8'))
        self.assertEqual({short: dev}, recall.who(memory))
        self.assertEqual(
            {naming.short_id(OTHER): (short, dev)}, recall.remaps(memory)
        )

    def test_what_is_held_is_known(self):
        unit = str(naming.UnitId(OTHER))
        held = frozenset({inventory.Claim('rp', 'VGPU', unit)})
        found = recall.in_use(known(), held, {}, {})
        self.assertEqual({CARD, OTHER}, found.known)
        self.assertEqual({OTHER}, found.held)

    def test_a_pool_keeps_short_ids(self):
        found = recall.in_use({}, frozenset(), {naming.short_id(CARD): ''}, {})
        self.assertTrue(found.knows(CARD))
