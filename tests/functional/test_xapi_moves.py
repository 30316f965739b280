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
"""Moves, snapshots, volumes and networks on a simulated pool."""

import tracemalloc
import typing as ty
from unittest import mock

import ddt
from nova.compute import power_state
from nova import exception as nova_exception
from nova import objects
from nova.tests.fixtures import glance

from nova_accel import exception
from nova_accel.testing import xapi_records
from nova_accel.virt.xapi import disks
from nova_accel.virt.xapi import vifs
from tests.functional import xapi_driver

MIB = xapi_driver.MIB
GIB = xapi_driver.GIB

VOLUME = xapi_records.volume(serial='volume-1')
# Of each side of a move, what it asks of XAPI.
LEAVING = (
    'VM.hard_shutdown',
    'VBD.destroy',
    'PBD.unplug',
    'PBD.destroy',
    'SR.forget',
    'VDI.get_uuid',
    'VM.remove_from_other_config',
    'VM.add_to_other_config',
)


@ddt.ddt
class MoveTest(xapi_driver.DriverTestCase):
    TOPOLOGY = 'two-hosts'

    def setUp(self) -> None:
        super().setUp()
        self.other = self.start('xen2')
        self.one = self.server()
        self.give(self.one, self.vgpu('GRID K180Q'))
        self.spawn(self.one)

    def leave(self, flavor: objects.Flavor, dest: str = '') -> str:
        return self.driver.migrate_disk_and_power_off(
            self.context,
            self.one,
            dest or self.other.get_host_ip_addr(),
            flavor,
            [],
        )

    def arrive(
        self,
        disk_info: str,
        flavor: objects.Flavor,
        on: xapi_driver.Driver | None = None,
    ) -> None:
        driver = on or self.other
        self.give(self.one, self.vgpu('GRID K180Q', driver), on=driver)
        old, self.one.flavor = self.one.flavor, flavor
        try:
            driver.finish_migration(
                self.context,
                None,
                self.one,
                disk_info,
                [],
                self.image,
                True,
                {},
            )
        except Exception:
            self.one.flavor = old
            raise

    def revert(self, on: xapi_driver.Driver | None = None) -> None:
        self.destroy(self.one, on=on or self.other)
        again = self.start()
        again.wanted = self.driver.wanted
        again.finish_revert_migration(self.context, self.one, [], None)

    def test_a_resize_that_is_confirmed(self) -> None:
        larger = self.flavor(root_gb=1, memory_mb=1024)
        self.arrive(self.leave(larger), larger)
        info = self.other.get_info(self.one)
        self.assertEqual(power_state.RUNNING, info.state)
        disk = self.disks(self.one, self.other)['0']
        self.assertEqual(GIB, disk.size)
        self.assertEqual(b'root', self.content(disk.vdi, 4))
        self.assertRaises(
            nova_exception.InstanceNotFound, self.driver.get_info, self.one
        )
        # Nothing but what the server says itself is needed for it.
        self.start().confirm_migration(self.context, None, self.one, [])
        self.assertEqual([], self.driver.list_instance_uuids())
        self.assertEqual(b'root', self.content(disk.vdi, 4))
        self.destroy(self.one, on=self.other)
        self.assert_nothing_left()

    def test_a_resize_that_is_reverted(self) -> None:
        self.arrive(self.leave(self.flavor()), self.flavor())
        self.revert()
        info = self.driver.get_info(self.one)
        self.assertEqual(power_state.RUNNING, info.state)
        self.assertEqual([], self.other.list_instance_uuids())
        self.assertEqual(1, len(self.record(self.one)['VGPUs']))
        self.destroy(self.one)
        self.assert_nothing_left()

    def test_on_the_same_host(self) -> None:
        larger = self.flavor(root_gb=1)
        info = self.leave(larger, self.driver.get_host_ip_addr())
        self.arrive(info, larger, on=self.driver)
        self.assertEqual(GIB, self.disks(self.one)['0'].size)
        self.revert(on=self.driver)
        self.assertEqual(2 * MIB, self.disks(self.one)['0'].size)
        info = self.leave(larger, self.driver.get_host_ip_addr())
        self.arrive(info, larger, on=self.driver)
        self.driver.confirm_migration(self.context, None, self.one, [])
        self.assertEqual(GIB, self.disks(self.one)['0'].size)
        self.destroy(self.one)
        self.assert_nothing_left()

    def test_refused_before_anything_changes(self) -> None:
        for flavor, dest in (
            (self.flavor(), '192.0.2.99'),
            (self.flavor(root_gb=1), ''),
        ):
            if not dest:
                self.one.flavor = self.flavor(root_gb=2)
            self.assertRaises(
                nova_exception.InstanceFaultRollback, self.leave, flavor, dest
            )
            info = self.driver.get_info(self.one)
            self.assertEqual(power_state.RUNNING, info.state)
        self.destroy(self.one)

    def test_it_comes_from_another_hypervisor(self) -> None:
        """Nova itself would send a server of libvirt here."""
        theirs = '[{"type": "raw", "path": "/var/lib/nova/disk"}]'
        error = self.assertRaises(
            nova_exception.MigrationError, self.arrive, theirs, self.flavor()
        )
        self.assertIn('not of this XAPI pool', str(error))
        self.assertEqual([], self.other.list_instance_uuids())

    def test_nothing_is_left_where_it_fails(self) -> None:
        info = self.leave(self.flavor())
        for message in ('import_raw_vdi', 'VBD.create', 'VM.start_on'):
            stage = 'after' if message == 'import_raw_vdi' else 'before'
            self.fault(
                message, stage=stage, error=['INTERNAL_ERROR', 'no'], times=0
            )
            self.assertRaises(
                exception.XapiFailure,
                self.arrive,
                info,
                self.flavor(),
            )
            self.control('DELETE', 'faults')
            self.assertEqual([], self.other.list_instance_uuids())
        self.arrive(info, self.flavor())
        self.driver.confirm_migration(self.context, None, self.one, [])
        self.destroy(self.one, on=self.other)
        self.assert_nothing_left()

    @ddt.data(*xapi_driver.STEPS)
    def test_the_service_dies_while_it_arrives(self, message: str) -> None:
        info = self.leave(self.flavor())
        self.fault(message, error=['INTERNAL_ERROR', 'no'])
        builder = self.other._builder
        object.__setattr__(builder, '_give_up', lambda order: None)
        self.assertRaises(
            exception.AccelError, self.arrive, info, self.flavor()
        )
        # What nova does then: the one goes, the other is the server again.
        self.revert(on=self.start('xen2'))
        self.assert_it_is_back()

    @ddt.data(*LEAVING)
    def test_the_service_dies_while_it_leaves(self, message: str) -> None:
        self.driver.attach_volume(self.context, VOLUME, self.one, '/dev/xvdb')
        given = {
            'root_device_name': '/dev/xvda',
            'block_device_mapping': [
                {'connection_info': VOLUME, 'mount_device': '/dev/xvdb'}
            ],
        }
        self.fault(message, error=['INTERNAL_ERROR', 'no'])
        self.assertRaises(
            exception.XapiFailure,
            self.driver.migrate_disk_and_power_off,
            self.context,
            self.one,
            self.other.get_host_ip_addr(),
            self.flavor(),
            [],
            given,
        )
        again = self.start()
        again.wanted = self.driver.wanted
        again.finish_revert_migration(self.context, self.one, [], None, given)
        self.assertEqual(['0', '1'], list(self.disks(self.one)))
        self.assertTrue(self.disks(self.one)['1'].attached)
        self.assert_it_is_back(given)

    def assert_it_is_back(self, given: ty.Any = None) -> None:
        info = self.driver.get_info(self.one)
        self.assertEqual(power_state.RUNNING, info.state)
        self.assertEqual(1, len(self.record(self.one)['VGPUs']))
        self.assertEqual([], self.other.list_instance_uuids())
        self.destroy(self.one, block_device_info=given)
        self.assert_nothing_left()


