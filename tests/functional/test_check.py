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
"""``nova-accel check`` foretells what Placement is told, and what it costs."""

import contextlib
import io
import json
import pathlib
import resource
import subprocess
import sys
import typing as ty

import fixtures
import nova.conf
import testtools

from nova_accel.cli import main
from nova_accel.testing import cloud
from nova_accel.testing import node_xml
from nova_accel.testing import nodes

from tests.functional import rules

CONF = nova.conf.CONF
SCRIPT = str(pathlib.Path(sys.executable).with_name('nova-accel'))


class ForesightTest(cloud.CloudTestCase):
    def foretold(self, node: str, root: str) -> dict[str, ty.Any]:
        """What check prints for the node file and whitelist of a host."""
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            main.run(
                [
                    'check',
                    '--format=json',
                    '--node=host1',
                    f'--node-uuid={root}',
                    f'--connect={nodes.uri(node)}',
                    f'--config={CONF.accel.config}',
                ]
            )
        found: dict[str, ty.Any] = json.loads(printed.getvalue())
        return found

    def reported(self) -> dict[str, ty.Any]:
        """Placement's providers of ours: uuid -> name, inventories, traits."""
        names = {
            rp['uuid']: rp['name']
            for rp in self._get_all_rps_in_a_tree(
                self.compute_rp_uuids['host1']
            )
        }
        return {
            uuid: (
                names[uuid],
                {
                    rc: (each['total'], each['reserved'], each['max_unit'])
                    for rc, each in self._get_provider_inventory(uuid).items()
                },
                sorted(self._get_provider_traits(uuid)),
            )
            for uuid in self.accel_providers('host1').values()
        }

    def test_providers(self) -> None:
        root = self.start_host('host1', 'a100', rules.A100)
        foretold = self.foretold('a100', root)['providers']
        self.assertEqual(
            self.reported(),
            {
                each['uuid']: (
                    each['name'],
                    {
                        rc: tuple(record.values())
                        for rc, record in each['inventories'].items()
                    },
                    each['traits'],
                )
                for each in foretold
            },
        )

    def test_flavors(self) -> None:
        root = self.start_host('host1', 't4', rules.T4_8Q)
        one, whole = self.foretold('t4', root)['flavors']
        for flavor in (one, whole):
            server = self.boot(
                self._create_flavor(extra_spec=flavor['properties'])
            )
            self.assertEqual(flavor['amount'], len(self.claims(server)))
            self._delete_server(server)


class CostTest(testtools.TestCase):
    def test_512_devices_take_less_than_two_seconds_of_cpu(self) -> None:
        folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        node = folder / 'node.xml'
        node.write_text(node_xml.vgpu_host(cards=16, virtual=32))
        whitelist = folder / 'accel.yaml'
        whitelist.write_text(
            'version: 1\n'
            'devices:\n'
            '  cards: {kind: vgpu, match: {vendor_id: "10de"},'
            ' models: [nvidia-230]}\n'
        )
        common = [f'--connect=test://{node}', f'--config={whitelist}']
        for command in (
            ['check'],
            ['check', '--format=table'],
            ['check', '--format=json'],
            ['devices', '--all'],
        ):
            self.assertLess(cpu([SCRIPT, *command, *common]), 2.0, command)


def cpu(command: list[str]) -> float:
    """Run a command and return the seconds of CPU that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime) - (
        before.ru_utime + before.ru_stime
    )
