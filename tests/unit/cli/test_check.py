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
import ddt
import testtools

from nova_accel.cli import outcome
from nova_accel.core import naming
from nova_accel.objects import base
from nova_accel.testing import node_xml
from nova_accel.testing import nodes
from tests.unit.cli import command

UUID = '4f1b3f6e-7d3f-4a53-8b0e-2f0c5b7d3c11'
GOOD = """
version: 1
devices:
  desktops:
    kind: vgpu
    match: {vendor_id: "10de", product_id: "1eb8"}
    models: [GRID T4-8Q]
"""
IDLE = """
version: 1
devices:
  h100:
    kind: pci
    match: {vendor_id: "10de", product_id: "2330"}
"""
TWIN = """
version: 1
devices:
  all-gpus:
    kind: pci
    match: {vendor_id: "10de"}
"""
WRONG = """
version: 1
devices:
  desktops:
    knd: vgpu
    match: {vendor_id: 1002}
"""


@ddt.ddt
class CheckTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.command = self.useFixture(command.Command())

    def check(self, *args: str, text: str = GOOD) -> command.Done:
        path = self.command.write('accel.yaml', text)
        return self.check_files(path, *args)

    def check_files(self, *args: str) -> command.Done:
        return self.command.run(
            'check',
            f'--connect={nodes.uri("t4")}',
            '--node=host1',
            '--config',
            *args,
        )

    @ddt.data('tree', 'table', 'json')
    def test_every_format_says_it_all(self, form: str) -> None:
        done = self.check('-f', form)
        self.assertEqual((outcome.OK, ''), (done.code, done.err))
        for word in (
            'desktops',
            '0000:18:00.0',
            'GRID T4-8Q',
            'host1_accel_sn:1324419052501',
            'VGPU',
            'OWNER_NOVA',
            'CUSTOM_ACCEL_MODEL_GRID_T4_8Q',
            'resources:VGPU=1',
        ):
            self.assertIn(word, done.out)

    def test_uuids_need_the_uuid_of_the_node(self) -> None:
        expected = naming.provider_uuid(UUID, 'sn:1324419052501')
        for form in ('tree', 'table', 'json'):
            done = self.check('-f', form, f'--node-uuid={UUID}')
            self.assertIn(expected, done.out)
            self.assertNotRegex(
                self.check('-f', form).out.partition('capabilities')[0],
                r'[0-9a-f]{8}-[0-9a-f]{4}-',
            )

    def test_every_error_of_every_file(self) -> None:
        first = self.command.write('first.yaml', WRONG)
        second = self.command.write('second.yaml', 'version: [\n')
        done = self.check_files(first, second)
        self.assertEqual((outcome.PROBLEM, ''), (done.code, done.out))
        self.assertIn(f'{first}:5: devices.desktops.knd: ', done.err)
        self.assertIn("'kind'", done.err)
        self.assertIn(f'{first}:6: ', done.err)
        self.assertIn(f'{second}:2: ', done.err)
        self.assertIn('nova-compute would not start', done.err)

    def test_errors_in_json(self) -> None:
        done = self.check('-f', 'json', '--strict', text=WRONG)
        self.assertEqual(outcome.PROBLEM, done.code)
        self.assertNotIn('no whitelist', done.err)
        self.assertFalse(done.json['ok'])
        self.assertIn(
            (5, 'devices.desktops.knd'),
            [(p['line'], p['key']) for p in done.json['problems']],
        )
        self.assertEqual([], done.json['providers'])

    def test_message_of_a_strange_file_name(self) -> None:
        path = self.command.write('a\x1b[31m\n.yaml', WRONG)
        done = self.check_files(path)
        self.assertNotIn('\x1b', done.err)
        self.assertIn('a\\x1b[31m\\n.yaml:5: ', done.err)

    def test_withheld_device(self) -> None:
        one = self.command.write('one.yaml', GOOD)
        two = self.command.write('two.yaml', TWIN)
        done = self.check_files(one, two)
        self.assertEqual(outcome.PROBLEM, done.code)
        self.assertIn(f"'desktops' ({one}:4)", done.out)
        self.assertIn(f"'all-gpus' ({two}:4)", done.out)
        self.assertEqual('nova-accel: 2 devices withheld\n', done.err)

    def test_withheld_card_is_one_row(self) -> None:
        text = TWIN.replace('10de', '15b3')
        done = self.command.run(
            'check',
            f'--connect={nodes.uri("infiniband")}',
            f'--config={self.command.write("accel.yaml", text)}',
        )
        rows = [
            line.split('  ')[-1]
            for line in done.out.splitlines()
            if line.startswith('all-gpus')
        ]
        self.assertEqual(['offered as CUSTOM_PCI_15B3_101B', 'withheld'], rows)
        self.assertIn('0000:5e:00.0 (8 functions)', done.out)
        self.assertEqual('nova-accel: 9 devices withheld\n', done.err)

    def test_withheld_device_in_json(self) -> None:
        path = self.command.write('two.yaml', TWIN)
        done = self.check('-f', 'json', f'--config={path}')
        self.assertEqual(
            ['0000:18:00.0', '0000:af:00.0'],
            [entry['address'] for entry in done.json['withheld']],
        )
        self.assertEqual(
            ['desktops', 'all-gpus'],
            [rule['name'] for rule in done.json['withheld'][0]['rules']],
        )
        # Nobody has seen the reason yet.
        self.assertIn('narrow their match', done.err)

    def test_rule_that_matches_nothing(self) -> None:
        self.assertEqual(outcome.OK, self.check(text=IDLE).code)
        done = self.check('--strict', text=IDLE)
        self.assertEqual(outcome.PROBLEM, done.code)
        self.assertIn(":4: rule 'h100' matches nothing here", done.err)

    def test_strict_and_clean(self) -> None:
        self.assertEqual(outcome.OK, self.check('--strict').code)

    def test_directory(self) -> None:
        self.command.write('accel.d/good.yaml', GOOD)
        self.command.write('accel.d/idle.yaml', IDLE)
        self.command.write('accel.d/other.txt', WRONG)
        done = self.command.run(
            'check',
            '--connect',
            nodes.uri('t4'),
            '--config-dir',
            str(self.command.folder / 'accel.d'),
            '-f',
            'json',
        )
        self.assertEqual(
            ['desktops', 'h100'], [rule['name'] for rule in done.json['rules']]
        )
        self.assertEqual(2, len(done.json['files']))

    def test_no_whitelist_gets_one_suggested(self) -> None:
        args = ('check', '--connect', nodes.uri('t4'))
        done = self.command.run(*args)
        self.assertEqual((outcome.OK, ''), (done.code, done.err))
        self.assertIn('There is no whitelist in ', done.out)
        self.assertIn('product_id: "1eb8"', done.out)
        self.assertEqual(
            outcome.PROBLEM, self.command.run(*args, '--strict').code
        )

    def test_file_that_was_named_must_exist(self) -> None:
        done = self.check_files(str(self.command.folder / 'nope.yaml'))
        self.assertEqual(outcome.PROBLEM, done.code)
        self.assertIn('nope.yaml: no such file', done.err)

    def test_unreachable_host_says_that_the_file_is_right(self) -> None:
        done = self.command.run(
            'check',
            '--connect=test:////nowhere.xml',
            f'--config={self.command.write("accel.yaml", GOOD)}',
        )
        self.assertEqual((outcome.PROBLEM, ''), (done.code, done.out))
        self.assertIn('no error in', done.err)

    def test_directory_without_files(self) -> None:
        done = self.command.run(
            'check',
            '--connect=test:///default',
            f'--config-dir={self.command.folder}',
        )
        self.assertEqual(outcome.OK, done.code)
        self.assertIn(
            f'There is no whitelist in {self.command.folder}:', done.out
        )

    def test_vgpus_that_exist(self) -> None:
        node = self.command.write('node.xml', node_xml.vgpu_host(1, mdevs=2))
        done = self.command.run('check', f'--connect=test://{node}')
        self.assertIn('2 mediated devices exist here now', done.out)

    def test_capabilities(self) -> None:
        primitive = self.check('-f', 'json').json['capabilities']
        found = base.AccelObject.obj_from_primitive(primitive)
        (model,) = found.models
        self.assertEqual(
            ('GRID T4-8Q', 4, 4), (model.name, model.total, model.free)
        )

    def test_json_is_the_same_each_time(self) -> None:
        self.assertEqual(
            self.check('-f', 'json').out, self.check('-f', 'json').out
        )
