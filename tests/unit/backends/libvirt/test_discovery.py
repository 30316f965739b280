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
"""How often libvirt is asked, counted on the real library's devices."""

import tempfile
import threading

import ddt

from nova_accel.backends.libvirt import session
from nova_accel import exception
from nova_accel.testing import machine
from nova_accel.testing import node_xml
from nova_accel.testing import nodedevs
from tests.unit.backends.libvirt import common

NEW = '0000:5a:00.0'


def gpu(address=NEW, **options):
    return node_xml.function(address, node_xml.BENCH_GPU, **options)


class ColdTest(common.TestCase):
    def test_one_list_and_one_description_a_device(self):
        host = self.synthetic(128, mdevs=100)
        view = self.backend(host).discover()
        self.assertEqual(100, len(view.mdevs))
        expected = {
            'nodeDeviceEventRegisterAny': 2,
            'listAllDevices': 1,
            # 128 cards, two bridges, 100 mediated devices
            'virNodeDevice.XMLDesc': 230,
        }
        self.assertEqual(expected, self.calls(host))

    def test_old_libvirt_knows_fewer_flags(self):
        host = self.shipped('t4')
        answer = host._list

        def picky(flags):
            if flags & (1 << 31):
                raise machine.Refusal('INVALID_ARG', 'unsupported flags')
            return answer(flags)

        host._list = picky
        backend = self.backend(self.without_events(host))
        self.assertEqual(11, len(backend.discover().devices))
        self.assertEqual(2, self.calls(host)['listAllDevices'])
        backend.discover()
        self.assertEqual({'listAllDevices': 1}, self.calls(host))

    def test_libvirt_that_does_not_answer(self):
        host = self.shipped('t4')
        backend = self.backend(host)
        host.fail['listAllDevices'] = host.error('RPC', 'Broken pipe')
        error = self.assertRaises(
            exception.BackendUnavailable, backend.discover
        )
        self.assertIn('Broken pipe', str(error))

    def test_connection_that_cannot_be_had(self):
        def connect():
            raise RuntimeError('HypervisorUnavailable')

        backend = self.backend(None)
        backend._found._connect = connect
        error = self.assertRaises(
            exception.BackendUnavailable, backend.discover
        )
        self.assertIn('HypervisorUnavailable', str(error))

    def test_events_are_asked_for_once(self):
        host = self.shipped('t4')
        host.fail['listAllDevices'] = host.error('RPC', 'Broken pipe')
        backend = self.backend(host)
        for _ in range(3):
            self.assertRaises(exception.BackendUnavailable, backend.discover)
        host.fail.clear()
        backend.discover()
        self.assertEqual(2, self.calls(host)['nodeDeviceEventRegisterAny'])

    def test_driver_without_node_devices(self):
        host = self.shipped('t4')
        host.fail['listAllDevices'] = host.error('NO_SUPPORT', 'no function')
        backend = self.backend(host)
        self.assertRaises(exception.BackendUnavailable, backend.discover)

    def test_errors_that_are_not_libvirts_are_not_hidden(self):
        host = self.shipped('t4')
        host.fail['listAllDevices'] = ZeroDivisionError()
        backend = self.backend(host)
        self.assertRaises(ZeroDivisionError, backend.discover)


