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
import os
import pathlib
import sys
import tempfile
import time

import testtools

from tests.cloud.harness import nest
from tests.cloud.harness import settings
from tests.lab.harness import errors
from tests.lab.harness import process

_NEST = """\
from tests.cloud.harness import nest
nest._SHARED = ()
nest._FAMILIES = {'one': ('colorsys',), 'other': %s}
nest.main()
"""
_PROGRAM = """\
import os, sys, time
print(sys.argv[1:], os.getcwd(), os.getsid(0) == os.getpid(), flush=True)
print('colorsys' in sys.modules, file=sys.stderr, flush=True)
time.sleep(600)
"""


class NestTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = pathlib.Path(temporary.name).resolve()
        about = settings.Settings(self.folder)
        self.nest = nest.Nest(about)
        self.program = self.folder / 'program'
        self.program.write_text(_PROGRAM)
        self.child = process.Daemon('child', about.run / 'log')

    def start(self, other: str = '()') -> None:
        place = self.folder / 'run' / 'nest'
        place.mkdir(parents=True)
        self.nest.daemon.start(
            [sys.executable, '-W', 'ignore', '-c', _NEST % other, str(place)],
            env={**os.environ, 'PYTHONPATH': str(settings.REPOSITORY)},
        )
        self.addCleanup(self.nest.stop)

    def bear(self, family: str, *words: str) -> list[str]:
        self.nest.bear(family, self.child, words)
        self.addCleanup(self.child.stop)
        process.wait_for(
            'two lines', lambda: len(self.child.tail().splitlines()) > 1, 30
        )
        return self.child.tail().splitlines()

    def test_a_script_of_a_family(self) -> None:
        self.start()
        said = self.bear('one', str(self.program), '--an', 'option')
        place = self.folder / 'run' / 'log'
        self.assertEqual([f"['--an', 'option'] {place} True", 'True'], said)

    def test_another_family_has_not_its_modules(self) -> None:
        self.start()
        self.assertEqual(
            'False', self.bear('other', str(self.program), '-')[1]
        )

    def test_a_module(self) -> None:
        self.start()
        self.nest.bear('one', self.child, ('python', '-m', 'this'))
        process.wait_for('text', lambda: 'Zen' in self.child.tail(30), 30)

    def test_who_was_born_lives_on_until_stopped(self) -> None:
        self.start()
        self.bear('one', str(self.program))
        self.nest.stop()
        pid = self.child.pid
        assert pid is not None
        self.assertEqual(pid, os.getpgid(pid))
        self.child.stop()
        time.sleep(0.1)
        self.assertFalse(os.path.exists(f'/proc/{pid}/cwd'))

    def test_an_import_fails(self) -> None:
        self.start(other="('no_such_module',)")
        exc = self.assertRaises(
            errors.LabError, self.bear, 'other', str(self.program)
        )
        self.assertIn("No module named 'no_such_module'", str(exc))

    def test_it_has_ended(self) -> None:
        self.assertRaises(errors.LabError, self.bear, 'one', str(self.program))
