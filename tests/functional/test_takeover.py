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
"""From stock nova's vGPUs to ours: servers keep what they run on."""

import typing as ty
from unittest import mock

import fixtures
import nova.conf
from nova.conf import devices as nova_devices
from nova import exception as nova_exception
from nova import objects
from nova.scheduler.client import report
from oslo_utils.fixture import uuidsentinel as uuids

from nova_accel import exception
from nova_accel.testing import cloud
from nova_accel.virt import takeover

from tests.functional import moves
from tests.functional import rules

FIRST = 'host1_pci_0000_18_00_0'
SECOND = 'host1_pci_0000_af_00_0'

A40_12Q = """
version: 1
devices:
  a40:
    kind: vgpu
    match: {vendor_id: "10de", product_id: "2235"}
    models: [nvidia-563]
"""


class TakeoverTest(cloud.CloudTestCase):
    """Each test starts with stock nova, one type on both cards."""

    mdev_type = 'nvidia-233'
    node = 't4'

    def setUp(self) -> None:
        super().setUp()
        self.flags(compute_driver='libvirt.LibvirtDriver')
        self.flags(enabled_mdev_types=[self.mdev_type], group='devices')
        nova_devices.register_dynamic_opts(nova.conf.CONF)
        self.start_host('host1', self.node)
        self.one = self.flavor(resources__VGPU=1)
        self.two = self.flavor(resources__VGPU=2)

    def change_over(self, text: str = rules.T4_8Q) -> None:
        """Restart as ours, with the options of stock nova removed."""
        self.write_rules(text)
        self.flags(compute_driver='accel.LibvirtAccelDriver')
        self.flags(enabled_mdev_types=[], group='devices')
        self.restart_compute_service('host1')

    def stock_providers(self) -> list[str]:
        root = self.compute_rp_uuids['host1']
        return sorted(
            rp['name']
            for rp in self._get_all_rps_in_a_tree(root)
            if '_pci_' in rp['name']
        )

    def used(self) -> int:
        return sum(
            amount
            for classes in self.usages('host1').values()
            for amount in classes.values()
        )

    def assert_kept(
        self, server: dict[str, ty.Any], before: list[str]
    ) -> None:
        self.assertEqual(before, self.hostdevs('host1', server))
        self.assertEqual(len(before), len(self.claims(server)))
        self.assert_invariants()


