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
"""Install beside nova in every way, load the driver, uninstall."""

import ddt
import testtools

from tests.install import environments

WHEEL = environments.WHEEL
EDITABLE = environments.EDITABLE
EDITABLE_PATH = environments.EDITABLE_PATH

# What nova-compute itself says where only nova-accel-compute works.
HIDDEN = "cannot import name 'arch' from 'nova.virt'"
NOT_FOUND = "No module named 'nova.virt.accel'"


@ddt.ddt
class InstallTest(testtools.TestCase):
    def _environment(self, nova):
        environment = environments.Environment(nova)
        self.addCleanup(environment.remove)
        return environment

    @ddt.data((WHEEL, WHEEL), (EDITABLE, WHEEL), (EDITABLE, EDITABLE))
    @ddt.unpack
    def test_nova_compute_loads_the_driver(self, ours, nova):
        environment = self._environment(nova)
        own = environment.probe('nova')
        environment.install_ours(ours)
        seen = environment.probe('plain')
        self.assertEqual(own['nova'], seen['nova'])
        self.assertIn('LibvirtAccelDriver', seen['driver'])
        self.assertIn('LibvirtDriver', seen['driver'])

    @ddt.data(
        (WHEEL, EDITABLE, HIDDEN),
        (WHEEL, EDITABLE_PATH, NOT_FOUND),
        (EDITABLE, EDITABLE_PATH, NOT_FOUND),
    )
    @ddt.unpack
    def test_nova_compute_says_why_not(self, ours, nova, message):
        environment = self._environment(nova)
        environment.install_ours(ours)
        done = environment.attempt_probe('plain')
        self.assertNotEqual(0, done.returncode)
        self.assertIn(message, done.stderr)

    @ddt.data(
        (WHEEL, WHEEL),
        (EDITABLE, WHEEL),
        (WHEEL, EDITABLE),
        (EDITABLE, EDITABLE),
        (WHEEL, EDITABLE_PATH),
        (EDITABLE, EDITABLE_PATH),
    )
    @ddt.unpack
    def test_launcher_loads_the_driver_and_uninstall_leaves_nova(
        self, ours, nova
    ):
        environment = self._environment(nova)
        own = environment.probe('nova')
        before = environment.files()

        environment.install_ours(ours)
        seen = environment.probe('launcher')
        self.assertEqual(own['nova'], seen['nova'])
        self.assertIn('LibvirtAccelDriver', seen['driver'])
        self.assertIn('LibvirtDriver', seen['driver'])
        done = environment.attempt('nova-accel-compute', '--version')
        self.assertEqual(0, done.returncode, done.stderr)

        environment.uninstall_ours()
        self.assertEqual(before, environment.files())
        self.assertEqual(own, environment.probe('nova'))

    def test_launcher_without_nova_says_so(self):
        environment = self._environment(nova=None)
        environment.install_ours(WHEEL)
        done = environment.attempt('nova-accel-compute')
        self.assertEqual(1, done.returncode)
        self.assertIn('nova is not installed for this Python', done.stderr)

    def test_operators_command_works_without_nova(self):
        environment = self._environment(nova=None)
        environment.install_ours(WHEEL)
        done = environment.attempt('nova-accel', '--help')
        self.assertEqual(0, done.returncode, done.stderr)
