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
import inspect

import jsonschema
import testtools

from nova_accel.api import faults
from nova_accel.api import openapi
from nova_accel.api.schemas import error as schemas
from nova_accel import exception


def kinds() -> list[type[exception.HotplugError]]:
    return [
        kind
        for _name, kind in inspect.getmembers(exception, inspect.isclass)
        if issubclass(kind, exception.HotplugError)
    ]


class FaultTest(testtools.TestCase):
    def test_every_error_has_a_status_and_a_body(self) -> None:
        self.assertGreater(len(kinds()), 15)
        for kind in kinds():
            fault = faults.of(kind('What is wrong'))
            self.assertIn(fault.status, openapi.error_statuses(), kind)
            jsonschema.validate(fault.body('req-1'), schemas.ERRORS)

    def test_codes_are_unique(self) -> None:
        codes = [faults.code_of(kind) for kind in kinds()]
        self.assertEqual(len(codes), len(set(codes)))

    def test_one_that_came_by_rpc_shows_no_traceback(self) -> None:
        # As oslo.messaging makes it.
        remote = type(
            'NoFreeSlot_Remote',
            (exception.NoFreeSlot,),
            {'__str__': lambda self: 'text\nTraceback ...'},
        )
        error = remote('No slot is free')
        fault = faults.of(error)
        self.assertEqual('no_free_slot', fault.code)
        self.assertEqual('No slot is free.', fault.detail)

    def test_a_wrong_version_says_which_are_right(self) -> None:
        body = faults.wrong_version('no such version').body(None)
        jsonschema.validate(body, schemas.ERRORS)
        self.assertEqual('1.0', body['errors'][0]['min_version'])

    def test_a_wrong_method_says_which_are_right(self) -> None:
        fault = faults.wrong_method('PUT', ['POST', 'GET'])
        self.assertEqual((('Allow', 'GET, POST'),), fault.headers)
        jsonschema.validate(fault.body(None), schemas.ERRORS)
