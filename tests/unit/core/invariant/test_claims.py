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
"""Who holds which unit."""

import dataclasses

from nova_accel.core import inventory
from tests.unit.core import hosts
from tests.unit.core.invariant import agreement


class ClaimTest(agreement.InvariantCase):
    def test_one_unit_for_two_servers(self):
        self.assert_found(
            agreement.host(
                agreement.server(agreement.ONE, agreement.slot(0)),
                agreement.server(
                    agreement.TWO, agreement.slot(0), attached=frozenset()
                ),
            ),
            (
                'claim-twice',
                agreement.slot(0).unit,
                agreement.TWO,
                agreement.CARD,
            ),
        )

    def test_a_provider_of_another_node(self):
        far = hosts.provider_of('sn:9')
        claim = inventory.Claim(far, 'VGPU', 'sn:1/nvidia-233/0')
        self.assert_found(
            agreement.host(
                agreement.server(agreement.ONE, claim, attached=frozenset()),
                mdevs=frozenset(),
                ours={},
            ),
            ('claim-without-allocation', '', agreement.ONE, far),
            ('claim-without-provider', claim.unit, agreement.ONE, far),
        )

    def test_a_device_that_is_gone(self):
        held = agreement.server(agreement.ONE, agreement.whole(6))
        here = hosts.offer(
            [agreement.VGPU, agreement.WHOLE], agreement.DEVICES[:2]
        )
        known = {
            rp: p.known for rp, p in agreement.host(held).providers.items()
        }
        found = agreement.host(held, offer=here)
        wanted = inventory.desired(hosts.NODE, here, held.claims, known)
        after = hosts.known(wanted)
        providers = {
            rp: dataclasses.replace(placed, known=after[rp])
            for rp, placed in found.providers.items()
        }
        self.assert_found(
            dataclasses.replace(found, providers=providers),
            ('claim-without-device', 'sn:6', agreement.ONE, agreement.POOL),
        )

    def test_what_the_service_believes(self):
        self.assert_found(
            agreement.host(
                agreement.server(agreement.ONE, agreement.slot(0)),
                held=frozenset({agreement.slot(1)}),
            ),
            (
                'claim-forgotten',
                agreement.slot(0).unit,
                agreement.ONE,
                agreement.CARD,
            ),
            (
                'claim-without-server',
                agreement.slot(1).unit,
                '',
                agreement.CARD,
            ),
        )

    def test_a_service_that_was_not_asked(self):
        self.assert_found(
            agreement.host(
                agreement.server(agreement.ONE, agreement.slot(0)), held=None
            )
        )
