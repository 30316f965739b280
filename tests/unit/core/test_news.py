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
"""What is logged of devices that come, go and move."""

import dataclasses

import testtools

from nova_accel.core import device
from nova_accel.core import inventory
from nova_accel.core import naming
from nova_accel.core import news
from nova_accel.core import states
from tests.unit.core import hosts

BUSES = (1, 5, 6, 7)
CARD = hosts.rule('card', 1, models=('nvidia-233',))
POOL = 'pool:whole:10de-20b5:numa0'
LOOK = 'nova-accel identify tells what is where'


def whole(bus: int) -> inventory.Claim:
    return inventory.Claim(hosts.provider_of(POOL), 'c', f'sn:{bus}')


def moved(dev: device.Device, bus: int) -> device.Device:
    address = dataclasses.replace(dev.address, bus=bus)
    return dataclasses.replace(dev, address=address, name=f'pci_{address}')


class NewsCase(testtools.TestCase):
    """A card of vGPUs and a pool of two whole cards, at first."""

    new_devices = 'ready'

    def setUp(self) -> None:
        super().setUp()
        whole_cards = hosts.rule(
            'whole', 5, 6, 7, kind='pci', new_devices=self.new_devices
        )
        self.rules = [CARD, whole_cards]
        self.devices = [hosts.t4(1), hosts.pci(5), hosts.pci(6)]
        self.known: dict[str, inventory.KnownProvider] = {}
        self.held: frozenset[inventory.Claim] = frozenset()
        self.seen: inventory.Members = {}
        self.first = self.told()

    def told(self, *devices: device.Device) -> list[str]:
        """Let the host have devices; return what is said of it."""
        offer = hosts.offer(self.rules, devices or self.devices)
        wanted = inventory.desired(hosts.NODE, offer, self.held, self.known)
        found = news.between(self.known, wanted, offer, self.held, self.seen)
        self.known = hosts.known(wanted)
        again = inventory.desired(hosts.NODE, offer, self.held, self.known)
        self.assertEqual((), news.between(self.known, again, offer, self.held))
        return [('' if one.bad else 'info: ') + one.text for one in found]

    def say(self, verb: str, stable_id: str) -> None:
        rp = hosts.provider_of(POOL)
        one = self.known[rp]
        traits = states.changed(one.traits, verb, stable_id)
        self.known[rp] = dataclasses.replace(one, traits=traits)


class NewsTest(NewsCase):
    def test_nothing_at_first(self) -> None:
        self.assertEqual([], self.first)
        self.assertEqual([], self.told())

    def test_a_card_goes_and_comes_back(self) -> None:
        _card, *others = self.devices
        self.assertEqual(
            [
                f'Device sn:1 is not in this host; it was at 0000:01:00.0; '
                f'until it is back, nobody gets it; {LOOK}'
            ],
            self.told(*others),
        )
        self.assertEqual(
            ['info: Device sn:1 is here again, at 0000:01:00.0'], self.told()
        )

    def test_one_of_a_pool_that_a_server_holds(self) -> None:
        self.held = frozenset([whole(6)])
        self.told()
        self.assertEqual(
            [
                f'Device sn:6 is not in this host; it was at 0000:06:00.0; '
                f'until it is back, the server that holds it does not start; '
                f'{LOOK}'
            ],
            self.told(*self.devices[:2]),
        )
        back = moved(self.devices[2], 7)
        self.assertEqual(
            [
                'info: Device sn:6 is here again, at 0000:07:00.0',
            ],
            self.told(*self.devices[:2], back),
        )

    def test_one_of_a_pool_that_nobody_held(self) -> None:
        known = self.known
        (text,) = self.told(*self.devices[:2])
        # Before we started, that is.
        short = naming.short_id('sn:6')
        self.assertIn(f'Device {short} is not in this host; it was', text)
        self.known, self.seen = known, {POOL: frozenset({'sn:5', 'sn:6'})}
        (text,) = self.told(*self.devices[:2])
        self.assertIn('Device sn:6 is not in this host; it was', text)

    def test_two_swap(self) -> None:
        card, one, other = self.devices
        self.assertEqual(
            [
                'info: Device sn:5 is now at 0000:06:00.0; it was at '
                '0000:05:00.0',
                'info: Device sn:6 is now at 0000:05:00.0; it was at '
                '0000:06:00.0',
            ],
            sorted(self.told(card, moved(one, 6), moved(other, 5))),
        )

    def test_another_in_the_place_of_one_in_use(self) -> None:
        self.held = frozenset([whole(6)])
        self.told()
        other = hosts.pci(6, ids=('sn:8', 'path:6'))
        found = self.told(*self.devices[:2], other)
        self.assertEqual(3, len(found), found)
        for text in (
            'Device sn:6 is not in this host; it was at 0000:06:00.0',
            f'Another device is in the place of sn:6, which a server holds; '
            f'the server does not get it; {LOOK}',
            'Device sn:8 at 0000:06:00.0 is not ready, and nobody gets it; '
            'see to it, then: nova-accel device enable sn:8',
        ):
            self.assertTrue([each for each in found if text in each], text)


class NotReadyTest(NewsCase):
    new_devices = 'not_ready'

    def test_each_waits_for_a_word(self) -> None:
        self.assertEqual(
            [
                f'Device sn:{bus} at 0000:0{bus}:00.0 is not ready, and '
                f'nobody gets it; see to it, then: nova-accel device enable '
                f'sn:{bus}'
                for bus in (5, 6)
            ],
            sorted(self.first),
        )
        self.say('enable', 'sn:5')
        self.assertEqual([], self.told())
