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

import collections.abc
import contextlib
import threading
import typing as ty
from unittest import mock

from nova.compute import provider_tree
from nova.compute import resource_tracker
from nova import context as nova_context
from nova import exception as nova_exception
from nova import objects
from nova import test
from nova.tests.functional.api import client
from oslo_utils import uuidutils

from nova_accel.backends import fake
from nova_accel.core import inventory
from nova_accel.core import whitelist
from nova_accel import manager
from nova_accel.testing import cloud
from nova_accel.virt import mixin
from nova_accel.virt import tracker

from tests.functional import moves
from tests.functional import rules
from tests.unit.core import hosts

CARD = 'pci_0000_18_00_0'


class MoveTest(cloud.CloudTestCase):
    """Claims of moves that fail, or that are on their way back."""

    def setUp(self) -> None:
        super().setUp()
        self.useFixture(moves.NoDisks())
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
        self._a_server_that_vanishes_while_it_is_built()
        self._a_node_of_somebody_else()

    def _a_server_that_vanishes_while_it_is_built(self) -> None:
        """As if deleted through the API while nova-compute seemed down."""
        compute = self.computes['host1'].manager
        build, built = compute._do_build_and_run_instance, threading.Event()

        def spawn(
            context: ty.Any, instance: ty.Any, *args: ty.Any, **kwargs: ty.Any
        ) -> None:
            self.assertEqual(1, len(self.driver.accel.held))
            objects.Instance.get_by_uuid(context, instance.uuid).destroy()
            self.run_periodic()
            raise nova_exception.InstanceNotFound(instance_id=instance.uuid)

        def watched(*args: ty.Any, **kwargs: ty.Any) -> ty.Any:
            try:
                return build(*args, **kwargs)
            finally:
                built.set()

        with (
            mock.patch.object(self.driver, 'spawn', side_effect=spawn) as seen,
            mock.patch.object(compute, '_do_build_and_run_instance', watched),
        ):
            server = self._build_server(flavor_id=self.one, networks='none')
            self.api.post_server({'server': server})
            self.assertTrue(built.wait(30))
        seen.assert_called_once()
        self.run_periodic()
        self.assertEqual(frozenset(), self.driver.accel.held)
        self.assertEqual({}, self.driver.accel.picks)

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


class UnsavedTest(cloud.CloudTestCase):
    """A claim, the periodic, another claim, and only then the save."""

    def setUp(self) -> None:
        super().setUp()
        # One card, so that both servers ask the same one.
        self.start_host('host1', 't4', rules.T4_8Q, without=[CARD])
        self.one = self.flavor(resources__VGPU=1)
        self.others: list[dict[str, ty.Any]] = []

    def tearDown(self) -> None:
        self.assert_invariants()
        super().tearDown()

    @contextlib.contextmanager
    def overtaken(
        self, where: object, verb: str
    ) -> collections.abc.Iterator[None]:
        """Boot another server at the beginning of a verb."""
        original = getattr(where, verb)

        def late(*args: ty.Any, **kwargs: ty.Any) -> ty.Any:
            if not self.others:
                self.others.append({})
                self.run_periodic()
                self.others[0] = self.boot(self.one)
            return original(*args, **kwargs)

        with mock.patch.object(where, verb, late):
            yield

    def test_during_a_build(self) -> None:
        # Its claim is made, and next it is saved.
        with self.overtaken(
            self.computes['host1'].manager, '_validate_instance_group_policy'
        ):
            server = self.boot(self.one)
        self.assertNotEqual(self.claims(server), self.claims(self.others[0]))

    def test_during_an_unshelve(self) -> None:
        server = self.boot(self.one)
        self._shelve_server(server)
        self.run_periodic()
        with self.overtaken(self.computes['host1'].driver, 'spawn'):
            self._unshelve_server(server)
        self.assertNotEqual(self.claims(server), self.claims(self.others[0]))


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


