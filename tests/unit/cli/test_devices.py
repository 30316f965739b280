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
import testtools

from nova_accel.cli import outcome
from nova_accel.core import device
from nova_accel.testing import nodes
from tests.unit.cli import command


class DevicesTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.command = self.useFixture(command.Command())

    def devices(self, node: str, *args: str) -> command.Done:
        return self.command.run(
            'devices', f'--connect={nodes.uri(node)}', *args
        )

    def test_hides_what_no_rule_can_offer(self) -> None:
        done = self.devices('t4')
        everything = self.devices('t4', '--all')
        self.assertEqual((outcome.OK, ''), (done.code, done.err))
        self.assertIn('5 devices; 6 bridges and system devices', done.out)
        self.assertIn('11 devices.', everything.out)
        self.assertIn('host device', everything.out)

    def test_folds_virtual_functions(self) -> None:
        self.assertIn('0000:41:00.4 and 15 more', self.devices('a40').out)
        self.assertNotIn(
            ' more ', self.devices('a40', '--all').out.partition('\n\n')[0]
        )
        self.assertIn('0000:41:02.3', self.devices('a40', '--all').out)

    def test_json_lists_everything(self) -> None:
        done = self.devices('a40', '-f', 'json')
        devices = {each['address']: each for each in done.json['devices']}
        self.assertEqual(31, len(devices))
        function = devices['0000:41:00.4']
        self.assertEqual('sn:1320921052601.vf0', function['id'])
        self.assertEqual('serial', function['id_source'])
        self.assertEqual(['slot', 'subsystem'], function['unknown'])
        self.assertEqual('0000:41:00.0', function['parent'])
        self.assertEqual(device.TYPE_VF, function['dev_type'])
        self.assertEqual('unlisted', function['state'])
        self.assertEqual(10, len(function['models']))

    def test_what_becomes_of_each(self) -> None:
        path = self.command.write(
            'accel.yaml',
            """
version: 1
devices:
  vgpu:
    kind: vgpu
    match: {product_id: "1eb8", numa_node: 0}
    models: [GRID T4-8Q]
  whole:
    kind: pci
    match: {product_id: "1eb8"}
""",
        )
        done = self.devices('t4', '-f', 'json', '--config', path)
        states = {
            each['address']: (each['state'], each['rules'], each['provider'])
            for each in done.json['devices']
        }
        self.assertEqual(
            ('withheld', ['vgpu', 'whole'], None), states['0000:18:00.0']
        )
        self.assertEqual(
            ('offered', ['whole'], 'pool:whole:10de-1eb8:numa1'),
            states['0000:af:00.0'],
        )
        self.assertEqual(('unlisted', [], None), states['0000:02:00.0'])
        # Listing went well, whatever the devices are like.
        self.assertEqual(outcome.OK, done.code)

    def test_wrong_file_does_not_hide_the_devices(self) -> None:
        path = self.command.write('accel.yaml', 'version: 2\n')
        done = self.devices('t4', '--config', path)
        self.assertEqual(outcome.PROBLEM, done.code)
        self.assertIn('accel.yaml:1: version: ', done.err)
        self.assertIn('0000:18:00.0', done.out)

    def test_suggested_whitelist_is_clean(self) -> None:
        for node in nodes.NAMES:
            suggested = self.devices(node, '--suggest')
            path = self.command.write('accel.yaml', suggested.out)
            checked = self.command.run(
                'check',
                '--strict',
                f'--connect={nodes.uri(node)}',
                f'--config={path}',
            )
            self.assertEqual(
                (outcome.OK, ''), (checked.code, checked.err), node
            )

    def test_nothing_to_suggest(self) -> None:
        done = self.command.run(
            'devices', '--suggest', '--connect=test:///default'
        )
        self.assertEqual((outcome.OK, ''), (done.code, done.out))
        self.assertIn('nothing to suggest', done.err)
