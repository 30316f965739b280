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
import importlib.util
import os
import subprocess
import sys

import testtools

_BLOCK_NOVA = """
import importlib, sys

class Block:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition('.')[0] in ('nova', 'libvirt', 'XenAPI'):
            raise ImportError(name + ' was imported')

sys.meta_path.insert(0, Block)
for name in sys.argv[1:]:
    importlib.import_module(name)
"""


class EnvironmentTest(testtools.TestCase):
    @testtools.skipUnless(
        os.environ.get('NOVA_ACCEL_WITHOUT_NOVA'), 'only in tox -e unit'
    )
    def test_nova_is_not_installed(self):
        # A folder nova/ lies here too, without nova.conf.
        self.assertRaises(
            ModuleNotFoundError, importlib.util.find_spec, 'nova.conf.base'
        )

    def test_command_starts_without_nova_and_hypervisors(self):
        done = subprocess.run(
            [sys.executable, '-c', _BLOCK_NOVA, 'nova_accel.cli.main'],
            capture_output=True,
            text=True,
        )
        self.assertEqual('', done.stderr)
