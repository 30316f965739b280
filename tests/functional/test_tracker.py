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
"""What nova forgets, and what it must not remember for ever."""

import contextlib
import typing as ty
from unittest import mock

import fixtures
from nova.compute import provider_tree
from nova import exception as nova_exception
from nova import objects
from nova import test
from nova.tests.functional.api import client
from oslo_utils import uuidutils

from nova_accel.core import inventory
from nova_accel.testing import cloud
from nova_accel.virt import mixin
from nova_accel.virt import tracker

from tests.functional import rules


class MoveTest(cloud.CloudTestCase):
    """Claims of moves that fail, or that are on their way back."""

    def setUp(self) -> None:
        super().setUp()
        self.useFixture(
            fixtures.MockPatch(
                'nova.virt.libvirt.LibvirtDriver._get_instance_disk_info',
                return_value=[],
            )
        )
        self.useFixture(fixtures.MockPatch('os.rename'))
        self.start_host('host1', 't4', rules.T4_DYNAMIC)
        self.start_host('host2', 't4')
        self.small = self.flavor(resources__CUSTOM_VGPU_GRID_T4_8Q=1)
        self.server = self.boot(self.small, host='host1')

    def held(self, host: str) -> frozenset[inventory.Claim]:
        held: frozenset[inventory.Claim] = self.driver(host).accel.held
        return held

    def driver(self, host: str) -> ty.Any:
        return self.computes[host].driver

    def test_an_evacuation_that_fails_and_one_that_does_not(self) -> None:
        self.computes['host1'].stop()
        (service,) = self.api.get_services(host='host1', binary='nova-compute')
        self.api.put_service(service['id'], {'forced_down': True})
        seen: list[ty.Any] = []

        def launch(*args: ty.Any, **kwargs: ty.Any) -> None:
            seen.extend(self.inventories('host2').values())
            raise nova_exception.InternalError('no memory')

        with mock.patch.object(
            self.driver('host2'), '_create_guest_with_network', launch
        ):
            # A cast is a call in nova's harness, so its error comes back.
            self.assertRaises(
                client.OpenStackApiException,
                self.api.post_server_action,
                self.server['id'],
                {'evacuate': {}},
            )
        # Placement knew at once which model the claim excludes.
        self.assertIn(
            {
                'CUSTOM_VGPU_GRID_T4_8Q': (2, 0),
                'CUSTOM_VGPU_GRID_T4_16Q': (1, 1),
            },
            seen,
        )
        self.assertEqual(frozenset(), self.held('host2'))
        self.assertEqual([], self.mdevs('host2'))
        self._evacuate_in_error()

    def _evacuate_in_error(self) -> None:
        """Nova's periodic sees no claim of a server that is in error."""
        driver = self.driver('host2')
        spawn, seen = driver.spawn, []

        def during(*args: ty.Any, **kwargs: ty.Any) -> None:
            self.run_periodic('host2')
            seen.append(self.held('host2'))
            spawn(*args, **kwargs)

        with mock.patch.object(driver, 'spawn', during):
            self._evacuate_server(
                self.server, expected_host='host2', expected_state='ACTIVE'
            )
        (held,) = seen
        self.assertEqual(set(self.claims(self.server)), held)
        self.run_periodic('host2')
        self.assertEqual(held, self.held('host2'))
        self.assertEqual({}, driver.accel.picks)

    def test_a_resize_that_fails_at_the_source(self) -> None:
        rpc = self.computes['host2'].manager.compute_rpcapi
        resize = rpc.resize_instance

        def cast(*args: ty.Any, **kwargs: ty.Any) -> None:
            # What it is outside of nova's harness: nothing comes back.
            with contextlib.suppress(nova_exception.InternalError):
                resize(*args, **kwargs)

        with (
            mock.patch.object(rpc, 'resize_instance', cast),
            mock.patch.object(
                self.driver('host1'),
                'migrate_disk_and_power_off',
                side_effect=nova_exception.InternalError('no disk'),
            ),
        ):
            self.api.post_server_action(
                self.server['id'], {'migrate': {'host': 'host2'}}
            )
            self._wait_for_migration_status(self.server, ['error'])
        self.run_periodic('host2')
        self.assertEqual(frozenset(), self.held('host2'))
        self.assertEqual(set(self.claims(self.server)), self.held('host1'))

    def test_a_revert_on_its_way_back_keeps_the_old_unit(self) -> None:
        before = self.claims(self.server)
        self._migrate_server(self.server, host='host2')
        self.run_periodic()
        rpc = self.computes['host2'].manager.compute_rpcapi
        finish = rpc.finish_revert_resize

        def slowly(*args: ty.Any, **kwargs: ty.Any) -> None:
            self.run_periodic()
            self.assertEqual(set(before), self.held('host1'))
            self.restart_compute_service('host1')
            self.run_periodic()
            self.assertEqual(set(before), self.held('host1'))
            finish(*args, **kwargs)

        with mock.patch.object(rpc, 'finish_revert_resize', slowly):
            self._revert_resize(self.server)
        other = self.boot(self.small, host='host1')
        self.assertEqual(before, self.claims(self.server))
        self.assertNotEqual(before, self.claims(other))
        self.run_periodic()
        self.assertEqual(frozenset(), self.held('host2'))
        self.assert_invariants()


