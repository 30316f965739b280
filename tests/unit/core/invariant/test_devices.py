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
"""The device of each claim."""

from nova_accel.core import facts
from tests.unit.core.invariant import agreement


class DeviceTest(agreement.InvariantCase):
    def test_a_running_server_without_a_guest(self):
        self.assert_found(
            agreement.host(
                agreement.server(agreement.ONE, agreement.slot(0)), guests=()
            ),
            (
                'device-not-attached',
                agreement.slot(0).unit,
                agreement.ONE,
                agreement.CARD,
            ),
        )

    def test_a_guest_that_lacks_a_device(self):
        self.assert_found(
            agreement.host(
                agreement.server(
                    agreement.ONE, agreement.slot(0), agreement.whole(5)
                ),
                guests=(agreement.guest(agreement.ONE, agreement.slot(0)),),
            ),
            ('device-not-attached', 'sn:5', agreement.ONE, agreement.POOL),
        )

    def test_a_stopped_guest_that_lacks_a_device(self):
        stopped = agreement.server(
            agreement.ONE, agreement.whole(5), state=facts.STOPPED
        )
        self.assert_found(
            agreement.host(
                stopped,
                guests=(agreement.guest(agreement.ONE, running=False),),
            ),
            ('device-not-attached', 'sn:5', agreement.ONE, agreement.POOL),
        )

    def test_a_mediated_device_that_is_not_there(self):
        self.assert_found(
            agreement.host(
                agreement.server(agreement.ONE, agreement.slot(0)),
                mdevs=frozenset(),
                ours={},
            ),
            (
                'device-not-there',
                agreement.slot(0).unit,
                agreement.ONE,
                agreement.CARD,
            ),
        )

    def test_a_guest_that_is_off_needs_no_mediated_device(self):
        stopped = agreement.server(
            agreement.ONE, agreement.slot(0), state=facts.STOPPED
        )
        off = agreement.guest(agreement.ONE, agreement.slot(0), running=False)
        self.assert_found(
            agreement.host(stopped, guests=(off,), mdevs=frozenset(), ours={})
        )

    def test_a_mediated_device_that_nobody_holds(self):
        self.assert_found(
            agreement.host(
                ours={agreement.mdev(agreement.slot(1)): agreement.slot(1)}
            ),
            (
                'mdev-without-claim',
                agreement.mdev(agreement.slot(1)),
                '',
                agreement.CARD,
            ),
        )
