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
"""From an allocation to a device in a domain, and back."""

import contextlib
import typing as ty
from unittest import mock

import ddt
from nova import exception as nova_exception
from nova.tests import fixtures as nova_fixtures

from nova_accel.core import naming
from nova_accel import exception
from nova_accel.testing import cloud
from nova_accel.testing import machine

from tests.functional import rules

CARD = 'pci_0000_18_00_0'


class BootTest(cloud.CloudTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.start_host('host1', 't4', rules.T4_8Q)

    def tearDown(self) -> None:
        self.assert_invariants()
        super().tearDown()

    def test_one_vgpu(self) -> None:
        server = self.boot(self.flavor(resources__VGPU=1))
        (claim,) = self.claims(server)
        self.assertEqual(
            [naming.mdev_uuid(claim.provider, claim.unit)],
            self.hostdevs('host1', server),
        )
        self.assertEqual(1, len(self.mdevs('host1')))

    def test_several_units_of_one_card(self) -> None:
        server = self.boot(self.flavor(resources__VGPU=2))
        claims = self.claims(server)
        self.assertEqual(1, len({claim.provider for claim in claims}))
        self.assertEqual(2, len(self.hostdevs('host1', server)))

    def test_several_groups(self) -> None:
        server = self.boot(
            self.flavor(
                resources1__VGPU=1, resources2__VGPU=1, group_policy='isolate'
            )
        )
        claims = self.claims(server)
        self.assertEqual(2, len({claim.provider for claim in claims}))
        self.assertEqual(2, len(self.hostdevs('host1', server)))

    def test_delete_frees_the_unit_and_the_mdev(self) -> None:
        server = self.boot(self.flavor(resources__VGPU=2))
        self._delete_server(server)
        self.assertEqual({}, self.usages('host1'))
        self.assertEqual([], self.mdevs('host1'))

    def test_a_full_host_refuses(self) -> None:
        flavor = self.flavor(resources__VGPU=2)
        for _ in range(2):
            self.boot(flavor)
        self.assertIn('No valid host', self.refused(flavor))

    def test_a_full_host_takes_another_after_a_delete(self) -> None:
        flavor = self.flavor(resources__VGPU=2)
        first, _second = self.boot(flavor), self.boot(flavor)
        self.refused(flavor)
        self._delete_server(first)
        self.boot(flavor)

    def test_a_hard_reboot_keeps_the_device(self) -> None:
        server = self.boot(self.flavor(resources__VGPU=2))
        before = self.hostdevs('host1', server)
        self._reboot_server(server, hard=True)
        self.assertEqual(before, self.hostdevs('host1', server))

    def test_a_host_that_lost_its_mdevs_makes_them_again(self) -> None:
        server = self.boot(self.flavor(resources__VGPU=2))
        before = self.hostdevs('host1', server)
        self._stop_server(server)
        self.connection_of('host1').machine.reboot()
        self.assertEqual([], self.mdevs('host1'))
        self.restart_compute_service('host1')
        self._start_server(server)
        self.assertEqual(before, self.hostdevs('host1', server))

    def test_a_restarted_service_gives_nothing_twice(self) -> None:
        flavor = self.flavor(resources__VGPU=1)
        first = self.boot(flavor)
        self.restart_compute_service('host1')
        second = self.boot(flavor)
        self.assertEqual(
            [], sorted({*self.claims(first)} & {*self.claims(second)})
        )

    def test_an_mdev_that_nobody_holds_is_collected(self) -> None:
        server = self.boot(self.flavor(resources__VGPU=1))
        with mock.patch.object(self.computes['host1'].driver.accel, 'detach'):
            self._delete_server(server)
        self.assertEqual(1, len(self.mdevs('host1')))
        self.run_periodic()
        self.run_periodic()
        self.assertEqual([], self.mdevs('host1'))


@ddt.ddt
class KindsTest(cloud.CloudTestCase):
    def tearDown(self) -> None:
        self.assert_invariants()
        super().tearDown()

    def test_whole_devices_from_one_pool(self) -> None:
        self.start_host('host1', 'a100', rules.A100)
        server = self.boot(self.flavor(resources__CUSTOM_A100=4))
        self.assertEqual(4, len(set(self.hostdevs('host1', server))))
        self.assertEqual(1, len({c.provider for c in self.claims(server)}))

    def test_a_pool_never_spans_numa_nodes(self) -> None:
        self.start_host('host1', 'a100', rules.A100)
        self.refused(self.flavor(resources__CUSTOM_A100=5))

    def test_vgpu_and_whole_device_in_one_flavor(self) -> None:
        self.start_host('host1', 'mixed', rules.MIXED)
        server = self.boot(
            self.flavor(resources__VGPU=1, resources__CUSTOM_NVME=1)
        )
        devices = self.hostdevs('host1', server)
        self.assertEqual(2, len(devices))
        self.assertEqual(
            {'CUSTOM_NVME', 'VGPU'},
            {claim.resource_class for claim in self.claims(server)},
        )

    def test_vgpus_on_virtual_functions(self) -> None:
        self.start_host('host1', 'a40', rules.A40_8Q)
        server = self.boot(self.flavor(resources__CUSTOM_A40_8Q=2))
        conn = self.connection_of('host1')
        parents = {conn.machine.parent(name) for name in self.mdevs('host1')}
        self.assertEqual(2, len(parents))
        self.assertEqual(2, len(self.hostdevs('host1', server)))

    @ddt.data(
        ('infiniband', rules.HCA_LEVELS, 'CUSTOM_HCA_VF', 4),
        ('t4', rules.T4_LEVELS, 'CUSTOM_T4_4Q', 2),
    )
    @ddt.unpack
    def test_an_amount_that_is_a_level_is_aligned(
        self, node: str, text: str, resource_class: str, amount: int
    ) -> None:
        without = [CARD] if node == 't4' else []
        self.start_host('host1', node, text, without=without)
        one = self.flavor(**{f'resources__{resource_class}': 1})
        half = self.flavor(**{f'resources__{resource_class}': amount})
        # The first takes from one half, so the other is all that fits.
        self.boot(one)
        large = self.boot(half)
        self.assertEqual(amount, len(self.hostdevs('host1', large)))
        slots = sorted(
            naming.UnitId.parse(claim.unit).slot
            for claim in self.claims(large)
        )
        self.assertEqual(0, slots[0] % amount)
        self.assertEqual(list(range(slots[0], slots[0] + amount)), slots)


class FailureTest(cloud.CloudTestCase):
    """Whatever fails, nothing is left behind."""

    def setUp(self) -> None:
        super().setUp()
        self.start_host('host1', 't4', rules.T4_8Q)

    def tearDown(self) -> None:
        self.assert_invariants()
        self.assertEqual({}, self.usages('host1'))
        self.assertEqual([], self.mdevs('host1'))
        super().tearDown()

    def test_a_claim_that_cannot_be_met_fails_before_the_hypervisor(
        self,
    ) -> None:
        accel = self.computes['host1'].driver.accel
        conn = self.connection_of('host1')
        flavor = self.flavor(resources__VGPU=1)
        refusal = accel_refusal()
        with mock.patch.object(accel, 'claim', side_effect=refusal):
            before = dict(conn.calls)
            message = self.refused(flavor)
        self.assertIn('Exceeded maximum number of retries', message)
        changed = {
            verb
            for verb, count in conn.calls.items()
            if count != before.get(verb, 0)
        }
        self.assertEqual(
            set(), changed & {'nodeDeviceCreateXML', 'defineXML', 'createXML'}
        )

    def test_a_claim_that_cannot_be_met_is_rescheduled(self) -> None:
        self.start_host('host2', 't4')
        accel = self.computes['host1'].driver.accel
        other = self.computes['host2'].driver.accel
        refused: list[str] = []
        flavor = self.flavor(resources__VGPU=1)

        def refuse_once(original: ty.Any, name: str) -> ty.Any:
            def claim(*args: ty.Any) -> ty.Any:
                if not refused:
                    refused.append(name)
                    raise accel_refusal()
                return original(*args)

            return claim

        with (
            mock.patch.object(
                accel, 'claim', refuse_once(accel.claim, 'host1')
            ),
            mock.patch.object(
                other, 'claim', refuse_once(other.claim, 'host2')
            ),
        ):
            server = self.boot(flavor)
        server = self.api.get_server(server['id'])
        self.assertNotEqual(refused, [server['OS-EXT-SRV-ATTR:host']])
        self.assert_invariants()
        self._delete_server(server)

    def test_libvirt_refuses_the_mdev(self) -> None:
        host = self.connection_of('host1').machine
        refusal = machine_refusal()
        with mock.patch.object(host, 'create', side_effect=refusal):
            self.refused(self.flavor(resources__VGPU=2))

    def test_the_second_mdev_fails(self) -> None:
        host = self.connection_of('host1').machine
        create, made = host.create, []

        def create_one(xml: str) -> str:
            if made:
                raise machine_refusal()
            made.append(create(xml))
            return ty.cast(str, made[0])

        with mock.patch.object(host, 'create', create_one):
            self.refused(self.flavor(resources__VGPU=2))
        self.assertEqual(1, len(made))

    def test_the_guest_does_not_start(self) -> None:
        driver = self.computes['host1'].driver
        with mock.patch.object(
            driver,
            '_create_guest_with_network',
            side_effect=nova_exception.InternalError('no memory'),
        ):
            self.refused(self.flavor(resources__VGPU=2))

    def test_the_tracker_fails_after_the_pick(self) -> None:
        tracker = self.computes['host1'].manager.rt
        with mock.patch.object(
            tracker,
            '_update_usage_from_instance',
            side_effect=nova_exception.InternalError('database'),
        ):
            self.refused(self.flavor(resources__VGPU=2))
        self.run_periodic()
        self.assertEqual(frozenset(), self.computes['host1'].driver.accel.held)


class RaceTest(cloud.CloudTestCase):
    """Nova's periodic and Placement may both be wrong about a claim."""

    def setUp(self) -> None:
        super().setUp()
        self.start_host('host1', 't4', rules.T4_8Q)
        self.one = self.flavor(resources__VGPU=1)

    def tearDown(self) -> None:
        self.assert_invariants()
        super().tearDown()

    def test_the_periodic_during_a_build_forgets_nothing(self) -> None:
        with self._periodic_during('spawn'):
            servers = [self.boot(self.one) for _ in range(4)]
        self.assertEqual(4, len({c for s in servers for c in self.claims(s)}))

    def test_the_periodic_during_an_unshelve_forgets_nothing(self) -> None:
        servers = [self.boot(self.one) for _ in range(2)]
        for server in servers:
            self._shelve_server(server)
        self.assertEqual({}, self.usages('host1'))
        with self._periodic_during('spawn'):
            for server in servers:
                self._unshelve_server(server)
            servers += [self.boot(self.one) for _ in range(2)]
        self.assertEqual(4, len({c for s in servers for c in self.claims(s)}))

    def test_placement_over_books_and_the_node_refuses(self) -> None:
        """Two allocations for the last unit: one server, one refusal."""
        servers = [self.boot(self.one) for _ in range(3)]
        root = self.compute_rp_uuids['host1']
        providers = self.accel_providers('host1')
        used = self.usages('host1')
        (last,) = [
            uuid
            for stable_id, uuid in providers.items()
            if used.get(stable_id, {}).get('VGPU', 0) < 2
        ]
        wants = {
            root: {'resources': {'VCPU': 2}},
            last: {'resources': {'VGPU': 1}},
        }
        tracker = self.computes['host1'].manager.rt
        held = tracker._claim_resources(wants)
        self.assertRaisesRegex(
            nova_exception.ComputeResourcesUnavailable,
            '0 free, 1 asked',
            tracker._claim_resources,
            wants,
        )
        tracker._release_assigned_resources(held)
        servers.append(self.boot(self.one))

    def _periodic_during(self, verb: str) -> ty.Any:
        """Run update_available_resource inside a verb of the driver."""
        driver = self.computes['host1'].driver
        original = getattr(driver, verb)

        def during(*args: ty.Any, **kwargs: ty.Any) -> ty.Any:
            self.run_periodic('host1')
            return original(*args, **kwargs)

        return mock.patch.object(driver, verb, during)


class DynamicTest(cloud.CloudTestCase):
    """One model per card, chosen by who comes first."""

    def setUp(self) -> None:
        # Whatever fits is sent to host1.
        self.useFixture(nova_fixtures.HostNameWeigherFixture())
        super().setUp()
        self.start_host('host1', 't4', rules.T4_DYNAMIC, without=[CARD])
        self.small = self.flavor(resources__CUSTOM_VGPU_GRID_T4_8Q=1)
        self.large = self.flavor(resources__CUSTOM_VGPU_GRID_T4_16Q=1)

    def tearDown(self) -> None:
        self.assert_invariants()
        super().tearDown()

    def test_types_that_no_longer_fit_are_reserved_and_come_back(
        self,
    ) -> None:
        self.assertEqual(self._reserved(0, 0), self._now())
        server = self.boot(self.small)
        self.assertEqual(self._reserved(0, 1), self._now())
        self.assertIn('No valid host', self.refused(self.large))
        self._delete_server(server)
        self.assertEqual(self._reserved(0, 0), self._now())
        self.boot(self.large)
        self.assertEqual(self._reserved(2, 0), self._now())

    def test_the_claim_itself_sends_no_inventory(self) -> None:
        rt = self.computes['host1'].manager.rt
        seen: list[object] = []
        original = rt.instance_claim

        def claim(*args: ty.Any, **kwargs: ty.Any) -> ty.Any:
            result = original(*args, **kwargs)
            seen.append(self._now())
            return result

        with mock.patch.object(rt, 'instance_claim', claim):
            self.boot(self.small)
        self.assertEqual([self._reserved(0, 0)], seen)
        self.assertEqual(self._reserved(0, 1), self._now())

    def test_two_small_and_a_large_race_and_one_type_wins(self) -> None:
        self.start_host('host2', 't4', without=[CARD])
        servers, refused = self._race([self.small, self.large, self.small])
        hosts = [
            self.api.get_server(s['id'])['OS-EXT-SRV-ATTR:host']
            for s in servers
        ]
        self.assertEqual([('host1', 'CUSTOM_VGPU_GRID_T4_16Q')], refused)
        self.assertEqual(['host1', 'host2', 'host1'], hosts)
        self.assertEqual(self._reserved(0, 1), self._now('host1'))
        self.assertEqual(self._reserved(2, 0), self._now('host2'))
        for host in hosts:
            self.assertEqual([0, 0], self._free(host))
        for server in servers:
            self._delete_server(server)
        for host in ('host1', 'host2'):
            self.assertEqual(self._reserved(0, 0), self._now(host))
            self.assertEqual([2, 1], self._free(host))

    def _race(
        self, flavors: list[str]
    ) -> tuple[list[dict[str, ty.Any]], list[tuple[str, str]]]:
        """Boot as if all were scheduled before any is claimed.

        Placement sees both models free everywhere.

        :returns: the servers, and host and class of each claim refused.
        """
        refused: list[tuple[str, str]] = []
        with contextlib.ExitStack() as patches:
            for host, compute in self.computes.items():
                accel = compute.driver.accel
                for name, instead in (
                    ('announce', mock.Mock()),
                    ('_choose', _noting(accel._choose, host, refused)),
                ):
                    patches.enter_context(
                        mock.patch.object(accel, name, instead)
                    )
            servers = [self.boot(flavor) for flavor in flavors]
        self.run_periodic()
        return servers, refused

    def _free(self, host: str) -> list[int]:
        """How many of each model the host says are free."""
        accel = self.computes[host].driver.accel
        return [model.free for model in accel.capabilities().models]

    def _reserved(self, small: int, large: int) -> dict[str, tuple[int, int]]:
        return {
            'CUSTOM_VGPU_GRID_T4_8Q': (2, small),
            'CUSTOM_VGPU_GRID_T4_16Q': (1, large),
        }

    def _now(self, host: str = 'host1') -> dict[str, tuple[int, int]]:
        (classes,) = self.inventories(host).values()
        return classes


def _noting(
    choose: ty.Any, host: str, refused: list[tuple[str, str]]
) -> ty.Any:
    def noting(provider: str, resource_class: str, *rest: ty.Any) -> ty.Any:
        try:
            return choose(provider, resource_class, *rest)
        except exception.NotEnoughUnits:
            refused.append((host, resource_class))
            raise

    return noting


def accel_refusal() -> Exception:
    return exception.NotEnoughUnits(
        provider='p', resource_class='VGPU', amount=1, reason='a test said so'
    )


def machine_refusal() -> Exception:
    return machine.Refusal('INTERNAL_ERROR', 'a test said so')
