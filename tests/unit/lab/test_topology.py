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

import pathlib
import tempfile

import ddt
import testtools

from tests.lab.harness import errors
from tests.lab.harness import topology


@ddt.ddt
class ShippedTest(testtools.TestCase):
    @ddt.data(*topology.names())
    def test_is_a_host(self, name):
        host = topology.load(name)
        for what in ('name', 'bus', 'serial', 'dsn'):
            values = [getattr(card, what) for card in host.cards]
            named = [value for value in values if value]
            self.assertEqual(len(set(named)), len(named), what)
        self.assertEqual(len(set(host.listed)), len(host.listed))
        self.assertTrue(host.description)

    def test_functions_follow_the_card(self):
        card = topology.load('mixed').card('a40')
        self.assertEqual(
            ['0000:90:00.4', '0000:90:00.5', '0000:90:00.6', '0000:90:00.7'],
            card.functions,
        )
        self.assertIn('vfs=8', card.command)

    def test_a_board_sits_behind_its_switch(self):
        card = topology.load('grid').card('k2')
        self.assertEqual(['0000:8a:00.0', '0000:8b:00.0'], card.addresses)

    def test_every_device_is_plugged_once(self):
        folder = pathlib.Path(self.useTempDir())
        commands = topology.plug_commands(topology.load('mixed'), folder)
        plugged = [a['id'] for verb, a in commands if verb == 'device_add']
        self.assertEqual(['nvme-a', 'nvme-b', 'nic-a', 'key-a'], plugged)
        buses = [a['bus'] for verb, a in commands if 'bus' in a]
        self.assertEqual(len(set(buses)), len(buses))
        self.assertNotIn(topology.LAST_PORT, buses)

    def useTempDir(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        return folder.name


class WrongTest(testtools.TestCase):
    def test_unknown(self):
        error = self.assertRaises(errors.LabError, topology.load, 'nothing')
        self.assertIn('mixed', str(error))

    def test_unknown_model(self):
        with tempfile.NamedTemporaryFile('w', suffix='.yaml') as file:
            file.write('description: x\ncards: {a: {model: Z, bus: 1}}\n')
            file.flush()
            error = self.assertRaises(
                errors.LabError, topology.load, file.name
            )
        self.assertIn(file.name, str(error))
