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
"""The operator's commands on a host of XenServer or XCP-ng."""

import fixtures
import testtools

from nova_accel.cli import xapi
from nova_accel.testing.xapi_simulator import server
from nova_accel.testing.xapi_simulator import topology
from tests.unit.cli import command

RULES = """
version: 1
devices:
  k2:
    kind: vgpu
    match: {vendor_id: "10de", product_id: "11bf"}
    models: [GRID K240Q]
"""


class XapiTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        simulator = server.Simulator(topology.load('two-hosts'))
        simulator.start()
        self.addCleanup(simulator.stop)
        self.command = self.useFixture(command.Command())
        self.rules = self.command.write('accel.yaml', RULES)
        self.useFixture(
            fixtures.EnvironmentVariable(xapi.PASSWORD, 'password')
        )
        self.uri = f'xapi+{simulator.url}'

    def check(self, host: str, *more: str) -> command.Done:
        connect = f'{self.uri}/{host}'
        return self.command.run(
            'check', '--config', self.rules, '--connect', connect, *more
        )

    def test_a_host_of_a_pool(self) -> None:
        found = self.command.run(
            'devices', '--connect', f'{self.uri}/xen2', '-f', 'json'
        )
        self.assertEqual(0, found.code, found.err)
        self.assertIn('GRID K280Q', found.out)
        self.assertIn('0000:44:00.0', found.out)

    def test_several_types_are_refused_with_what_helps(self) -> None:
        found = self.check('xen2')
        self.assertEqual(1, found.code)
        self.assertIn('xe pgpu-param-set', found.out + found.err)

    def test_dynamic(self) -> None:
        self.command.write('accel.yaml', RULES + '    mode: dynamic\n')
        found = self.check('xen2')
        self.assertEqual(0, found.code, found.out + found.err)
        self.assertIn('CUSTOM_VGPU_GRID_K240Q', found.out)

    def test_a_rule_for_what_xapi_does_not_list(self) -> None:
        # No FPGA has a class that XAPI keeps a record of.
        rule = 'fpga: {kind: pci, match: {class: "1200"}}'
        self.command.write(
            'accel.yaml', f'{RULES}    mode: dynamic\n  {rule}\n'
        )
        found = self.check('xen2', '--strict')
        self.assertEqual(1, found.code)
        self.assertIn(
            "rule 'fpga' matches nothing here", found.err.replace('\n', ' ')
        )

    def test_no_such_host(self) -> None:
        found = self.check('xen3')
        self.assertEqual(1, found.code)
        self.assertIn('xen1, xen2', found.out + found.err)

    def test_no_password(self) -> None:
        self.useFixture(fixtures.EnvironmentVariable(xapi.PASSWORD, None))
        found = self.check('xen2')
        self.assertEqual(1, found.code)
        self.assertIn(xapi.PASSWORD, found.out + found.err)

    def test_a_password_is_never_shown(self) -> None:
        self.useFixture(fixtures.EnvironmentVariable(xapi.PASSWORD, None))
        uri = self.uri.replace('//', '//root:hushhush@')
        found = self.command.run('devices', '--connect', f'{uri}/xen2')
        self.assertEqual(1, found.code)
        self.assertNotIn('hushhush', found.out + found.err)
