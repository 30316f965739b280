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
"""What Placement is told: nested providers, and that they hold still."""

import collections
import typing as ty
from unittest import mock

import ddt
import os_traits

from nova_accel.core import naming
from nova_accel import exception
from nova_accel.testing import cloud

from tests.functional import rules

CARD = 'pci_0000_18_00_0'


class ProviderTest(cloud.CloudTestCase):
    def test_a_card_is_one_child_and_its_size_an_amount(self) -> None:
        self.start_host('host1', 't4', rules.T4_8Q)
        inventories = self.inventories('host1')
        self.assertEqual(2, len(inventories))
        for stable_id, classes in inventories.items():
            self.assertTrue(stable_id.startswith('sn:'), stable_id)
            self.assertEqual({'VGPU': (2, 0)}, classes)

    def test_whole_devices_are_pooled_by_numa_node(self) -> None:
        self.start_host('host1', 'a100', rules.A100)
        self.assertEqual(
            [{'CUSTOM_A100': (4, 0)}, {'CUSTOM_A100': (4, 0)}],
            list(self.inventories('host1').values()),
        )

    def test_names_and_uuids_are_functions_of_node_and_device(self) -> None:
        root = self.start_host('host1', 't4', rules.T4_8Q)
        children = [
            rp
            for rp in self._get_all_rps_in_a_tree(root)
            if rp['uuid'] != root
        ]
        self.assertEqual(2, len(children))
        for rp in children:
            prefix, _, stable_id = rp['name'].partition('_accel_')
            self.assertEqual('host1', prefix)
            self.assertEqual(naming.provider_uuid(root, stable_id), rp['uuid'])
            self.assertEqual(root, rp['parent_provider_uuid'])

    def test_traits(self) -> None:
        self.start_host('host1', 't4', rules.T4_8Q)
        for uuid in self.accel_providers('host1').values():
            self.assertLessEqual(
                {
                    naming.MANAGED,
                    os_traits.OWNER_NOVA,
                    'CUSTOM_ACCEL_VENDOR_10DE',
                    'CUSTOM_ACCEL_PRODUCT_10DE_1EB8',
                    'CUSTOM_ACCEL_MODEL_GRID_T4_8Q',
                },
                set(self._get_provider_traits(uuid)),
            )

    def test_a_restart_changes_nothing(self) -> None:
        self.start_host('host1', 't4', rules.T4_8Q)
        before = self._snapshot('host1')
        self.restart_compute_service('host1')
        self.assertEqual(before, self._snapshot('host1'))

    def test_operators_traits_stay_and_ours_come_back(self) -> None:
        self.start_host('host1', 't4', rules.T4_8Q)
        uuid = min(self.accel_providers('host1').values())
        ours = set(self._get_provider_traits(uuid))
        self._create_trait('CUSTOM_RACK_7')
        # What `openstack resource provider trait set` does: replace all.
        self._set_provider_traits(uuid, ['CUSTOM_RACK_7'])
        self.computes['host1'].manager.reportclient.clear_provider_cache()
        self.run_periodic()
        self.assertEqual(
            ours | {'CUSTOM_RACK_7'}, set(self._get_provider_traits(uuid))
        )

    def _snapshot(self, host: str) -> dict[str, ty.Any]:
        return {
            uuid: (
                stable_id,
                self._get_provider_inventory(uuid),
                sorted(self._get_provider_traits(uuid)),
                self._get_resource_provider_by_uuid(uuid)['generation'],
            )
            for stable_id, uuid in self.accel_providers(host).items()
        }


# What a host offers, and a flavor that takes some of it.
_SHAPES = {
    'card': ('t4', rules.T4_8Q, {'VGPU': 1}),
    'card with levels': ('t4', rules.T4_LEVELS, {'CUSTOM_T4_4Q': 2}),
    'vgpus on functions': ('a40', rules.A40_8Q, {'CUSTOM_A40_8Q': 2}),
    'functions with levels': (
        'infiniband',
        rules.HCA_LEVELS,
        {'CUSTOM_HCA_VF': 4},
    ),
    'pools': ('a100', rules.A100, {'CUSTOM_A100': 2}),
    'two kinds': ('mixed', rules.MIXED, {'VGPU': 1, 'CUSTOM_NVME': 1}),
}


