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
"""One server after another, on a simulated pool, without nova's services."""

from concurrent import futures
import importlib
import inspect

import ddt
from nova.compute import power_state
from nova import exception as nova_exception
from nova import objects
from nova import test
from nova.virt import driver as nova_driver

from nova_accel.backends.xapi import marks
from nova_accel import exception
from nova_accel.virt.xapi import disks
from nova_accel.virt.xapi import driver
from tests.functional import xapi_driver

MIB = xapi_driver.MIB
GIB = xapi_driver.GIB


class SeamsTest(test.NoDBTestCase):  # type: ignore[misc]
    def test_what_it_overrides_is_called_as_nova_does(self) -> None:
        overridden = 0
        for name, theirs in vars(nova_driver.ComputeDriver).items():
            mine = getattr(driver.XapiDriver, name)
            if mine is theirs or not callable(theirs) or name == '__init__':
                continue
            overridden += 1
            self.assertEqual(
                list(inspect.signature(theirs).parameters),
                list(inspect.signature(mine).parameters),
                name,
            )
        self.assertGreater(overridden, 35)

    def test_what_it_says_it_can_do(self) -> None:
        loaded = importlib.import_module('nova.virt.accel')
        ours = loaded.XenAPIAccelDriver
        self.assertFalse(ours.accel_hotplug)
        # Each is the subject of a test in this or the other module.
        able = {name for name, can in ours.capabilities.items() if can}
        self.assertEqual(
            {
                'supports_attach_interface',
                'supports_evacuate',
                'supports_image_type_raw',
                'supports_image_type_vhd',
                'supports_migrate_to_same_host',
            },
            able,
        )


class SpawnTest(xapi_driver.DriverTestCase):
    def test_what_a_server_is_made_of(self) -> None:
        self.make_mkisofs()
        server = self.server(config_drive='True')
        server.flavor = self.flavor(memory_mb=8192, vcpus=3, root_gb=1)
        self.give(server, self.vgpu('GRID K240Q'))
        self.spawn(
            server,
            block_device_info={
                'root_device_name': '/dev/xvda',
                'ephemerals': [{'size': 1, 'device_name': '/dev/xvde'}],
                'swap': {'swap_size': 64, 'device_name': '/dev/xvdc'},
                'block_device_mapping': [],
            },
        )
        record = self.record(server)
        self.assertEqual('Running', record['power_state'])
        self.assertEqual(str(8 * GIB), record['memory_static_max'])
        self.assertEqual(server.uuid, record['other_config'][marks.SERVER])
        self.assertEqual(1, len(record['VGPUs']))
        for vgpu in record['VGPUs']:
            config = self.xapi.call('VGPU.get_other_config', vgpu)
            self.assertEqual(server.uuid, config[marks.SERVER])
        found = self.disks(server)
        self.assertEqual(
            {
                '0': (disks.ROOT, GIB),
                '2': (disks.SWAP, 64 * MIB),
                '3': (disks.CONFIG, 2 * MIB),
                '4': (disks.EPHEMERAL, GIB),
            },
            {key: (disk.purpose, disk.size) for key, disk in found.items()},
        )
        self.assertEqual(b'root', self.content(found['0'].vdi, 4))
        self.assertEqual(b'config-2', self.content(found['3'].vdi, 8))
        self.destroy(server)
        self.assert_nothing_left()
        self.destroy(server)

    def test_a_vhd_is_as_large_as_it_says(self) -> None:
        content = b'vhd!' + bytes(4 * MIB - 4)
        image = self.make_image(xapi_driver.vhd(content), 'vhd')
        server = self.server(flavor=self.flavor(root_gb=0))
        self.spawn(server, image)
        disk = self.disks(server)['0']
        self.assertEqual(4 * MIB, disk.size)
        self.assertEqual(b'vhd!', self.content(disk.vdi, 4))
        self.destroy(server)
        self.assert_nothing_left()

    def test_an_image_that_cannot_be_used(self) -> None:
        for image, error in (
            (self.make_image(b'x', 'qcow2'), nova_exception.ImageUnacceptable),
            (
                self.make_image(b'x' * 600, 'vhd'),
                exception.ImageWrong,
            ),
            (self.make_image(b'x', size=2), exception.ImageWrong),
            (
                self.make_image(b'xx', size=2 * GIB),
                nova_exception.FlavorDiskSmallerThanImage,
            ),
        ):
            server = self.server(flavor=self.flavor(root_gb=1))
            self.assertRaises(error, self.spawn, server, image)
            self.assert_nothing_left()

    def test_twice_is_refused(self) -> None:
        server = self.server()
        self.spawn(server)
        self.assertRaises(nova_exception.InstanceExists, self.spawn, server)
        self.destroy(server)
        self.assert_nothing_left()

    def test_two_that_do_not_go_together(self) -> None:
        server = self.server()
        self.give(server, self.vgpu('GRID K240Q'), self.vgpu('GRID K240Q'))
        error = self.assertRaises(
            nova_exception.ComputeResourcesUnavailable, self.spawn, server
        )
        self.assertIn('in one virtual machine', str(error))
        self.assert_nothing_left()

    def test_overcommit_has_one_winner(self) -> None:
        # One of the two GPUs is somebody else's in part.
        first, second = self.server(), self.server()
        for server in (first, second):
            self.give(server, self.vgpu('GRID K280Q'))
        self.spawn(first)
        error = self.assertRaises(
            nova_exception.ComputeResourcesUnavailable, self.spawn, second
        )
        self.assertIn('GRID K280Q', str(error))
        self.assertEqual([first.uuid], self.driver.list_instance_uuids())
        self.destroy(first)
        self.assert_nothing_left()

    def test_many_at_once_have_one_winner(self) -> None:
        servers = [self.server() for _each in range(4)]
        for server in servers:
            self.give(server, self.vgpu('GRID K280Q'))

        def won(server: objects.Instance) -> bool:
            try:
                self.spawn(server)
            except nova_exception.ComputeResourcesUnavailable:
                return False
            return True

        with futures.ThreadPoolExecutor(len(servers)) as pool:
            outcomes = list(pool.map(won, servers))
        self.assertEqual(1, sum(outcomes))
        winner = servers[outcomes.index(True)]
        self.assertEqual([winner.uuid], self.driver.list_instance_uuids())
        self.destroy(winner)
        self.assert_nothing_left()


