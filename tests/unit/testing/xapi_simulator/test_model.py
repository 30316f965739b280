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
"""The simulator's names are those of the published data model.

Where the model's files are at hand (NOVA_ACCEL_XAPI_MODEL names their folder)
the table is compared with them; the source is compared with the table always.
"""

import copy
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import ddt
import testtools

from nova_accel.testing.xapi_simulator import facts
from nova_accel.testing.xapi_simulator import kinds
from nova_accel.testing.xapi_simulator import relations
from tests.unit.testing.xapi_simulator import own_names

TOOL = pathlib.Path(__file__).parents[4] / 'tools' / 'xapi_facts.py'


def tool():
    spec = importlib.util.spec_from_file_location('xapi_facts', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TABLE = json.loads(tool().TABLE.read_text())


def as_published():
    """Return idl.json and errors.json as the table would have them."""
    idl = {}
    for name, cls in TABLE['classes'].items():
        messages = {
            message: {'params': parameters, 'result': result}
            for message, (parameters, result) in cls['messages'].items()
        }
        for field, (_kind, _who, _default, verbs) in cls['fields'].items():
            for verb in verbs.split():
                messages[f'{verb}_{field}'] = {'params': [], 'result': ''}
        idl[name] = {
            'enums': cls['enums'],
            'fields': {
                field: {'type': kind, 'qualifier': who, 'default': default}
                for field, (kind, who, default, _verbs) in cls[
                    'fields'
                ].items()
            },
            'messages': {
                message: {**one, 'state': 'Published'}
                for message, one in messages.items()
            },
        }
    return idl, TABLE['errors']


def model_folder(test):
    """Return the folder of the published files, or of what stands for them."""
    given = os.environ.get('NOVA_ACCEL_XAPI_MODEL')
    if given:
        return pathlib.Path(given)
    folder = tempfile.TemporaryDirectory()
    test.addCleanup(folder.cleanup)
    path = pathlib.Path(folder.name)
    for name, document in zip(('idl', 'errors'), as_published(), strict=True):
        path.joinpath(f'{name}.json').write_text(json.dumps(document))
    return path


@ddt.ddt
class TableTest(testtools.TestCase):
    def test_is_the_model(self):
        folder = model_folder(self)
        done = subprocess.run(
            [
                sys.executable,
                TOOL,
                '--check',
                *('--idl', folder / 'idl.json'),
                *('--errors', folder / 'errors.json'),
            ],
            capture_output=True,
            text=True,
        )
        self.assertEqual(('', 0), (done.stdout + done.stderr, done.returncode))

    @ddt.data(
        ('classes.VM.fields', 'name_label', 'name_labl'),
        ('classes.VM.messages', 'start_on', 'strat_on'),
        ('classes.VM.enums', 'vm_power_state', 'vm_power_sate'),
        ('errors', 'VM_REQUIRES_VGPU', 'VM_REQUIRES_VPGU'),
    )
    @ddt.unpack
    def test_a_typo_is_found(self, path, right, wrong):
        planted = copy.deepcopy(TABLE)
        section = planted
        for name in path.split('.'):
            section = section[name]
        section[wrong] = section.pop(right)
        said = list(tool().differences(planted, TABLE))
        self.assertEqual(
            {
                f'{path}.{wrong}: the model has no such name',
                f'{path}.{right}: the table lacks it',
            },
            set(said),
        )

    def test_wrong_arity_type_and_parameter_are_found(self):
        planted = copy.deepcopy(TABLE)
        vm = planted['classes']['VM']
        vm['messages']['start_on'][0].pop()
        vm['fields']['memory_static_max'][0] = 'string'
        planted['errors']['VM_REQUIRES_VGPU'] = ['vm']
        said = list(tool().differences(planted, TABLE))
        self.assertEqual(3, len(said), said)

    def test_says_where_it_is_from(self):
        self.assertIn('xapi-project/xen-api', facts.load().source)

    def test_as_the_tool_writes_it(self):
        self.assertEqual(tool().TABLE.read_text(), tool().render(TABLE))


@ddt.ddt
class SourceTest(testtools.TestCase):
    def test_names(self):
        model, seen = facts.load(), 0
        for name, text in own_names.sources():
            self.assertEqual([], own_names.problems(name, text, model))
            seen += text.count('Failure(')
        self.assertGreater(seen, 60)

    def test_handlers(self):
        self.assertEqual([], own_names.handlers(facts.load()))

    def test_relations(self):
        classes = facts.load().classes
        for many, reference in (
            *relations.ONE_TO_MANY,
            *relations.MANY_TO_MANY,
        ):
            for (cls, field), other in ((many, reference), (reference, many)):
                kind = classes[cls].fields[field].kind
                self.assertEqual(other[0], (kind.item_kind or kind).name)

    @ddt.data(
        ("x.Failure('VM_REQUIRES_VPGU', a, b, c)", 'no error'),
        ("failure.Failure('VM_REQUIRES_VGPU', a)", 'takes 3 parameters'),
        ("store.get('VM', vm, 'name_labl')", 'no field VM.name_labl'),
        ("one.store.set('VM', vm, name_labl='')", 'no field VM.name_labl'),
        ("store.create('VMM')", 'no class VMM'),
        ("store.find('SR', uid='')", 'no field SR.uid'),
    )
    @ddt.unpack
    def test_a_typo_is_found(self, text, said):
        (found,) = own_names.problems('x.py', text, facts.load())
        self.assertIn(said, found)


@ddt.ddt
class KindTest(testtools.TestCase):
    def test_every_type_is_understood(self):
        """But for the batch of event.from, which is no type of a field."""
        unknown = {
            f'{cls.name}.{field.name}'
            for cls in facts.load().classes.values()
            for field in cls.fields.values()
            if field.kind == kinds.ANY
        }
        self.assertEqual(set(), unknown)

    @ddt.data(
        ('string', '"0:0"', '0:0'),
        ('int', '-1', -1),
        ('float', '1.', 1.0),
        ('bool', 'true', True),
        ('VM ref', 'Null', kinds.NULL),
        ('VM ref', None, kinds.NULL),
        ('string set', '{}', []),
        ('(string -> string) map', None, {}),
        ('enum vm_power_state', 'Halted', 'Halted'),
        ('datetime', None, kinds.EPOCH),
    )
    @ddt.unpack
    def test_default(self, kind, text, expected):
        found = kinds.default(kinds.parse(kind), text)
        self.assertEqual(expected, found)
        self.assertIs(type(expected), type(found))
