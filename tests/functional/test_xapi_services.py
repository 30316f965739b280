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
"""What nova's services ask of a XAPI host, from the API down."""

import pathlib
import tempfile
import typing as ty

from nova_accel.testing import xapi_cloud
from nova_accel.testing import xapi_pool
from nova_accel.testing import xapi_records

from nova.tests import fixtures
from nova.tests.functional.api import client

from nova_accel.virt.xapi import vifs
from tests.functional import rules

RC = 'VGPU'
# The one that nova's fixture lets be attached.
VOLUME_ID = '6ca404f3-d844-4169-bb96-bc792f37de98'


class ServicesTest(xapi_cloud.XapiCloudTestCase):
    TOPOLOGY = 'two-hosts'

    def setUp(self) -> None:
        super().setUp()
        for name in ('theirs-1', 'theirs-2'):
            (theirs,) = self.xapi.call('VM.get_by_name_label', name)
            self.xapi.call('VM.hard_shutdown', theirs)
        for host in ('xen1', 'xen2'):
            xapi_cloud.enabled_only(self.xapi, host, 'GRID K180Q')
        self.flags(allow_resize_to_same_host=False)
        self.start_host('xen1', rules=rules.K1_K180Q)
        self.one = self.flavor(resources__VGPU=1)

    def vgpus(self, server: dict[str, ty.Any]) -> int:
        return len(self.machine(server)['VGPUs'])

    def disks(self, server: dict[str, ty.Any]) -> list[dict[str, ty.Any]]:
        return [
            self.xapi.call('VBD.get_record', ref)
            for ref in self.machine(server)['VBDs']
        ]

    def test_shelve_resize_and_refusals(self) -> None:
        """Shelve, unshelve, resize (revert, confirm), what is refused."""
        server = self.boot(self.one)
        self._shelve_server(server)
        self.assertEqual(0, self.used('xen1')[RC])
        self.assert_invariants()
        self._unshelve_server(server)
        self.assertEqual(1, self.used('xen1')[RC])
        self.assertEqual(1, self.vgpus(server))
        self.assert_invariants()

        self.suspend_is_refused(server)
        self.live_migration_is_refused(server)
        console = {'remote_console': {'protocol': 'vnc', 'type': 'novnc'}}
        error = self.assertRaises(
            client.OpenStackApiException,
            self.api.api_post,
            f'/servers/{server["id"]}/remote-consoles',
            console,
        )
        self.assertIn('novnc', str(error))
        self._wait_for_state_change(server, 'ACTIVE')
        self.assertEqual('Running', self.machine(server)['power_state'])
        self.assert_invariants()

        # From one vGPU to none and back, and to none for good.
        self.start_host('xen2')
        none = self.flavor()
        for confirm in (False, True):
            self._resize_server(server, none)
            self.assert_invariants()
            if confirm:
                self._confirm_resize(server)
            else:
                self._revert_resize(server)
            self.assert_invariants()
            self.assertEqual(0 if confirm else 1, self.vgpus(server))
            self.assertEqual(0 if confirm else 1, self.used('xen1')[RC])
        self.assertEqual('xen2', self.host_of(server))
        self._resize_server(server, self.one)
        self._confirm_resize(server)
        self.assertEqual(1, self.vgpus(server))
        self.assertEqual(1, self.used('xen1')[RC])
        self.assert_invariants()

        self._delete_server(server)
        self.assert_invariants()
        self.assert_nothing_left()

    def test_power_rescue_and_snapshot(self) -> None:
        """What keeps a server where it is, with its vGPU and without one."""
        server = self.boot(self.one)
        helper = self.make_image(b'help' + bytes(508))
        for action, state in (
            ({'pause': None}, 'PAUSED'),
            ({'unpause': None}, 'ACTIVE'),
            ({'rescue': {'rescue_image_ref': helper}}, 'RESCUE'),
            ({'unrescue': None}, 'ACTIVE'),
        ):
            self.api.post_server_action(server['id'], action)
            self._wait_for_state_change(server, state)
            self.assertEqual(1, self.vgpus(server))
            self.assert_invariants()
        self.assertEqual(1, len(self.disks(server)))

        before = set(self.glance._imagedata)
        self._snapshot_server(server, 'taken')
        self.notifier.wait_for_versioned_notifications('instance.snapshot.end')
        (taken,) = set(self.glance._imagedata) - before
        size = int(
            self.xapi.call(
                'VDI.get_virtual_size', self.disks(server)[0]['VDI']
            )
        )
        self.assertEqual(size, len(self.glance._imagedata[taken]))

        plain = self.boot(self.flavor())
        self._suspend_server(plain)
        self.assertEqual('Suspended', self.machine(plain)['power_state'])
        self._resume_server(plain)
        self.assertEqual('Running', self.machine(plain)['power_state'])
        for each in (server, plain):
            self._delete_server(each)
        self.assert_invariants()
        self.assert_nothing_left()

    def test_volumes(self) -> None:
        """Live, over moves, at boot; a host that others know to be down."""
        self.cinder.VOLUME_CONNECTION_INFO = {'fake': xapi_records.volume()}
        server = self.boot(self.one)
        self._attach_volume(server, VOLUME_ID)
        self.has_volume(server)
        self.assert_invariants()
        self.api.delete_server_volume(server['id'], VOLUME_ID)
        self._wait_for_volume_detach(server['id'], VOLUME_ID)
        self.assertEqual(1, len(self.disks(server)))
        self._attach_volume(server, VOLUME_ID)

        self.start_host('xen2')
        for confirm in (False, True):
            self._migrate_server(server)
            self.has_volume(server)
            self.assert_invariants()
            if confirm:
                self._confirm_resize(server)
            else:
                self._revert_resize(server)
            self.has_volume(server)
            self.assert_invariants()
        self.assertEqual('xen2', self.host_of(server))
        self._stop_server(server)
        self.restart_host('xen2')
        self._start_server(server)
        self._reboot_server(server, hard=True)
        self.has_volume(server)

        # While XAPI takes the machine on the host that is down for running,
        # its volume is kept from another one.
        self.goes_down('xen2')
        number = self.machine(server)['uuid']
        said = self.evacuation_fails(server)
        self.assertIn(f'xe vm-reset-powerstate uuid={number}', said)
        ref = self.xapi.call('VM.get_by_uuid', number)
        self.xapi.call('VM.power_state_reset', ref)
        self._evacuate_server(server, expected_host='xen1')
        self.comes_back('xen2')
        self._start_server(server)
        self.has_volume(server)
        self.assertEqual(0, self.used('xen2')[RC])
        self.assert_invariants()
        self._delete_server(server)
        self.assert_invariants()
        self.assert_nothing_left()

        # A server of which nothing is here but the volume.
        server = self.boot_from_volume()
        (disk,) = self.disks(server)
        self.assertTrue(disk['bootable'])
        self.assert_invariants()
        self._delete_server(server)
        self.assert_nothing_left()

    def has_volume(self, server: dict[str, ty.Any]) -> None:
        """See that a server runs with its disk and its volume."""
        self.assertEqual('Running', self.machine(server)['power_state'])
        found = self.disks(server)
        self.assertEqual(2, len(found))
        self.assertTrue(all(disk['currently_attached'] for disk in found))

    def goes_down(self, host: str) -> None:
        """End nova-compute of a host, and tell nova that it is down."""
        self.computes.pop(host).stop()
        self.force_down(host, True)

    def comes_back(self, host: str) -> None:
        self.start_host(host)
        self.force_down(host, False)

    def force_down(self, host: str, down: bool) -> None:
        (service,) = self.api.get_services(host=host, binary='nova-compute')
        self.api.put_service(service['id'], {'forced_down': down})

    def test_networks(self) -> None:
        """At boot, live and over a move: each port on its own network."""
        neutron = fixtures.NeutronFixture
        (internal,) = self.xapi.call('network.get_by_name_label', 'internal')
        self.xapi.call(
            'network.add_to_other_config',
            internal,
            vifs.NEUTRON,
            neutron.network_1['id'],
        )
        self.flags(network_map={'physnet2/24': 'vlan100'}, group='accel_xapi')
        self.restart_host('xen1')
        one = {'internal': neutron.port_1['mac_address']}
        both = {**one, 'vlan100': neutron.port_2['mac_address']}
        server = self._create_server(
            flavor_id=self.one,
            image_uuid=self.image,
            networks=[{'port': neutron.port_1['id']}],
        )
        self.assertEqual(one, self.macs(server))

        # The other one is on a VLAN, which the map knows.
        port = {
            **neutron.port_2,
            'network_id': neutron.network_2['id'],
            'fixed_ips': [
                {
                    'ip_address': '192.168.140.2',
                    'subnet_id': neutron.subnet_2['id'],
                }
            ],
        }
        self.neutron._networks[neutron.network_2['id']] = neutron.network_2
        self.neutron._subnets[neutron.subnet_2['id']] = neutron.subnet_2
        self.neutron._ports[port['id']] = port
        self._attach_interface(server, port['id'])
        self.assertEqual(both, self.macs(server))

        self.start_host('xen2')
        self._migrate_server(server)
        self._confirm_resize(server)
        self.assertEqual('xen2', self.host_of(server))
        self.assertEqual(both, self.macs(server))
        self.assert_invariants()
        self._detach_interface(server, port['id'])
        self.assertEqual(one, self.macs(server))
        self._delete_server(server)
        self.assert_invariants()
        self.assert_nothing_left()

    def macs(self, server: dict[str, ty.Any]) -> dict[str, str]:
        """Network of XAPI -> address of the interface that is plugged in."""
        found = [
            self.xapi.call('VIF.get_record', ref)
            for ref in self.machine(server)['VIFs']
        ]
        return {
            self.xapi.call('network.get_name_label', vif['network']): vif[
                'MAC'
            ]
            for vif in found
            if vif['currently_attached']
        }

    def test_evacuation(self) -> None:
        """Its host dies; its data on this host is lost, as nova has it."""
        server = self.boot(self.one)
        self.start_host('xen2')
        self.goes_down('xen1')
        self._evacuate_server(server, expected_host='xen2')
        self.assertEqual(1, self.used('xen2')[RC])
        self.assertEqual(1, len(self.machine(server, 'xen2')['VGPUs']))
        self.comes_back('xen1')
        # What it had there went when nova-compute came back.
        self._start_server(server)
        self.assertEqual(1, self.vgpus(server))
        self.assertEqual(0, self.used('xen1')[RC])
        self.assert_invariants()

        # Nothing is left of an evacuation that fails.
        self.goes_down('xen2')
        for message in ('import_raw_vdi', 'VM.start_on'):
            self.pool.fault(message, error=['INTERNAL_ERROR', 'no'])
            self.evacuation_fails(server)
        self.comes_back('xen2')
        self.assertEqual('xen2', self.host_of(server))
        self.assert_invariants()
        self._delete_server(server)
        self.assert_invariants()
        self.assert_nothing_left()

    def evacuation_fails(self, server: dict[str, ty.Any]) -> str:
        """Evacuate from xen2 to xen1, in vain; return the fault.

        Nothing has come of it but the fault.
        """
        self.fails(server, {'evacuate': {}})
        found = self._wait_for_state_change(server, 'ERROR')
        self.assertEqual('xen2', found['OS-EXT-SRV-ATTR:host'])
        self.assertEqual('Running', self.machine(server)['power_state'])
        self.assertEqual(0, self.used('xen1')[RC])
        self.api.post_server_action(
            server['id'], {'os-resetState': {'state': 'active'}}
        )
        return str(found['fault']['message'])

    def boot_from_volume(self) -> dict[str, ty.Any]:
        body = self._build_server(
            flavor_id=self.one, networks='none', image_uuid=''
        )
        del body['imageRef']
        body['block_device_mapping_v2'] = [
            {
                'boot_index': 0,
                'uuid': self.cinder.IMAGE_BACKED_VOL,
                'source_type': 'volume',
                'destination_type': 'volume',
            }
        ]
        made = self.api.post_server({'server': body})
        return ty.cast(
            dict[str, ty.Any], self._wait_for_state_change(made, 'ACTIVE')
        )