@ddt.ddt
class GrowthTest(common.TestCase):
    """From 128 to 1,024 devices: eight times as much when cold, no more."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.hosts = [cls.host_of(half) for half in (64, 512)]

    @staticmethod
    def host_of(half):
        text = node_xml.vgpu_host(half, types=1, mdevs=half)
        with tempfile.NamedTemporaryFile('w', suffix='.xml') as file:
            file.write(text)
            file.flush()
            return machine.Machine(file.name)

    def counted(self, host, events):
        connection = nodedevs.NodeDevices(host)
        if not events:
            self.without_events(connection)
        backend = self.backend(connection)
        view = backend.discover()
        cold = sum(self.calls(connection).values())
        self.assertIs(view, backend.discover())
        return cold, sum(self.calls(connection).values())

    @ddt.data((True, 0), (False, 1))
    @ddt.unpack
    def test_growth(self, events, expected):
        (small, few), (large, many) = (
            self.counted(host, events) for host in self.hosts
        )
        self.assertEqual((expected, expected), (few, many))
        self.assertLessEqual(large, 8 * small)


class SteadyTest(common.TestCase):
    def test_events_no_call(self):
        host = self.synthetic(64, mdevs=10)
        backend = self.backend(host)
        view = backend.discover()
        self.calls(host)
        for _ in range(3):
            self.assertIs(view, backend.discover())
        self.assertEqual({}, self.calls(host))

    def test_no_events_one_list(self):
        host = self.without_events(self.synthetic(64, mdevs=10))
        backend = self.backend(host)
        view = backend.discover()
        self.calls(host)
        for _ in range(3):
            self.assertIs(view, backend.discover())
        self.assertEqual({'listAllDevices': 3}, self.calls(host))

    def test_no_events_is_said_once(self):
        host = self.without_events(self.shipped('t4'))
        backend = self.backend(host)
        for _ in range(3):
            backend.discover(full=True)
        self.assertEqual(1, self.log.output.count('No node-device events'))

    def test_full_reads_everything(self):
        host = self.shipped('t4')
        backend = self.backend(host)
        view = backend.discover()
        cold = self.calls(host)
        self.assertIs(view, backend.discover(full=True))
        cold.pop('nodeDeviceEventRegisterAny')
        self.assertEqual(cold, self.calls(host))

    def test_everything_is_read_again_after_a_while(self):
        host = self.shipped('t4')
        backend = self.backend(host, resync_interval=600)
        view = backend.discover()
        self.calls(host)
        self.clock.now += 599
        backend.discover()
        self.assertEqual({}, self.calls(host))
        self.clock.now += 1
        self.assertIs(view, backend.discover())
        self.assertEqual(1, self.calls(host)['listAllDevices'])
        backend.discover()
        self.assertEqual({}, self.calls(host))

    def test_a_lost_event_is_made_good_by_then(self):
        host = self.shipped('t4')
        backend = self.backend(host)
        before = backend.discover()
        host._callbacks.clear()
        host.machine.unplug('pci_0000_af_00_0')
        self.assertIs(before, backend.discover())
        self.clock.now += 600
        after = backend.discover()
        self.assertEqual(len(before.devices) - 1, len(after.devices))


class DirtyTest(common.TestCase):
    def setUp(self):
        super().setUp()
        self.host = self.synthetic(64, mdevs=10)
        self.found = self.backend(self.host)
        self.before = self.found.discover()
        self.calls(self.host)

    def test_changed(self):
        name = self.before.devices[5].name
        xml = self.host.machine.describe(name)
        self.host.machine.alter(xml.replace("<numa node='0'/>", ''))
        after = self.found.discover()
        self.assertEqual({'virNodeDevice.XMLDesc': 1}, self.calls(self.host))
        self.assertIsNone(after.devices[5].numa_node)
        others = zip(self.before.devices[6:], after.devices[6:], strict=True)
        self.assertTrue(all(old is new for old, new in others))

    def test_new(self):
        self.host.machine.plug(gpu())
        after = self.found.discover()
        self.assertEqual({'virNodeDevice.XMLDesc': 1}, self.calls(self.host))
        self.assertEqual(NEW, str(common.by_address(after, NEW).address))

    def test_gone(self):
        self.host.machine.unplug(self.before.devices[20].name)
        after = self.found.discover()
        self.assertEqual({}, self.calls(self.host))
        expected = self.before.devices[:20] + self.before.devices[21:]
        self.assertEqual(expected, after.devices)

    def test_come_and_gone_between_two_refreshes(self):
        self.host.machine.plug(gpu())
        self.host.machine.unplug(node_xml.name_of(NEW))
        self.assertIs(self.before, self.found.discover())
        self.assertEqual({}, self.calls(self.host))

    def test_gone_and_come_back_changed(self):
        self.host.machine.plug(gpu(numa=0))
        self.found.discover()
        self.host.machine.unplug(node_xml.name_of(NEW))
        self.host.machine.plug(gpu(numa=1))
        after = self.found.discover()
        self.assertEqual(1, common.by_address(after, NEW).numa_node)

    def test_a_storm_about_one_device_is_one_call(self):
        for _ in range(500):
            self.host.machine._tell(
                machine.UPDATED, self.before.devices[5].name
            )
        self.assertIs(self.before, self.found.discover())
        self.assertEqual({'virNodeDevice.XMLDesc': 1}, self.calls(self.host))

    def test_a_storm_too_big_to_keep_reads_everything(self):
        name = self.before.devices[20].name
        self.host.machine.unplug(name)
        for _ in range(5000):
            self.host.machine._tell(machine.UPDATED, 'usb_1_1')
        after = self.found.discover()
        self.assertEqual(1, self.calls(self.host)['listAllDevices'])
        self.assertEqual(len(self.before.devices) - 1, len(after.devices))
        self.found.discover()
        self.assertEqual({}, self.calls(self.host))

    def test_devices_of_other_kinds_cost_nothing(self):
        for kind in (machine.CREATED, machine.DELETED, machine.DEFINED):
            self.host.machine._tell(kind, 'usb_1_1')
            self.host.machine._tell(kind, 'scsi_0_0_0_0')
        self.assertIs(self.before, self.found.discover())
        self.assertEqual({}, self.calls(self.host))

    def test_vanished_between_event_and_description(self):
        self.host.machine._tell(machine.CREATED, 'pci_0000_99_00_0')
        self.assertIs(self.before, self.found.discover())

    def test_events_from_another_thread(self):
        thread = threading.Thread(target=self.host.machine.plug, args=[gpu()])
        thread.start()
        thread.join()
        after = self.found.discover()
        self.assertEqual(len(self.before.devices) + 1, len(after.devices))

    def test_list_finds_what_events_would_tell(self):
        host = self.without_events(self.synthetic(8))
        found = self.backend(host)
        before = found.discover()
        self.calls(host)
        host.machine.plug(gpu())
        host.machine.unplug(before.devices[3].name)
        after = found.discover()
        self.assertEqual(
            {'listAllDevices': 1, 'virNodeDevice.XMLDesc': 1},
            self.calls(host),
        )
        self.assertEqual(
            {one.name for one in before.devices}
            ^ {one.name for one in after.devices},
            {before.devices[3].name, node_xml.name_of(NEW)},
        )


class NewVirtualFunctionTest(common.TestCase):
    def test_its_physical_function_is_read_again(self):
        host = self.shipped('t4')
        host.machine.plug(gpu(serial='S1', virtual=[], max_virtual=8))
        found = self.backend(host)
        found.discover()
        self.calls(host)
        # The physical function changes without an event of its own.
        virtual = '0000:5a:00.4'
        tell, host.machine._tell = host.machine._tell, lambda *event: None
        host.machine.alter(gpu(serial='S1', virtual=[virtual]))
        host.machine._tell = tell
        host.machine.plug(gpu(virtual, physical=NEW))
        view = found.discover()
        self.assertEqual(
            {'virNodeDevice.XMLDesc': 2, 'nodeDeviceLookupByName': 1},
            self.calls(host),
        )
        self.assertEqual('sn:S1.vf0', common.by_address(view, virtual).ids[0])
        self.assertIs(view, found.discover())
        self.assertIs(view, found.discover(full=True))

    def test_but_once_only(self):
        host = self.shipped('t4')
        host.machine.plug(gpu(virtual=[], max_virtual=8))
        found = self.backend(host)
        found.discover()
        host.machine.plug(gpu('0000:5a:00.4', physical=NEW))
        view = found.discover()
        self.calls(host)
        self.assertIs(view, found.discover())
        self.assertEqual({}, self.calls(host))


class ForeignMdevTest(common.TestCase):
    """Mediated devices that somebody else makes."""

    def setUp(self):
        super().setUp()
        self.host = self.shipped('t4')
        self.found = self.backend(self.host)
        self.before = self.found.discover()
        self.calls(self.host)
        self.xml = (
            '<device><parent>pci_0000_18_00_0</parent>'
            "<capability type='mdev'><type id='nvidia-233'/>"
            '<uuid>7d7ff1b5-0b75-4e2c-b6a9-7a4fcd3a5ab3</uuid>'
            '</capability></device>'
        )

    def test_created(self):
        self.host.machine.create(self.xml)
        after = self.found.discover()
        self.assertEqual({'virNodeDevice.XMLDesc': 1}, self.calls(self.host))
        (mdev,) = after.mdevs
        self.assertEqual('pci_0000_18_00_0', mdev.parent)
        self.assertIs(self.before.devices, after.devices)

    def test_destroyed(self):
        name = self.host.machine.create(self.xml)
        self.found.discover()
        self.host.machine.destroy(name)
        self.calls(self.host)
        self.assertEqual(self.before, self.found.discover())
        self.assertEqual({}, self.calls(self.host))

    def test_merely_defined_is_not_there(self):
        name = self.host.machine.define(self.xml)
        self.host.machine._tell(machine.UPDATED, name)
        self.assertIs(self.before, self.found.discover())
        self.assertIs(self.before, self.found.discover(full=True))
        self.host.machine.start(name)
        self.assertEqual(1, len(self.found.discover().mdevs))
        self.host.machine.destroy(name)
        self.assertEqual((), self.found.discover().mdevs)

    def test_figures_do_not_move(self):
        self.host.machine.create(self.xml)
        self.assertEqual(
            self.before.devices, self.found.discover(full=True).devices
        )

    def test_figures_known_although_the_host_was_in_use_at_the_start(self):
        self.host.machine.create(self.xml)
        found = self.backend(self.host)
        self.assertEqual(self.before.devices, found.discover().devices)


class TroubleTest(common.TestCase):
    def test_one_malformed_device(self):
        host = self.shipped('t4')
        good = host.machine.describe('pci_0000_18_00_0')
        bad = good.replace('availableInstances', 'instances')
        host.machine._rendered['pci_0000_18_00_0'] = bad
        view = self.backend(host).discover()
        self.assertEqual(10, len(view.devices))
        self.assertIn('pci_0000_18_00_0', self.log.output)

    def failing(self, host, name):
        """Make libvirt unable to read one device, for a while."""
        error = host.error('SYSTEM_ERROR', f'cannot read {name}')
        answer = host.answer

        def flaky(verb, function, *args, **options):
            if verb == 'virNodeDevice.XMLDesc' and args == (name,):
                host.calls[verb] += 1
                raise error
            return answer(verb, function, *args, **options)

        host.answer = flaky
        return lambda: setattr(host, 'answer', answer)

    def test_one_unreadable_device_is_tried_again(self):
        host = self.shipped('t4')
        heal = self.failing(host, 'pci_0000_18_00_0')
        backend = self.backend(host)
        self.assertEqual(10, len(backend.discover().devices))
        self.assertIn('cannot read pci_0000_18_00_0', self.log.output)
        heal()
        self.assertEqual(11, len(backend.discover().devices))

    def test_but_not_for_ever(self):
        host = self.shipped('t4')
        self.failing(host, 'pci_0000_18_00_0')
        backend = self.backend(host)
        backend.discover()
        backend.discover()
        self.calls(host)
        for _ in range(3):
            self.assertEqual(10, len(backend.discover().devices))
        self.assertEqual({}, self.calls(host))

    def test_device_that_cannot_be_read_any_more_stays(self):
        host = self.shipped('t4')
        backend = self.backend(host)
        view = backend.discover()
        self.failing(host, 'pci_0000_18_00_0')
        self.assertIs(view, backend.discover(full=True))

    def test_vanishing_between_list_and_description(self):
        host = self.shipped('t4')
        answer = host._list

        def late(flags):
            handles = answer(flags)
            host.machine.unplug('pci_0000_18_00_0')
            host._list = answer
            return handles

        host._list = late
        backend = self.backend(host)
        self.assertEqual(10, len(backend.discover().devices))
        self.assertEqual(10, len(backend.discover().devices))

    def test_connection_lost_half_way_through(self):
        host = self.shipped('t4')
        backend = self.backend(host)
        before = backend.discover()
        host.machine.unplug('pci_0000_18_00_0')
        host.machine.plug(gpu())
        heal = self.failing(host, node_xml.name_of(NEW))
        host.isAlive = lambda: 0
        host._alive = False
        self.assertRaises(exception.BackendUnavailable, backend.discover)
        heal()
        del host.isAlive
        host._alive = True
        after = backend.discover()
        self.assertEqual(len(before.devices), len(after.devices))


class ReconnectTest(common.TestCase):
    def setUp(self):
        super().setUp()
        self.host = self.shipped('t4')
        self.current = self.host
        self.asked = 0
        self.found = self.backend(None)
        self.found._found._connect = self.connect
        self.before = self.found.discover()

    def connect(self):
        self.asked += 1
        return self.current

    def restart(self):
        self.current = nodedevs.NodeDevices(self.host.machine)
        self.host.break_off()

    def test_connection_is_not_asked_for_while_it_stands(self):
        self.asked = 0
        self.found.discover()
        self.assertEqual(0, self.asked)

    def test_nothing_changed_meanwhile(self):
        self.restart()
        self.assertIs(self.before, self.found.discover())
        self.assertEqual(
            {
                'nodeDeviceEventRegisterAny': 2,
                'listAllDevices': 1,
                'virNodeDevice.XMLDesc': 11,
            },
            self.calls(self.current),
        )
        self.found.discover()
        self.assertEqual({}, self.calls(self.current))

    def test_changes_meanwhile_are_noticed(self):
        self.restart()
        self.host.machine.unplug('pci_0000_18_00_0')
        self.assertEqual(10, len(self.found.discover().devices))

    def test_events_of_the_new_connection_count(self):
        self.restart()
        self.found.discover()
        self.calls(self.current)
        self.current.machine.plug(gpu())
        self.assertEqual(12, len(self.found.discover().devices))
        self.assertEqual(
            {'virNodeDevice.XMLDesc': 1}, self.calls(self.current)
        )

    def test_while_libvirtd_is_down(self):
        self.restart()
        self.current = self.host
        self.assertRaises(exception.BackendUnavailable, self.found.discover)
        self.restart()
        self.assertIs(self.before, self.found.discover())


class SilentConnectionTest(common.TestCase):
    """nova's fixture: neither events nor a way to tell a dead line."""

    class Silent:
        def __init__(self, connection):
            self._connection = connection

        def __getattr__(self, name):
            if name in ('isAlive', 'nodeDeviceEventRegisterAny', 'getURI'):
                raise AttributeError(name)
            return getattr(self._connection, name)

    def test_refreshes_by_listing(self):
        host = self.shipped('t4')
        silent = self.Silent(host)
        backend = self.backend(silent)
        view = backend.discover()
        self.calls(host)
        self.assertIs(view, backend.discover())
        # Such a one may leave mediated devices out of its list.
        self.assertEqual(
            {'listAllDevices': 1, 'listDevices': 2}, self.calls(host)
        )

    def test_new_connection_is_noticed(self):
        connections = [self.Silent(self.shipped('t4'))]
        backend = self.backend(None)
        backend._found._connect = lambda: connections[0]
        self.assertEqual(11, len(backend.discover().devices))
        connections[0] = self.Silent(self.shipped('nvme'))
        self.assertEqual(15, len(backend.discover().devices))


class SessionTest(common.TestCase):
    def test_local(self):
        class Connection:
            def getURI(self):
                return self.uri

        connection = Connection()
        for uri, local in (
            ('qemu:///system', True),
            ('qemu+unix:///system?socket=/run/x', True),
            ('qemu+ssh://host1/system', False),
            ('qemu+tls://host1/system', False),
            ('test:///default', False),
            ('test:////tmp/node.xml', False),
        ):
            connection.uri = uri
            found = session.Session(connection, lambda thing: thing)
            self.assertEqual(local, found.local, uri)