class CallTest(test.NoDBTestCase):
    """What is left of a claim call that fails."""

    RULE = hosts.rule('t4', 1, models=('nvidia-233',))
    PROVIDER = hosts.provider_of('sn:1')
    ALLOCATIONS: ty.ClassVar[dict[str, ty.Any]] = {
        PROVIDER: {'resources': {'VGPU': 1}},
        hosts.NODE.uuid: {'resources': {'VCPU': 1}},
    }

    def setUp(self) -> None:
        super().setUp()
        self.accel = manager.Manager(fake.FakeBackend([hosts.t4(1)]))
        self.accel.start(hosts.NODE, whitelist.Whitelist((self.RULE,)))
        self.rt = resource_tracker.ResourceTracker(
            'host1', mock.Mock(), reportclient=mock.Mock()
        )
        self.rt.provider_tree = provider_tree.ProviderTree()
        tracker.adopt(self.rt, self.accel)

    def claim(self, body: ty.Any, server: str = 'a') -> None:
        """Run a claim call whose inside is ``body``."""
        instance = mock.Mock(uuid=server)
        with mock.patch.object(
            resource_tracker.ResourceTracker,
            'instance_claim',
            lambda *args: body(),
        ):
            self.rt.instance_claim(self.context, instance)

    @property
    def context(self) -> ty.Any:
        return nova_context.get_admin_context()

    def pick(self) -> None:
        self.rt._claim_resources(self.ALLOCATIONS)

    def pick_and_fail(self) -> None:
        self.pick()
        raise ValueError

    def assert_held(self, *servers: str) -> None:
        self.assertEqual(sorted(servers), sorted(self.accel.picks.values()))
        self.assertEqual(len(servers), len(self.accel.held))
        assigned = self.rt.assigned_resources[self.PROVIDER]['VGPU']
        self.assertEqual(self.accel.held, tracker.claims_of(assigned))

    def test_a_call_that_fails_gives_back_what_it_picked(self) -> None:
        self.claim(self.pick)
        self.assertRaises(ValueError, self.claim, self.pick_and_fail, 'b')
        self.assert_held('a')

    def test_a_call_that_picked_nothing_gives_back_nothing(self) -> None:
        self.claim(self.pick)
        self.assertRaises(ValueError, self.claim, self.fail_at_once)
        self.assert_held('a')

    def fail_at_once(self) -> None:
        raise ValueError

    def test_stock_cannot_meet_its_part(self) -> None:
        with mock.patch.object(
            resource_tracker.ResourceTracker,
            '_claim_resources',
            side_effect=ValueError,
        ):
            self.assertRaises(ValueError, self.claim, self.pick)
        self.assert_held()

    def test_a_call_within_a_call(self) -> None:
        def outer() -> None:
            self.pick()
            self.assertRaises(ValueError, self.claim, self.pick_and_fail, 'b')
            self.assert_held('a')

        self.claim(outer)
        self.assert_held('a')

        def failing() -> None:
            self.assertRaises(ValueError, self.claim, self.fail_at_once)
            self.pick_and_fail()

        self.assertRaises(ValueError, self.claim, failing, 'c')
        self.assert_held('a')

    def test_a_unit_that_another_server_got_meanwhile_stays_his(self) -> None:
        def overtaken() -> None:
            self.pick()
            picks = list(self.accel.picks)
            self.rt._release_assigned_resources(tracker._resources(picks))
            self.claim(self.pick, 'b')
            raise ValueError

        self.assertRaises(ValueError, self.claim, overtaken)
        self.assert_held('b')

    def test_what_is_full_is_rescheduled(self) -> None:
        for server in 'ab':
            self.claim(self.pick, server)
        self.assertRaisesRegex(
            nova_exception.ComputeResourcesUnavailable,
            '0 free, 1 asked',
            self.claim,
            self.pick,
            'c',
        )
        self.assert_held('a', 'b')

    def test_a_pick_is_saved_once_its_own_server_says_so(self) -> None:
        """Two servers are unshelved, each to what the other one had."""
        for server in 'ab':
            self.claim(self.pick, server)
        first, second = sorted(self.accel.held)
        self.refill(a=(second, 'shelved_offloaded'))
        self.assertEqual({first: 'a', second: 'b'}, self.accel.picks)
        self.refill(a=(second, 'shelved_offloaded'), b=(second, 'active'))
        self.assertEqual({first: 'a'}, self.accel.picks)
        self.refill(a=(second, 'shelved_offloaded'), b=(second, 'active'))
        self.assertEqual({first, second}, self.accel.held)
        self.refill(a=(first, 'active'))
        self.assertEqual({first}, self.accel.held)
        self.assertEqual({}, self.accel.picks)

    def test_what_a_server_had_before_it_was_shelved_is_free(self) -> None:
        self.claim(self.pick, 'a')
        self.claim(self.pick, 'b')
        had, _other = sorted(self.accel.held)
        self.accel.unclaim([had])
        self.refill(b=(had, 'shelved_offloaded'))
        self.claim(self.pick, 'c')
        self.assertEqual('c', self.accel.picks[had])

    def test_a_server_that_arrives_while_the_database_is_read(self) -> None:
        """It is not here yet, and then not on its way any more."""
        for server in 'cd':
            self.claim(self.pick, server)
        first, second = sorted(self.accel.held)
        self.refill(arrived=[first])
        self.assertEqual({first}, self.accel.held)
        self.claim(self.pick, 'b')
        self.assertEqual('b', self.accel.picks[second])

    def refill(
        self,
        arrived: collections.abc.Iterable[inventory.Claim] = (),
        **servers: tuple[inventory.Claim, str],
    ) -> None:
        """Let the database name one unit of some servers here."""
        others = dict.fromkeys('ab', (None, 'building'))
        records = {
            name: mock.Mock(
                resources=tracker._resources([claim] if claim else []),
                vm_state=state,
            )
            for name, (claim, state) in {**others, **servers}.items()
        }
        self.rt.tracked_instances = set(records)
        with (
            mock.patch.object(tracker, '_unfinished', return_value=[]),
            mock.patch.object(
                tracker, '_arrived', return_value=[tracker._resources(arrived)]
            ),
        ):
            self.rt._populate_assigned_resources(self.context, records)
