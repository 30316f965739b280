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

import re
import typing as ty

from tests.functional import devices

from nova.tests.functional.api import client

from nova_accel.cli import identify
from nova_accel.cli import outcome
from nova_accel.cli import remap
from nova_accel.core import states

from tests.functional import rules

_VPD = re.compile(
    r"\s*<capability type='vpd'>.*?</capability>(?=\s*<)", re.DOTALL
)


def mute(xml: str) -> str:
    """Describe a card as one that tells no serial number."""
    return _VPD.sub('', xml)


class IdentityCase(devices.DeviceCase):
    def setUp(self) -> None:
        super().setUp()
        self.conn = self.connect('host1', 'a100')
        machine = self.conn.machine
        self.told = {
            name: machine.describe(name)
            for name, kind in machine.names()
            if kind == 'pci' and '20b0' in machine.describe(name)
        }

    def start(self, *silent: str) -> None:
        self.write_rules(rules.A100)
        machine = self.conn.machine
        machine.alter(*(mute(self.told[name]) for name in silent))
        self.start_compute('host1', connection=self.conn)

    def identify(self, code: int = outcome.OK) -> dict[str, ty.Any]:
        found = self.say(identify, code=code)['devices']
        return {each['id']: each for each in found}


class GainedTest(IdentityCase):
    def test_a_serial_number_that_was_not_there(self) -> None:
        self.start(*self.told)
        server = self.boot(self.flavor(resources__CUSTOM_A100=1))
        (claim,) = self.claims(server)
        (address,) = self.hostdevs('host1', server)
        old = self.device_of(server)
        self.assertIn('path:', old)
        self.assertEqual('in service', self.identify()[old]['state'])

        self._stop_server(server)
        (name,) = (n for n in self.told if _at(n) == address)
        self.conn.machine.alter(self.told[name])
        self.restart_compute_service('host1')
        # Not before an operator says that it is the same card.
        self.assertEqual([], self.hostdevs('host1', server))
        self.assertIn(
            states.trait(states.MISMATCH, old), self.traits_of(claim.provider)
        )
        found = self.identify(code=outcome.PROBLEM)
        lost = found[old]
        self.assertEqual('away', lost['place'])
        self.assertEqual(address, lost['address_before'])
        self.assertEqual([server['id']], lost['servers'])
        (new,) = lost['candidates']
        self.assertIn('sn:', new)
        self.assertEqual('withheld', found[new]['place'])
        self.assertRaises(
            client.OpenStackApiException, self._start_server, server
        )

        plan = self.say(remap, old, new)
        self.assertFalse(plan['applied'])
        self.assertEqual(lost, self.identify(code=outcome.PROBLEM)[old])
        self.say(remap, old, new, '--apply')
        self.assertEqual('in service', self.identify()[old]['state'])
        self.assertEqual([claim], self.claims(server))
        self._reboot_server(server, hard=True)
        self.assertEqual([address], self.hostdevs('host1', server))
        self.assert_invariants()
        self.restart_compute_service('host1')
        self.assertEqual(address, self.identify()[old]['address'])
        self.assert_invariants()
        error = self.say(remap, old, new, code=outcome.PROBLEM)
        self.assertIn('it is not lost', error)

    def test_a_free_card(self) -> None:
        first, *_ = self.told
        self.start(first)
        self.conn.machine.alter(self.told[first])
        self.restart_compute_service('host1')
        # The card that told no serial number is missed.
        found = self.identify(code=outcome.PROBLEM)
        (new,) = (
            each for each in found if found[each]['address'] == _at(first)
        )
        self.assertEqual('not ready', found[new]['state'])
        self.command('enable', new)
        found = self.identify(code=outcome.PROBLEM)
        self.assertEqual('in service', found[new]['state'])


class LostTest(IdentityCase):
    def test_a_serial_number_that_is_gone(self) -> None:
        self.start()
        server = self.boot(self.flavor(resources__CUSTOM_A100=1))
        (claim,) = self.claims(server)
        (address,) = self.hostdevs('host1', server)
        old = self.device_of(server)
        self._stop_server(server)
        (name,) = (n for n in self.told if _at(n) == address)
        self.conn.machine.alter(mute(self.told[name]))
        self.restart_compute_service('host1')
        self.assertEqual([], self.hostdevs('host1', server))
        self.assertIn(
            states.trait(states.MISMATCH, old), self.traits_of(claim.provider)
        )
        (new,) = self.identify(code=outcome.PROBLEM)[old]['candidates']
        self.say(remap, old, new, '--apply')
        self._start_server(server)
        self.assertEqual([address], self.hostdevs('host1', server))
        self.assertEqual([claim], self.claims(server))
        self.assert_invariants()


def _at(name: str) -> str:
    """Read the address out of libvirt's handle."""
    domain, bus, slot, function = name.removeprefix('pci_').split('_')
    return f'{domain}:{bus}:{slot}.{function}'
