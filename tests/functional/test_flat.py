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
"""What is sent to libvirt does not grow with what a host has.

By counts, which do not flicker: two hosts of different size in one cloud,
with real services and real Placement, are asked for the same.
"""

import collections.abc
import typing as ty
from unittest import mock

from tests.benchmarks import hosts

from nova_accel.virt import drivers

from tests.benchmarks import counting

NAMES = ('small', 'large')
SIZES = {'small': hosts.Size(2, 4, 2), 'large': hosts.Size(4, 16, 2)}
STRANGERS = {'small': 0, 'large': 20}
# Beside one call a device: the list, and two to be told of events; nova's
# own look at mediated devices that the start of the host has left off.
START = 4

Counts = dict[str, counting.Count]


class FlatTest(hosts.Bench):
    def setUp(self) -> None:
        super().setUp()
        self.conns = {
            name: hosts.connect(
                name, self.node_file(SIZES[name], STRANGERS[name])
            )
            for name in NAMES
        }

    def start_both(self) -> None:
        for name, conn in self.conns.items():
            self.start_compute(name, connection=conn)
            for _ in range(2):
                self.run_periodic(name)

    def counts(
        self, action: collections.abc.Callable[[str], object]
    ) -> Counts:
        """Count what an action sends on each host."""
        found = {}
        for name, conn in self.conns.items():
            with conn.counted() as found[name]:
                action(name)
        return found

    def assert_flat(self, counts: Counts) -> None:
        small, large = (dict(counts[name].verbs) for name in NAMES)
        self.assertEqual(small, large)

    def devices(self, counts: Counts) -> list[int]:
        """How many calls were about node devices."""
        return [counts[name].about(counting.DEVICES) for name in NAMES]

    def boot_four(self, name: str) -> None:
        self.boot(self.flavor4, host=name)

    def change_one(self, name: str) -> None:
        """Move a function to the other NUMA node, and look."""
        machine = self.conns[name].machine
        xml = machine.describe('pci_0000_10_00_4')
        moved = xml.replace("<numa node='0'/>", "<numa node='1'/>")
        self.assertNotEqual(xml, moved)
        machine.alter(moved)
        self.run_periodic(name)


class RefreshTest(FlatTest):
    def test_nothing_is_asked_about_devices_when_nothing_changed(
        self,
    ) -> None:
        self.start_both()
        counts = self.counts(self.run_periodic)
        self.assertEqual([0, 0], self.devices(counts))
        self.assert_flat(counts)

    def test_one_question_is_asked_where_libvirt_tells_no_events(
        self,
    ) -> None:
        for conn in self.conns.values():
            conn.fail['nodeDeviceEventRegisterAny'] = conn.error(
                'NO_SUPPORT', 'this function is not supported'
            )
        self.start_both()
        counts = self.counts(self.run_periodic)
        self.assertEqual([1, 1], self.devices(counts))
        self.assert_flat(counts)

    def test_of_one_that_changed_one_is_read(self) -> None:
        self.start_both()
        counts = self.counts(self.change_one)
        self.assertEqual([1, 1], self.devices(counts))
        self.assert_flat(counts)

    def test_no_lock_for_all_is_held_meanwhile(self) -> None:
        self.start_both()
        for action in (self.run_periodic, self.change_one):
            for count in self.counts(action).values():
                self.assertEqual({}, count.locked)

    def test_a_start_reads_each_device_once(self) -> None:
        counts = self.counts(
            lambda name: self.start_compute(name, connection=self.conns[name])
        )
        self.assertEqual(
            [
                START + len(conn.machine.names())
                for conn in self.conns.values()
            ],
            self.devices(counts),
        )


class StatesTest(FlatTest):
    """Whatever is to be watched, cleaned or prepared costs no call."""

    def start_both(self) -> None:
        self.write_rules(
            hosts.RULES
            + '    one_time_use: yes\n'
            + '    clean: mdev\n'
            + '    new_devices: not_ready\n'
            + '    prepare: {driver: nvidia}\n'
            + '    health: {aer_fatal: 1, link: yes}\n'
        )
        self.flags(health_interval=1, group='accel')
        super().start_both()

    def look(self, name: str) -> None:
        driver = self.computes[name].driver
        driver.accel_caretaker._watch._looked = None
        self.run_periodic(name)

    def test_nothing_is_asked_about_devices(self) -> None:
        self.start_both()
        counts = self.counts(self.look)
        self.assertEqual([0, 0], self.devices(counts))
        self.assert_flat(counts)
        for count in counts.values():
            self.assertEqual({}, count.locked)


