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
import os

import testtools

from nova_accel.backends.xapi import cache
from nova_accel.backends.xapi import errors
from tests.unit.backends.xapi import conformance

# Folder of the published files, where they are at hand.
_MODEL = os.environ.get('NOVA_ACCEL_XAPI_MODEL')


class ConformanceTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.models = [conformance.from_table()]
        if _MODEL:
            self.models.append(conformance.from_files(_MODEL))

    def test_every_call_is_in_the_model(self):
        seen = 0
        for name, text in conformance.sources():
            seen += text.count('.call(')
            for model in self.models:
                self.assertEqual([], conformance.problems(name, text, model))
        self.assertGreater(seen, 50)

    def test_fields_that_are_watched(self):
        for _arity, fields, _errors in self.models:
            for kind in cache.CLASSES:
                watched = set(cache._FIELDS[kind])
                self.assertEqual(set(), watched - fields[kind], kind)

    def test_codes(self):
        for _arity, _fields, known in self.models:
            self.assertEqual(set(), errors.CODES - known)

    def test_a_typo_is_found(self):
        for text, said in (
            ("xapi.call('VM.strat_on', vm)", 'no message VM.strat_on'),
            ("xapi.call('Async.VM.start_on', vm)", 'takes 4 to 4 parameters'),
            ('xapi.call(message, vm)', 'not written out'),
            ("code == 'VM_REQUIRES_VPGU'", 'no error VM_REQUIRES_VPGU'),
        ):
            for model in self.models:
                (found,) = conformance.problems('x.py', text, model)
                self.assertIn(said, found)
