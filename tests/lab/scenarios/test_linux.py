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
"""What a Linux guest finds in its own /sys."""

from tests.lab.harness import guests
from tests.lab.scenarios import base

_KEY = """\
<hostdev mode='subsystem' type='usb' managed='yes'>
  <source><vendor id='0x46f4'/><product id='0x0001'/></source>
</hostdev>
"""


class LinuxTest(base.LinuxScenario):
    """One server for all: in an emulated machine it starts for minutes."""

    def test_devices_of_all_kinds(self) -> None:
        server = self.boot(**base.GPU, **base.NVME, **base.VGPU)
        with self.timed('guest'):
            seen = {one.id: one for one in self.guest_sees(server, '10de')}
        self.assertEqual({'10de:20b5', '10de:1eb8'}, {*seen})
        self.look_at_gpu(server, seen['10de:20b5'])
        self.look_at_vgpu(seen['10de:1eb8'])
        drives = [
            one.id
            for one in self.guest_sees(server, '1b36')
            if one.klass == '010802'
        ]
        self.assertEqual(['1b36:0010'], drives)
        self.plug_and_eject(server)
        self.delete(server)
        self.assert_all_free()

    def look_at_gpu(self, server: str, gpu: guests.Seen) -> None:
        self.assertEqual('10de:1533', gpu.subsystem)
        self.assertEqual('030200', gpu.klass)
        self.assertIn(f'sn:{gpu.serial}', self.claimed(server))

    def look_at_vgpu(self, vgpu: guests.Seen) -> None:
        # T4-8Q is type 233
        self.assertEqual(f'10de:{233:04x}', vgpu.subsystem)
        self.assertEqual('030000', vgpu.klass)
        self.assertEqual([vgpu.mdev_uuid], self.mdevs())

    def plug_and_eject(self, server: str) -> None:
        """Behind nova's back: is the guest's report to be trusted?"""
        self.assertEqual([], self.guest_sees(server, '46f4'))
        self.agent.write('/tmp/key.xml', _KEY)
        with self.timed('plug'):
            self.agent.check(f'virsh attach-device {server} /tmp/key.xml')
            (key,) = self.wait_guest_sees(server, '46f4', 1)
        self.assertEqual('46f4:0001', key.id)
        self.assertEqual(self.hardware.usb[0].serial, key.serial)
        with self.timed('eject'):
            self.agent.check(f'virsh detach-device {server} /tmp/key.xml')
            self.wait_guest_sees(server, '46f4', 0)
