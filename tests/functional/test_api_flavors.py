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
"""What nova's API says about flavors with our extra specs."""

import ddt

from nova_accel.testing import harness  # noqa: F401  (must come first)

from nova.api.validation.extra_specs import validators
from nova import exception as nova_exception
from nova import test

from nova_accel.api import extra_specs


@ddt.ddt
class ExtraSpecsTest(test.NoDBTestCase):
    def test_nova_has_found_them(self) -> None:
        (ours,) = extra_specs.register()
        self.assertIn(ours.name, validators.VALIDATORS)

    @ddt.data(
        ('accel_hotplug:max_VGPU', '1'),
        ('accel_hotplug:max_CUSTOM_T4_8Q', '16'),
    )
    @ddt.unpack
    def test_good(self, name: str, value: str) -> None:
        validators.validate(name, value)

    @ddt.data(
        ('accel_hotplug:max_VGPU', '0'),
        ('accel_hotplug:max_VGPU', '-1'),
        ('accel_hotplug:max_VGPU', '1_0'),
        ('accel_hotplug:max_VGPU', ' 1'),
        ('accel_hotplug:max_VGPU', 'all'),
        ('accel_hotplug:max_vgpu', '1'),
        ('accel_hotplug:max_', '1'),
        ('accel_hotplug:maximum_VGPU', '1'),
        ('accel_hotplug:group_policy', 'none'),
    )
    @ddt.unpack
    def test_bad(self, name: str, value: str) -> None:
        self.assertRaises(
            nova_exception.ValidationError, validators.validate, name, value
        )
