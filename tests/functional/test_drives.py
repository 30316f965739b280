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
"""NVMe drives, whose serial numbers are silent while guests have them."""

import pathlib
import re
import shutil

import fixtures
from nova.tests.functional.api import client

from nova_accel.testing import cloud

from nova_accel.backends.libvirt import discovery
from nova_accel.backends.libvirt import sysfs
from nova_accel.core import naming
from nova_accel.testing import node_file
from nova_accel.testing import nodes
from nova_accel.virt import healing

from tests.functional import hotplug

NVME = """
version: 1
devices:
  nvme:
    kind: pci
    match: {class: "010802"}
    pool: device
    resource_class: CUSTOM_NVME
"""


class DriveCase(hotplug.HotplugTestCase):
    NODE, RULES = 'nvme', NVME

    def setUp(self) -> None:
        self.sysfs = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        node_file.write_sysfs(nodes.path(self.NODE), str(self.sysfs))
        files = sysfs.Sysfs(str(self.sysfs))
        self.useFixture(
            fixtures.MockPatchObject(
                discovery.Discovery, '_files', lambda *_args: files
            )
        )
        self.serials = {
            '0000:65:00.0': 'S64GNX0',
            '0000:66:00.0': 'S64GNX1',
            '0000:e3:00.0': 'S64GNX2',
            '0000:e4:00.0': 'S64GNX3',
        }
        self.tell()
        super().setUp()

    def tell(self) -> None:
        """Let the kernel's driver tell all serial numbers."""
        for address, serial in self.serials.items():
            where = self.sysfs / 'bus/pci/devices' / address / 'nvme/nvme0'
            where.mkdir(parents=True, exist_ok=True)
            where.joinpath('serial').write_text(f'{serial:20}\n')

    def bind(self, driver: str, address: str) -> None:
        """Bind a drive to a driver, as libvirt does for guests."""
        self.tell()
        if driver != 'nvme':
            where = self.sysfs / 'bus/pci/devices' / address / 'nvme'
            shutil.rmtree(where)
        name = f'pci_{re.sub("[:.]", "_", address)}'
        self.connection_of('host1').machine.bind(name, driver)

    def lend(self) -> str:
        """Let the server's drive have the driver of a guest's."""
        (at,) = self.hostdevs('host1', self.server)
        self.bind('vfio-pci', at)
        return at

    def serial(self) -> str:
        """Return the number of the drive that the server's guest has."""
        (at,) = self.hostdevs('host1', self.server)
        return self.serials[at]

    def held(self) -> str:
        (claim,) = self.claims(self.server)
        return naming.UnitId.parse(claim.unit).device

    def traits(self) -> set[str]:
        return {
            trait
            for rp in self.accel_providers('host1').values()
            for trait in self._get_provider_traits(rp)
        }

    def assert_the_same(self) -> None:
        self.assertEqual(self.providers, self.accel_providers('host1'))
        self.assertEqual(f'nvme:{self.serial()}', self.held())
        self.assertNotIn(naming.MISSING, self.traits())
        self.assert_invariants()


class HeldTest(DriveCase):
    def setUp(self) -> None:
        super().setUp()
        self.providers = self.accel_providers('host1')
        self.server = self.boot(self.flavor(resources__CUSTOM_NVME=1))

    def test_a_restart_while_the_guest_runs(self) -> None:
        self.lend()
        self.run_periodic()
        self.assert_the_same()
        self.restart_compute_service('host1')
        self.assert_the_same()
        # And after it a start, with the drive's own driver back.
        (at,) = self.hostdevs('host1', self.server)
        self._stop_server(self.server)
        self.bind('nvme', at)
        self.run_periodic()
        self._start_server(self.server)
        self.assertEqual([at], self.hostdevs('host1', self.server))
        self.assert_the_same()

    def test_guests_are_asked_once(self) -> None:
        calls = self.connection_of('host1').calls
        self.lend()
        self.restart_compute_service('host1')
        before = calls['listAllDomains']
        driver = self.computes['host1'].driver
        driver.accel_obey(self.context, discover=True)
        self.assertEqual(before, calls['listAllDomains'])
        self.assert_the_same()

    def test_a_definition_that_does_not_tell(self) -> None:
        """Nobody knows then, and nobody gets it."""
        at = self.lend()
        domain = self.domain(self.server)
        for info in domain._live:
            del info['alias']
        self.restart_compute_service('host1')
        self.assertIn(naming.MISSING, self.traits())
        (stranger,) = (
            rp
            for stable_id, rp in self.accel_providers('host1').items()
            if stable_id not in self.providers
        )
        found = self._get_provider_inventory(stranger)['CUSTOM_NVME']
        self.assertEqual(found['total'], found['reserved'])
        # It tells again.
        self._stop_server(self.server)
        self.bind('nvme', at)
        self.restart_compute_service('host1')
        self._start_server(self.server)
        self.assertEqual([at], self.hostdevs('host1', self.server))
        self.assert_invariants()

    def test_it_is_put_into_another_slot(self) -> None:
        at = self.hostdevs('host1', self.server)
        self._stop_server(self.server)
        serials = list(self.serials.values())
        self.serials = dict(zip(self.serials, serials[::-1], strict=True))
        self.tell()
        self.restart_compute_service('host1')
        self.assertNotEqual(at, self.hostdevs('host1', self.server))
        self._start_server(self.server)
        self.assert_the_same()

    def test_another_is_put_into_its_slot(self) -> None:
        (at,) = self.hostdevs('host1', self.server)
        self._stop_server(self.server)
        self.serials[at] = 'S64GNX9'
        self.tell()
        self.restart_compute_service('host1')
        self.assertIn(naming.MISSING, self.traits())
        self.assertRaises(
            client.OpenStackApiException, self._start_server, self.server
        )


class LaterTest(DriveCase):
    def test_a_hot_attached_one(self) -> None:
        self.providers = self.accel_providers('host1')
        self.server = self.boot(self.flavor(accel_hotplug__max_CUSTOM_NVME=1))
        record = self.attached(self.server, hotplug.NVME)
        self.lend()
        self.restart_compute_service('host1')
        self.assert_the_same()
        self.assertEqual('', self.detach(self.server, record.id).state)
        self.assert_nothing_attached(self.server)

    def test_a_name_that_may_be_wrong_is_removed(self) -> None:
        self.server = self.boot(self.flavor(resources__CUSTOM_NVME=1))
        (at,) = self.hostdevs('host1', self.server)
        xml = self.domain(self.server).XMLDesc(0)
        self.assertIn('ua-accel-nvme-', xml)
        other = next(each for each in self.serials if each != at)
        found = healing.readdressed(xml, [other])
        assert found is not None
        self.assertEqual({other}, set(cloud._hostdevs(found)))
        self.assertNotIn('ua-accel-nvme-', found)
