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
"""Whole devices: PCI by address, USB, virtual functions of NICs."""

import ddt

from tests.unit.testing.xapi_simulator import common


class _DevicesTestCase(common.PoolTestCase):
    TOPOLOGY = 'passthrough'

    def vm_with_pci(self, text):
        return self.vm(other_config={'pci': text})

    def pci(self, address):
        return self.one('PCI', pci_id=address)


@ddt.ddt
class PciTest(_DevicesTestCase):
    def test_what_is_listed(self):
        """Display and storage, and the audio function beside a GPU."""
        listed = {
            record['pci_id']: record
            for record in self.api.PCI.get_all_records().values()
        }
        self.assertEqual(
            ['0000:01:00.0', '0000:01:00.1', '0000:02:00.0', '0000:5e:00.0'],
            sorted(listed),
        )
        self.assertEqual(
            [self.pci('0000:01:00.1')],
            listed['0000:01:00.0']['dependencies'],
        )
        self.assertEqual([], listed['0000:5e:00.0']['dependencies'])

    def test_attached(self):
        vm = self.vm_with_pci('0/0000:5e:00.0,0/0000:65:00.0')
        self.start(vm)
        # The FPGA is attached, though XAPI does not list it.
        self.assertEqual(
            [self.pci('0000:5e:00.0')], self.api.VM.get_attached_PCIs(vm)
        )
        self.api.VM.hard_shutdown(vm)
        self.assertEqual([], self.api.VM.get_attached_PCIs(vm))

    @ddt.data('0000:5e:00.0', '0000:65:00.0')
    def test_second_is_refused(self, address):
        """Nothing is said before the start."""
        first, second = (self.vm_with_pci(f'0/{address}') for _ in range(2))
        self.start(first)
        self.api.VM.assert_can_boot_here(second, self.host())
        details = self.refused('INTERNAL_ERROR', self.start, second)
        self.assertIn(address, details[0])
        self.assertEqual('Halted', self.api.VM.get_power_state(second))
        self.assertEqual([], self.api.VM.get_attached_PCIs(second))
        self.api.VM.hard_shutdown(first)
        self.start(second)

    def test_no_such_device(self):
        vm = self.vm_with_pci('0/0000:ff:00.0')
        details = self.refused('INTERNAL_ERROR', self.start, vm)
        self.assertIn('0000:ff:00.0', details[0])

    @ddt.data(
        '0000:5e:00.0', '0/5e:00.0', '0/0000:5e:00.8', 'x/0000:5e:00.0', ''
    )
    def test_malformed_is_dropped_silently(self, text):
        vm = self.vm_with_pci(text)
        self.start(vm)
        self.assertEqual([], self.api.VM.get_attached_PCIs(vm))

    def test_siblings_are_not_added(self):
        vm = self.vm_with_pci('0/0000:01:00.0')
        self.start(vm)
        self.assertEqual(
            [self.pci('0000:01:00.0')], self.api.VM.get_attached_PCIs(vm)
        )

    def test_gpu_that_is_attached_by_address(self):
        """Then the GPU has no room for a vGPU, whole or not."""
        self.start(self.vm_with_pci('0/0000:01:00.0'))
        model = self.type('passthrough')
        self.assertEqual(
            '1',
            self.api.GPU_group.get_remaining_capacity(self.group(), model),
        )

    def test_gpu_that_is_a_vgpu(self):
        vm = self.vm_with('passthrough')
        self.start(vm)
        (pci,) = self.api.VM.get_attached_PCIs(vm)
        address = self.api.PCI.get_pci_id(pci)
        details = self.refused(
            'INTERNAL_ERROR', self.start, self.vm_with_pci(f'0/{address}')
        )
        self.assertIn(address, details[0])
        (vgpu,) = self.api.VM.get_VGPUs(vm)
        self.assertEqual(pci, self.api.VGPU.get_PCI(vgpu))

    def test_one_whole_gpu_a_vm(self):
        vm = self.vm_with('passthrough')
        self.refused('VGPU_TYPE_NOT_COMPATIBLE', self.vgpu, vm, 'passthrough')

    def test_suspend(self):
        vm = self.vm_with_pci('0/0000:65:00.0')
        self.start(vm)
        details = self.refused('VM_HAS_PCI_ATTACHED', self.api.VM.suspend, vm)
        self.assertEqual([vm], details)


class NoIommuTest(_DevicesTestCase):
    def test_refused(self):
        host = self.host()
        self.simulator.world.store.set('host', host, chipset_info={})
        whole = self.vm_with('passthrough')
        details = self.refused('VM_REQUIRES_IOMMU', self.start, whole)
        self.assertEqual([host], details)
        # Nobody looks at other_config:pci before Xen does.
        by_address = self.vm_with_pci('0/0000:65:00.0')
        self.api.VM.assert_can_boot_here(by_address, host)
        self.refused('INTERNAL_ERROR', self.start, by_address)
        self.start(self.vm())


