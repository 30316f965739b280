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
"""The outputs in identity.rst.

To write them anew: NOVA_ACCEL_WRITE_DOCS=1 tox -e unit -- test_identify
"""

import argparse
import contextlib
import io
import json
import os
import pathlib

import testtools

from nova_accel.cli import identify
from nova_accel.cli import main
from nova_accel.cli import outcome
from nova_accel.cli import remap
from nova_accel.core import remapping
from nova_accel.core import whereabouts
from tests.unit.core import worlds

FOLDER = pathlib.Path(__file__).parents[3] / 'doc' / 'source' / 'cli'


def world() -> worlds.World:
    """One card gained a serial number, and one that had none was moved."""
    name = {'vendor_name': 'NVIDIA Corporation', 'product_name': 'Tesla T4'}
    found = worlds.World(
        worlds.card(1, 3, **name),
        worlds.card(2, 4, '1324419052501', **name),
        worlds.card(3, 5, **name),
    )
    found.serve(worlds.SERVER, worlds.place(3))
    found.update()
    found.change(
        worlds.card(1, 3, '1324419052507', **name),
        worlds.card(4, 4, '1324419052501', **name),
        worlds.card(5, 6, **name),
    )
    return found


class Visit:
    """A host without services."""

    def __init__(self, found: worlds.World) -> None:
        self.world = found
        self.told = 0

    def recognised(self):
        return self.world.look()

    def remap(self, plan: remapping.Plan, dry_run: bool):
        if not dry_run:
            self.world.apply(plan)
        return {plan.provider: (frozenset({plan.trait}), frozenset())}

    def tell(self, _discover: bool, _seconds: int) -> str | None:
        self.told += 1
        return None


class DocsTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.here = Visit(world())

    def say(self, command, *words: str, code: int) -> str:
        parser = argparse.ArgumentParser()
        command.add_arguments(parser)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            found = command.perform(self.here, parser.parse_args(words))
        self.assertEqual(code, found, printed.getvalue())
        return printed.getvalue()

    def assert_shown(self, name: str, printed: str) -> None:
        path = FOLDER / f'{name}.out'
        if 'NOVA_ACCEL_WRITE_DOCS' in os.environ:
            path.write_text(printed)
        self.assertEqual(path.read_text(), printed)

    def test_outputs(self) -> None:
        self.assert_shown('identify', self.say(identify, code=outcome.PROBLEM))
        words = (worlds.place(3), 'sn:1324419052507')
        self.assert_shown('remap', self.say(remap, *words, code=outcome.OK))
        self.assertEqual(0, self.here.told)
        self.assert_shown(
            'remap-apply',
            self.say(remap, *words, '--apply', code=outcome.OK),
        )
        self.assertEqual(1, self.here.told)

    def test_json(self) -> None:
        words = ('-f', 'json')
        found = json.loads(self.say(identify, *words, code=outcome.PROBLEM))
        self.assertEqual((1, False), (found['version'], found['ok']))
        lost = {
            each['id']: each
            for each in found['devices']
            if each['place'] == whereabouts.AWAY
        }
        self.assertEqual([worlds.SERVER], lost[worlds.place(3)]['servers'])
        self.assertIsNone(lost[worlds.place(3)]['address'])
        self.assertEqual('slot', lost[worlds.place(3)]['known_by'])
        plan = json.loads(
            self.say(
                remap,
                worlds.place(3),
                '0000:01:00.0',
                *words,
                code=outcome.OK,
            )
        )
        self.assertEqual('sn:1324419052507', plan['new'])
        ((provider, change),) = plan['changes'].items()
        self.assertEqual(plan['provider'], provider)
        self.assertEqual([], change['unset'])

    def test_what_must_not_be(self) -> None:
        printed = io.StringIO()
        with contextlib.redirect_stderr(printed):
            self.say(
                remap,
                worlds.place(3),
                'sn:1324419052501x',
                '--apply',
                code=outcome.PROBLEM,
            )
        self.assertIn('nova-accel identify', printed.getvalue())
        self.assertEqual(0, self.here.told)

    def test_all_is_well(self) -> None:
        self.here.world = worlds.World(worlds.card(1, 3, '9'))
        found = json.loads(self.say(identify, '-f', 'json', code=outcome.OK))
        self.assertTrue(found['ok'])

    def test_help_tells_how(self) -> None:
        for words, said in (
            (['identify', '--help'], 'nova-accel remap OLD NEW'),
            (['remap', '--help'], 'Without --apply'),
        ):
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                self.assertRaises(SystemExit, main.run, words)
            self.assertIn(said, printed.getvalue())
            self.assertIn('exit codes', printed.getvalue())
