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
"""Drivers that look healthy and are not."""

from nova_accel.testing import cloud  # it comes first: it sets nova up

from nova.compute import rpcapi
from nova import test
from nova.tests import fixtures as nova_fixtures
from nova.virt import driver as nova_driver

from nova_accel.testing import broken
from nova_accel.testing import xapi_cloud

from tests.functional import rules


_ON_XAPI = """
version: 1
devices:
  t4:
    kind: vgpu
    match: {vendor_id: "10de"}
    models: [GRID T4-8Q]
    mode: dynamic
"""
_RC = 'CUSTOM_VGPU_GRID_T4_8Q'


class _BrokenTestCase(cloud.CloudTestCase):
    DRIVER = ''

    def _setup_compute_service(self) -> None:
        self.flags(compute_driver=f'accel.{self.DRIVER}')


class BrokenDriverTest(_BrokenTestCase):
    """It offers what the real one does, and serves nobody."""

    DRIVER = 'BrokenDriver'

    def setUp(self) -> None:
        super().setUp()
        self.start_host('host1', 't4', rules.T4_8Q)

    def test_it_reports_for_duty_and_offers_everything(self) -> None:
        (service,) = self.api.get_services(binary='nova-compute')
        self.assertEqual('up', service['state'])
        self.run_periodic()
        offered = self.inventories('host1')
        self.assertEqual([{'VGPU': (2, 0)}] * 2, list(offered.values()))

    def test_no_server_starts_and_nothing_stays_claimed(self) -> None:
        said = self.refused(self.flavor(resources__VGPU=1))
        self.assertIn('Exhausted all hosts', said)
        self.assertEqual({}, self.usages('host1'))

    def test_each_guest_operation_of_nova_raises(self) -> None:
        # Drivers that nova ships implement these; the list is nova's.
        for name in ('spawn', 'destroy', 'reboot', 'suspend', 'get_info'):
            self.assertIn(
                name, broken.guest_operations(nova_driver.ComputeDriver)
            )
        host = self.computes['host1'].driver
        for name in broken.guest_operations(nova_driver.ComputeDriver):
            with self.assertRaisesRegex(Exception, f'{name} does not work'):
                getattr(host, name)()


class BrokenXenAPIDriverTest(xapi_cloud.XapiCloudTestCase):
    TOPOLOGY = 't4'

    def _setup_compute_service(self) -> None:
        self.flags(compute_driver='accel.BrokenXenAPIDriver')

    def test_it_offers_everything_and_no_server_starts(self) -> None:
        self.start_host('xen1', rules=_ON_XAPI)
        (service,) = self.api.get_services(binary='nova-compute')
        self.assertEqual('up', service['state'])
        offered = self.inventories('xen1')
        self.assertEqual([{_RC: (4, 0)}], list(offered.values()))
        flavor = self.flavor(**{f'resources__{_RC}': 1})
        said = self.refused(flavor, image_uuid=self.image)
        self.assertIn('Exhausted all hosts', said)
        self.assertEqual({}, self.usages('xen1'))
        self.assert_nothing_left()


class SilentDriverTest(_BrokenTestCase):
    """It reports for duty, and offers nothing."""

    DRIVER = 'SilentDriver'

    def setUp(self) -> None:
        super().setUp()
        # start_service() would look for the node that there is not.
        self.useFixture(
            nova_fixtures.ServiceFixture(
                'compute',
                'host1',
                cell=self.cell_mappings[test.CELL1_NAME],
                topic_alt=rpcapi.RPC_TOPIC_ALT,
            )
        )

    def test_a_service_without_a_node(self) -> None:
        (service,) = self.api.get_services(binary='nova-compute')
        self.assertEqual('up', service['state'])
        found = self.api.api_get('/os-hypervisors').body['hypervisors']
        self.assertEqual([], found)
        self.assertEqual([], self._get_all_providers())

    def test_no_server_is_scheduled(self) -> None:
        self.assertIn('No valid host', self.refused(self._create_flavor()))
