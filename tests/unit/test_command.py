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
"""Programs of the operator's: real processes, which this test starts."""

import os
import pathlib
import signal
import tempfile
import time

import testtools

from nova_accel import command
from nova_accel.core import upkeep
from nova_accel import exception

ME = command.User('me')


class CommandCase(testtools.TestCase):
    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.folder.chmod(0o755)

    def program(self, text):
        path = self.folder / 'program'
        path.write_text(f'#!/bin/sh\n{text}\n')
        path.chmod(0o755)
        return str(path)

    def run_it(self, text, *arguments, timeout=20, who=ME, **environment):
        argv = (self.program(text), *arguments)
        return command.run(upkeep.Command(argv, timeout), environment, who)

    def failure(self, *args, **kwargs):
        error = self.assertRaises(
            exception.CommandFailed, self.run_it, *args, **kwargs
        )
        return str(error).replace(f'{self.folder}/', '')

    def gone(self, pid):
        for _ in range(100):
            try:
                os.kill(pid, 0)
                state = pathlib.Path(f'/proc/{pid}/stat').read_text()
            except (ProcessLookupError, FileNotFoundError):
                return True
            if state.rpartition(')')[2].split()[0] == 'Z':
                return True
            time.sleep(0.02)
        return False


class RunTest(CommandCase):
    def test_it_knows_what_it_is_told_and_nothing_else(self):
        os.environ['NOVA_SECRET'] = 'x'
        self.addCleanup(os.environ.pop, 'NOVA_SECRET')
        said = self.run_it(
            'echo "$1 $ACCEL_ADDRESS $NOVA_SECRET."; pwd; read -r x || echo -',
            '$(id);',
            ACCEL_ADDRESS='0000:3b:00.0',
        )
        self.assertEqual('$(id); 0000:3b:00.0 . / -', said)

    def test_it_fails(self):
        self.assertEqual(
            'program ended with exit code 3; it said: no such card',
            self.failure('echo no such card >&2; exit 3'),
        )

    def test_it_is_killed(self):
        self.assertEqual(
            'program was killed by SIGKILL', self.failure('kill -9 $$')
        )

    def test_it_takes_too_long(self):
        started = time.monotonic()
        text = f'sleep 60 & echo $! > {self.folder}/child; trap "" TERM; wait'
        self.assertEqual(
            'program was killed: it took more than 0.2 s',
            self.failure(text, timeout=0.2),
        )
        self.assertLess(time.monotonic() - started, 10)
        self.assertTrue(self.gone(int((self.folder / 'child').read_text())))

    def test_one_that_closes_its_output_takes_too_long(self):
        failure = self.failure('exec >&- 2>&-; sleep 60', timeout=0.2)
        self.assertIn('took more than', failure)

    def test_what_it_leaves_behind_is_killed(self):
        self.run_it(f'sleep 60 & echo $! > {self.folder}/child')
        self.assertTrue(self.gone(int((self.folder / 'child').read_text())))

    def test_it_says_too_much(self):
        said = self.run_it('head -c 300000 /dev/zero | tr "\\0" x; echo end')
        self.assertEqual('x' * command.MAX_OUTPUT, said)

    def test_what_it_says_is_made_harmless(self):
        said = self.run_it('printf "a\\033[31m\\nb\\377"')
        self.assertEqual('a [31m b\N{REPLACEMENT CHARACTER}', said)

    def test_it_is_not_there(self):
        wanted = upkeep.Command(('/nonexistent/program',))
        error = self.assertRaises(
            exception.CannotRun, command.run, wanted, {}, ME
        )
        self.assertIn('/nonexistent/program cannot be run', str(error))

    def test_it_may_not_be_run(self):
        path = self.folder / 'data'
        path.write_text('x')
        wanted = upkeep.Command((str(path),))
        self.assertRaises(exception.CannotRun, command.run, wanted, {}, ME)

    def test_who_it_is(self):
        who = command.user('')
        said = self.run_it('id -u', who=who)
        self.assertNotEqual('0', said)
        self.assertEqual(
            str(who.change.pw_uid if who.change else os.geteuid()), said
        )


class UserTest(testtools.TestCase):
    def test_never_root(self):
        error = self.assertRaises(exception.CannotRun, command.user, 'root')
        self.assertIn('command_user is root', str(error))

    def test_nobody_of_that_name(self):
        error = self.assertRaises(
            exception.CannotRun, command.user, 'no-such-user'
        )
        self.assertIn("no user 'no-such-user'", str(error))


class DeathTest(CommandCase):
    def test_it_dies_with_its_parent(self):
        """What is cleaned again after a restart is not cleaned twice."""
        program = self.program(f'echo $$ > {self.folder}/pid; exec sleep 60')
        parent = os.fork()
        if not parent:
            command._start(upkeep.Command((program,)), {}, ME)
            time.sleep(60)
        path = self.folder / 'pid'
        for _ in range(100):
            if path.exists() and path.read_text():
                break
            time.sleep(0.02)
        os.kill(parent, signal.SIGKILL)
        os.waitpid(parent, 0)
        self.assertTrue(self.gone(int(path.read_text())))