class KeepTest(TakeoverTest):
    def test_servers_keep_their_devices_and_allocations_move(self) -> None:
        servers = [self.boot(self.one), self.boot(self.two)]
        self.assertEqual([FIRST, SECOND], self.stock_providers())
        before = [self.hostdevs('host1', server) for server in servers]
        self.change_over()
        self.assertEqual([], self.stock_providers())
        self.assertEqual(3, self.used())
        for server, held in zip(servers, before, strict=True):
            self.assert_kept(server, held)
        self.run_periodic()
        self.assertEqual(
            [{'VGPU': (2, 0)}, {'VGPU': (2, 0)}],
            list(self.inventories('host1').values()),
        )
        self.boot(self.one)
        self.assertIn('No valid host', self.refused(self.one))
        self.assert_invariants()

    def test_reboots_and_restarts_change_nothing(self) -> None:
        server = self.boot(self.two)
        before = self.hostdevs('host1', server)
        self.change_over()
        self._reboot_server(server, hard=True)
        self.assert_kept(server, before)
        self.restart_compute_service('host1')
        self.assert_kept(server, before)
        self._stop_server(server)
        self.restart_compute_service('host1')
        self.run_periodic()
        self._start_server(server)
        self.assert_kept(server, before)

    def test_servers_that_are_off(self) -> None:
        server = self.boot(self.one)
        before = self.hostdevs('host1', server)
        self._stop_server(server)
        self.change_over()
        self.run_periodic()
        self._start_server(server)
        self.assert_kept(server, before)

    def test_host_reboot(self) -> None:
        self.flags(resume_guests_state_on_host_boot=True)
        server = self.boot(self.one)
        before = self.hostdevs('host1', server)
        self.change_over()
        conn = self.connection_of('host1')
        conn.lookupByUUIDString(server['id']).destroy()
        for name in self.mdevs('host1'):
            conn.machine.undefine(name)
        conn.machine.reboot()
        self.assertEqual([], self.mdevs('host1'))
        self.restart_compute_service('host1')
        self._wait_for_state_change(server, 'ACTIVE')
        self.assert_kept(server, before)

    def test_delete_leaves_nothing(self) -> None:
        server = self.boot(self.two)
        self.change_over()
        self._delete_server(server)
        self.run_periodic()
        self.assertEqual([], self.mdevs('host1'))
        self.assertEqual(0, self.used())
        self.assertEqual(
            [{'VGPU': (2, 0)}, {'VGPU': (2, 0)}],
            list(self.inventories('host1').values()),
        )
        self.boot(self.two)
        self.assert_invariants()

    def test_a_rebuilt_server_gets_a_device_of_ours(self) -> None:
        server = self.boot(self.one)
        (before,) = self.hostdevs('host1', server)
        self.change_over()
        claims = self.claims(server)
        self._rebuild_server(server, '155d900f-4e14-4e4c-a73d-069cbf4541e6')
        (after,) = self.hostdevs('host1', server)
        self.assertNotEqual(before, after)
        self.assertEqual(claims, self.claims(server))
        self.assertEqual(1, len(self.mdevs('host1')))
        self.assert_invariants()

    def test_what_idle_devices_take_is_reserved(self) -> None:
        gone, server = self.boot(self.one), self.boot(self.one)
        self._delete_server(gone)
        self.assertEqual(2, len(self.mdevs('host1')))
        self.change_over()
        self.run_periodic()
        reserved = [
            inventory['VGPU'][1]
            for inventory in self.inventories('host1').values()
        ]
        self.assertEqual(1, sum(reserved))
        self.assert_invariants()
        self.assertEqual(1, len(self.hostdevs('host1', server)))

    def test_traits_that_flavors_ask_for_stay(self) -> None:
        (found,) = [
            rp['uuid']
            for rp in self._get_all_rps_in_a_tree(
                self.compute_rp_uuids['host1']
            )
            if rp['name'] == FIRST
        ]
        self._create_trait('CUSTOM_FAST')
        traits = self._get_provider_traits(found)
        self._set_provider_traits(found, [*traits, 'CUSTOM_FAST'])
        fast = self.flavor(resources__VGPU=1, trait__CUSTOM_FAST='required')
        server = self.boot(fast)
        before = self.hostdevs('host1', server)
        self.change_over()
        self.assert_kept(server, before)
        self.run_periodic()
        self.boot(fast)
        self.assertIn('No valid host', self.refused(fast))


class InterruptedTest(TakeoverTest):
    """A start that goes wrong half-way."""

    def test_allocations_moved_and_no_record_written(self) -> None:
        server = self.boot(self.two)
        before = self.hostdevs('host1', server)
        with mock.patch.object(takeover, '_save', side_effect=OSError):
            self.change_over()
        self.assertEqual([], self.stock_providers())
        self.assertEqual([], self.claims(server))
        # This process knows nonetheless.
        self._reboot_server(server, hard=True)
        self.assertEqual(before, self.hostdevs('host1', server))
        self.restart_compute_service('host1')
        self.assert_kept(server, before)

    def test_a_conflict_in_the_reshape(self) -> None:
        server = self.boot(self.two)
        before = self.hostdevs('host1', server)
        genuine = report.SchedulerReportClient._reshape
        calls: list[object] = []

        def reshape(*args: ty.Any) -> ty.Any:
            calls.append(args)
            if len(calls) == 1:
                raise nova_exception.PlacementReshapeConflict(error='now')
            return genuine(*args)

        self.useFixture(
            fixtures.MonkeyPatch(
                'nova.scheduler.client.report.SchedulerReportClient._reshape',
                reshape,
            )
        )
        self.change_over()
        self.assertEqual(2, len(calls))
        self.assert_kept(server, before)


