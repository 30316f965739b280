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
import sqlite3
import typing as ty
from unittest import mock

from nova import test

from nova_accel.cli import main
from nova_accel.cli import readiness
from nova_accel.objects import publication
from nova_accel.objects import vgpu_capabilities
from nova_accel.testing import nodes
from nova_accel.virt import seams
from tests.unit.cli import command

OUTPUT = (
    pathlib.Path(__file__).parents[2]
    / 'doc/source/admin/examples/upgrade-check.out'
)
CONF = """
[DEFAULT]
compute_driver = accel.LibvirtAccelDriver
[accel]
config = {folder}/accel.yaml
config_dir =
"""
RULES = """
version: 1
devices:
  t4:
    kind: vgpu
    match: {vendor_id: "10de", product_id: "1eb8"}
    models: [GRID T4-8Q]
"""
DRIVER = 'Nova: driver'
OWNERS = 'Devices: one owner each'
FILTER = 'Scheduler: filter'
PUBLISHED = 'Scheduler: published capabilities'


class StatusTest(test.NoDBTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.command = self.useFixture(command.Command())
        self.command.write('accel.yaml', RULES)

    def run_check(
        self, *args: str, more: str = '', folder: str = ''
    ) -> tuple[int, str]:
        where = folder or self.command.folder
        conf = CONF.format(folder=where) + more
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            code = main.run(
                [
                    'status',
                    'upgrade',
                    'check',
                    '--nova-conf',
                    self.command.write('nova.conf', conf),
                    f'--connect={nodes.uri("t4")}',
                    *args,
                ]
            )
        return code, out.getvalue()

    def results(self, more: str = '') -> tuple[int, dict[str, ty.Any]]:
        code, out = self.run_check('--json', more=more)
        found = json.loads(out)['checks']
        return code, {
            each['check']: (each['result'], each['details'] or '')
            for each in found
        }

    def test_ready(self) -> None:
        code, out = self.run_check()
        self.assertEqual(0, code, out)
        self.assertIn('| Upgrade Check Results ', out)
        self.assertEqual(8, out.count('Result: Success'))

    def test_output_in_the_guide(self) -> None:
        """NOVA_ACCEL_WRITE_DOCS=1 writes it anew."""
        more = '[devices]\nenabled_mdev_types = nvidia-233\n'
        with contextlib.chdir(self.command.folder):
            # The details are wrapped, so they must not hold a long name.
            code, shown = self.run_check(more=more, folder='.')
        self.assertEqual(2, code)
        if 'NOVA_ACCEL_WRITE_DOCS' in os.environ:
            OUTPUT.write_text(shown)
        self.assertEqual(OUTPUT.read_text(), shown)

    def test_another_driver(self) -> None:
        code, found = self.results(
            '[DEFAULT]\ncompute_driver = libvirt.LibvirtDriver\n'
        )
        self.assertEqual((1, 1), (code, found[DRIVER][0]))

    def test_a_wrong_whitelist(self) -> None:
        self.command.write('accel.yaml', 'version: 1\n')
        code, found = self.results()
        self.assertEqual((2, 2), (code, found['Whitelist'][0]))
        self.assertIn('accel.yaml', found['Whitelist'][1])
        self.assertEqual(1, found[OWNERS][0])

    def test_a_device_with_two_owners(self) -> None:
        for more, option in (
            (
                '[devices]\nenabled_mdev_types = nvidia-233\n',
                '[devices]enabled_mdev_types = nvidia-233',
            ),
            (
                '[pci]\ndevice_spec = {"address": "0000:af:00.0"}\n',
                '[pci]device_spec',
            ),
        ):
            code, found = self.results(more)
            self.assertEqual((2, 2), (code, found[OWNERS][0]))
            self.assertIn('0000:af:00.0 by rule t4 and by', found[OWNERS][1])
            self.assertIn(option, found[OWNERS][1])

    def test_schedulers(self) -> None:
        enabled = '[filter_scheduler]\nenabled_filters = A,AccelFilter\n'
        for more, result in (
            ('[filter_scheduler]\nenabled_filters = A\n', 1),
            (enabled, 2),
            (f'{enabled}available_filters = {readiness.FILTER}\n', 0),
        ):
            code, found = self.results(more)
            self.assertEqual((result, result), (code, found[FILTER][0]))

    def test_what_hosts_publish(self) -> None:
        path = str(self.command.folder / 'nova.sqlite')
        ours = vgpu_capabilities.VGPUCapabilities(models=[], cards=[])
        future = ours.obj_to_primitive()
        future[publication._VERSION] = '2.0'
        self._publish(path, host1=ours.obj_to_primitive())
        more = f'[database]\nconnection = sqlite:///{path}\n'
        code, found = self.results(more)
        version = vgpu_capabilities.VGPUCapabilities.VERSION
        self.assertEqual(
            (0, f'1 host with {version}.'), (code, found[PUBLISHED][1])
        )
        self._publish(path, host2=future, host3={})
        code, found = self.results(more)
        self.assertEqual((1, 1), (code, found[PUBLISHED][0]))
        self.assertIn('1 host with 2.0', found[PUBLISHED][1])
        self.assertIn('what host2, host3 publish', found[PUBLISHED][1])

    def _publish(self, path: str, **published: ty.Any) -> None:
        database = sqlite3.connect(path)
        with database:
            database.execute(
                'CREATE TABLE IF NOT EXISTS compute_nodes '
                '(hypervisor_hostname, stats, deleted DEFAULT 0)'
            )
            database.executemany(
                'INSERT INTO compute_nodes (hypervisor_hostname, stats) '
                'VALUES (?, ?)',
                [
                    (node, json.dumps({publication.KEY: json.dumps(said)}))
                    for node, said in published.items()
                ],
            )
        database.close()

    def test_a_database_that_is_not_there(self) -> None:
        code, found = self.results(
            '[database]\nconnection = sqlite:////nonexistent/secret.db\n'
        )
        self.assertEqual((1, 1), (code, found[PUBLISHED][0]))
        self.assertNotIn('secret', found[PUBLISHED][1])

    def test_versions(self) -> None:
        with mock.patch.object(readiness.metadata, 'version') as version:
            for number, result in (('33.1.0', 2), ('35.0.0', 1)):
                version.return_value = number
                self.assertEqual(result, self.results()[1]['Nova: version'][0])
        with mock.patch.object(readiness.look, 'libvirt_version') as version:
            for numbers, result in (((7, 9, 0), 2), ((8, 1, 0), 1)):
                version.return_value = numbers
                self.assertEqual(result, self.results()[1]['libvirt'][0])

    def test_nova_conf_is_not_there(self) -> None:
        done = self.command.run(
            'status', 'upgrade', 'check', '--nova-conf=/nonexistent/nova.conf'
        )
        self.assertEqual((2, ''), (done.code, done.out))
        self.assertIn('/nonexistent/nova.conf', done.err)


class Nova:
    """What nova was."""

    def kept(self, context: object, instance: object) -> None: ...

    def changed(self, context: object, server: object) -> None: ...

    def grown(self, context: object, more: object) -> None: ...


class Ours(Nova):
    def kept(self, context: object, instance: object) -> None:
        super().kept(context, instance)

    def changed(self, context: object, instance: object) -> None:
        super().changed(context, instance)

    def grown(self, context: object) -> None:
        super().grown(context)  # type: ignore[call-arg]

    def gone(self) -> None:
        super().gone()  # type: ignore[misc]

    def own(self) -> None:
        """Not one of nova's."""


class SeamsTest(test.NoDBTestCase):
    def test_this_nova_has_them_all(self) -> None:
        self.assertEqual([], seams.broken())

    def test_what_is_said_of_another(self) -> None:
        self.assertEqual(
            [
                'Nova.changed takes (self, context, server) instead of '
                '(self, context, instance)',
                'Nova.grown takes (self, context, more) instead of '
                '(self, context)',
                'Nova has no gone',
            ],
            list(seams._overrides([(Ours, Nova)])),
        )
        self.assertEqual(
            ['Nova has no renamed'],
            list(seams._calls({Nova: {'renamed': 'a', 'kept': 'context'}})),
        )
