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
import dataclasses
import threading

from nova_accel.backends import base
from nova_accel import exception
from nova_accel.testing import machine
from tests.unit.backends.libvirt import common

T4 = '0000:18:00.0'


class MdevCase(common.TestCase):
    node = 't4'
    parent = T4
    events = True

    def setUp(self):
        super().setUp()
        self.host = self.shipped(self.node)
        if not self.events:
            self.without_events(self.host)
        self.found = self.backend(self.host)
        self.view = self.found.discover()
        self.function = common.by_address(self.view, self.parent)
        self.calls(self.host)

    def uuids(self):
        return {mdev.uuid for mdev in self.found.discover().mdevs}


class CreateTest(MdevCase):
    def test_one_call_and_no_more_afterwards(self):
        wanted = common.vgpu(self.function)
        self.found.prepare(wanted)
        self.assertEqual({'nodeDeviceCreateXML': 1}, self.calls(self.host))
        self.assertEqual({wanted.mdev_uuid}, self.uuids())
        self.assertEqual({}, self.calls(self.host))
        self.assertTrue(self.host.machine.has_mdev(wanted.mdev_uuid))

    def test_devices_of_the_view_stay(self):
        self.found.prepare(common.vgpu(self.function))
        self.assertIs(self.view.devices, self.found.discover().devices)

    def test_idempotent(self):
        wanted = common.vgpu(self.function)
        self.found.prepare(wanted)
        self.calls(self.host)
        self.found.prepare(wanted)
        self.assertEqual({}, self.calls(self.host))

    def test_idempotent_without_a_look_in_between(self):
        wanted = common.vgpu(self.function)
        other = self.backend(self.host)
        other.discover()
        other.prepare(wanted)
        self.found.prepare(wanted)
        self.assertEqual({wanted.mdev_uuid}, self.uuids())

    def test_calls_do_not_grow_with_the_host(self):
        for cards in (8, 128):
            host = self.synthetic(cards, types=2)
            found = self.backend(host)
            parent = found.discover().devices[-1]
            self.calls(host)
            for number in range(4):
                found.prepare(common.vgpu(parent, 'nvidia-230', number))
            self.assertEqual({'nodeDeviceCreateXML': 4}, self.calls(host))

    def test_full_card(self):
        for number in range(2):
            self.found.prepare(common.vgpu(self.function, number=number))
        before = self.uuids()
        error = self.assertRaises(
            exception.DeviceUnavailable,
            self.found.prepare,
            common.vgpu(self.function, number=2),
        )
        self.assertIn('No available instances', str(error))
        self.assertEqual(before, self.uuids())

    def test_card_that_holds_another_type(self):
        self.found.prepare(common.vgpu(self.function))
        self.assertRaises(
            exception.DeviceRefused,
            self.found.prepare,
            common.vgpu(self.function, common.T4_16Q, 1),
        )

    def test_type_that_the_card_does_not_know(self):
        error = self.assertRaises(
            exception.DeviceRefused,
            self.found.prepare,
            common.vgpu(self.function, 'nvidia-999'),
        )
        self.assertIn('Invalid type', str(error))

    def test_existing_but_unknown_to_us(self):
        wanted = common.vgpu(self.function)
        self.host._callbacks.clear()
        self.host.machine.create(_xml(wanted))
        self.found.prepare(wanted)
        self.assertEqual({wanted.mdev_uuid}, self.uuids())

    def test_uuid_taken_by_another_type(self):
        wanted = common.vgpu(self.function)
        old = common.vgpu(self.function, common.T4_16Q)
        self.host.machine.create(_xml(old))
        self.found.prepare(wanted)
        (mdev,) = self.found.discover().mdevs
        self.assertEqual(common.T4_8Q, mdev.type_id)
        self.assertIn('replacing it', self.log.output)

    def test_uuid_taken_on_another_card(self):
        wanted = common.vgpu(self.function)
        elsewhere = common.by_address(self.view, '0000:af:00.0')
        self.host.machine.create(_xml(common.vgpu(elsewhere)))
        self.found.prepare(wanted)
        (mdev,) = self.found.discover(full=True).mdevs
        self.assertEqual(self.function.name, mdev.parent)

    def test_uuid_taken_and_in_use(self):
        wanted = common.vgpu(self.function)
        old = common.vgpu(self.function, common.T4_16Q)
        self.host.machine.create(_xml(old))
        self.host.machine.busy = lambda uuid: True
        self.assertRaises(exception.DeviceRefused, self.found.prepare, wanted)
        (mdev,) = self.found.discover(full=True).mdevs
        self.assertEqual(common.T4_16Q, mdev.type_id)

    def test_lost_in_a_reboot_of_the_host(self):
        wanted = common.vgpu(self.function)
        self.found.prepare(wanted)
        self.host.machine.reboot()
        found = self.backend(self.host)
        found.prepare(wanted)
        self.assertEqual(1, len(found.discover().mdevs))

    def test_many_threads_one_device_each(self):
        host = self.shipped('t4')
        found = self.backend(host)
        parent = common.by_address(found.discover(), T4)
        wanted = [
            common.vgpu(parent, 'nvidia-230', number) for number in range(16)
        ]
        threads = [
            threading.Thread(target=found.prepare, args=[one])
            for one in wanted
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(16, len(found.discover().mdevs))
        self.assertEqual(
            found.discover().mdevs, found.discover(full=True).mdevs
        )


class WaitTest(MdevCase):
    def test_nobody_does_a_resync_that_is_merely_due(self):
        self.clock.now += 1000000
        self.found.prepare(common.vgpu(self.function))
        self.assertEqual({'nodeDeviceCreateXML': 1}, self.calls(self.host))
        self.found.prepare(common.vgpu(self.function, number=1))
        self.assertEqual({'nodeDeviceCreateXML': 1}, self.calls(self.host))
        self.found.discover()
        self.assertEqual(1, self.calls(self.host)['listAllDevices'])

    def test_nobody_waits_for_a_resync(self):
        entered, leave = threading.Event(), threading.Event()
        self.addCleanup(leave.set)
        answer = self.host._list

        def slow(flags):
            entered.set()
            leave.wait(10)
            return answer(flags)

        self.host._list = slow
        resync = threading.Thread(target=self.found.discover, args=[True])
        resync.start()
        entered.wait(10)
        self.found.prepare(common.vgpu(self.function))
        self.assertTrue(resync.is_alive())
        leave.set()
        resync.join()
        self.assertEqual(1, len(self.found.discover().mdevs))

    def test_figures_do_not_move_for_what_is_made_meanwhile(self):
        """The parent is read after its device was made, the list before."""
        describe = self.host.machine.describe

        def late(name):
            if name == self.function.name:
                self.host.machine.describe = describe
                self.found.prepare(common.vgpu(self.function))
            return describe(name)

        self.host.machine.describe = late
        self.host._callbacks.clear()
        self.assertIs(
            self.view.devices, self.found.discover(full=True).devices
        )
        self.assertEqual(1, len(self.found.discover().mdevs))
        self.assertIs(
            self.view.devices, self.found.discover(full=True).devices
        )

    def test_cards_do_not_wait_for_each_other(self):
        entered, leave = threading.Event(), threading.Event()
        self.addCleanup(leave.set)
        create = self.host.machine.create

        def slow(xml):
            if 'pci_0000_18_00_0' in xml:
                entered.set()
                leave.wait(10)
            return create(xml)

        self.host.machine.create = slow
        first = threading.Thread(
            target=self.found.prepare, args=[common.vgpu(self.function)]
        )
        first.start()
        entered.wait(10)
        other = common.by_address(self.view, '0000:af:00.0')
        self.found.prepare(common.vgpu(other, number=1))
        self.assertTrue(first.is_alive())
        leave.set()
        first.join()
        self.assertEqual(2, len(self.uuids()))


class RecogniseTest(MdevCase):
    def alter(self, old, new):
        xml = self.host.machine.describe(self.function.name)
        self.host.machine.alter(xml.replace(old, new))

    def pci(self):
        return base.Assignment('unit', self.function)

    def test_whole_device(self):
        self.found.prepare(self.pci())
        self.found.release(self.pci())
        self.assertEqual({}, self.calls(self.host))

    def test_device_that_is_gone(self):
        self.host.machine.unplug(self.function.name)
        for wanted in (self.pci(), common.vgpu(self.function)):
            error = self.assertRaises(
                exception.DeviceRefused, self.found.prepare, wanted
            )
            self.assertIn('sn:1324419052501', str(error))
            self.assertIn('pci_0000_18_00_0', str(error))

    def test_another_product_in_its_place(self):
        self.alter('0x1eb8', '0x20b0')
        error = self.assertRaises(
            exception.DeviceRefused, self.found.prepare, self.pci()
        )
        self.assertIn('product_id is 20b0, not 1eb8', str(error))

    def test_its_twin_in_its_place(self):
        self.alter('1324419052501', '1324419052599')
        self.assertRaises(
            exception.DeviceRefused, self.found.prepare, self.pci()
        )

    def test_serial_that_cannot_be_read_today(self):
        self.alter('<serial_number>1324419052501</serial_number>', '')
        self.found.prepare(self.pci())

    def test_libvirt_that_does_not_answer(self):
        self.host.break_off()
        for verb in (self.found.prepare, self.found.release):
            error = self.assertRaises(
                exception.DeviceUnavailable, verb, common.vgpu(self.function)
            )
            self.assertIn('connection to libvirt is lost', str(error))

    def test_before_anything_was_discovered(self):
        found = self.backend(self.host)
        found.prepare(common.vgpu(self.function))
        self.assertEqual(1, len(found.discover().mdevs))


class DestroyTest(MdevCase):
    def setUp(self):
        super().setUp()
        self.wanted = common.vgpu(self.function)
        self.found.prepare(self.wanted)
        self.calls(self.host)

    def test_two_calls(self):
        self.found.release(self.wanted)
        self.assertEqual(
            {'nodeDeviceLookupByName': 1, 'virNodeDevice.destroy': 1},
            self.calls(self.host),
        )
        self.assertEqual(self.view, self.found.discover())
        self.assertEqual({}, self.calls(self.host))

    def test_idempotent(self):
        self.found.release(self.wanted)
        self.found.release(self.wanted)
        self.assertEqual(set(), self.uuids())

    def test_gone_without_our_knowing(self):
        self.host._callbacks.clear()
        self.host.machine.reboot()
        self.found.release(self.wanted)
        self.assertEqual(set(), self.uuids())

    def test_in_use_stays(self):
        self.host.machine.busy = lambda uuid: uuid == self.wanted.mdev_uuid
        error = self.assertRaises(
            exception.DeviceUnavailable, self.found.release, self.wanted
        )
        self.assertIn('device in use', str(error))
        self.assertEqual({self.wanted.mdev_uuid}, self.uuids())
        self.assertTrue(self.host.machine.has_mdev(self.wanted.mdev_uuid))

    def test_unknown_to_us_but_there(self):
        other = common.vgpu(self.function, number=1)
        self.host._callbacks.clear()
        self.host.machine.create(_xml(other))
        self.found.release(other)
        self.assertFalse(self.host.machine.has_mdev(other.mdev_uuid))

    def test_news_of_its_end_that_comes_after_its_rebirth(self):
        self.found.release(self.wanted)
        self.found.prepare(self.wanted)
        (mdev,) = self.found.discover().mdevs
        name = next(
            name for name, kind in self.host.machine.names() if kind == 'mdev'
        )
        self.host.machine._tell(machine.DELETED, name)
        self.assertEqual((mdev,), self.found.discover().mdevs)


class WithoutEventsTest(MdevCase):
    events = False

    def test_create_and_destroy(self):
        wanted = common.vgpu(self.function)
        self.found.prepare(wanted)
        self.found.prepare(wanted)
        self.assertEqual({'nodeDeviceCreateXML': 1}, self.calls(self.host))
        self.assertEqual({wanted.mdev_uuid}, self.uuids())
        self.assertEqual({'listAllDevices': 1}, self.calls(self.host))
        self.found.release(wanted)
        self.assertEqual(set(), self.uuids())


class VirtualFunctionTest(MdevCase):
    node = 'a40'
    parent = '0000:41:00.4'
    type_id = 'nvidia-566'  # 24 GiB: two fill the card

    def on(self, address, number):
        parent = common.by_address(self.view, address)
        return common.vgpu(parent, self.type_id, number)

    def test_one_each(self):
        self.found.prepare(self.on('0000:41:00.4', 0))
        self.assertRaises(
            exception.DeviceRefused,
            self.found.prepare,
            self.on('0000:41:00.4', 1),
        )
        self.found.prepare(self.on('0000:41:00.5', 1))
        self.assertEqual(2, len(self.uuids()))

    def test_the_card_is_full_before_its_functions_are_used_up(self):
        self.found.prepare(self.on('0000:41:00.4', 0))
        self.found.prepare(self.on('0000:41:00.5', 1))
        self.assertRaises(
            exception.DeviceRefused,
            self.found.prepare,
            self.on('0000:41:00.6', 2),
        )
        self.found.prepare(self.on('0000:c1:00.4', 3))

    def test_index_is_part_of_who_it_is(self):
        moved = dataclasses.replace(self.function, vf_index=7)
        self.assertRaises(
            exception.DeviceRefused,
            self.found.prepare,
            common.vgpu(moved, self.type_id),
        )


class AdoptedTest(MdevCase):
    """Made by stock nova, which makes them persistent."""

    def setUp(self):
        super().setUp()
        self.wanted = dataclasses.replace(
            common.vgpu(self.function), adopted=True
        )
        self.host.machine.create(_xml(self.wanted))
        self.host.machine.define(_xml(self.wanted))
        self.calls(self.host)

    def test_it_is_used_as_it_is(self):
        self.found.prepare(self.wanted)
        self.assertNotIn('nodeDeviceCreateXML', self.calls(self.host))
        self.assertEqual({self.wanted.mdev_uuid}, self.uuids())

    def test_once_released_it_does_not_come_back(self):
        self.found.discover()
        self.found.release(self.wanted)
        self.assertEqual(set(), self.uuids())
        names = [name for name, kind in self.host.machine.names()]
        self.assertEqual([], [n for n in names if n.startswith('mdev_')])

    def test_one_that_would_not_come_back_anyway(self):
        self.host.fail['virNodeDevice.undefine'] = self.host.error(
            'OPERATION_INVALID', 'Node device is not persistent'
        )
        self.found.release(self.wanted)
        self.assertFalse(self.host.machine.has_mdev(self.wanted.mdev_uuid))


def _xml(assignment):
    return (
        f'<device><parent>{assignment.function.name}</parent>'
        f"<capability type='mdev'><type id='{assignment.mdev_type}'/>"
        f'<uuid>{assignment.mdev_uuid}</uuid></capability></device>'
    )
