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
"""What Placement has allocated."""

import dataclasses

import ddt

from nova_accel.core import facts
from tests.unit.core.invariant import agreement


@ddt.ddt
class AllocationTest(agreement.InvariantCase):
    def test_more_allocated_than_claimed(self):
        found = agreement.host(
            agreement.server(agreement.ONE, agreement.slot(0))
        )
        self.assert_found(
            agreement.with_allocation(
                found, agreement.CARD, agreement.ONE, {'VGPU': 2}
            ),
            ('allocation-without-claim', '', agreement.ONE, agreement.CARD),
        )

    def test_less_allocated_than_claimed(self):
        found = agreement.host(
            agreement.server(agreement.ONE, agreement.slot(0))
        )
        self.assert_found(
            agreement.with_allocation(
                found, agreement.CARD, agreement.ONE, {}
            ),
            ('claim-without-allocation', '', agreement.ONE, agreement.CARD),
        )

    def test_allocated_from_another_provider(self):
        found = agreement.host(
            agreement.server(agreement.ONE, agreement.slot(0))
        )
        found = agreement.with_allocation(
            found, agreement.CARD, agreement.ONE, {}
        )
        self.assert_found(
            agreement.with_allocation(
                found,
                agreement.POOL,
                agreement.ONE,
                {'CUSTOM_PCI_10DE_20B5': 1},
            ),
            ('allocation-without-claim', '', agreement.ONE, agreement.POOL),
            ('claim-without-allocation', '', agreement.ONE, agreement.CARD),
        )

    @ddt.data(
        (facts.DELETED, 'allocation-of-deleted-server'),
        (facts.MOVED, 'allocation-of-finished-move'),
        (facts.ELSEWHERE, 'allocation-of-other-host'),
        (facts.UNKNOWN, 'allocation-of-unknown-consumer'),
    )
    @ddt.unpack
    def test_a_consumer_that_holds_nothing(self, fate, kind):
        found = agreement.with_allocation(
            agreement.host(), agreement.CARD, agreement.TWO, {'VGPU': 1}
        )
        self.assert_found(
            dataclasses.replace(found, fates={agreement.TWO: fate}),
            (kind, '', agreement.TWO, agreement.CARD),
        )
