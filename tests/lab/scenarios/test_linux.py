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

from tests.lab.scenarios import base

_KEY = """\
<hostdev mode='subsystem' type='usb' managed='yes'>
  <source><vendor id='0x46f4'/><product id='0x0001'/></source>
</hostdev>
"""


class LinuxTest(base.LinuxScenario):
    def test_whole_gpu_and_nvme_function(self) -> None:
        server = self.boot(**base.GPU, **base.NVME)
        with self.timed('guest'):
            (gpu,) = self.guest_sees(server, '10de')
        self.assertEqual('10de:20b5', gpu.id)
        self.assertEqual('10de:1533', gpu.subsystem)
        self.assertEqual('030200', gpu.klass)
        self.assertIn(f'sn:{gpu.serial}', self.claimed(server))
        drives = [
            seen.id
            for seen in self.guest_sees(server, '1b36')
            if seen.klass == '010802'
        ]
        self.assertEqual(['1b36:0010'], drives)
        self.delete(server)
        self.assert_all_free()

    def test_vgpu(self) -> None:
        server = self.boot(**base.VGPU)
        (uuid,) = self.mdevs()
        with self.timed('guest'):
            (seen,) = self.guest_sees(server, '10de')
        self.assertEqual('10de:1eb8', seen.id)
        # T4-8Q is type 233
        self.assertEqual(f'10de:{233:04x}', seen.subsystem)
        self.assertEqual('030000', seen.klass)
        self.assertEqual(uuid, seen.mdev_uuid)
        self.delete(server)
        self.assert_all_free()

    def test_usb_device_comes_and_goes(self) -> None:
        """Behind nova's back: is the guest's report to be trusted?"""
        server = self.boot()
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
        self.delete(server)
        self.assert_all_free()