@ddt.ddt
class QuietTest(cloud.CloudTestCase):
    """Inventory and traits do not change because of a claim."""

    @ddt.data(*_SHAPES)
    def test_a_claim_and_a_delete_send_no_put(self, shape: str) -> None:
        node, text, amounts = _SHAPES[shape]
        self.start_host('host1', node, text)
        flavor = self.flavor(
            **{f'resources__{rc}': amount for rc, amount in amounts.items()}
        )
        self.run_periodic()
        with self._writes() as writes:
            server = self.boot(flavor)
            self.assertEqual(
                sum(amounts.values()), len(self.hostdevs('host1', server))
            )
            self.run_periodic()
            self._delete_server(server)
            self.run_periodic()
        self.assertEqual([], writes)

    def test_the_check_above_can_fail(self) -> None:
        self.start_host('host1', 't4', rules.T4_8Q)
        self.run_periodic()
        with self._writes() as writes:
            self.connection_of('host1').machine.unplug(CARD)
            self.run_periodic()
        self.assertNotEqual([], writes)

    def _writes(self) -> ty.Any:
        client = self.computes['host1'].manager.reportclient
        return _recorded(client)


class _recorded:
    """What a report client puts into Placement."""

    def __init__(self, client: ty.Any) -> None:
        self._client = client

    def __enter__(self) -> list[str]:
        self.urls: list[str] = []
        put = self._client.put

        def recording(url: str, *args: ty.Any, **kwargs: ty.Any) -> ty.Any:
            self.urls.append(url)
            return put(url, *args, **kwargs)

        self._patch = mock.patch.object(self._client, 'put', recording)
        self._patch.start()
        return self.urls

    def __exit__(self, *exc: object) -> None:
        self._patch.stop()


class MissingTest(cloud.CloudTestCase):
    """Reserved instead of disappearing."""

    def setUp(self) -> None:
        super().setUp()
        self.start_host('host1', 't4', rules.T4_8Q)
        self.machine = self.connection_of('host1').machine

    def test_a_card_that_vanishes_and_comes_back(self) -> None:
        before = self.inventories('host1')
        card = self.machine.describe(CARD)
        self.machine.unplug(CARD)
        self.run_periodic()
        self.assertEqual(
            collections.Counter([(2, 2), (2, 0)]),
            collections.Counter(
                classes['VGPU']
                for classes in self.inventories('host1').values()
            ),
        )
        self.assertEqual(1, len(self._missing()))
        self.machine.plug(card)
        self.run_periodic()
        self.assertEqual(before, self.inventories('host1'))
        self.assertEqual([], self._missing())

    def test_a_card_that_vanishes_while_held(self) -> None:
        server = self.boot(self.flavor(resources__VGPU=1))
        (claim,) = self.claims(server)
        serial = naming.UnitId.parse(claim.unit).device.removeprefix('sn:')
        self.machine.unplug(self._card_of(serial))
        self.run_periodic()
        # One unit is held, the other must not be given away.
        self.assertEqual(
            (2, 1), self._of(claim.provider)['VGPU'], self.inventories('host1')
        )
        self._delete_server(server)
        self.run_periodic()
        self.assertEqual((2, 2), self._of(claim.provider)['VGPU'])

    def test_a_rule_that_goes_takes_its_idle_provider_along(self) -> None:
        self.write_rules(rules.A100)
        self.restart_compute_service('host1')
        self.assertEqual({}, self.inventories('host1'))

    def test_a_rule_that_goes_keeps_its_provider_while_held(self) -> None:
        server = self.boot(self.flavor(resources__VGPU=1))
        (claim,) = self.claims(server)
        self.write_rules(rules.A100)
        self.restart_compute_service('host1')
        self.assertEqual([claim], self.claims(server))
        self.assertEqual((2, 1), self._of(claim.provider)['VGPU'])
        self._reboot_server(server, hard=True)
        self.assert_invariants()
        self._delete_server(server)
        self.run_periodic()
        self.run_periodic()
        self.assertEqual({}, self.inventories('host1'))

    def _card_of(self, serial: str) -> str:
        (name,) = [
            name
            for name, _kind in self.machine.names()
            if serial in self.machine.describe(name)
        ]
        return name

    def _of(self, provider: str) -> dict[str, tuple[int, int]]:
        by_uuid = {
            uuid: stable_id
            for stable_id, uuid in self.accel_providers('host1').items()
        }
        return self.inventories('host1')[by_uuid[provider]]

    def _missing(self) -> list[str]:
        return [
            uuid
            for uuid in self.accel_providers('host1').values()
            if naming.MISSING in self._get_provider_traits(uuid)
        ]