POOL = """
version: 1
hosts:
  xen1:
    cards:
      - {card: grid-k1, address: "0000:04:00.0"}
      - {card: radeon, address: "0000:41:00.0"}
      - {card: radeon, address: "0000:42:00.0"}
    pci:
      - {address: "0000:41:00.1", vendor_id: "1002", device_id: "aaf0",
         class_id: "0403", device: Ellesmere HDMI audio}
      - {address: "0000:5e:00.0", vendor_id: "144d", device_id: "a824",
         class_id: "0108", device: NVMe SSD PM173X}
  xen2:
    cards:
      - {card: grid-k1, address: "0000:84:00.0"}
      - {card: radeon, address: "0000:c1:00.0"}
      - {card: radeon, address: "0000:c2:00.0"}
    pci:
      - {address: "0000:c1:00.1", vendor_id: "1002", device_id: "aaf0",
         class_id: "0403", device: Ellesmere HDMI audio}
      - {address: "0000:c2:00.1", vendor_id: "1002", device_id: "aaf0",
         class_id: "0403", device: Ellesmere HDMI audio}
      - {address: "0000:de:00.0", vendor_id: "144d", device_id: "a824",
         class_id: "0108", device: NVMe SSD PM173X}
networks:
  pool-net0: {bridge: xenbr0, device: eth0}
storage:
  shared: {type: nfs, size: 4096, default: yes}
"""
WHOLE = f"""
{rules.K1_K180Q}
  radeon:
    kind: pci
    match: {{vendor_id: "1002", class: "03"}}
    resource_class: PGPU
  drive:
    kind: pci
    match: {{vendor_id: "144d"}}
    resource_class: CUSTOM_DRIVE
"""


