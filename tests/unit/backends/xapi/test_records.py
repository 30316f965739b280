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
"""The driver reads and writes fields that XAPI has."""

import ddt
import testtools

from nova_accel.testing.xapi_simulator import facts
from tests.unit.backends.xapi import conformance
from tests.unit.backends.xapi import records

_VDI = {
    'name_label': "''",
    'name_description': "''",
    'SR': 'sr',
    'virtual_size': '1',
    'type': "'user'",
    'sharable': 'False',
    'read_only': 'False',
    'other_config': '{}',
}


def vdi(**changes):
    items = {**_VDI, **changes}
    body = ', '.join(f'{key!r}: {item}' for key, item in items.items() if item)
    return f"xapi.call('Async.VDI.create', {{{body}}})"


@ddt.ddt
class RecordsTest(testtools.TestCase):
    def test_driver(self):
        made = 0
        for name, text in conformance.sources():
            self.assertEqual([], records.problems(name, text, facts.load()))
            made += text.count(".create'")
        self.assertGreater(made, 4)

    @ddt.data(
        ("record['name_labl']", 'no class has a field name_labl'),
        ("self.record['name_labl']", 'no class has a field name_labl'),
        ("view.objects['vgpu_tipe']", 'no class vgpu_tipe'),
        (vdi(name_labl="''"), 'takes no name_labl'),
        (vdi(uuid="''"), 'takes no uuid'),
        (vdi(SR=''), 'needs SR'),
        (vdi(type="'usr'"), 'type is never usr'),
        (vdi(type="'user' if x else 'sys'"), 'type is never sys'),
        ("xapi.call('VDI.create', made)", 'not written out'),
    )
    @ddt.unpack
    def test_a_typo_is_found(self, text, said):
        (found,) = records.problems('x.py', text, facts.load())
        self.assertIn(said, found)

    def test_what_is_right(self):
        for text in (vdi(), "record['uuid']", "found['whatever']"):
            self.assertEqual([], records.problems('x.py', text, facts.load()))
