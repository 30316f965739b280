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
"""What nova-compute says about its host when it starts."""

import fixtures

from nova_accel.backends.libvirt import backend
from nova_accel.core import inventory
from nova_accel.testing import cloud

from tests.functional import rules

SAID = 'Audit of accelerators: '


class StartTest(cloud.CloudTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.start_host('host1', 't4', rules.T4_8Q)
        self.server = self.boot(self.flavor(resources__VGPU=1))

    def restart(self) -> list[str]:
        """Restart nova-compute and return what it says."""
        before = len(self.said())
        self.restart_compute_service('host1')
        return self.said()[before:]

    def said(self) -> list[str]:
        return [
            line.partition(SAID)[2]
            for line in self.stdlog.logger.output.splitlines()
            if SAID in line
        ]

    def test_nothing_is_wrong(self) -> None:
        self.assertEqual(['0 findings'], self.restart())
        # A start is all: no update says it again.
        self.run_periodic()
        self.assertEqual(2, len(self.said()))

    def test_a_warning_for_each_finding(self) -> None:
        (held,) = self.claims(self.server)
        conn = self.connection_of('host1')
        domain = conn.lookupByUUIDString(self.server['id'])
        domain._live.clear()
        warning, total = self.restart()
        self.assertEqual('1 findings', total)
        for word in ('device-not-attached', self.server['id'], held.unit):
            self.assertIn(word, warning)
        # It serves all the same.
        self._reboot_server(self.server, hard=True)
        self.assert_invariants()

    def test_what_nobody_holds_is_collected_first(self) -> None:
        (held,) = self.claims(self.server)
        card, part, number = held.unit.rsplit('/', 2)
        other = f'{card}/{part}/{1 - int(number)}'
        claim = inventory.Claim(held.provider, 'VGPU', other)
        self.computes['host1'].driver.accel.attach('-', [claim])
        self.assertEqual(2, len(self.mdevs('host1')))
        self.assertEqual(['0 findings'], self.restart())
        self.assertEqual(1, len(self.mdevs('host1')))

    def test_it_does_not_keep_nova_compute_from_starting(self) -> None:
        self.useFixture(
            fixtures.MockPatchObject(
                backend.LibvirtBackend,
                'guests',
                side_effect=RuntimeError('out of order'),
            )
        )
        self.assertEqual([], self.restart())
        self.assertIn(
            'Accelerators could not be audited: out of order',
            self.stdlog.logger.output,
        )
