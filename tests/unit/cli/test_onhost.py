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
import argparse
import contextlib
import io
import sys
import time
import typing as ty
from unittest import mock

import testtools

from nova_accel.cli import onhost
from nova_accel.cli import outcome
from nova_accel import exception


class WithinTest(testtools.TestCase):
    def test_it_gives_up_in_time(self) -> None:
        def wait() -> None:
            with onhost.within(1):
                time.sleep(10)

        # The alarm, at once.
        self.addCleanup(onhost.signal.setitimer, onhost.signal.ITIMER_REAL, 0)
        real = onhost.signal.alarm
        onhost.signal.alarm = lambda seconds: onhost.signal.setitimer(
            onhost.signal.ITIMER_REAL, seconds / 100
        )
        self.addCleanup(setattr, onhost.signal, 'alarm', real)
        error = self.assertRaises(exception.CannotLook, wait)
        self.assertIn('no answer within 1 seconds', str(error))

    def test_nothing_is_left_of_it(self) -> None:
        before = onhost.signal.getsignal(onhost.signal.SIGALRM)
        with onhost.within(100):
            pass
        self.assertEqual(0, onhost.signal.alarm(0))
        self.assertIs(before, onhost.signal.getsignal(onhost.signal.SIGALRM))


class BlindTest(testtools.TestCase):
    """There is no nova to look through."""

    def setUp(self) -> None:
        super().setUp()
        patch = mock.patch.dict(sys.modules, {'nova_accel.cli.visit': None})
        self.enterContext(patch)

    def _run(self, **how: ty.Any) -> tuple[int, str]:
        args = argparse.Namespace(nova_conf=[])

        def action(*_here: object) -> int:
            raise AssertionError('it was called')

        with contextlib.redirect_stderr(io.StringIO()) as said:
            code = onhost.run(args, action, **how)
        return code, said.getvalue()

    def test_why_is_said(self) -> None:
        code, said = self._run()
        self.assertEqual(onhost.CANNOT_LOOK, code)
        self.assertIn('needs nova, and runs beside it', said)

    def test_a_command_may_say_it_in_its_own_way(self) -> None:
        reasons: list[str] = []

        def blind(reason: str) -> int:
            reasons.append(reason)
            return outcome.PROBLEM

        code, said = self._run(blind=blind)
        self.assertEqual((outcome.PROBLEM, ''), (code, said))
        self.assertIn('needs nova', reasons[0])