class SnapshotTest(xapi_driver.DriverTestCase):
    def test_it_is_uploaded(self) -> None:
        server = self.server()
        self.give(server, self.vgpu('GRID K240Q'))
        self.spawn(server)
        image = glance.GlanceFixture.image1['id']
        states: list[ty.Any] = []
        self.driver.snapshot(
            self.context, server, image, lambda **how: states.append(how)
        )
        content = self.glance.contents[image]
        # XAPI rounds up.
        self.assertEqual(2 * MIB, len(content))
        self.assertEqual(b'root', content[:4])
        self.assertEqual(2, len(states))
        self.destroy(server)
        self.assert_nothing_left()


class MemoryTest(xapi_driver.DriverTestCase):
    def test_an_image_is_not_held(self) -> None:
        piece = bytes(MIB)
        server = self.server()
        self.image.size = 256 * MIB

        def download(*_args: ty.Any, data: ty.Any, **_more: ty.Any) -> None:
            for _each in range(256):
                data.write(piece)

        self.stub_out('tests.functional.xapi_driver.Glance.download', download)
        self.stub_out(
            'nova_accel.testing.xapi_simulator.images.Images.write',
            lambda *args: None,
        )
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        self.spawn(server)
        _now, peak = tracemalloc.get_traced_memory()
        self.assertLess(peak, 32 * MIB)
        self.destroy(server)


