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
"""Cleaning and preparing, with a manager, and Placement as a mapping."""

import dataclasses
import types
import typing as ty

import testtools

from tests.functional import devices

from nova_accel.core import inventory
from nova_accel.core import states
from nova_accel.core import upkeep
from nova_accel.virt import caretaker

from tests.unit.core import hosts
from tests.unit import test_manager

PROVIDER = hosts.provider_of('sn:5')
UNIT = inventory.Claim(PROVIDER, test_manager.PCI_CLASS, 'sn:5')


class Answer(int):
    """A status code, true if it is a good one."""

    text = ''

    @property
    def status_code(self) -> int:
        return int(self)

    def __bool__(self) -> bool:
        return self < 400


class Placement:
    """Traits of providers, and generations. Stands for nova's client."""

    def __init__(self, host: test_manager.Host) -> None:
        self._host = host
        self.conflicts = 0

    def get_provider_traits(self, _context: object, rp: str) -> ty.Any:
        traits = self._host.known[rp].traits
        return types.SimpleNamespace(traits=set(traits), generation=1)

    def put(self, url: str, payload: ty.Any, **_kwargs: object) -> Answer:
        if url.startswith('/traits/'):
            return Answer(201)
        if self.conflicts:
            self.conflicts -= 1
            return Answer(409)
        rp = url.split('/')[2]
        known = dict(self._host.known)
        known[rp] = dataclasses.replace(
            known[rp], traits=frozenset(payload['traits'])
        )
        self._host.known = known
        return Answer(200)


class Driver:
    """A host with one device."""

    def __init__(self, **rule: ty.Any) -> None:
        found = hosts.rule('r', 5, kind='pci', pool='device', **rule)
        self.host = test_manager.Host(found)
        self.accel = self.host.manager
        self.placement = Placement(self.host)
        compute = types.SimpleNamespace(reportclient=self.placement)
        self.virtapi = types.SimpleNamespace(_compute=compute)
        self.accel_obey(None)
        self.accel_obey(None)

    def accel_obey(
        self, context: object, discover: bool = False
    ) -> dict[str, list[str]]:
        self.accel.announce()
        found = self.accel.providers(hosts.NODE, self.host.known)
        self.host.known = hosts.known(found)
        self.accel.providers(hosts.NODE, self.host.known)
        return {}

    def say(self, verb: str) -> None:
        one = self.host.known[PROVIDER]
        traits = states.changed(one.traits, verb)
        self.host.known = {
            **self.host.known,
            PROVIDER: dataclasses.replace(one, traits=traits),
        }
        self.accel_obey(None)

    def use(self) -> None:
        """Let a server have the device, and let it go."""
        claims = self.accel.claim({PROVIDER: {UNIT.resource_class: 1}})
        self.accel_obey(None)
        self.accel.unclaim(claims)
        self.accel_obey(None)

    @property
    def state(self) -> str:
        return states.describe(self.accel.service.state('sn:5'))


class CaretakerCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.programs = self.useFixture(devices.Programs())
        self.folder = self.programs.folder

    def command(self, text: str, timeout: float = 20) -> upkeep.Command:
        path = str(self.programs.write(text))
        return upkeep.Command((path,), ty.cast(int, timeout))

    def begin(self, **rule: ty.Any) -> None:
        self.driver = Driver(**rule)
        self.caretaker = caretaker.Caretaker(self.driver)

    def tend(self) -> None:
        self.caretaker.tend()
        self.assertTrue(self.caretaker.wait(20))

    def again(self) -> list[str]:
        return self.caretaker.attend('sn:5', again=True)


