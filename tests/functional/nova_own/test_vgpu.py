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
"""Nova's vGPU tests."""

from nova.tests.functional.libvirt import test_vgpu

from tests.functional import nova_own


class VGPUTests(nova_own.OurDriver, test_vgpu.VGPUTests):
    pass


class VGPUMultipleTypesTests(
    nova_own.OurDriver, test_vgpu.VGPUMultipleTypesTests
):
    pass


class VGPULimitMultipleTypesTests(
    nova_own.OurDriver, test_vgpu.VGPULimitMultipleTypesTests
):
    pass


class VGPULiveMigrationTests(
    nova_own.OurDriver, test_vgpu.VGPULiveMigrationTests
):
    pass


class VGPULiveMigrationTestsLMFailed(
    nova_own.OurDriver, test_vgpu.VGPULiveMigrationTestsLMFailed
):
    pass


class DifferentMdevClassesTests(
    nova_own.OurDriver, test_vgpu.DifferentMdevClassesTests
):
    pass