class WholeDeviceMoveTest(xapi_cloud.XapiCloudTestCase):
    """Servers with whole devices go from host to host of a pool."""

    def setUp(self) -> None:
        super().setUp()
        for host in ('xen1', 'xen2'):
            xapi_cloud.enabled_only(self.xapi, host, 'GRID K180Q')
        self.flags(allow_resize_to_same_host=False)
        self.start_host('xen1', rules=WHOLE)
        self.mixed = self.flavor(resources__VGPU=1, resources__CUSTOM_DRIVE=1)
        self.one = self.flavor(resources__PGPU=1)
        self.two = self.flavor(resources__PGPU=2)

    def make_pool(self) -> xapi_pool.Pool:
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, 'pool.yaml')
            path.write_text(POOL)
            return xapi_pool.Pool(str(path))

    def has(
        self, server: dict[str, ty.Any], host: str, vgpus: int, *pci: str
    ) -> None:
        """See that a server runs on a host with exactly these devices."""
        self.assertEqual(host, self.host_of(server))
        record = self.machine(server, host)
        self.assertEqual('Running', record['power_state'])
        self.assertEqual(vgpus, len(record['VGPUs']))
        functions = record['other_config'].get('pci', '').split(',')
        self.assertEqual([f'0/{each}' for each in pci] or [''], functions)
        for ref in record['VGPUs']:
            vgpu = self.xapi.call('VGPU.get_record', ref)
            self.assertTrue(vgpu['currently_attached'])

    def test_resize_and_migrate(self) -> None:
        """To other devices and back, with restarts on the way."""
        server = self.boot(self.mixed)
        self.start_host('xen2')
        self.has(server, 'xen1', 1, '0000:5e:00.0')
        before = self.hostdevs('xen1', server)

        # The host that it leaves keeps what it had there, until it is sure.
        self._resize_server(server, self.two)
        siblings = ('0000:c1:00.0', '0000:c1:00.1')
        others = ('0000:c2:00.0', '0000:c2:00.1')
        self.has(server, 'xen2', 0, *siblings, *others)
        self.assertEqual({'PGPU': 2}, self.used('xen2'))
        self.assertEqual({'VGPU': 1, 'CUSTOM_DRIVE': 1}, self.used('xen1'))
        self.assert_invariants()
        for host in ('xen1', 'xen2'):
            self.restart_host(host)
        self.assert_invariants()
        self._revert_resize(server)
        self.has(server, 'xen1', 1, '0000:5e:00.0')
        self.assertEqual(before, self.hostdevs('xen1', server))
        self.assertEqual({}, self.used('xen2'))
        self.assert_invariants()

        self._resize_server(server, self.two)
        self._confirm_resize(server)
        self.has(server, 'xen2', 0, *siblings, *others)
        self.assertEqual({}, self.used('xen1'))
        self.assert_invariants()

        # Nobody else can have what it has, nor it what somebody else has.
        theirs = self.somebody('0000:42:00.0', host='xen1')
        self.run_periodic()
        message = self.fails(server, {'migrate': None})
        self.assertIn('NoValidHost', message)
        self.xapi.call('VM.hard_shutdown', theirs)
        self.xapi.call('VM.destroy', theirs)
        self.run_periodic()
        self._migrate_server(server)
        self._wait_for_state_change(server, 'VERIFY_RESIZE')
        self._confirm_resize(server)
        self.has(
            server,
            'xen1',
            0,
            '0000:41:00.0',
            '0000:41:00.1',
            '0000:42:00.0',
        )
        self.assertEqual({}, self.used('xen2'))
        self.assert_invariants()

        self._delete_server(server)
        self.assert_invariants()
        self.assert_nothing_left()