class VolumeTest(xapi_driver.DriverTestCase):
    TOPOLOGY = 'two-hosts'

    def test_live(self) -> None:
        server = self.server()
        self.spawn(server)
        self.driver.attach_volume(self.context, VOLUME, server, '/dev/xvdb')
        disk = self.disks(server)['1']
        self.assertTrue(disk.attached)
        self.assertEqual(disks.VOLUME, disk.purpose)
        for _each in range(2):
            self.driver.detach_volume(
                self.context, VOLUME, server, '/dev/xvdb'
            )
        self.assertEqual(['0'], list(self.disks(server)))
        self.destroy(server)
        self.assert_nothing_left()

    def test_at_boot(self) -> None:
        server = self.server()
        given = {
            'root_device_name': '/dev/xvda',
            'block_device_mapping': [
                {
                    'connection_info': VOLUME,
                    'mount_device': '/dev/xvda',
                    'boot_index': 0,
                }
            ],
        }
        self.spawn(server, block_device_info=given)
        found = self.disks(server)
        self.assertEqual([disks.VOLUME], [d.purpose for d in found.values()])
        self.destroy(server, block_device_info=given)
        self.assert_nothing_left()

    def test_nothing_is_left_where_it_fails(self) -> None:
        server = self.server()
        self.spawn(server)
        for message in ('PBD.plug', 'VBD.create', 'VBD.plug'):
            self.fault(message, error=['INTERNAL_ERROR', 'no'])
            self.assertRaises(
                exception.XapiFailure,
                self.driver.attach_volume,
                self.context,
                VOLUME,
                server,
                '/dev/xvdb',
            )
            self.assertEqual(['0'], list(self.disks(server)))
        self.destroy(server)
        self.assert_nothing_left()

    def test_what_a_dead_service_began_is_taken_up(self) -> None:
        server = self.server()
        self.spawn(server)
        gone = self.start()
        for message in ('PBD.create', 'PBD.plug', 'VBD.create', 'VBD.plug'):
            self.fault(message, error=['INTERNAL_ERROR', 'no'])
            with mock.patch.object(gone._volumes, '_disconnect'):
                self.assertRaises(
                    exception.XapiFailure,
                    gone.attach_volume,
                    self.context,
                    VOLUME,
                    server,
                    '/dev/xvdb',
                )
        self.driver.attach_volume(self.context, VOLUME, server, '/dev/xvdb')
        self.assertEqual(['0', '1'], list(self.disks(server)))
        self.driver.detach_volume(self.context, VOLUME, server, '/dev/xvdb')
        self.destroy(server)
        self.assert_nothing_left()

    def test_a_server_is_evacuated(self) -> None:
        """XAPI has to know that its old host is down; volumes go by that."""
        server = self.server()
        given = {
            'root_device_name': '/dev/xvda',
            'block_device_mapping': [
                {'connection_info': VOLUME, 'mount_device': '/dev/xvdb'}
            ],
        }
        self.spawn(server, block_device_info=given)
        old = self.machine(server).record['uuid']
        before = self.pbds()
        other = self.start('xen2')
        self.assertFalse(other.instance_exists(server))
        self.assertFalse(other.instance_on_disk(server))
        # What nova asks of the new host first.
        other.detach_volume(self.context, VOLUME, server, '/dev/xvdb')
        error = self.assertRaises(
            nova_exception.VolumeAttachFailed,
            self.spawn,
            server,
            on=other,
            block_device_info=given,
        )
        self.assertIn(f'xe vm-reset-powerstate uuid={old}', str(error))
        self.assertEqual(before, self.pbds())
        self.assertEqual([], other.list_instance_uuids())

        self.xapi.call('VM.power_state_reset', self.machine(server).ref)
        self.spawn(server, on=other, block_device_info=given)
        # Its old host is back, and clears up.
        again = self.start('xen1')
        again.destroy(self.context, server, [], given)
        self.assertEqual([], again.list_instance_uuids())
        self.assertTrue(self.disks(server, other)['1'].attached)
        self.assertEqual(len(before), len(self.pbds()))
        self.destroy(server, on=other, block_device_info=given)
        self.assert_nothing_left()

    def pbds(self) -> set[str]:
        return set(self.xapi.call('PBD.get_all'))

    def test_other_kinds_are_refused(self) -> None:
        encrypted = {**VOLUME, 'data': {**VOLUME['data'], 'encrypted': True}}
        ceph = {'driver_volume_type': 'rbd', 'data': {}}
        server = self.server()
        for volume, said in ((ceph, 'rbd'), (encrypted, 'encrypted')):
            given = {
                'root_device_name': '/dev/xvda',
                'block_device_mapping': [
                    {'connection_info': volume, 'mount_device': '/dev/xvdb'}
                ],
            }
            error = self.assertRaises(
                nova_exception.VolumeAttachFailed,
                self.spawn,
                server,
                block_device_info=given,
            )
            self.assertIn(said, str(error))
            # Nova does so then; that it was never there is no obstacle.
            self.destroy(server, block_device_info=given)
            self.assert_nothing_left()
        self.spawn(server)
        for volume, said in ((ceph, 'rbd'), (encrypted, 'encrypted')):
            error = self.assertRaises(
                nova_exception.VolumeAttachFailed,
                self.driver.attach_volume,
                self.context,
                volume,
                server,
                '/dev/xvdb',
            )
            self.assertIn(said, str(error))
        self.destroy(server)
        self.assert_nothing_left()