@ddt.ddt
class UndoTest(xapi_driver.DriverTestCase):
    def attempt(self) -> objects.Instance:
        server = self.server()
        self.give(server, self.vgpu('GRID K240Q'))
        self.assertRaises(exception.AccelError, self.spawn, server)
        return server

    @ddt.data(*xapi_driver.STEPS)
    def test_refused(self, message: str) -> None:
        self.fault(message, error=['INTERNAL_ERROR', 'no'], times=0)
        self.attempt()
        self.control('DELETE', 'faults')
        self.assert_nothing_left()

    @ddt.data('VM.create', 'VDI.create', 'VBD.create', 'VGPU.create')
    def test_the_answer_is_lost(self, message: str) -> None:
        self.fault(message, stage='after', drop=True)
        self.attempt()
        self.assert_nothing_left()

    def test_the_import_fails_after_200(self) -> None:
        for stage in ('half', 'after'):
            self.fault(
                'import_raw_vdi', stage=stage, error=['SR_FULL', '1', '0']
            )
            server = self.server()
            self.assertRaises(
                nova_exception.ComputeResourcesUnavailable,
                self.spawn,
                server,
            )
            self.assert_nothing_left()

    # A task goes on when the session that has started it ends.
    @ddt.data(*xapi_driver.STEPS[:-1])
    def test_a_session_ends_on_the_way(self, message: str) -> None:
        self.fault(message, error=['SESSION_INVALID', 'x'])
        server = self.server()
        self.give(server, self.vgpu('GRID K240Q'))
        self.spawn(server)
        self.destroy(server)
        self.assert_nothing_left()

    @ddt.data(*xapi_driver.STEPS)
    def test_the_service_dies_on_the_way(self, message: str) -> None:
        # What the process had begun is found by what it bears.
        self.fault(message, error=['INTERNAL_ERROR', 'no'])
        server = self.server()
        self.give(server, self.vgpu('GRID K240Q'))
        builder = self.driver._builder
        object.__setattr__(builder, '_give_up', lambda order: None)
        self.assertRaises(exception.AccelError, self.spawn, server)
        again = self.start()
        self.destroy(server, on=again)
        self.assert_nothing_left()

    @ddt.data('VM.hard_shutdown', 'VM.destroy', 'VDI.destroy')
    def test_the_service_dies_while_it_destroys(self, message: str) -> None:
        server = self.server()
        self.give(server, self.vgpu('GRID K240Q'))
        self.spawn(server)
        self.fault(message, error=['INTERNAL_ERROR', 'no'])
        self.assertRaises(exception.AccelError, self.destroy, server)
        self.destroy(server, on=self.start())
        self.assert_nothing_left()


