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
"""Cards move, are exchanged and are pulled out."""

import dataclasses

from tests.lab.harness import process
from tests.lab.scenarios import base


class CardsTest(base.Scenario):
    def _stop(self, server: str) -> None:
        self.nova.act(server, 'os-stop')
        self.nova.wait_status(server, 'SHUTOFF')

    def _start(self, server: str) -> None:
        self.nova.act(server, 'os-start')
        self.nova.wait_status(server, 'ACTIVE')

    def test_every_address_shifts(self) -> None:
        """A card in front, as after a reboot: all others move on."""
        vgpu = self.boot(**base.VGPU)
        gpu = self.boot(**base.GPU)
        (uuid,), (unit,) = self.mdevs(), self.claimed(gpu)
        before = self.address_of(unit)
        parent = self.address_of(self.claimed(vgpu)[0])
        self._stop(vgpu)
        self._stop(gpu)
        self.lab.compute.stop()
        self.agent.check(f'echo 1 > /sys/bus/mdev/devices/{uuid}/remove')
        moved = [
            dataclasses.replace(card, bus=card.bus + 4) for card in self.cards
        ]
        front = dataclasses.replace(
            self.card('a100-a'),
            name='front',
            bus=0x80,
            serial='FRONT-01',
            dsn='48b02d00000000ff',
            slot=90,
        )
        self.replug(front, *moved)
        with self.timed('restart'):
            self.lab.host.restart_compute()
        self._start(vgpu)
        self._start(gpu)
        self.assertEqual([unit], self.claimed(gpu))
        self.assertNotEqual(before, self.address_of(unit))
        (seen,) = self.guest_sees(gpu, '10de')
        self.assertEqual(f'sn:{seen.serial}', unit)
        self.assertEqual([uuid], self.mdevs())
        (held,) = self.claimed(vgpu)
        self.assertNotEqual(parent, self.address_of(held))
        self.assertEqual(self.address_of(held), self.mdev_parent(uuid))
        # One more in front, and each server holds one.
        free = self.nova.free()
        self.assertEqual(self.before['CUSTOM_A100'], free['CUSTOM_A100'])
        self.assertEqual(self.before['VGPU'] - 1, free['VGPU'])
        self.delete(vgpu, gpu)

    def test_a_card_is_swapped_for_another(self) -> None:
        """The slot's new card is another one: nobody gets it unasked."""
        server = self.boot(**base.GPU)
        (unit,) = self.claimed(server)
        self._stop(server)
        mine = next(c for c in self.cards if f'sn:{c.serial}' == unit)
        other = dataclasses.replace(
            mine, serial='SWAPPED-01', dsn='48b02d00000000fe'
        )
        kept = [card for card in self.cards if card != mine]
        self.replug(other, *kept)
        self.nova.act(server, 'os-start')
        self.nova.wait_failed(server, 'start')
        self.assertEqual([unit], self.claimed(server))
        self.assertEqual({'CUSTOM_A100': 1}, self.held(server))
        self.replug(mine, *kept)
        self._start(server)
        (seen,) = self.guest_sees(server, '10de')
        self.assertEqual(f'sn:{seen.serial}', unit)
        self.delete(server)
        self.assert_all_free()

    def test_a_card_is_pulled_while_in_use(self) -> None:
        server = self.boot(**base.GPU)
        (unit,) = self.claimed(server)
        mine = next(c for c in self.cards if f'sn:{c.serial}' == unit)
        kept = [card for card in self.cards if card != mine]
        with self.timed('pull'):
            self.replug(*kept)
        # The guest has let go of it; nova has not.
        process.wait_for(
            'end of the device', lambda: not self.hostdevs(server), 60
        )
        self.assertEqual({'CUSTOM_A100': 1}, self.held(server))
        second = self.boot(**base.GPU)
        self.assertNotEqual([unit], self.claimed(second))
        self.delete(second)
        self.replug(mine, *kept)
        with self.timed('hard reboot'):
            self.nova.act(server, 'reboot', type='HARD')
            self.nova.wait_status(server, 'ACTIVE')
        self.assertEqual([unit], self.claimed(server))
        self.assertEqual(1, self.hostdevs(server))
        self.delete(server)
        self.assert_all_free()