def port(network: str = 'n', **meta: ty.Any) -> dict[str, ty.Any]:
    details = {'vlan': meta.pop('vlan')} if 'vlan' in meta else {}
    return {
        'id': f'port-{network}',
        'address': f'fa:16:3e:00:00:{len(network):02x}',
        'network': {'id': network, 'meta': meta},
        'details': details,
    }


class NetworkTest(xapi_driver.DriverTestCase):
    TOPOLOGY = 'two-hosts'

    def setUp(self) -> None:
        super().setUp()
        self.flags(
            network_map={
                'physnet1': 'pool-net0',
                'physnet1/100': 'vlan100',
                'physnet2': 'nowhere',
            },
            group='accel_xapi',
        )
        self.driver = self.start()
        self.one = self.server()
        # What Neutron says of networks, by id.
        self.neutron: dict[str, dict[str, ty.Any]] = {
            'flat': {'provider:physical_network': 'physnet1'},
            **dict.fromkeys(
                ('by-half', 'not-at-all'),
                {
                    'provider:physical_network': 'physnet1',
                    'provider:segmentation_id': 100,
                },
            ),
        }
        self.stub_out(
            'nova.network.neutron.get_client',
            lambda context, admin: mock.Mock(
                show_network=lambda number: {'network': self.neutron[number]}
            ),
        )

    def networks(self) -> list[str]:
        return [
            self.xapi.call(
                'network.get_name_label', self.xapi.call('VIF.get_network', v)
            )
            for v in self.record(self.one)['VIFs']
        ]

    def test_by_physical_network_and_segment(self) -> None:
        self.spawn(
            self.one,
            network_info=[
                port('flat', physical_network='physnet1'),
                port('tagged', physical_network='physnet1', vlan=100),
                port('other', physical_network='physnet1', vlan=7),
                # Nova knows half of it, and nothing.
                port('by-half', physical_network='physnet1'),
                port('not-at-all'),
            ],
        )
        self.assertEqual(
            ['pool-net0'] * 2 + ['vlan100'] * 3, sorted(self.networks())
        )
        self.destroy(self.one)
        self.assert_nothing_left()

    def test_nothing_is_guessed_where_neutron_does_not_tell(self) -> None:
        self.assertRaises(
            nova_exception.VirtualInterfacePlugException,
            self.spawn,
            self.one,
            network_info=[port('unknown', physical_network='physnet1')],
        )
        self.assert_nothing_left()
        # Where segments are not told apart, there is nothing to ask.
        self.flags(network_map={'physnet1': 'vlan100'}, group='accel_xapi')
        self.driver = self.start()
        self.spawn(
            self.one,
            network_info=[port('unknown', physical_network='physnet1')],
        )
        self.assertEqual(['vlan100'], self.networks())
        self.destroy(self.one)

    def test_by_what_the_network_itself_says(self) -> None:
        (network,) = self.xapi.call('network.get_by_name_label', 'internal')
        self.xapi.call(
            'network.add_to_other_config', network, vifs.NEUTRON, 'n'
        )
        self.spawn(self.one, network_info=[port()])
        self.assertEqual(['internal'], self.networks())
        self.destroy(self.one)

    def test_one_that_nothing_stands_for(self) -> None:
        for network in (
            port(physical_network='physnet9'),
            port(physical_network='physnet2'),
        ):
            error = self.assertRaises(
                nova_exception.VirtualInterfacePlugException,
                self.spawn,
                self.one,
                network_info=[network],
            )
            self.assertIn('network_map', str(error))
            self.assert_nothing_left()

    def test_one_that_this_host_does_not_have(self) -> None:
        self.flags(network_map={'physnet1': 'only-xen2'}, group='accel_xapi')
        self.driver = self.start()
        self.assertRaises(
            nova_exception.ComputeResourcesUnavailable,
            self.spawn,
            self.one,
            network_info=[port(physical_network='physnet1')],
        )
        self.assert_nothing_left()

    def test_attach_and_detach(self) -> None:
        self.spawn(self.one)
        one = port('flat', physical_network='physnet1')
        self.driver.attach_interface(self.context, self.one, self.image, one)
        self.assertEqual(['pool-net0'], self.networks())
        for _each in range(2):
            self.driver.detach_interface(self.context, self.one, one)
        self.assertEqual([], self.networks())
        self.fault('VIF.plug', error=['INTERNAL_ERROR', 'no'])
        self.assertRaises(
            exception.XapiFailure,
            self.driver.attach_interface,
            self.context,
            self.one,
            self.image,
            one,
        )
        self.assertEqual([], self.networks())
        self.destroy(self.one)
        self.assert_nothing_left()