class StockTest(cloud.CloudTestCase):
    """No file, no claim: nothing of ours is anywhere."""

    def test_nothing_is_reported_without_rules(self) -> None:
        self.start_host('host1', 't4', 'version: 1\ndevices: {}\n')
        self.assertEqual({}, self.inventories('host1'))

    def test_a_device_with_two_masters_stops_the_start(self) -> None:
        self.flags(group='pci', device_spec=['{"address": "*:18:*.*"}'])
        self._assert_claimed_twice(r'\[pci\]device_spec = ')

    def test_a_card_with_two_mdev_masters_stops_the_start(self) -> None:
        self.flags(group='devices', enabled_mdev_types=['nvidia-233'])
        self._assert_claimed_twice(r'.*by \[mdev_nvidia-233\]')

    def _assert_claimed_twice(self, option: str) -> None:
        self.assertRaisesRegex(
            exception.ClaimedTwice,
            rf'0000:18:00.0 .* rule t4-8q \(.*accel.yaml:4\) and by {option}',
            self.start_host,
            'host1',
            't4',
            rules.T4_8Q,
        )

    def test_a_card_that_two_rules_match_is_withheld(self) -> None:
        twice = rules.T4_8Q.partition('devices:')[2].replace('t4-8q', 'twin')
        self.start_host('host1', 't4', f'{rules.T4_8Q}{twice}')
        self.assertEqual({}, self.inventories('host1'))
        self._assert_withheld("'t4-8q'", "'twin'")

    def test_a_card_that_comes_later_stops_nothing(self) -> None:
        conn = self.connect('host1', 't4')
        card = conn.machine.describe(CARD)
        conn.machine.unplug(CARD)
        self.write_rules(rules.T4_8Q)
        self.flags(group='pci', device_spec=['{"address": "*:18:*.*"}'])
        self.start_compute('host1', connection=conn)
        self.assertNotIn('is not offered', self.stdlog.logger.output)
        conn.machine.plug(card)
        self.run_periodic()
        self.assertEqual(['sn:1324419052502'], [*self.inventories('host1')])
        self._assert_withheld("'t4-8q'", '[pci]device_spec = ')

    def _assert_withheld(self, *owners: str) -> None:
        (line,) = [
            line
            for line in self.stdlog.logger.output.splitlines()
            if 'Device 0000:18:00.0 (' in line
        ]
        for text in ('WARNING', 'is not offered', *owners):
            self.assertIn(text, line)

    def test_a_wrong_file_stops_the_start(self) -> None:
        self._assert_refused(
            'version: 1\ndevices:\n  t4: {kint: vgpu}\n',
            "accel.yaml:3: devices.t4.kint: unknown key; did you mean 'kind'?",
        )

    def test_a_file_that_is_no_yaml_stops_the_start(self) -> None:
        for text, said in (
            ('', 'accel.yaml: the file is empty'),
            ('version: 1\n\tdevices: {}\n', 'accel.yaml:2: YAML syntax error'),
            ('a: &a [1]\nb: [*a, *a]\n', 'accel.yaml:2: the alias *a is not'),
            ('#' * 10 * 2**20, 'accel.yaml: is larger than 1024 KiB'),
        ):
            self._assert_refused(text, said)

    def _assert_refused(self, rules: str, said: str) -> None:
        stopped = self.assertRaises(
            SystemExit, self.start_host, 'host1', 't4', rules
        )
        self.assertEqual(1, stopped.code)
        log = self.stdlog.logger.output
        self.assertIn('nova-compute does not start: ', log)
        self.assertIn(said, log)
