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

from nova_accel.core import inventory
from nova_accel.core import ledger


def claims(*units):
    return [inventory.Claim('rp', 'VGPU', unit) for unit in units]


@ddt.ddt
class LedgerTest(testtools.TestCase):
    # The table at the top of the module: picked before, event, picked after.
    @ddt.data(
        ('', 'add', 'a'),
        ('', 'release', ''),
        ('a', 'release', ''),
    )
    @ddt.unpack
    def test_transition(self, before, event, after):
        book = ledger.Ledger()
        book.add(claims('b', *before))
        getattr(book, event)(claims('a'))
        self.assertEqual(frozenset(claims('b', *after)), book.held())

    @ddt.data(('', '', ''), ('', 'a', ''), ('ab', 'a', 'a'), ('a', '', ''))
    @ddt.unpack
    def test_settle(self, before, unsaved, after):
        book = ledger.Ledger()
        book.add(claims(*before), 'server')
        book.settle(claims(*unsaved))
        self.assertEqual(
            dict.fromkeys(claims(*after), 'server'), book.servers()
        )

    @ddt.data(('a',), ('n', 'a'), ('0x', '0x'))
    def test_nothing_is_picked_twice(self, units):
        book = ledger.Ledger()
        book.add(claims('a', 'b'))
        error = self.assertRaises(ValueError, book.add, claims(*units))
        self.assertIn(f': {units[-1]}', str(error))
        # All or nothing.
        self.assertEqual(frozenset(claims('a', 'b')), book.held())

    def test_released_unit_can_be_picked_again(self):
        book = ledger.Ledger()
        for _ in range(2):
            book.add(claims('a'))
            book.release(claims('a'))
        self.assertEqual(frozenset(), book.held())

    def test_one_unit_name_of_two_providers_is_two_picks(self):
        book = ledger.Ledger()
        book.add(claims('a'))
        book.add([inventory.Claim('other', 'VGPU', 'a')])
        self.assertEqual(2, len(book.held()))

    def test_what_was_held_is_a_value(self):
        book = ledger.Ledger()
        book.add(claims('a'))
        held = book.held()
        book.release(claims('a'))
        self.assertEqual(frozenset(claims('a')), held)