class HostTest(xapi_driver.DriverTestCase):
    TOPOLOGY = 'two-hosts'

    def test_resources(self) -> None:
        found = self.driver.get_available_resource('xen1')
        self.assertGreater(found['vcpus'], 0)
        self.assertGreater(found['memory_mb'], 1024)
        self.assertGreater(found['memory_mb'], found['memory_mb_used'])
        self.assertEqual(4096, found['local_gb'])
        self.assertEqual('xen1', found['hypervisor_hostname'])
        self.assertGreater(found['hypervisor_version'], 1000)

    def test_a_quiet_look_takes_a_fixed_number_of_calls(self) -> None:
        def calls() -> int:
            self.control('DELETE', 'calls')
            self.driver.get_available_resource('xen1')
            self.driver._backend.discover()
            return sum(self.control('GET', 'calls').values())

        calls()
        before = calls()
        servers = [self.server() for _each in range(3)]
        for server in servers:
            self.spawn(server)
        calls()
        self.assertEqual(before, calls())
        self.assertLessEqual(before, 5)
        for server in servers:
            self.destroy(server)

    def test_calls_of_a_spawn_are_flat(self) -> None:
        def calls(server: objects.Instance) -> int:
            self.control('DELETE', 'calls')
            self.spawn(server)
            found = dict(self.control('GET', 'calls'))
            # How often one waits depends on the machine.
            found.pop('event.from')
            return sum(found.values())

        servers = [self.server() for _each in range(4)]
        found = [calls(server) for server in servers]
        self.assertEqual(found[1], found[3])
        self.assertLess(found[3], 30)
        for server in servers:
            self.destroy(server)

    def test_diagnostics(self) -> None:
        server = self.server()
        self.spawn(server)
        found = self.driver.get_instance_diagnostics(server)
        self.assertEqual('running', found.state)
        self.assertEqual(1, found.num_cpus)
        self.assertEqual(1, found.num_disks)
        self.assertEqual(512, found.memory_details.maximum)
        self.destroy(server)

    def test_the_connector(self) -> None:
        host = self.driver._machines.host
        self.xapi.call('host.set_iscsi_iqn', host, 'iqn.2010-10.x:1')
        found = self.start().get_volume_connector(self.server())
        self.assertEqual('iqn.2010-10.x:1', found['initiator'])
