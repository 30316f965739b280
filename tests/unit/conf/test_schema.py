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
import pathlib
import runpy

import jsonschema
import testtools
import yaml

from nova_accel.conf import schema
from nova_accel.conf import sources

ROOT = pathlib.Path(__file__).parents[3]


def descriptions(part, path=''):
    """Yield the path and the text of everything a file can hold."""
    for key, value in part.get('properties', {}).items():
        yield f'{path}.{key}', value.get('description', '')
        yield from descriptions(value, f'{path}.{key}')


class SchemaTest(testtools.TestCase):
    def test_schema_is_valid(self) -> None:
        jsonschema.Draft7Validator.check_schema(schema.load())

    def test_every_key_is_explained(self) -> None:
        whole = schema.load()
        for part in (whole, whole['definitions']['rule']):
            for path, text in descriptions(part):
                if path != '.match':
                    self.assertThat(
                        text, testtools.matchers.EndsWith('.'), path
                    )

    def test_every_example_is_valid(self) -> None:
        whole = schema.load()
        for name in ('rule', 'match'):
            keys = whole['definitions'][name]['properties']
            for key, value in keys.items():
                validator = jsonschema.Draft7Validator(
                    {**value, 'definitions': whole['definitions']}
                )
                for example in value.get('examples', ()):
                    self.assertTrue(validator.is_valid(example), key)


class ExampleTest(testtools.TestCase):
    """The example that operators start from."""

    def setUp(self) -> None:
        super().setUp()
        self.path = ROOT / 'etc' / 'accel.yaml'

    def test_it_is_read(self) -> None:
        rules = sources.load(sources.Paths(str(self.path))).rules
        self.assertEqual({'vgpu', 'pci'}, {rule.kind for rule in rules})

    def test_it_is_valid(self) -> None:
        jsonschema.Draft7Validator(schema.load()).validate(
            yaml.safe_load(self.path.read_text())
        )


class ReferenceTest(testtools.TestCase):
    def test_page_is_what_the_schema_says(self) -> None:
        tool = runpy.run_path(str(ROOT / 'tools' / 'schema_reference.py'))
        self.assertEqual(
            tool['render'](schema.load()),
            tool['PAGE'].read_text(),
            'run python tools/schema_reference.py',
        )
