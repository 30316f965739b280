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
"""The extra specs of this project, for the validation in nova's API.

Found by nova through the entry points ``nova.api.extra_spec_validators``.
"""

from nova.api.validation.extra_specs import base

VALIDATORS = [
    base.ExtraSpecValidator(
        name='accel_hotplug:max_{resource_class}',
        description=(
            'How many units of a resource class may be attached to a server '
            'with this flavor, on top of those that the flavor itself asks '
            'for. Without it, none may.'
        ),
        value={
            'type': str,
            'description': 'A whole number.',
            'pattern': r'[1-9][0-9]{0,5}',
        },
        parameters=[
            {
                'name': 'resource_class',
                'pattern': r'[A-Z0-9_]{1,255}',
                'description': 'A standard or a custom resource class, like '
                'VGPU or CUSTOM_T4_8Q.',
            },
        ],
    ),
]


def register() -> list[base.ExtraSpecValidator]:
    return VALIDATORS
