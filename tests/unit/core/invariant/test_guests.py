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
"""What guests have."""

from nova_accel.core import device
from tests.unit.core.invariant import agreement


class GuestTest(agreement.InvariantCase):
    def test_a_device_in_two_guests(self):
        self.assert_found(
            agreement.host(
                agreement.server(agreement.ONE, agreement.whole(5)),
                guests=(
                    agreement.guest(agreement.ONE, agreement.whole(5)),
                    agreement.guest(agreement.TWO, agreement.whole(5)),
                ),
            ),
            (
                'device-in-two-guests',
                '0000:05:00.0',
                agreement.TWO,
                agreement.POOL,
            ),
            (
                'device-without-claim',
                '0000:05:00.0',
                agreement.TWO,
                agreement.POOL,
            ),
        )

    def test_a_guest_with_a_device_that_it_does_not_hold(self):
        self.assert_found(
            agreement.host(
                agreement.server(agreement.ONE),
                guests=(agreement.guest(agreement.ONE, agreement.whole(5)),),
            ),
            (
                'device-without-claim',
                '0000:05:00.0',
                agreement.ONE,
                agreement.POOL,
            ),
        )

    def test_a_guest_that_has_a_whole_card_of_vgpus(self):
        card = device.Guest(agreement.ONE, True, frozenset({'0000:01:00.0'}))
        self.assert_found(
            agreement.host(guests=(card,)),
            (
                'device-without-claim',
                '0000:01:00.0',
                agreement.ONE,
                agreement.CARD,
            ),
        )
