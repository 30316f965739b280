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
import dataclasses

import ddt
import testtools

from nova_accel.core import blame
from nova_accel.core import states
from nova_accel.core import upkeep
from nova_accel import exception
from nova_accel import watch
from tests.unit.core import hosts
from tests.unit import test_manager

LIMITS = (('aer_fatal', 1), ('aer_correctable', 10))


def reading(driver='nvidia', link=True, **errors):
    return upkeep.Reading(driver, link, errors)


@ddt.ddt
class JudgeTest(testtools.TestCase):
    @ddt.data(
        (reading(), ()),
        (reading(aer_fatal=1), (states.AER_FATAL,)),
        (reading(aer_nonfatal=99), ()),
        (reading(aer_correctable=9), ()),
        (
            reading(link=False, aer_correctable=10),
            (states.LINK_DOWN, states.AER_CORRECTABLE),
        ),
        (reading(driver=''), (states.DRIVER_GONE,)),
        (reading(driver='nouveau'), (states.DRIVER_GONE,)),
        # Unknown is no reason.
        (upkeep.Reading(), ()),
    )
    @ddt.unpack
    def test_reasons(self, now, expected):
        health = upkeep.Health(LIMITS, True, ('nvidia',))
        self.assertEqual(set(expected), health.judge(now, upkeep.Reading()))

    def test_only_what_was_asked_for_counts(self):
        bad = reading('', False, aer_fatal=9)
        self.assertEqual(set(), upkeep.Health().judge(bad, upkeep.Reading()))

    def test_errors_of_before_do_not_count(self):
        health = upkeep.Health(LIMITS)
        before = reading(aer_correctable=100)
        for figure, expected in ((109, 0), (110, 1)):
            now = reading(aer_correctable=figure)
            self.assertEqual(expected, len(health.judge(now, before)))


@ddt.ddt
class BlameTest(testtools.TestCase):
    NAMES = ('0000:3b:00.0', '7d7ff1b5-0b75-4e2c-b6a9-7a4fcd3a5ab1')

    @ddt.data(
        (
            'internal error: QEMU unexpectedly closed the monitor: -device '
            'vfio-pci,host=0000:3b:00.0: vfio 0000:3b:00.0: failed to open '
            '/dev/vfio/7: No such device',
            True,
        ),
        (
            'vfio 7d7ff1b5-0b75-4e2c-b6a9-7a4fcd3a5ab1: error getting device '
            'from group 7: Input/output error',
            True,
        ),
        # Of another device.
        ('vfio 0000:af:00.0: error: Input/output error', False),
        # Of somebody else.
        (
            'Requested operation is not valid: PCI device 0000:3b:00.0 is in '
            'use by driver QEMU, domain instance-1',
            False,
        ),
        (
            'vfio 0000:3b:00.0: failed to setup container: Cannot allocate '
            'memory',
            False,
        ),
        ('0000:3b:00.0: monitor socket did not show up', False),
    )
    @ddt.unpack
    def test_of_a_guest(self, text, expected):
        self.assertEqual(expected, blame.blames(text, self.NAMES))

    @ddt.data(
        (
            'Unable to start mediated device: failed to write uuid to '
            "'/sys/.../create': Input/output error",
            True,
        ),
        ('the connection to libvirt is lost', False),
        ('it is full', False),
    )
    @ddt.unpack
    def test_of_a_mediated_device(self, text, expected):
        self.assertEqual(expected, blame.blames(text))


class Case(testtools.TestCase):
    """One card that is watched, and Placement."""

    HEALTH = upkeep.Health(LIMITS, True, ('nvidia',))

    def setUp(self):
        super().setUp()
        self.time = 0.0
        self.begin(self.HEALTH)

    def begin(self, health, **values):
        rule = hosts.rule(
            'r', 1, models=('nvidia-233',), health=health, **values
        )
        self.host = test_manager.Host(rule)
        self.name = self.host.devices[0].name
        self.update()
        self.restart()

    def restart(self):
        self.watch = watch.Watch(self.host.manager, 60, lambda: self.time)

    def update(self):
        """What Placement remembers after an update."""
        for _ in range(2):
            found = self.host.manager.providers(hosts.NODE, self.host.known)
            self.host.known = hosts.known(found)
        return found

    def say(self, verb):
        for rp, one in self.host.known.items():
            traits = states.changed(one.traits, verb)
            one = dataclasses.replace(one, traits=traits)
            self.host.known = {**self.host.known, rp: one}
        self.update()

    def look(self, *args, **kwargs):
        """Set a reading, let the time pass, look, and update."""
        self.host.backend.health[self.name] = reading(*args, **kwargs)
        self.time += 60
        found = self.watch.look()
        self.update()
        return tuple(map(len, found))

    def marks(self):
        return self.host.manager.marks('sn:1')

    def is_open(self):
        return 'sn:1' not in {
            claim.unit.partition('/')[0]
            for claim in self.host.manager.service.out
        }


