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

import contextlib
import io
import json
import os
import pathlib

import testtools

from nova_accel.cli import main
from nova_accel.cli import outcome
from nova_accel.conf import composer
from nova_accel.core import whitelist
from nova_accel.testing import nodes
from tests.unit.cli import command

EXAMPLES = (
    pathlib.Path(__file__).parents[3] / 'doc' / 'source' / 'admin' / 'examples'
)
STAYS = 'b0d5ea0f-0d3f-4f4a-8f0e-3a1c7d1e9f01'
LEAVES = 'c7a1d3e4-52b6-4e0c-9a0d-6f2b8e4d7c02'


class GuideTest(testtools.TestCase):
    """The output in doc/source/admin/upgrade.rst.

    To write it anew: NOVA_ACCEL_WRITE_DOCS=1 tox -e unit -- test_migrate
    """

    def test_output(self) -> None:
        printed = io.StringIO()
        with (
            contextlib.chdir(EXAMPLES),
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            code = main.run(
                [
                    'migrate',
                    'plan',
                    '--nova-conf=upgrade-nova.conf',
                    f'--connect=test://{EXAMPLES}/upgrade-host.xml',
                    '--node=compute1',
                    '--flavor',
                    'vgpu.small',
                    'resources:VGPU=1',
                    '--flavor',
                    'gpu.large',
                    'pci_passthrough:alias=a100:2',
                ]
            )
        self.assertEqual(outcome.PROBLEM, code)
        shown = printed.getvalue().replace(
            'upgrade-nova.conf', '/etc/nova/nova.conf'
        )
        path = EXAMPLES / 'upgrade.out'
        if 'NOVA_ACCEL_WRITE_DOCS' in os.environ:
            path.write_text(shown)
        self.assertEqual(path.read_text(), shown)


class MigrateTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.command = self.useFixture(command.Command())

    def plan(self, *args: str, conf: str = '', uri: str = '') -> command.Done:
        if not conf:
            conf = (EXAMPLES / 'upgrade-nova.conf').read_text()
        return self.command.run(
            'migrate',
            'plan',
            '--nova-conf',
            self.command.write('nova.conf', conf),
            f'--connect={uri or f"test://{EXAMPLES}/upgrade-host.xml"}',
            '--node=host1',
            *args,
        )

    def test_who_stays_and_who_must_leave(self) -> None:
        done = self.plan('-f', 'json')
        self.assertEqual(outcome.PROBLEM, done.code)
        uses = {use['server']: use for use in done.json['servers']}
        self.assertTrue(uses[STAYS]['stays'])
        self.assertEqual('sn:1322621070001/nvidia-233/0', uses[STAYS]['where'])
        self.assertFalse(uses[LEAVES]['stays'])
        self.assertIn(f'server {LEAVES} has 0000:81:00.0', done.err)
        self.assertEqual(
            ['mdev_7f3a51c2_9c1e_4f0b_a6d5_0c2e8b7d4f12_0000_3c_00_0'],
            done.json['idle_mdevs'],
        )
        self.assertEqual(
            [(2, 2), (2, 2), (1, 1), (1, 1)],
            [(row['nova'], row['whitelist']) for row in done.json['offers']],
        )
        self.assertEqual(2, len(done.json['options']['remove']))
        self.assertEqual(1, len(done.json['options']['keep']))

    def test_the_whitelist_alone_is_one(self) -> None:
        done = self.plan('-f', 'yaml')
        node = composer.compose('accel.yaml', done.out.encode())
        rules = whitelist.parse([node]).rules
        self.assertEqual(
            ['tesla-t4-nvidia-233', 'a100-sxm4-40gb'],
            [rule.name for rule in rules],
        )
        self.assertEqual(self.plan('-f', 'json').json['whitelist'], done.out)

    def test_nothing_in_the_way(self) -> None:
        done = self.plan(
            conf='[devices]\nenabled_mdev_types = nvidia-233\n',
            uri=nodes.uri('t4'),
        )
        self.assertEqual((outcome.OK, ''), (done.code, done.err))
        self.assertIn('Nobody.', done.out)
        self.assertNotIn('virsh', done.out)
        self.assertNotIn('Free the PCI devices', done.out)

    def test_nothing_to_plan(self) -> None:
        done = self.plan(conf='[DEFAULT]\n', uri=nodes.uri('t4'))
        self.assertEqual(outcome.OK, done.code)
        self.assertIn('devices: {}', done.out)

    def test_flavors(self) -> None:
        listed = [
            {'Name': 'plain', 'Properties': {}},
            {'Name': 'big', 'Properties': {'pci_passthrough:alias': 'a100:2'}},
        ]
        done = self.plan(
            '--flavor',
            'vgpu',
            'resources:VGPU=1',
            '--flavors',
            self.command.write('flavors.json', json.dumps(listed)),
        )
        self.assertIn('vgpu: stays as it is', done.out)
        self.assertIn('plain: stays as it is', done.out)
        self.assertIn(
            'big: make a new one with\n    --property resources:CUSTOM_A100=2',
            done.out,
        )

    def test_wrong_input(self) -> None:
        for args, said in (
            (('--flavor', 'f', 'nonsense'), 'nonsense is not KEY=VALUE'),
            (
                ('--flavors', self.command.write('f.json', '{"a": 1}')),
                'f.json: not what',
            ),
            (('--connect=nonsense:///',), 'nonsense'),
            (('--nova-conf=/nonexistent/a.conf',), '/nonexistent/a.conf'),
        ):
            done = self.plan(*args)
            self.assertEqual((outcome.PROBLEM, ''), (done.code, done.out))
            self.assertIn(said, done.err)

    def test_an_alias_that_nobody_knows(self) -> None:
        done = self.plan('--flavor', 'f', 'pci_passthrough:alias=x')
        self.assertEqual(outcome.PROBLEM, done.code)
        self.assertIn("flavor f: there is no [pci]alias 'x'", done.err)