class LeftoverTest(TakeoverTest):
    """Where Placement and the guests of this host do not agree."""

    def provider(self, name: str) -> str:
        (found,) = [
            rp['uuid']
            for rp in self._get_all_rps_in_a_tree(
                self.compute_rp_uuids['host1']
            )
            if rp['name'] == name
        ]
        return ty.cast(str, found)

    def allocate(self, consumer: str, body: dict[str, ty.Any]) -> None:
        path = f'/allocations/{consumer}'
        answer = self.placement.put(path, body, version='1.28')
        self.assertEqual(204, answer.status, answer.body)

    def test_an_old_provider_stays_as_long_as_it_is_used(self) -> None:
        self.boot(self.one)
        rp = self.provider(SECOND)
        self.allocate(
            uuids.stranger,
            {
                'allocations': {rp: {'resources': {'VGPU': 1}}},
                'project_id': uuids.project,
                'user_id': uuids.user,
                'consumer_generation': None,
            },
        )
        self.change_over()
        self.assertEqual([SECOND], self.stock_providers())
        (record,) = self._get_provider_inventory(rp).values()
        self.assertEqual((1, 1), (record['total'], record['max_unit']))
        # Nothing is built for it: it would lack its device.
        self.assertRaises(
            nova_exception.ComputeResourcesUnavailable,
            self.computes['host1'].driver._check_claims,
            objects.Instance(resources=None, uuid=uuids.stranger),
            {rp: {'resources': {'VGPU': 1}}},
        )
        self.run_periodic()
        self.assertEqual([SECOND], self.stock_providers())
        self.placement.delete(f'/allocations/{uuids.stranger}')
        self.run_periodic()
        self.assertEqual([], self.stock_providers())
        self.assert_invariants()

    def test_a_device_without_an_allocation_is_left_alone(self) -> None:
        server = self.boot(self.one)
        before = self.hostdevs('host1', server)
        body = self.placement.get(
            f'/allocations/{server["id"]}', version='1.28'
        ).body
        root = self.compute_rp_uuids['host1']
        body['allocations'] = {
            rp: {'resources': each['resources']}
            for rp, each in body['allocations'].items()
            if rp == root
        }
        self.allocate(server['id'], body)
        self.change_over()
        self.run_periodic()
        self.assertEqual([], self.claims(server))
        self.assertEqual([], self.stock_providers())
        self.assertEqual(
            [0, 1],
            sorted(
                inventory['VGPU'][1]
                for inventory in self.inventories('host1').values()
            ),
        )
        self._reboot_server(server, hard=True)
        self.assertEqual(before, self.hostdevs('host1', server))


class RefusedTest(TakeoverTest):
    """What cannot be taken over stops the start, and nothing changes."""

    def assert_unchanged(
        self,
        server: dict[str, ty.Any],
        before: list[str],
        reboot: bool = True,
    ) -> None:
        """Go back to stock nova, which finds all as it was."""
        self.flags(compute_driver='libvirt.LibvirtDriver')
        self.flags(enabled_mdev_types=[self.mdev_type], group='devices')
        self.start_compute('host1', connection=self.conn)
        self.assertEqual([FIRST, SECOND], self.stock_providers())
        self.assertEqual(before, self.hostdevs('host1', server))
        self.assertEqual([], self.claims(server))
        if reboot:
            self._reboot_server(server, hard=True)
            self.assertEqual(before, self.hostdevs('host1', server))

    def refused_start(
        self, text: str, error: type[Exception] = exception.NotTakenOver
    ) -> str:
        self.conn = self.connection_of('host1')
        e = self.assertRaises(error, self.change_over, text)
        return str(e)

    def test_another_type_than_the_rule_offers(self) -> None:
        server = self.boot(self.one)
        before = self.hostdevs('host1', server)
        said = self.refused_start(rules.T4_8Q.replace('8Q', '16Q'))
        self.assertIn(f'server {server["id"]} has mediated device', said)
        self.assertIn("rule 't4-8q'", said)
        self.assertIn('name nvidia-233 in models', said)
        self.assert_unchanged(server, before)

    def test_fewer_than_servers_have(self) -> None:
        server = self.boot(self.two)
        before = self.hostdevs('host1', server)
        said = self.refused_start(rules.T4_8Q + '    max_slots: 1\n')
        self.assertIn('correct max_slots', said)
        self.assert_unchanged(server, before)

    def test_a_resize_that_is_not_confirmed(self) -> None:
        self.useFixture(moves.NoDisks())
        self.flags(allow_resize_to_same_host=True)
        server = self.boot(self.one)
        self._resize_server(server, self.two)
        before = self.hostdevs('host1', server)
        said = self.refused_start(rules.T4_8Q, nova_exception.ReshapeFailed)
        self.assertIn(f'server {server["id"]} is being moved', said)
        self.assert_unchanged(server, before, reboot=False)

    def test_another_class_than_the_flavor_says(self) -> None:
        server = self.boot(self.one)
        before = self.hostdevs('host1', server)
        said = self.refused_start(
            rules.T4_8Q + '    resource_class: CUSTOM_T4\n',
            nova_exception.ReshapeFailed,
        )
        self.assertIn('write resource_class: VGPU', said)
        self.assert_unchanged(server, before)


