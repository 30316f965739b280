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
"""A server is resized to more, fewer, other and no devices."""

import collections

from tests.functional import moves
from tests.functional import rules

RULES = """
version: 1
devices:
  t4:
    kind: vgpu
    match: {vendor_id: "10de", product_id: "1eb8"}
    models: [GRID T4-4Q]
  nvme:
    kind: pci
    match: {class: "0108"}
    resource_class: CUSTOM_NVME
  a100:
    kind: pci
    match: {vendor_id: "10de", product_id: "20b0"}
    resource_class: CUSTOM_A100
"""
# What the server has, one after the other.
STEPS: list[dict[str, int]] = [
    {'VGPU': 2, 'CUSTOM_NVME': 1},
    {'VGPU': 1},
    {'CUSTOM_A100': 1},
    {},
    {'VGPU': 2, 'CUSTOM_A100': 1},
]


class ResizeTest(moves.MoveTestCase):
    HOSTS = ('host1',)

    def setUp(self) -> None:
        super().setUp()
        self.flags(allow_resize_to_same_host=len(self.HOSTS) == 1)
        self.write_rules(RULES)
        for host in self.HOSTS:
            self.start_host(host, 'mixed')
        self.has = {'VGPU': 1, 'CUSTOM_NVME': 1}
        self.server = self.boot(self.wish(self.has), host='host1')

    def wish(self, amounts: dict[str, int]) -> str:
        return self.flavor(
            **{f'resources__{k}': v for k, v in amounts.items()}
        )

    def test_confirmed(self) -> None:
        for amounts in STEPS:
            self.be_asked_at(self.host_of(self.server))
            self.resize(amounts)
            self._confirm_resize(self.server)
            self.assert_has(amounts)
            self.has = amounts

    def test_reverted(self) -> None:
        claims = self.claims(self.server)
        devices = self.hostdevs('host1', self.server)
        for amounts in STEPS:
            self.resize(amounts)
            self._revert_resize(self.server)
            self.assert_has(self.has)
            self.assertEqual(claims, self.claims(self.server))
            self.assertEqual(devices, self.hostdevs('host1', self.server))

    def be_asked_at(self, host: str) -> None:
        """All hosts share this in nova's harness; the source asks for it."""
        self.flags(host=host)

    def grow(self) -> None:
        self.be_asked_at('host1')
        wish = self.wish({'VGPU': 2, 'CUSTOM_A100': 1})
        self._resize_server(self.server, wish)

    def test_deleted_at_once(self) -> None:
        """No update passes: nova's tracker takes it for a mover still."""
        self.grow()
        self._confirm_resize(self.server)
        self._delete_server(self.server)
        self.assert_nothing_held()

    def test_deleted_undecided(self) -> None:
        self.grow()
        self._delete_server(self.server)
        self.assert_nothing_held()

    def test_offloaded_at_once(self) -> None:
        self.grow()
        self._confirm_resize(self.server)
        self._shelve_server(self.server, expected_state='SHELVED_OFFLOADED')
        self.assert_nothing_held()

    def resize(self, amounts: dict[str, int]) -> None:
        """Both the old and the new devices are the server's until then."""
        before, there = self.claims(self.server), self.host_of(self.server)
        self._resize_server(self.server, self.wish(amounts))
        here = self.host_of(self.server)
        self.assertEqual(here == there, len(self.HOSTS) == 1)
        after = self.claims(self.server)
        self.assertFalse({*before} & {*after})
        for _ in range(2):
            self.assertLessEqual({*before}, self.held(there))
            self.assertLessEqual({*after}, self.held(here))
            self.run_periodic()
        self.assertEqual(
            sum(amounts.values()), len(self.hostdevs(here, self.server))
        )

    def assert_has(self, amounts: dict[str, int]) -> None:
        claims = self.claims(self.server)
        self.assertEqual(
            amounts,
            dict(collections.Counter(c.resource_class for c in claims)),
        )
        self.assert_invariants()
        here = self.host_of(self.server)
        for host in self.HOSTS:
            self.assertEqual(
                {*claims} if host == here else frozenset(), self.held(host)
            )
            self.assertEqual(
                amounts.get('VGPU', 0) if host == here else 0,
                len(self.mdevs(host)),
            )


class OtherHostTest(ResizeTest):
    HOSTS = ('host1', 'host2')


class WholeCardTest(moves.MoveTestCase):
    """A server that holds all units of a card."""

    def setUp(self) -> None:
        super().setUp()
        self.write_rules(rules.T4_8Q)
        for host in ('host1', 'host2'):
            self.start_host(host, 't4')
        self.whole = self.flavor(resources__VGPU=2)
        self.both = self.flavor(
            resources1__VGPU=2, resources2__VGPU=2, group_policy='isolate'
        )
        self.server = self.boot(self.whole, host='host1')

    def assert_has(self, host: str, *cards: int) -> None:
        self.assertEqual(host, self.host_of(self.server))
        claims = self.claims(self.server)
        found = collections.Counter(claim.provider for claim in claims)
        self.assertEqual([*cards], sorted(found.values()))
        self.assert_invariants()
        self.assertEqual({*claims}, self.held(host))

    def test_it_moves_and_grows(self) -> None:
        other = self.boot(self.whole, host='host1')
        self.assertNotEqual(
            *(
                {c.provider for c in self.claims(s)}
                for s in (other, self.server)
            )
        )
        self.refused(self.flavor(resources__VGPU=1), host='host1')
        self._migrate_server(self.server, host='host2')
        self._confirm_resize(self.server)
        self.assertEqual(
            {2},
            {
                n
                for used in self.usages('host2').values()
                for n in used.values()
            },
        )
        self._delete_server(other)
        self._resize_server(self.server, self.both)
        self._confirm_resize(self.server)
        self.assert_has('host1', 2, 2)
        # No card is left for it here, nor half of one.
        self._resize_server(self.server, self.whole)
        self._revert_resize(self.server)
        self.assert_has('host1', 2, 2)

    def test_its_host_dies_and_it_is_deleted(self) -> None:
        self.evacuate_from_host1(self.server)
        self._delete_server(self.server)
        self.assert_nothing_held()

    def test_its_host_dies(self) -> None:
        self.evacuate_from_host1(self.server)
        self.assert_has('host2', 2)
        self.assertEqual({}, self.usages('host1'))
        self.assertEqual([], self.mdevs('host1'))
