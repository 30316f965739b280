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
import pathlib
import socket
import subprocess
import sys
import tempfile

import testtools

from tests.cloud.harness import leftovers
from tests.cloud.harness import settings

_SLEEP = (sys.executable, '-c', 'import sys; sys.stdin.read()')


class LeftoversTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.about = settings.Settings(pathlib.Path(temporary.name))
        self.about.run.mkdir()

    def found(self) -> list[str]:
        # Another cloud may run on this machine.
        return [
            one
            for one in leftovers.find(self.about)
            if not one.startswith('network device')
        ]

    def start(self, *words: str, cwd: str | None = None) -> int:
        child = subprocess.Popen(
            [*_SLEEP, *words], stdin=subprocess.PIPE, cwd=cwd
        )
        self.addCleanup(child.wait)
        assert child.stdin is not None
        self.addCleanup(child.stdin.close)
        return child.pid

    def test_nothing(self) -> None:
        self.assertEqual([], self.found())

    def test_a_process_that_was_told_of_the_folder(self) -> None:
        pid = self.start(str(self.about.run / 'nova.conf'))
        (one,) = self.found()
        self.assertTrue(one.startswith(f'process {pid}: '), one)

    def test_a_process_that_lives_in_the_folder(self) -> None:
        pid = self.start(cwd=str(self.about.run))
        (one,) = self.found()
        self.assertTrue(one.startswith(f'process {pid}: '), one)

    def test_a_process_of_a_folder_with_a_like_name(self) -> None:
        self.start(f'{self.about.run}-2/nova.conf')
        self.assertEqual([], self.found())

    def test_a_port(self) -> None:
        with socket.socket() as server:
            server.bind(('127.0.0.1', self.about.port('nova')))
            server.listen()
            self.assertEqual(
                [f'port {self.about.port("nova")} (nova)'], self.found()
            )