class VirtualFunctionsTest(TakeoverTest):
    """A40: stock nova has a provider for each virtual function."""

    mdev_type = 'nvidia-563'
    node = 'a40'

    def test_each_device_stays_on_its_function(self) -> None:
        servers = [self.boot(self.one) for _ in range(3)]
        before = [self.hostdevs('host1', server) for server in servers]
        parents = self._parents()
        self.change_over(A40_12Q)
        self.assertEqual([], self.stock_providers())
        for server, held in zip(servers, before, strict=True):
            self.assert_kept(server, held)
            self._reboot_server(server, hard=True)
            self.assert_kept(server, held)
        self.assertEqual(parents, self._parents())
        self.assertEqual(3, self.used())

    def _parents(self) -> dict[str, str | None]:
        machine = self.connection_of('host1').machine
        return {name: machine.parent(name) for name in self.mdevs('host1')}


class PciTest(cloud.CloudTestCase):
    """From PCI devices of an alias to a rule."""

    ADDITIONAL_FILTERS: ty.ClassVar[list[str]] = [
        'AccelFilter',
        'PciPassthroughFilter',
    ]
    SPEC = '{"vendor_id": "144d", "product_id": "a80a"}'
    RULES = """
version: 1
devices:
  nvme:
    kind: pci
    match: {vendor_id: "144d", product_id: "a80a"}
"""

    def setUp(self) -> None:
        super().setUp()
        alias = '{"name": "nvme", "vendor_id": "144d", "product_id": "a80a"}'
        self.flags(compute_driver='libvirt.LibvirtDriver')
        self.flags(
            device_spec=[self.SPEC],
            alias=[alias],
            report_in_placement=True,
            group='pci',
        )
        self.start_host('host1', 'nvme')
        self.conn = self.connection_of('host1')

    def change_over(self) -> None:
        self.write_rules(self.RULES)
        self.flags(compute_driver='accel.LibvirtAccelDriver')
        self.flags(device_spec=[], group='pci')
        self.restart_compute_service('host1')

    def test_devices_that_are_free_change_hands(self) -> None:
        before = self._classes()
        self.assertEqual(['CUSTOM_PCI_144D_A80A'], sorted(before))
        self.change_over()
        self.assertEqual(before, self._classes())
        self.boot(self.flavor(resources__CUSTOM_PCI_144D_A80A=1))
        self.assert_invariants()

    def _classes(self) -> dict[str, int]:
        """How much of each class the children of the node have in all."""
        root = self.compute_rp_uuids['host1']
        found: dict[str, int] = {}
        for rp in self._get_all_rps_in_a_tree(root):
            if rp['uuid'] != root:
                records = self._get_provider_inventory(rp['uuid'])
                for rc, record in records.items():
                    found[rc] = found.get(rc, 0) + record['total']
        return found

    def test_one_that_a_server_holds_does_not(self) -> None:
        server = self.boot(self.flavor(pci_passthrough__alias='nvme:1'))
        (before,) = self.hostdevs('host1', server)
        e = self.assertRaises(exception.NotTakenOver, self.change_over)
        said = str(e)
        self.assertIn(f'server {server["id"]} holds {before}', said)
        self.assertIn('resources:CUSTOM_PCI_144D_A80A', said)
        self.flags(device_spec=[self.SPEC], group='pci')
        self.flags(compute_driver='libvirt.LibvirtDriver')
        self.start_compute('host1', connection=self.conn)
        self._reboot_server(server, hard=True)
        self.assertEqual([before], self.hostdevs('host1', server))
