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
"""Every error has this body."""

from nova_accel.api.schemas import common

ERRORS: common.Schema = common.closed(
    {
        'errors': {
            'type': 'array',
            'minItems': 1,
            'maxItems': 1,
            'items': common.closed(
                {
                    'status': {'type': 'integer', 'minimum': 400},
                    'title': {'type': 'string'},
                    'code': {
                        'type': 'string',
                        'pattern': r'^accelerator-hotplug\.[a-z_]+$',
                        'description': 'Names the error for programs.',
                    },
                    'detail': {
                        'type': 'string',
                        'description': 'What is wrong, and what to do.',
                    },
                    'request_id': common.nullable({'type': 'string'}),
                    'min_version': {'type': 'string'},
                    'max_version': {'type': 'string'},
                },
                optional=('min_version', 'max_version'),
            ),
        }
    }
)