class CleanTest(CaretakerCase):
    def begin_used(
        self, clean: str | upkeep.Command | None = upkeep.FLR
    ) -> None:
        self.begin(one_time_use=True, clean=clean)
        self.driver.use()
        self.assertEqual('cleaning', self.driver.state)

    def test_a_reset(self) -> None:
        self.begin_used()
        self.tend()
        self.assertEqual(['sn:5'], self.driver.host.backend.resets)
        self.assertEqual('in service', self.driver.state)
        self.tend()
        self.assertEqual(1, len(self.driver.host.backend.resets))

    def test_not_while_it_is_held(self) -> None:
        self.begin(one_time_use=True, clean=upkeep.FLR)
        self.driver.accel.claim({PROVIDER: {UNIT.resource_class: 1}})
        self.driver.accel_obey(None)
        self.tend()
        self.assertEqual([], self.driver.host.backend.resets)

    def test_not_while_a_guest_has_it(self) -> None:
        self.begin_used()
        backend = self.driver.host.backend
        backend.domains['s'] = test_manager.device.Guest(
            's', True, frozenset({'0000:05:00.0'})
        )
        self.tend()
        self.assertEqual([], backend.resets)
        self.assertIn('has it still', self.again()[0])
        # Nobody has to see to that.
        backend.domains.clear()
        self.tend()
        self.assertEqual('in service', self.driver.state)

    def test_not_while_the_hypervisor_is_silent(self) -> None:
        self.begin_used()
        self.driver.host.backend.unreachable = 'gone'
        self.tend()
        self.driver.host.backend.unreachable = None
        self.tend()
        self.assertEqual('in service', self.driver.state)

    def test_it_fails_once_and_waits_for_an_operator(self) -> None:
        self.begin_used(self.command('echo >> "$0.runs"; exit 1'))
        runs = self.folder / 'program.runs'
        runs.touch(0o666)
        runs.chmod(0o666)
        for _ in range(3):
            self.tend()
        self.assertEqual(1, len(runs.read_text()))
        self.assertEqual('cleaning', self.driver.state)
        # So it does after a restart.
        self.caretaker = caretaker.Caretaker(self.driver)
        self.tend()
        self.assertEqual(1, len(runs.read_text()))
        self.assertIn('exit code 1', self.again()[0])
        self.command('true')
        self.assertEqual([], self.again())
        self.assertEqual('in service', self.driver.state)
        traits = self.driver.host.known[PROVIDER].traits
        self.assertEqual([], [t for t in traits if 'CLEAN' in t])

    def test_two_at_once_are_one(self) -> None:
        self.begin_used(self.command('sleep 0.2; echo >> "$0.runs"'))
        runs = self.folder / 'program.runs'
        runs.touch()
        runs.chmod(0o666)
        self.caretaker.tend()
        self.caretaker.tend()
        self.assertEqual([], self.again())
        self.assertEqual(1, len(runs.read_text()))

    def test_somebody_else_changes_the_provider_meanwhile(self) -> None:
        self.begin_used()
        self.driver.placement.conflicts = 2
        self.tend()
        self.assertEqual('in service', self.driver.state)

    def test_placement_does_not_take_it(self) -> None:
        self.begin_used()
        self.driver.placement.conflicts = 99
        self.tend()
        self.assertEqual('cleaning', self.driver.state)
        self.driver.placement.conflicts = 0
        self.tend()
        self.assertEqual('in service', self.driver.state)

    def test_without_a_method(self) -> None:
        self.begin_used(None)
        self.tend()
        self.assertEqual('cleaning', self.driver.state)
        self.assertEqual(1, self.caretaker.declare_clean('sn:5'))
        self.assertEqual('in service', self.driver.state)
        self.assertEqual(0, self.caretaker.declare_clean('sn:5'))


class PrepareTest(CaretakerCase):
    def begin_new(self, **prepare: ty.Any) -> None:
        self.begin(new_devices='not_ready', prepare=upkeep.Prepare(**prepare))
        self.tend()
        self.assertEqual('not ready', self.driver.state)
        self.driver.say('enable')
        self.assertEqual('not ready', self.driver.state)

    def test_it_is_opened_then(self) -> None:
        self.begin_new(command=self.command('true'))
        self.tend()
        self.assertEqual('in service', self.driver.state)

    def test_it_fails(self) -> None:
        self.begin_new(command=self.command('exit 2'))
        self.assertIn('exit code 2', self.caretaker.attend('sn:5')[0])
        self.assertEqual('not ready', self.driver.state)
        self.assertEqual([], self.caretaker.attend('sn:5'))
        self.command('true')
        self.driver.say('enable')
        self.assertEqual([], self.caretaker.attend('sn:5'))
        self.assertEqual('in service', self.driver.state)

    def test_the_driver(self) -> None:
        self.begin_new(drivers=('vfio-pci', 'nvidia'))
        (reason,) = self.caretaker.attend('sn:5')
        self.assertIn('no driver, and should be to vfio-pci or', reason)
        self.assertEqual('not ready', self.driver.state)
        bound = dataclasses.replace(
            self.driver.host.devices[2], driver='vfio-pci'
        )
        self.driver.host.backend.plug(bound)
        self.driver.accel.refresh()
        self.driver.say('enable')
        self.assertEqual([], self.caretaker.attend('sn:5'))
        self.assertEqual('in service', self.driver.state)
