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
"""Version discovery, as the OpenStack API guidelines have it."""

from nova_accel.api.schemas import common

VERSION: common.Schema = common.closed(
    {
        'id': {'type': 'string', 'pattern': r'^v\d+\.\d+$'},
        'status': {'type': 'string', 'enum': ['CURRENT', 'SUPPORTED']},
        'min_version': {'type': 'string', 'pattern': r'^\d+\.\d+$'},
        'max_version': {'type': 'string', 'pattern': r'^\d+\.\d+$'},
        'links': {
            'type': 'array',
            'items': common.closed(
                {
                    'rel': {'type': 'string'},
                    'href': {'type': 'string'},
                }
            ),
        },
    }
)

LIST: common.Schema = common.closed(
    {'versions': {'type': 'array', 'items': VERSION}}
)
SHOW: common.Schema = common.closed({'version': VERSION})
