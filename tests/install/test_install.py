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

    def _assert_loaded(self, seen):
        self.assertIn('LibvirtAccelDriver', seen['driver'])
        self.assertIn('LibvirtDriver', seen['driver'])

    def _assert_complains(self, environment, complaint):
        done = environment.attempt_probe('plain')
        self.assertEqual(1, done.returncode)
        self.assertIn(complaint, done.stderr)

    @ddt.data(
        (WHEEL, WHEEL, None),
        (EDITABLE, WHEEL, None),
        (EDITABLE, EDITABLE, None),
        (WHEEL, EDITABLE, HIDDEN),
        (WHEEL, EDITABLE_PATH, NOT_FOUND),
    )
    @ddt.unpack
    def test_install_load_uninstall(self, ours, nova, complaint):
        environment = self._environment(nova)
        before = environment.files()

        environment.install_ours(ours)
        loaded = environment.probe('launcher')
        self._assert_loaded(loaded)
        if complaint is None:
            self._assert_loaded(environment.probe('plain'))
        else:
            self._assert_complains(environment, complaint)

        environment.uninstall_ours()
        self.assertEqual(before, environment.files())
        alone = environment.probe('nova')
        self.assertEqual(loaded['nova-compute'], alone['nova-compute'])

    def test_launcher_is_nova_compute(self):
        environment = self._environment(WHEEL)
        environment.install_ours(WHEEL)
        ours, novas = (
            environment.attempt(name, '--version').stdout
            for name in ('nova-accel-compute', 'nova-compute')
        )
        self.assertNotEqual('', novas)
        self.assertEqual(novas, ours)

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
