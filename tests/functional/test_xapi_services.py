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

import typing as ty

from nova_accel.testing import xapi_cloud

from nova.tests.functional.api import client

RULES = """
version: 1
devices:
  k1:
    kind: vgpu
    match: {vendor_id: "10de", product_id: "0ff2"}
    models: [GRID K180Q]
"""
RC = 'VGPU'
# As the topology has it.
VOLUME = {
    'driver_volume_type': 'iscsi',
    'data': {
        'target_portal': '192.0.2.10:3260',
        'target_iqn': 'iqn.2010-10.org.openstack:volume-1',
        'target_lun': 1,
        'auth_method': 'CHAP',
        'auth_username': 'nova',
        'auth_password': 'secret',
    },
}


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
        self.start_host('xen1', rules=RULES)
        self.one = self.flavor(resources__VGPU=1)

    def used(self, host: str) -> int:
        return sum(found[RC] for found in self.usages(host).values())

    def vgpus(self, server: dict[str, ty.Any]) -> int:
        return len(self.machine(server)['VGPUs'])

    def disks(self, server: dict[str, ty.Any]) -> list[dict[str, ty.Any]]:
        return [
            self.xapi.call('VBD.get_record', ref)
            for ref in self.machine(server)['VBDs']
        ]

    def fails(
        self, server: dict[str, ty.Any], action: dict[str, ty.Any]
    ) -> str:
        error = self.assertRaises(
            client.OpenStackApiException,
            self.api.post_server_action,
            server['id'],
            action,
        )
        return str(error)

    def test_shelve_resize_and_refusals(self) -> None:
        """Shelve, unshelve, resize (revert, confirm), what is refused."""
        server = self.boot(self.one)
        self._shelve_server(server)
        self.assertEqual(0, self.used('xen1'))
        self.assert_invariants()
        self._unshelve_server(server)
        self.assertEqual(1, self.used('xen1'))
        self.assertEqual(1, self.vgpus(server))
        self.assert_invariants()

        self.fails(server, {'suspend': {}})
        live = {'os-migrateLive': {'host': None, 'block_migration': 'auto'}}
        self.fails(server, live)
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
            self.assertEqual(0 if confirm else 1, self.used('xen1'))
        self.assertEqual('xen2', self.host_of(server))
        self._resize_server(server, self.one)
        self._confirm_resize(server)
        self.assertEqual(1, self.vgpus(server))
        self.assertEqual(1, self.used('xen1'))
        self.assert_invariants()

        self._delete_server(server)
        self.assert_invariants()
        self.assert_nothing_left()