class UsbTest(_DevicesTestCase):
    def groups(self):
        return self.all('USB_group')

    def vusb(self, vm, group):
        return self.api.VUSB.create(vm, group, {})

    def test_life(self):
        """Attached at the start alone; unplugged at any time."""
        vm, group = self.vm(), self.groups()[0]
        vusb = self.vusb(vm, group)
        self.assertFalse(self.api.VUSB.get_currently_attached(vusb))
        self.start(vm)
        self.assertTrue(self.api.VUSB.get_currently_attached(vusb))
        self.refused('OPERATION_NOT_ALLOWED', self.api.VUSB.destroy, vusb)
        self.refused('VM_HAS_VUSBS', self.api.VM.snapshot, vm, 'copy')
        self.refused('VM_HAS_VUSBS', self.api.VM.suspend, vm)
        self.api.VUSB.unplug(vusb)
        self.assertFalse(self.api.VUSB.get_currently_attached(vusb))
        self.refused('DEVICE_ALREADY_DETACHED', self.api.VUSB.unplug, vusb)
        self.api.VUSB.destroy(vusb)
        self.api.VM.snapshot(vm, 'copy')

    def test_not_hotplugged(self):
        vm = self.vm()
        self.start(vm)
        vusb = self.vusb(vm, self.groups()[0])
        self.assertFalse(self.api.VUSB.get_currently_attached(vusb))
        self.assertNotIn('plug', self.api.VUSB.get_allowed_operations(vusb))

    def test_one_a_group(self):
        group = self.groups()[0]
        self.vusb(self.vm(), group)
        details = self.refused(
            'USB_GROUP_CONFLICT', self.vusb, self.vm(), group
        )
        self.assertEqual([group], details)

    def test_six_a_vm(self):
        store, vm = self.simulator.world.store, self.vm()
        for _ in range(6):
            store.create('VUSB', VM=vm)
        details = self.refused(
            'TOO_MANY_VUSBS', self.vusb, vm, self.groups()[0]
        )
        self.assertEqual(['6'], details)

    def test_passthrough(self):
        mouse = self.one('PUSB', path='2-1')
        group = self.api.PUSB.get_USB_group(mouse)
        vm = self.vm()
        self.vusb(vm, group)
        self.refused('OPERATION_NOT_ALLOWED', self.start, vm)
        self.api.PUSB.set_passthrough_enabled(mouse, True)
        self.start(vm)
        details = self.refused(
            'USB_ALREADY_ATTACHED',
            self.api.PUSB.set_passthrough_enabled,
            mouse,
            False,
        )
        self.assertEqual([mouse, vm], details)
        self.api.VM.hard_shutdown(vm)
        self.api.PUSB.set_passthrough_enabled(mouse, False)
        self.assertEqual([], self.api.VM.get_VUSBs(vm))
        self.assertEqual([mouse], self.api.USB_group.get_PUSBs(group))

    def test_device_that_is_taken(self):
        group = self.groups()[0]
        (pusb,) = self.api.USB_group.get_PUSBs(group)
        vm = self.vm()
        self.vusb(vm, group)
        self.simulator.world.store.set('PUSB', pusb, passthrough_enabled=False)
        self.refused('OPERATION_NOT_ALLOWED', self.start, vm)


class SriovTest(_DevicesTestCase):
    def test_functions_run_out(self):
        vms = [self.vm() for _ in range(3)]
        for vm in vms:
            self.vif(vm, 'sriov-net')
        for vm in vms[:2]:
            self.start(vm)
        network = self.one('network', name_label='sriov-net')
        details = self.refused(
            'NETWORK_SRIOV_INSUFFICIENT_CAPACITY', self.start, vms[2]
        )
        self.assertEqual([network], details)
        sriov = self.one('network_sriov')
        self.assertEqual(
            '0', self.api.network_sriov.get_remaining_capacity(sriov)
        )

    def test_no_hotplug(self):
        vm = self.vm()
        vif = self.vif(vm, 'sriov-net')
        self.start(vm)
        self.refused('OPERATION_NOT_ALLOWED', self.api.VIF.unplug, vif)
        late = self.vif(vm, 'sriov-net', device='1')
        self.refused('OPERATION_NOT_ALLOWED', self.api.VIF.plug, late)
        self.refused('VM_HAS_SRIOV_VIF', self.api.VM.suspend, vm)
