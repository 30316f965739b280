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
"""What anybody may know: versions, and the OpenAPI document."""

import typing as ty

from nova_accel.api import calls
from nova_accel.api import microversion
from nova_accel.api import openapi


def index(call: calls.Call) -> calls.Answer:
    return calls.Answer(200, {'versions': [_version(call)]})


def show(call: calls.Call) -> calls.Answer:
    return calls.Answer(200, {'version': _version(call)})


def document(call: calls.Call) -> calls.Answer:
    return calls.Answer(200, openapi.document())


def _version(call: calls.Call) -> dict[str, ty.Any]:
    return {
        'id': f'v{microversion.MIN}',
        'status': 'CURRENT',
        'min_version': microversion.MIN,
        'max_version': microversion.MAX,
        'links': [
            {'rel': 'self', 'href': f'{call.base}/v1'},
            {'rel': 'describedby', 'href': f'{call.base}/v1/openapi.json'},
        ],
    }
