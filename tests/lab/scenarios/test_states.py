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
"""Devices go out of service and come back."""

import copy
import dataclasses
import time
import typing as ty

import yaml

from tests.lab.harness import compute
from tests.lab.harness import process
from tests.lab.scenarios import base

_CLEANER = '/var/lib/accel-cleaner'
_PREPARER = '/var/lib/accel-preparer'


class StatesCase(base.Scenario):
    """Runs under another whitelist, and puts back the lab's own."""

    # Rule -> what to add to it
    CHANGES: ty.ClassVar[dict[str, dict[str, ty.Any]]] = {}

    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(self._put_into_service)
        if self.CHANGES:
            self.addCleanup(self._reload, compute.WHITELIST)
            document = copy.deepcopy(yaml.safe_load(compute.WHITELIST))
            for rule, keys in self.CHANGES.items():
                document['devices'][rule].update(keys)
            self._reload(yaml.safe_dump(document))

    def _put_into_service(self) -> None:
        """Leave nothing behind that a later scenario would miss."""
        for each in self.lab.compute.device('list')['devices']:
            if 'cleaning' in each['state']:
                self.lab.compute.device('clean', each['id'], '--done')
            if not each['in_service']:
                self.lab.compute.device('enable', each['id'])

    def _reload(self, text: str) -> None:
        known = len(self.lab.compute.log())
        self.lab.compute.reload(text)

        def read() -> bool:
            return 'was read anew' in self.lab.compute.log()[known:]

        process.wait_for('the whitelist to be read', read, 60, pause=1)

    def write_program(self, path: str, text: str) -> None:
        # Whoever runs it is nobody.
        self.agent.write(path, f'#!/bin/sh\n{text}\n')
        self.agent.check(f'chmod 755 {path}')

    def devices(self, rule: str) -> list[dict[str, ty.Any]]:
        found = self.lab.compute.device('list')['devices']
        return [each for each in found if each['rule'] == rule]

    def state(self, device: str) -> str:
        (found,) = self.lab.compute.device('show', device)['devices']
        return str(found['state'])

    def wait_free(self, resource_class: str, amount: int) -> None:
        process.wait_for(
            f'{amount} of {resource_class}',
            lambda: self.nova.free().get(resource_class, 0) == amount,
            90,
            pause=1,
        )

    def wait_state(self, device: str, state: str) -> None:
        process.wait_for(
            f'{device} {state}',
            lambda: self.state(device) == state,
            120,
            pause=5,
        )


class DrainTest(StatesCase):
    def test_drained_and_enabled(self) -> None:
        """The server keeps its card, nobody gets it, then anybody does."""
        server = self.boot(**base.GPU)
        (unit,) = self.claimed(server)
        self.lab.compute.device('drain', unit)
        self.assertEqual('draining', self.state(unit))
        (shown,) = self.lab.compute.device('show', unit)['devices']
        self.assertEqual([server], shown['servers'])
        second = self.boot(**base.GPU)
        self.assertNotEqual([unit], self.claimed(second))
        self.delete(server, second)
        self.wait_free('CUSTOM_A100', self.before['CUSTOM_A100'] - 1)
        self.lab.compute.stop()
        self.lab.host.restart_compute()
        self.assertEqual('draining', self.state(unit))
        self.lab.compute.device('enable', unit)
        self.assert_all_free()


class NotReadyTest(StatesCase):
    CHANGES: ty.ClassVar[dict[str, dict[str, ty.Any]]] = {
        'a100': {
            'new_devices': 'not_ready',
            'prepare': {'command': [_PREPARER], 'timeout': 10},
        }
    }

    def test_a_device_waits_for_a_word(self) -> None:
        """Until then, and until it is prepared, nobody gets it."""
        new = dataclasses.replace(
            self.card('a100-a'),
            name='new',
            bus=0xB0,
            # Never seen, not even by an earlier run.
            serial=f'NEW-{time.time_ns():x}',
            dsn='48b02d00000000fd',
            slot=91,
        )
        unit = f'sn:{new.serial}'
        self.addCleanup(self.agent.run, f'rm -f {_PREPARER}')
        self.replug(*self.cards, new)

        def seen() -> bool:
            return unit in [each['id'] for each in self.devices('a100')]

        process.wait_for('the new card', seen, 120)
        self.assertEqual('not ready', self.state(unit))
        # The others were never prepared.
        self.wait_free('CUSTOM_A100', 0)
        self.write_program(_PREPARER, 'exit 3')
        self.lab.compute.device('enable', unit, code=1)
        self.assertEqual(0, self.nova.free()['CUSTOM_A100'])
        self.write_program(_PREPARER, '[ $ACCEL_ACTION = prepare ]')
        self.lab.compute.device('enable', unit)
        self.wait_free('CUSTOM_A100', 1)
        server = self.boot(**base.GPU)
        self.assertEqual([unit], self.claimed(server))
        self.delete(server)


class CleanTest(StatesCase):
    CHANGES: ty.ClassVar[dict[str, dict[str, ty.Any]]] = {
        't4': {'one_time_use': True, 'clean': 'mdev'},
        'a100': {
            'one_time_use': True,
            'clean': {'command': [_CLEANER], 'timeout': 10},
        },
    }

    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(self.agent.run, f'rm -f {_CLEANER} /tmp/cleaned')

    def _cleaner(self, text: str) -> None:
        self.write_program(_CLEANER, text)

    def test_a_slot_is_made_anew(self) -> None:
        server = self.boot(**base.VGPU)
        self.delete(server)
        # Reserved until then.
        self.assert_all_free()

    def test_a_cleaner_fails_and_is_tried_again(self) -> None:
        self._cleaner('echo no; exit 3')
        server = self.boot(**base.GPU)
        (unit,) = self.claimed(server)
        self.delete(server)
        self.wait_state(unit, 'cleaning')
        self.wait_free('CUSTOM_A100', self.before['CUSTOM_A100'] - 1)
        second = self.boot(**base.GPU)
        self.assertNotEqual([unit], self.claimed(second))
        self.lab.compute.device('clean', unit, code=1)
        self.agent.check('touch /tmp/cleaned; chmod 666 /tmp/cleaned')
        self._cleaner(
            'id -un > /tmp/cleaned; echo $ACCEL_UNIT >> /tmp/cleaned'
        )
        self.lab.compute.device('clean', unit)
        told = self.agent.check('cat /tmp/cleaned').split()
        self.assertEqual(['nobody', unit], told)
        self.delete(second)
        self.assert_all_free()
