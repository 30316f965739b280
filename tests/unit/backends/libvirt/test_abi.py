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
import libvirt
import testtools

from nova_accel.backends.libvirt import abi


class AbiTest(testtools.TestCase):
    def test_numbers_are_those_of_the_library(self):
        flag = 'VIR_CONNECT_LIST_NODE_DEVICES_'
        self.assertEqual(getattr(libvirt, f'{flag}CAP_PCI_DEV'), abi.LIST_PCI)
        self.assertEqual(getattr(libvirt, f'{flag}CAP_NET'), abi.LIST_NET)
        self.assertEqual(getattr(libvirt, f'{flag}CAP_MDEV'), abi.LIST_MDEV)
        self.assertEqual(getattr(libvirt, f'{flag}ACTIVE'), abi.LIST_ACTIVE)
        flag = 'VIR_CONNECT_LIST_DOMAINS_'
        running, stopped = (
            getattr(libvirt, f'{flag}{state}')
            for state in ('ACTIVE', 'INACTIVE')
        )
        self.assertEqual(running, abi.LIST_RUNNING_GUESTS)
        self.assertEqual(stopped, abi.LIST_STOPPED_GUESTS)
        event = 'VIR_NODE_DEVICE_EVENT_'
        lifecycle = getattr(libvirt, f'{event}ID_LIFECYCLE')
        self.assertEqual(lifecycle, abi.EVENT_LIFECYCLE)
        self.assertEqual(
            getattr(libvirt, f'{event}ID_UPDATE'), abi.EVENT_UPDATE
        )
        self.assertEqual(getattr(libvirt, f'{event}CREATED'), abi.CREATED)
        self.assertEqual(getattr(libvirt, f'{event}DELETED'), abi.DELETED)