class MasterTest(xapi_driver.DriverTestCase):
    TOPOLOGY = 'two-hosts'

    def test_it_changes_while_an_image_is_under_way(self) -> None:
        self.glance.midway = lambda: self.control(
            'POST', 'master', host='xen2'
        )
        server = self.server()
        self.give(server, self.vgpu('GRID K180Q'))
        self.spawn(server)
        info = self.driver.get_info(server)
        self.assertEqual(power_state.RUNNING, info.state)
        self.assertEqual(self.simulator.urls['xen2'], self.driver._xapi.master)
        self.destroy(server)
        self.assert_nothing_left()

    def test_two_hosts_have_their_own_servers(self) -> None:
        other = self.start('xen2')
        here, there = self.server(), self.server()
        self.spawn(here)
        self.spawn(there, on=other)
        self.assertEqual([here.uuid], self.driver.list_instance_uuids())
        self.assertEqual([there.uuid], other.list_instance_uuids())
        self.assertRaises(
            nova_exception.InstanceNotFound, other.get_info, here
        )
        self.destroy(here)
        self.destroy(there, on=other)
        self.assert_nothing_left()


class PowerTest(xapi_driver.DriverTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.one = self.server()
        self.give(self.one, self.vgpu('GRID K240Q'))
        self.spawn(self.one)
        self.addCleanup(self.destroy, self.one)

    def state(self) -> int:
        return int(self.driver.get_info(self.one).state)

    def reboot(self, how: str) -> None:
        self.driver.reboot(self.context, self.one, [], how)

    def test_off_and_on(self) -> None:
        self.driver.power_off(self.one)
        self.assertEqual(power_state.SHUTDOWN, self.state())
        self.driver.power_off(self.one)
        self.driver.power_on(self.context, self.one, [])
        self.assertEqual(power_state.RUNNING, self.state())
        self.assertEqual(1, len(self.record(self.one)['VGPUs']))

    def test_the_guest_shuts_itself_down(self) -> None:
        self.control('DELETE', 'calls')
        self.driver.power_off(self.one, timeout=5)
        self.assertEqual(power_state.SHUTDOWN, self.state())
        self.assertIn('VM.clean_shutdown', self.control('GET', 'calls'))

    def test_reboots(self) -> None:
        self.reboot('SOFT')
        self.assertEqual(power_state.RUNNING, self.state())
        self.reboot('HARD')
        self.assertEqual(power_state.RUNNING, self.state())
        self.driver.power_off(self.one)
        self.reboot('HARD')
        self.assertEqual(power_state.RUNNING, self.state())

    def test_a_hard_reboot_gives_back_what_is_held(self) -> None:
        (vgpu,) = self.record(self.one)['VGPUs']
        self.driver.power_off(self.one)
        self.xapi.call('VGPU.destroy', vgpu)
        again = self.start()
        again.wanted = self.driver.wanted
        again.reboot(self.context, self.one, [], 'HARD')
        self.assertEqual(1, len(self.record(self.one)['VGPUs']))

    def test_pause(self) -> None:
        self.driver.pause(self.one)
        self.assertEqual(power_state.PAUSED, self.state())
        self.driver.unpause(self.one)
        self.assertEqual(power_state.RUNNING, self.state())

    def test_suspend_is_refused_before_it_is_tried(self) -> None:
        self.control('DELETE', 'calls')
        error = self.assertRaises(
            nova_exception.InstanceFaultRollback,
            self.driver.suspend,
            self.context,
            self.one,
        )
        self.assertIn('vGPU', str(error.inner_exception))
        self.assertNotIn('VM.suspend', self.control('GET', 'calls'))
        self.assertEqual(power_state.RUNNING, self.state())

    def test_suspend_and_resume_without_a_device(self) -> None:
        plain = self.server()
        self.spawn(plain)
        self.driver.suspend(self.context, plain)
        info = self.driver.get_info(plain)
        self.assertEqual(power_state.SUSPENDED, info.state)
        self.driver.resume(self.context, plain, [])
        info = self.driver.get_info(plain)
        self.assertEqual(power_state.RUNNING, info.state)
        self.destroy(plain)

    def test_a_thief_is_found_out(self) -> None:
        self.driver.power_off(self.one)
        # Both GPUs are busy with another type then, or full.
        thieves = [self.somebody('GRID K280Q')]
        for _each in range(3):
            thieves.append(self.somebody('GRID K240Q'))
        error = self.assertRaises(
            nova_exception.InstancePowerOnFailure,
            self.driver.power_on,
            self.context,
            self.one,
            [],
        )
        self.assertIn('thief', str(error))
        self.assertIn('GRID K240Q', str(error))
        self.remove(thieves.pop())
        self.driver.power_on(self.context, self.one, [])
        for vm in thieves:
            self.remove(vm)

    def test_what_this_driver_does_not_do(self) -> None:
        self.assertRaises(
            nova_exception.ConsoleTypeUnavailable,
            self.driver.get_vnc_console,
            self.context,
            self.one,
        )
        self.assertRaises(
            nova_exception.MigrationPreCheckError,
            self.driver.check_can_live_migrate_destination,
            self.context,
            self.one,
            None,
            None,
        )


class PassthroughTest(xapi_driver.DriverTestCase):
    TOPOLOGY = 'passthrough'

    def test_siblings_go_along(self) -> None:
        server = self.server()
        self.give(server, self.function('0000:01:00.0'))
        self.spawn(server)
        self.assertEqual(
            '0/0000:01:00.0,0/0000:01:00.1',
            self.record(server)['other_config'][marks.PCI],
        )
        self.assertRaises(
            nova_exception.InstanceFaultRollback,
            self.driver.suspend,
            self.context,
            server,
        )
        self.destroy(server)
        self.assert_nothing_left()

    def test_a_second_one_is_refused(self) -> None:
        first, second = self.server(), self.server()
        for server in (first, second):
            self.give(server, self.function('0000:02:00.0'))
        self.spawn(first)
        error = self.assertRaises(
            nova_exception.ComputeResourcesUnavailable, self.spawn, second
        )
        self.assertIn(first.uuid, str(error))
        self.destroy(first)
        self.assert_nothing_left()

    def test_a_thief_is_found_out(self) -> None:
        server = self.server()
        self.give(server, self.function('0000:02:00.0'))
        self.spawn(server)
        self.driver.power_off(server)
        thief = self.somebody(pci='0/0000:02:00.0')
        error = self.assertRaises(
            nova_exception.InstancePowerOnFailure,
            self.driver.power_on,
            self.context,
            server,
            [],
        )
        self.assertIn('thief', str(error))
        self.remove(thief)
        self.driver.power_on(self.context, server, [])
        self.destroy(server)


@ddt.ddt
class UsbTest(xapi_driver.DriverTestCase):
    TOPOLOGY = 'passthrough'

    def setUp(self) -> None:
        super().setUp()
        self.one = self.server()
        self.give(self.one, self.usb('1-1'), self.usb('2-1'))

    def vusbs(self) -> list[dict[str, str]]:
        return [
            self.xapi.call('VUSB.get_record', ref)
            for ref in self.record(self.one)['VUSBs']
        ]

    def finish(self, on: xapi_driver.Driver | None = None) -> None:
        self.destroy(self.one, on=on)
        self.assert_nothing_left()

    def test_it_is_there_from_the_start(self) -> None:
        self.spawn(self.one)
        self.assertEqual(
            {'unit-1-1', 'unit-2-1'},
            {each['other_config'][marks.UNIT] for each in self.vusbs()},
        )
        for each in self.vusbs():
            self.assertTrue(each['currently_attached'])
            self.assertEqual(self.one.uuid, each['other_config'][marks.SERVER])
        error = self.assertRaises(
            nova_exception.InstanceFaultRollback,
            self.driver.suspend,
            self.context,
            self.one,
        )
        self.assertIn('USB', str(error.inner_exception))
        self.finish()

    def test_a_start_gives_what_is_held_and_no_more(self) -> None:
        self.spawn(self.one)
        self.driver.power_off(self.one)
        gone = self.record(self.one)['VUSBs'][0]
        self.xapi.call('VUSB.destroy', gone)
        again = self.start()
        again.wanted = self.driver.wanted
        again.power_on(self.context, self.one, [])
        self.assertEqual(2, len(self.vusbs()))
        again.power_off(self.one)
        self.give(self.one, self.usb('1-1'), on=again)
        again.power_on(self.context, self.one, [])
        self.assertEqual(1, len(self.vusbs()))
        self.finish(on=again)

    def test_a_second_one_is_refused(self) -> None:
        self.spawn(self.one)
        second = self.server()
        self.give(second, self.usb('1-1'))
        error = self.assertRaises(
            nova_exception.ComputeResourcesUnavailable, self.spawn, second
        )
        self.assertIn(self.one.uuid, str(error))
        self.finish()

    def test_a_thief_is_found_out(self) -> None:
        self.spawn(self.one)
        self.driver.power_off(self.one)
        (vusb,) = [
            ref
            for ref in self.record(self.one)['VUSBs']
            if self.xapi.call('VUSB.get_other_config', ref)[marks.UNIT]
            == 'unit-1-1'
        ]
        group = self.xapi.call('VUSB.get_USB_group', vusb)
        self.xapi.call('VUSB.destroy', vusb)
        thief = self.somebody()
        self.xapi.call('VM.hard_shutdown', thief)
        self.xapi.call('VUSB.create', thief, group, {})
        error = self.assertRaises(
            nova_exception.InstancePowerOnFailure,
            self.driver.power_on,
            self.context,
            self.one,
            [],
        )
        self.assertIn('thief', str(error))
        self.xapi.call('VM.destroy', thief)
        self.driver.power_on(self.context, self.one, [])
        self.finish()

    def test_more_than_xapi_gives(self) -> None:
        self.fault('VUSB.create', error=['TOO_MANY_VUSBS', '6'])
        error = self.assertRaises(
            nova_exception.ComputeResourcesUnavailable, self.spawn, self.one
        )
        self.assertIn('6 USB devices at most', str(error))
        self.assert_nothing_left()

    @ddt.data('VM.create', 'VUSB.create', 'VM.start_on')
    def test_the_service_dies_on_the_way(self, message: str) -> None:
        self.fault(message, error=['INTERNAL_ERROR', 'no'])
        builder = self.driver._builder
        object.__setattr__(builder, '_give_up', lambda order: None)
        self.assertRaises(exception.AccelError, self.spawn, self.one)
        self.finish(on=self.start())

    def test_the_answer_is_lost(self) -> None:
        self.fault('VUSB.create', stage='after', drop=True)
        self.assertRaises(exception.AccelError, self.spawn, self.one)
        self.assert_nothing_left()


class RescueTest(xapi_driver.DriverTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.one = self.server()
        self.spawn(self.one)
        self.helper = self.make_image(b'help' + bytes(MIB - 4))

    def rescue(self) -> None:
        self.driver.rescue(
            self.context, self.one, [], self.helper, '', {}, None
        )

    def content_at(self, device: str) -> bytes:
        return self.content(self.disks(self.one)[device].vdi, 4)

    def finish(self) -> None:
        self.destroy(self.one)
        self.assert_nothing_left()

    def test_there_and_back(self) -> None:
        self.rescue()
        self.assertEqual(b'help', self.content_at('0'))
        self.assertEqual(b'root', self.content_at('1'))
        self.assertEqual('Running', self.record(self.one)['power_state'])
        again = self.start()
        again.unrescue(self.context, self.one)
        self.assertEqual(b'root', self.content_at('0'))
        self.assertEqual(['0'], list(self.disks(self.one)))
        self.finish()

    def test_a_failure_puts_it_back(self) -> None:
        self.fault('VM.start_on', error=['INTERNAL_ERROR', 'no'])
        self.assertRaises(exception.XapiFailure, self.rescue)
        self.assertEqual(b'root', self.content_at('0'))
        self.finish()

    def test_the_service_dies_on_the_way(self) -> None:
        self.driver.power_off(self.one)
        machine = self.machine(self.one)
        self.fault('VBD.create', error=['INTERNAL_ERROR', 'no'])
        self.assertRaises(
            exception.XapiFailure,
            self.driver._rescue.set_aside,
            machine,
            self.one.uuid,
        )
        self.assertEqual({}, self.disks(self.one))
        self.start().unrescue(self.context, self.one)
        self.assertEqual(b'root', self.content_at('0'))
        self.finish()
