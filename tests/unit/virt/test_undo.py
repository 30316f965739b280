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
from nova_accel.virt import undo


class Crash(BaseException):
    """The process is being ended."""


class StackTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.done = []

    def run_it(self, error=None, stuck=None):
        with undo.stack() as on_error:
            for number in range(3):
                on_error(lambda number=number: self.undo(number, stuck))
            if error is not None:
                raise error

    def undo(self, number, stuck):
        if number == stuck:
            raise OSError('it is still in use')
        self.done.append(number)

    def test_nothing_is_undone_without_an_error(self):
        self.run_it()
        self.assertEqual([], self.done)

    def test_the_last_first(self):
        self.assertRaises(KeyError, self.run_it, KeyError('x'))
        self.assertEqual([2, 1, 0], self.done)

    def test_what_cannot_be_undone_keeps_what_is_below(self):
        error = self.assertRaises(
            exception.LeftUndone, self.run_it, KeyError('x'), stuck=1
        )
        self.assertEqual([2], self.done)
        self.assertIn('x', str(error))

    def test_a_process_that_ends_undoes_nothing(self):
        self.assertRaises(Crash, self.run_it, Crash())
        self.assertEqual([], self.done)
