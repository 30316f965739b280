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
"""The object store: two sides of a relation, and generations."""

import testtools

from nova_accel.testing.xapi_simulator import facts
from nova_accel.testing.xapi_simulator import failure
from nova_accel.testing.xapi_simulator import kinds
from nova_accel.testing.xapi_simulator import store as stores


class StoreTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.store = stores.Store(facts.load())

    def test_other_side(self):
        vm = self.store.create('VM')
        vbd = self.store.create('VBD', VM=vm)
        self.assertEqual([vbd], self.store.get('VM', vm, 'VBDs'))
        other = self.store.create('VM')
        self.store.set('VBD', vbd, VM=other)
        self.assertEqual([], self.store.get('VM', vm, 'VBDs'))
        self.assertEqual([vbd], self.store.get('VM', other, 'VBDs'))
        self.store.delete('VBD', vbd)
        self.assertEqual([], self.store.get('VM', other, 'VBDs'))

    def test_whoever_referred_refers_to_nothing(self):
        vm = self.store.create('VM')
        vbd = self.store.create('VBD', VM=vm)
        self.store.delete('VM', vm)
        self.assertEqual(kinds.NULL, self.store.get('VBD', vbd, 'VM'))

    def test_many_to_many(self):
        types = [self.store.create('VGPU_type') for _ in range(2)]
        pgpu = self.store.create('PGPU', enabled_VGPU_types=types)
        self.store.set('PGPU', pgpu, enabled_VGPU_types=types[1:])
        on = [
            self.store.get('VGPU_type', one, 'enabled_on_PGPUs')
            for one in types
        ]
        self.assertEqual([[], [pgpu]], on)
        self.store.delete('PGPU', pgpu)
        self.assertEqual(
            [], self.store.get('VGPU_type', types[1], 'enabled_on_PGPUs')
        )

    def test_both_sides_are_news(self):
        vm = self.store.create('VM')
        before = self.store.generation
        self.store.create('VBD', VM=vm)
        self.assertGreater(self.store.row('VM', vm).modified, before)

    def test_same_value_is_no_news(self):
        vm = self.store.create('VM', name_label='x')
        before = self.store.generation
        self.store.set('VM', vm, name_label='x', tags=[])
        self.assertEqual(before, self.store.generation)

    def test_values_are_copies(self):
        vm = self.store.create('VM', tags=['a'])
        self.store.get('VM', vm, 'tags').append('b')
        self.assertEqual(['a'], self.store.get('VM', vm, 'tags'))

    def test_names_are_checked(self):
        vm = self.store.create('VM')
        for wrong in ({'name_labl': 'x'}, {'VBDs': []}):
            self.assertRaises(
                AssertionError, self.store.set, 'VM', vm, **wrong
            )

    def test_gone(self):
        vm = self.store.create('VM')
        self.store.delete('VM', vm)
        error = self.assertRaises(
            failure.Failure, self.store.get, 'VM', vm, 'uuid'
        )
        self.assertEqual(['HANDLE_INVALID', 'VM', vm], error.details)
        self.assertFalse(self.store.exists(vm))
        self.assertEqual(1, len(self.store.tombstones))
