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

import os
import pathlib

import fixtures
import testtools

from nova_accel.testing import harness  # noqa: F401  (must come first)

import nova.conf
from nova.tests import fixtures as nova_fixtures

from nova_accel.cli import visit
from nova_accel import exception
from nova_accel.virt import privileged


class ConfigSpacesTest(testtools.TestCase):
    """In this process: nova's fixture lets nobody become root."""

    def setUp(self) -> None:
        super().setUp()
        self.useFixture(nova_fixtures.PrivsepFixture())
        self.root = self.useFixture(fixtures.TempDir()).path
        self.useFixture(
            fixtures.MockPatchObject(privileged, '_DEVICES', self.root)
        )
        for address in ('0000:3b:00.0', '0000:5e:00.0'):
            folder = pathlib.Path(self.root, address)
            folder.mkdir()
            folder.joinpath('config').write_bytes(os.urandom(5000))

    def test_all_that_were_asked_for(self) -> None:
        found = privileged.config_spaces(['0000:3b:00.0', '0000:7f:00.0'])
        whole = pathlib.Path(self.root, '0000:3b:00.0/config').read_bytes()
        self.assertEqual({'0000:3b:00.0': whole[:4096].hex()}, found)

    def test_what_is_no_address_is_not_opened(self) -> None:
        pathlib.Path(self.root, 'config').write_text('secret')
        for name in ('', '.', '../../etc', '/etc', '0000:3b:00.0/../.'):
            self.assertEqual({}, privileged.config_spaces([name]))


class CommandTest(testtools.TestCase):
    """Commands that ask OpenStack, run by somebody who is not root."""

    def begin(self, helper: str) -> None:
        self.useFixture(fixtures.MockPatch('os.geteuid', lambda: 1000))
        nova.conf.CONF.set_override('helper_command', helper, 'nova_sys_admin')
        self.addCleanup(
            nova.conf.CONF.clear_override, 'helper_command', 'nova_sys_admin'
        )
        visit._become_privileged()

    def test_the_helper_is_there(self) -> None:
        self.useFixture(nova_fixtures.PrivsepFixture())
        self.begin('true')

    def test_it_is_not(self) -> None:
        error = self.assertRaises(exception.CannotLook, self.begin, 'false')
        self.assertIn('run this as root', str(error))
