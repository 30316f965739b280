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
"""Where nothing is wrong."""

import dataclasses

from nova_accel.core import device
from nova_accel.core import facts
from nova_accel.core import inventory
from tests.unit.core import hosts
from tests.unit.core.invariant import agreement


class AgreementTest(agreement.InvariantCase):
    def test_an_empty_host(self):
        self.assert_found(agreement.host())

    def test_servers_with_devices(self):
        self.assert_found(
            agreement.host(
                agreement.server(
                    agreement.ONE, agreement.slot(0), agreement.whole(5)
                ),
                agreement.server(agreement.TWO, agreement.slot(1)),
            )
        )

    def test_a_stopped_server_without_a_guest(self):
        stopped = agreement.server(
            agreement.ONE, agreement.slot(0), state=facts.STOPPED
        )
        self.assert_found(agreement.host(stopped, guests=()))

    def test_a_suspended_server(self):
        saved = agreement.server(
            agreement.ONE, agreement.slot(0), state=facts.IDLE
        )
        self.assert_found(
            agreement.host(
                saved, guests=(agreement.guest(agreement.ONE, running=False),)
            )
        )

    def test_a_resize_on_the_same_host(self):
        moving = agreement.server(
            agreement.ONE,
            agreement.slot(0),
            agreement.slot(1),
            consumers=frozenset({agreement.ONE, agreement.MOVE}),
            attached=frozenset({agreement.slot(1)}),
        )
        found = agreement.with_allocation(
            agreement.host(moving), agreement.CARD, agreement.ONE, {'VGPU': 1}
        )
        found = agreement.with_allocation(
            found, agreement.CARD, agreement.MOVE, {'VGPU': 1}
        )
        self.assert_found(found)

    def test_a_server_that_nova_is_at_work_on(self):
        found = agreement.host(
            agreement.server(
                agreement.ONE, agreement.slot(0), state=facts.BUSY
            ),
            guests=(),
            held=frozenset(),
        )
        self.assert_found(
            agreement.with_allocation(
                found, agreement.CARD, agreement.ONE, {'VGPU': 2}
            )
        )

    def test_a_server_that_is_being_scheduled(self):
        found = agreement.with_allocation(
            agreement.host(), agreement.CARD, agreement.TWO, {'VGPU': 1}
        )
        self.assert_found(
            dataclasses.replace(found, fates={agreement.TWO: facts.BUSY})
        )

    def test_devices_of_others(self):
        other = device.Guest(
            agreement.TWO,
            True,
            frozenset({'0000:99:00.0', agreement.mdev(agreement.whole(5))}),
        )
        self.assert_found(agreement.host(guests=(other,)))

    def test_a_mediated_device_that_stock_nova_made(self):
        taken = '44444444-0000-4000-8000-000000000004'
        self.assert_found(
            agreement.host(
                agreement.server(agreement.ONE, agreement.slot(0)),
                guests=(
                    device.Guest(agreement.ONE, True, frozenset({taken})),
                ),
                mdevs=frozenset({taken}),
                ours={taken: agreement.slot(0)},
            )
        )

    def test_a_held_device_that_is_listed_no_more(self):
        held = agreement.server(
            agreement.ONE, agreement.slot(0), agreement.whole(5)
        )
        offer = hosts.offer([], agreement.DEVICES, frozenset({'sn:1', 'sn:5'}))
        before = agreement.host(held)
        known = {rp: p.known for rp, p in before.providers.items()}
        kept = hosts.known(
            inventory.desired(hosts.NODE, offer, held.claims, known)
        )
        providers = {
            rp: dataclasses.replace(placed, known=kept[rp])
            for rp, placed in before.providers.items()
        }
        self.assert_found(
            dataclasses.replace(before, offer=offer, providers=providers)
        )