class BootTest(cloud.CloudTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.start_host('host1', 'a100', rules.A100)
        self.one = self.flavor(resources__CUSTOM_A100=1)

    @property
    def driver(self) -> ty.Any:
        return self.computes['host1'].driver

    def test_an_allocation_without_a_claim_boots_no_server(self) -> None:
        with mock.patch.object(
            self.computes['host1'].manager.rt,
            '_claim_resources',
            return_value=None,
        ):
            self.refused(self.one)
        self.assertEqual([], self.connection_of('host1').listAllDomains(0))
        server = self.boot(self.one)
        self._delete_server(server)
        self._a_node_of_somebody_else()

    def _a_node_of_somebody_else(self) -> None:
        node = self.driver.accel.now.node
        root = uuidutils.generate_uuid()
        tree = provider_tree.ProviderTree()
        tree.new_root('other', root)
        self.driver.update_provider_tree(tree, 'other')
        self.assertEqual([root], tree.get_provider_uuids())
        self.assertEqual(node, self.driver.accel.now.node)

    def test_a_device_that_is_gone_stops_its_server_alone(self) -> None:
        server, other = (self.boot(self.one) for _ in range(2))
        (claim,) = self.claims(server)
        for each in (server, other):
            self._stop_server(each)
        machine = self.connection_of('host1').machine
        (device,) = [
            dev.name
            for dev in self.driver.accel.now.view.devices
            if claim.unit in dev.ids
        ]
        machine.unplug(device)
        self._forget(claim.provider)
        # The provider itself is gone, too, and no rule makes it again.
        self.write_rules(rules.T4_8Q)
        self.restart_compute_service('host1')
        self.assertRaises(
            client.OpenStackApiException, self._start_server, server
        )
        fault = objects.InstanceFault.get_latest_for_instance(
            self.context, server['id']
        )
        self.assertIn('cannot be used: it is not in this host', fault.message)
        self._start_server(other)
        self.assertEqual(1, len(self.hostdevs('host1', other)))

    def _forget(self, provider: str) -> None:
        """Delete a provider from Placement, whoever uses it."""
        for consumer in self._get_allocations_by_provider_uuid(provider):
            self.placement.delete(f'/allocations/{consumer}')
        self.placement.delete(f'/resource_providers/{provider}')
        self.assertNotIn(provider, self.accel_providers('host1').values())
        self.computes['host1'].manager.reportclient.clear_provider_cache()


class WithdrawnTest(cloud.CloudTestCase):
    def test_a_card_that_is_not_listed_any_more(self) -> None:
        self.start_host('host1', 't4', rules.T4_8Q)
        server = self.boot(self.flavor(resources__VGPU=1))
        before = self.hostdevs('host1', server)
        self.write_rules(rules.A100)
        self.restart_compute_service('host1')
        self._reboot_server(server, hard=True)
        self.assertEqual(before, self.hostdevs('host1', server))
        driver = self.computes['host1'].driver
        with mock.patch.object(driver.accel, 'detach'):
            self._delete_server(server)
        placement = mock.Mock()
        placement.get_allocations_for_resource_provider.side_effect = (
            self._unanswered()
        )
        with mock.patch.object(driver.virtapi, 'reportclient', placement):
            # What a claim of another server would do, too.
            self.computes['host1'].manager.rt.update_available_resource(
                self.context, 'host1'
            )
        self.assertEqual(
            [{'VGPU': (2, 2)}], list(self.inventories('host1').values())
        )
        self.run_periodic()
        self.assertEqual({}, self.inventories('host1'))
        self.assertEqual([], self.mdevs('host1'))

    def _unanswered(self) -> Exception:
        return nova_exception.ResourceProviderAllocationRetrievalFailed(
            rp_uuid='p', error='a test said so'
        )


class RecordTest(test.NoDBTestCase):
    """Records as nova may hand them over."""

    def test_a_move_of_an_old_release_names_no_units(self) -> None:
        instance = objects.Instance(
            uuid=uuidutils.generate_uuid(),
            migration_context=objects.MigrationContext(),
        )
        self.assertEqual([], tracker._moving(instance))

    def test_a_server_whose_record_cannot_be_read_is_cleaned_up(self) -> None:
        detached: list[object] = []
        driver = mock.Mock(spec_set=['accel', 'accel_claims'])
        driver.accel.detach.side_effect = lambda *args: detached.append(args)
        driver.accel_claims = lambda i: tracker.claims_of(i.resources)
        orphan = objects.Instance(uuid=uuidutils.generate_uuid())
        mixin.AccelDriverMixin._detach(driver, orphan)
        self.assertEqual([], detached)
