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
"""Servers with devices of every kind, from boot to delete."""

import testtools

from tests.lab.harness import errors
from tests.lab.scenarios import base


class BootTest(base.Scenario):
    @base.core
    def test_vgpu_on_physical_function(self) -> None:
        server = self.boot(**base.VGPU)
        self.assertEqual({'VGPU': 1}, self.held(server))
        (uuid,) = self.mdevs()
        self.assertIn(f"<address uuid='{uuid}'/>", self.domain(server))
        (unit,) = self.claimed(server)
        self.assertEqual(self.address_of(unit), self.mdev_parent(uuid))
        (seen,) = self.guest_sees(server, '10de')
        self.assertEqual('10de:1eb8', seen.id)
        # T4-8Q is type 233
        self.assertEqual(f'10de:{233:04x}', seen.subsystem)
        self.assertEqual(uuid, seen.mdev_uuid)
        self.delete(server)
        self.assertEqual([], self.mdevs())
        self.assert_all_free()

    @base.core
    def test_vgpu_on_virtual_function(self) -> None:
        server = self.boot(**base.VF_VGPU)
        self.assertEqual({'CUSTOM_A40_24Q': 1}, self.held(server))
        (uuid,) = self.mdevs()
        self.assertIn(f"<address uuid='{uuid}'/>", self.domain(server))
        self.assertRegex(self.mdev_parent(uuid), r'0000:90:00\.[4-7]')
        (seen,) = self.guest_sees(server, '10de')
        self.assertEqual('10de:2235', seen.id)
        self.assertEqual(f'10de:{566:04x}', seen.subsystem)
        self.assertEqual(uuid, seen.mdev_uuid)
        self.delete(server)
        self.assert_all_free()

    @base.core
    def test_whole_gpu(self) -> None:
        server = self.boot(**base.GPU)
        self.assertEqual({'CUSTOM_A100': 1}, self.held(server))
        self.assertEqual(1, self.hostdevs(server))
        (seen,) = self.guest_sees(server, '10de')
        self.assertEqual('10de:20b5', seen.id)
        (unit,) = self.claimed(server)
        self.assertEqual(f'sn:{seen.serial}', unit)
        bound = self.agent.check('ls /sys/bus/pci/drivers/vfio-pci')
        self.assertIn(self.address_of(unit), bound)
        self.delete(server)
        self.assert_all_free()

    @base.core
    def test_nvme_function(self) -> None:
        server = self.boot(**base.NVME)
        self.assertEqual({'CUSTOM_NVME_VF': 1}, self.held(server))
        self.assertEqual(1, self.hostdevs(server))
        ids = [seen.id for seen in self.guest_sees(server, '1b36')]
        self.assertIn('1b36:0010', ids)
        self.delete(server)
        self.assert_all_free()

    @base.core
    def test_two_kinds_at_once(self) -> None:
        server = self.boot(**base.VGPU, **base.GPU)
        self.assertEqual({'VGPU': 1, 'CUSTOM_A100': 1}, self.held(server))
        self.assertEqual(2, self.hostdevs(server))
        ids = {seen.id for seen in self.guest_sees(server, '10de')}
        self.assertEqual({'10de:1eb8', '10de:20b5'}, ids)
        self.delete(server)
        self.assert_all_free()

    @base.core
    def test_full_host_refuses(self) -> None:
        first = self.boot(resources__CUSTOM_A100='2')
        self.assertEqual(2, self.hostdevs(first))
        second = self.ask(**base.GPU)
        with testtools.ExpectedException(errors.LabError, '.*No valid host.*'):
            self.nova.wait_status(second, 'ACTIVE')
        self.assertEqual({}, self.held(second))
        self.delete(first, second)
        third = self.boot(**base.GPU)
        self.delete(third)
        self.assert_all_free()