class SpawnTest(FlatTest):
    def setUp(self) -> None:
        super().setUp()
        self.flavor4 = self.flavor(resources__VGPU=4)

    def test_a_spawn_is_flat(self) -> None:
        self.start_both()
        for _ in range(2):
            self.boot_four('large')
        counts = self.counts(self.boot_four)
        self.assert_flat(counts)
        self.assertEqual([4, 4], self.devices(counts))
        self.assertLessEqual(counts['large'].total, 16)
        self.assertEqual({}, counts['large'].locked)
        self.assert_invariants()


class LifeTest(FlatTest):
    """What happens to a server once it is there."""

    def setUp(self) -> None:
        super().setUp()
        self.flags(allow_resize_to_same_host=True)
        self.flavor4 = self.flavor(resources__VGPU=4)
        self.flavor2 = self.flavor(resources__VGPU=2)
        self.start_both()
        for _ in range(2):
            self.boot_four('large')
        self.servers = {
            name: self.boot(self.flavor4, host=name) for name in NAMES
        }

    def reboot(self, name: str) -> None:
        self._reboot_server(self.servers[name], hard=True)

    def resize(self, name: str) -> None:
        """Resize the server on the host where it is."""
        self.enable_only(name)
        # All hosts of a cloud in one process share nova's options; by this
        # one nova tells whether the server has left the host.
        self.flags(host=name)
        self._resize_server(self.servers[name], self.flavor2)
        self._confirm_resize(self.servers[name])

    def delete(self, name: str) -> None:
        self._delete_server(self.servers[name])

    def enable_only(self, name: str) -> None:
        for service in self.api.get_services(binary='nova-compute'):
            status = 'enabled' if service['host'] == name else 'disabled'
            self.api.put_service(service['id'], {'status': status})

    def test_each_step_is_flat(self) -> None:
        # A mediated device is looked up, and destroyed.
        for step, limit, about_devices in (
            (self.reboot, 24, 0),
            # Those of before are destroyed.
            (self.resize, 32, 2 + 2 * 4),
            (self.delete, 12, 2 * 2),
        ):
            counts = self.counts(step)
            self.assert_flat(counts)
            self.assertEqual([about_devices] * 2, self.devices(counts))
            self.assertLessEqual(counts['large'].total, limit, counts)
            self.assertEqual({}, counts['large'].locked)
            self.run_periodic()
            self.assert_invariants()


class AlarmTest(FlatTest):
    """The tests above do find what they look for."""

    def setUp(self) -> None:
        super().setUp()
        self.start_both()

    def test_a_call_a_device(self) -> None:
        with self.planted('get_available_resource', self.look_at_each):
            counts = self.counts(self.run_periodic)
        self.assertEqual(
            [SIZES[name].devices for name in NAMES], self.devices(counts)
        )
        self.assertRaises(AssertionError, self.assert_flat, counts)

    def test_a_call_under_a_lock(self) -> None:
        with self.planted('update_provider_tree', self.ask_for_the_version):
            counts = self.counts(self.run_periodic)
        for count in counts.values():
            self.assertEqual({'getVersion': 1}, count.locked)

    def look_at_each(self, conn: counting.CountingConnection) -> None:
        for name, _kind in conn.machine.names():
            if conn.machine.kinds(name)[1:] == ['mdev_types']:
                conn.nodeDeviceLookupByName(name)

    def ask_for_the_version(self, conn: counting.CountingConnection) -> None:
        conn.getVersion()

    def planted(
        self,
        verb: str,
        calls: collections.abc.Callable[[counting.CountingConnection], None],
    ) -> ty.Any:
        """Let a verb of the driver make calls that it should not."""
        original = getattr(drivers.LibvirtAccelDriver, verb)

        def planted(driver: ty.Any, *args: ty.Any, **kwargs: ty.Any) -> ty.Any:
            calls(driver._host.get_connection())
            return original(driver, *args, **kwargs)

        return mock.patch.object(drivers.LibvirtAccelDriver, verb, planted)
