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
"""Our providers in Placement."""

import dataclasses

from nova_accel.core import facts
from nova_accel.core import invariant
from nova_accel.core import inventory
from nova_accel.core import naming
from tests.unit.core import hosts
from tests.unit.core.invariant import agreement


class ProviderTest(agreement.InvariantCase):
    def changed(self, found, rp, **changes):
        placed = found.providers[rp]
        known = dataclasses.replace(placed.known, **changes)
        return dataclasses.replace(
            found,
            providers={
                **found.providers,
                rp: dataclasses.replace(placed, known=known),
            },
        )

    def test_a_name_like_ours(self):
        stranger = hosts.provider_of('sn:8')
        found = agreement.host()
        found = dataclasses.replace(
            found,
            providers={
                **found.providers,
                stranger: facts.Placed('host1_accel_sn:7'),
            },
        )
        self.assert_found(found, ('provider-not-ours', '', '', stranger))

    def test_one_that_placement_lacks(self):
        found = agreement.host()
        providers = {agreement.CARD: found.providers[agreement.CARD]}
        self.assert_found(
            dataclasses.replace(found, providers=providers),
            ('provider-missing', '', '', agreement.POOL),
        )

    def test_one_that_stands_for_nothing(self):
        found = agreement.host()
        offer = hosts.offer([agreement.VGPU], agreement.DEVICES)
        self.assert_found(
            dataclasses.replace(found, offer=offer),
            ('provider-orphan', '', '', agreement.POOL),
        )

    def test_amounts(self):
        record = inventory.Inventory(2, 1, 2)
        found = self.changed(
            agreement.host(), agreement.CARD, inventories={'VGPU': record}
        )
        self.assert_found(found, ('inventory-differs', '', '', agreement.CARD))
        (finding,) = invariant.check(found)
        self.assertIn('total 2, reserved 1, max_unit 2', finding.text)
        self.assertIn('total 2, reserved 0, max_unit 2', finding.text)

    def test_a_class_too_many(self):
        records = agreement.host().providers[agreement.CARD].known.inventories
        more = {**records, 'PGPU': inventory.Inventory(1, 0, 1)}
        found = self.changed(
            agreement.host(), agreement.CARD, inventories=more
        )
        self.assert_found(found, ('inventory-differs', '', '', agreement.CARD))

    def test_traits(self):
        found = self.changed(
            agreement.host(),
            agreement.CARD,
            traits=frozenset({naming.MANAGED, 'CUSTOM_MINE'}),
        )
        self.assert_found(found, ('traits-differ', '', '', agreement.CARD))

    def test_amounts_on_which_a_claim_is_under_way(self):
        record = inventory.Inventory(2, 1, 2)
        busy = agreement.server(
            agreement.ONE, agreement.slot(0), state=facts.BUSY
        )
        self.assert_found(
            self.changed(
                agreement.host(busy),
                agreement.CARD,
                inventories={'VGPU': record},
            )
        )
