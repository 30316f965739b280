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
"""The OpenAPI document is what the application goes by, and no more."""

import os
import pathlib

import openapi_spec_validator
import testtools
import yaml

from nova_accel.api import openapi
from nova_accel.api import routes

SHIPPED = (
    pathlib.Path(__file__).parents[3] / 'doc/source/reference/openapi.yaml'
)


class OpenAPITest(testtools.TestCase):
    def test_it_is_valid(self) -> None:
        openapi_spec_validator.validate(openapi.document())

    def test_the_shipped_file_is_up_to_date(self) -> None:
        """Write it anew: NOVA_ACCEL_WRITE_DOCS=1 tox -e unit -- openapi."""
        made = yaml.safe_dump(
            openapi.document(), sort_keys=False, width=72, indent=2
        )
        if 'NOVA_ACCEL_WRITE_DOCS' in os.environ:
            SHIPPED.write_text(made)
        self.assertEqual(SHIPPED.read_text(), made)

    def test_every_route_and_status_is_in_it_and_no_other(self) -> None:
        served = {
            (route.method.lower(), route.path, str(status))
            for route in routes.ROUTES
            for status in (*route.answers, *route.errors)
        }
        told = {
            (method, path, status)
            for path, item in openapi.document()['paths'].items()
            for method, operation in item.items()
            if method != 'parameters'
            for status in operation['responses']
        }
        self.assertEqual(served, told)

    def test_every_named_schema_is_used(self) -> None:
        text = str(openapi.document()['paths'])
        schemas = openapi.document()['components']['schemas']
        inner = str(schemas)
        for name in schemas:
            reference = f"'#/components/schemas/{name}'"
            self.assertIn(reference, text + inner)
