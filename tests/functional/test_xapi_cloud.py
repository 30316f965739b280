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
"""Two hosts of one XAPI pool in a cloud, with real Placement."""

from nova_accel.testing import xapi_cloud

from tests.functional import rules

RC = 'VGPU'


class CloudTest(xapi_cloud.XapiCloudTestCase):
    TOPOLOGY = 'two-hosts'

    def setUp(self) -> None:
        super().setUp()
        # Somebody else's K140Q goes, or its type could not be taken away.
        (theirs,) = self.xapi.call('VM.get_by_name_label', 'theirs-1')
        self.xapi.call('VM.hard_shutdown', theirs)
        for host in ('xen1', 'xen2'):
            xapi_cloud.enabled_only(self.xapi, host, 'GRID K180Q')

    def amounts(self, host: str) -> tuple[int, int]:
        (found,) = self.inventories(host).values()
        return found[RC]

    def test_the_life_of_a_pool(self) -> None:
        """Boot, full, restart, resize, revert, confirm, reschedule, delete."""
        self.flags(allow_resize_to_same_host=False)
        self.start_host('xen1', rules=rules.K1_K180Q)
        one = self.flavor(resources__VGPU=1)
        self.assertEqual((4, 0), self.amounts('xen1'))
        servers = [self.boot(one) for _each in range(4)]
        self.assertIn('No valid host', self.refused(one))
        self.assert_invariants()

        # Each of the two reports its own, though one group has both.
        self.start_host('xen2')
        self.assertEqual((4, 0), self.amounts('xen2'))
        self.restart_host('xen1')
        self.assert_invariants()

        # Cold migration, undone and done.
        for confirm in (False, True):
            self._migrate_server(servers[0])
            moved = self._wait_for_state_change(servers[0], 'VERIFY_RESIZE')
            self.assertEqual('xen2', moved['OS-EXT-SRV-ATTR:host'])
            self.assertEqual(1, self.used('xen2')[RC])
            self.assert_invariants()
            if confirm:
                self._confirm_resize(servers[0], cross_cell=False)
            else:
                self._revert_resize(servers[0])
            self.assert_invariants()
        self.assertEqual(3, self.used('xen1')[RC])
        self.assertEqual('xen2', self.host_of(servers[0]))

        # The host that is asked first turns out to have no room.
        self.pool.fault(
            'VM.start_on',
            error=['HOST_NOT_ENOUGH_FREE_MEMORY', '2', '1'],
        )
        servers.append(self.boot(one))
        self.assert_invariants()

        for server in servers:
            self._delete_server(server)
        self.assert_invariants()
        self.assert_nothing_left()

    def test_a_thief_and_a_rebuild(self) -> None:
        self.start_host('xen1', rules=rules.K1_K180Q)
        one = self.flavor(resources__VGPU=1)
        server = self.boot(one)
        self._rebuild_server(server, self.make_image(b'new' + bytes(509)))
        self.assert_invariants()
        self._stop_server(server)
        self.assert_invariants()

        # Somebody who goes past nova is reserved for at the next look.
        (theirs,) = self.xapi.call('VM.get_by_name_label', 'theirs-1')
        (vgpu,) = self.xapi.call('VM.get_VGPUs', theirs)
        group = self.xapi.call('VGPU.get_GPU_group', vgpu)
        self.xapi.call('VGPU.destroy', vgpu)
        kind = self.kind('GRID K180Q')
        self.xapi.call('VGPU.create', theirs, group, '0', {}, kind)
        (host,) = self.xapi.call('host.get_by_name_label', 'xen1')
        self.xapi.call('VM.start_on', theirs, host, False, False)
        self.run_periodic()
        self.assertEqual((4, 1), self.amounts('xen1'))
        self._start_server(server)
        self.assert_invariants()

        self.xapi.call('VM.hard_shutdown', theirs)
        self.run_periodic()
        self.assertEqual((4, 0), self.amounts('xen1'))
        self._delete_server(server)
        self.assert_invariants()

    def kind(self, model: str) -> str:
        records = self.xapi.call('VGPU_type.get_all_records')
        (found,) = [
            ref for ref, r in records.items() if r['model_name'] == model
        ]
        return str(found)
