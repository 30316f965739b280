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
"""Stock nova's vGPUs and ours on one host, each with a card of its own.

Both are of class VGPU and of one type, so that nothing but the card tells
them apart.
"""

import typing as ty

import nova.conf
from nova.conf import devices as nova_devices

from nova_accel.testing import cloud

from tests.functional import rules

OURS = 'pci_0000_18_00_0'
THEIRS = 'pci_0000_af_00_0'
RULES = rules.T4_8Q.replace('"1eb8"', '"1eb8", address: "0000:18:00.0"')


class SideBySideTest(cloud.CloudTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.flags(enabled_mdev_types=['nvidia-233'], group='devices')
        # Else nova registers the group when the driver is made.
        nova_devices.register_dynamic_opts(nova.conf.CONF)
        self.flags(device_addresses=['0000:af:00.0'], group='mdev_nvidia-233')
        self.start_host('host1', 't4', RULES)
        self.one = self.flavor(resources__VGPU=1)

    def test_each_reports_its_card_only(self) -> None:
        self._assert_reported(0, 0)

    def test_servers_fill_both_cards(self) -> None:
        servers = self._fill()
        self.assertIn('No valid host', self.refused(self.one))
        self.run_periodic()
        self._assert_reported(2, 2)
        held = self._held(servers)
        self.assertEqual(
            [OURS, OURS, THEIRS, THEIRS],
            sorted(self._parents()[uuid] for uuid in held),
        )

    def test_reboots_keep_what_each_server_has(self) -> None:
        servers = self._fill()
        held = self._held(servers)
        for server in servers:
            self._reboot_server(server, hard=True)
        self.assertEqual(held, self._held(servers))
        self.restart_compute_service('host1')
        for server in servers:
            self._reboot_server(server, hard=True)
        self.assertEqual(held, self._held(servers))
        self._assert_reported(2, 2)

    def test_a_card_that_is_free_again_serves_again(self) -> None:
        for server in self._fill():
            self._delete_server(server)
        self.run_periodic()
        # Stock nova keeps its mediated devices for the next server.
        self.assertEqual([THEIRS, THEIRS], sorted(self._parents().values()))
        self._assert_reported(0, 0)
        self._held(self._fill())
        self._assert_reported(2, 2)

    def _fill(self) -> list[dict[str, ty.Any]]:
        return [self.boot(self.one) for _ in range(4)]

    def _held(self, servers: list[dict[str, ty.Any]]) -> dict[str, str]:
        """Mediated device -> the one server that has it."""
        pairs = [
            (uuid, server['id'])
            for server in servers
            for uuid in self.hostdevs('host1', server)
        ]
        self.assertEqual(len(servers), len(dict(pairs)), pairs)
        return dict(pairs)

    def _parents(self) -> dict[str, str | None]:
        """Mediated device -> the card it was made on."""
        machine = self.connection_of('host1').machine
        return {
            name.removeprefix('mdev_')[:36].replace('_', '-'): (
                machine.parent(name)
            )
            for name in self.mdevs('host1')
        }

    def _assert_reported(self, ours: int, theirs: int) -> None:
        root = self.compute_rp_uuids['host1']
        found = {}
        for rp in self._get_all_rps_in_a_tree(root):
            if rp['uuid'] != root:
                inventory = self._get_provider_inventory(rp['uuid'])
                used = self._get_provider_usages(rp['uuid'])
                found[rp['name']] = (
                    {rc: record['total'] for rc, record in inventory.items()},
                    used,
                )
        self.assertEqual(
            {
                'host1_accel_sn:1324419052501': ({'VGPU': 2}, {'VGPU': ours}),
                f'host1_{THEIRS}': ({'VGPU': 2}, {'VGPU': theirs}),
            },
            found,
        )