class WatchTest(Case):
    def test_it_fails_and_an_operator_enables_it(self):
        self.assertEqual((0, 0), self.look())
        self.assertEqual((1, 0), self.look(aer_fatal=1))
        self.assertEqual({states.QUARANTINED, states.AER_FATAL}, self.marks())
        self.assertFalse(self.is_open())
        # Placement remembers; the process is not asked again.
        self.assertFalse(self.host.manager.suspects)
        self.assertEqual((0, 0), self.look(aer_fatal=1))
        self.say('enable')
        self.assertTrue(self.is_open())
        # What was counted by then is forgiven, what comes after is not.
        self.assertEqual((0, 0), self.look(aer_fatal=1))
        self.assertEqual((1, 0), self.look(aer_fatal=2))

    def test_enabled_before_the_next_look(self):
        self.look()
        self.assertEqual((1, 0), self.look(aer_fatal=1))
        self.say('enable')
        self.assertEqual((0, 0), self.look(aer_fatal=1))
        self.assertTrue(self.is_open())

    def test_a_restart_forgives_what_an_operator_has_seen(self):
        self.look(aer_fatal=1)
        self.say('enable')
        self.restart()
        self.assertEqual((0, 0), self.look(aer_fatal=1))
        self.assertTrue(self.is_open())

    def test_errors_before_the_first_look_count(self):
        self.assertEqual((1, 0), self.look(aer_fatal=1))

    def test_nothing_is_read_before_its_time(self):
        self.look()
        self.host.backend.health[self.name] = reading(link=False)
        self.assertEqual((frozenset(), frozenset()), self.watch.look())

    def test_what_changed_is_read_at_once(self):
        self.look()
        self.host.backend.health[self.name] = reading(link=False)
        self.host.backend.plug(hosts.pci(9))
        self.host.manager.refresh()
        self.assertEqual(1, len(self.watch.look()[0]))

    def test_nothing_recovers_unasked(self):
        self.look(link=False)
        self.assertEqual((0, 0), self.look())
        self.assertEqual((0, 0), self.look())
        self.assertFalse(self.is_open())

    def test_what_a_guest_has_is_bound_to_no_driver_of_the_host(self):
        self.look()
        provider = hosts.provider_of('sn:1')
        self.host.manager.claim({provider: {'VGPU': 1}})
        self.assertEqual((0, 0), self.look('vfio-pci'))
        self.assertEqual((1, 0), self.look('vfio-pci', link=False))

    def test_a_card_whose_driver_is_gone_offers_nothing(self):
        """It is remembered nonetheless, and reserved."""
        self.look()
        bare = dataclasses.replace(self.host.devices[0], models=(), driver='')
        self.host.backend.plug(bare)
        self.host.manager.refresh()
        self.assertEqual((1, 0), self.look(''))
        (found,) = self.update()
        self.assertFalse(found.retired)
        self.assertIn('CUSTOM_ACCEL_WHY_DRIVER_GONE', found.traits)
        self.host.backend.plug(self.host.devices[0])
        self.host.manager.refresh()
        self.update()
        self.assertFalse(self.is_open())
        self.say('enable')
        self.assertTrue(self.is_open())


class RecoverTest(Case):
    HEALTH = upkeep.Health(LIMITS, True, ('nvidia',), recovers=True)

    def test_it_recovers_once_that_is_over(self):
        for bad in (
            {'link': False},
            {'driver': 'vfio-pci'},
            {'aer_fatal': 1},
        ):
            self.begin(self.HEALTH)
            self.assertEqual((1, 0), self.look(**bad), bad)
            if 'aer_fatal' not in bad:
                self.assertEqual((0, 0), self.look(**bad), bad)
                self.assertEqual((0, 0), self.look(**bad), bad)
                bad = {}
            else:
                # Still counting.
                self.assertEqual((0, 0), self.look(aer_fatal=2))
                self.assertEqual((0, 0), self.look(aer_fatal=3))
                bad = {'aer_fatal': 3}
            self.assertEqual((0, 1), self.look(**bad), bad)
            self.say('recovered')
            self.assertEqual(set(), self.marks())
            self.assertTrue(self.is_open())
            self.assertEqual((0, 0), self.look(**bad), bad)

    def test_an_operator_s_word_is_not_recovered_from(self):
        for rp, one in self.host.known.items():
            traits = one.traits | {states.trait(states.QUARANTINED)}
            self.host.known[rp] = dataclasses.replace(one, traits=traits)
        self.update()
        for _ in range(3):
            self.assertEqual((0, 0), self.look())
        self.assertFalse(self.is_open())

    def test_a_failed_attach_is_not_recovered_from(self):
        self.look()
        self.host.backend.broken[self.name] = 'create: Input/output error'
        (claim,) = self.host.manager.claim(
            {hosts.provider_of('sn:1'): {'VGPU': 1}}
        )
        self.assertRaises(
            exception.DeviceUnavailable, self.host.manager.attach, 's', [claim]
        )
        self.host.manager.unclaim([claim])
        self.assertEqual({'sn:1'}, self.host.manager.suspects)
        self.update()
        for _ in range(3):
            self.assertEqual((0, 0), self.look())
        self.assertEqual(
            {states.QUARANTINED, states.ATTACH_FAILED}, self.marks()
        )
