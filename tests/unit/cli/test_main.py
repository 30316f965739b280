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
"""The console script, as a shell starts it."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import ddt
import fixtures
import testtools

from nova_accel.cli import outcome

SCRIPT = str(pathlib.Path(sys.executable).with_name('nova-accel'))
NOWHERE = 'qemu+tcp://bob:s3cret@127.0.0.1:1/system'
EMPTY = 'test:///default'


def run(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPT, *args],
        capture_output=True,
        text=True,
        env={**os.environ, **env},
        timeout=20,
    )


class _Fifo(fixtures.Fixture):
    """A named pipe, which keeps its reader waiting."""

    def _setUp(self) -> None:
        folder = self.useFixture(fixtures.TempDir()).path
        self.path = f'{folder}/node.xml'
        os.mkfifo(self.path)


@ddt.ddt
class ScriptTest(testtools.TestCase):
    def test_help_teaches(self) -> None:
        done = run('--help', COLUMNS='79')
        self.assertEqual((outcome.OK, ''), (done.returncode, done.stderr))
        for word in (
            'typical sequence',
            'exit codes',
            'examples',
            '--connect',
        ):
            self.assertIn(word, done.stdout)

    def test_version(self) -> None:
        done = run('--version')
        self.assertEqual(outcome.OK, done.returncode)
        self.assertRegex(done.stdout, r'^nova-accel \d')

    @ddt.data(
        (),
        ('chek',),
        ('check', '--format', 'xml'),
        ('check', '--conf', 'x.yaml'),
        ('check', '--node-uuid', 'x'),
        ('check', '--config', ''),
        ('devices', '--config-dir', ''),
        ('devices', '--suggest', '-f', 'json'),
    )
    def test_wrong_usage(self, args: tuple[str, ...]) -> None:
        done = run(*args)
        self.assertEqual((outcome.USAGE, ''), (done.returncode, done.stdout))
        self.assertIn('usage: nova-accel', done.stderr)

    def test_clean(self) -> None:
        done = run('devices', '--connect', EMPTY)
        self.assertEqual((outcome.OK, ''), (done.returncode, done.stderr))
        self.assertIn('0 devices', done.stdout)

    @ddt.data('devices', 'check')
    def test_unreachable_host(self, command: str) -> None:
        done = run(command, '--connect', NOWHERE)
        self.assertEqual((outcome.PROBLEM, ''), (done.returncode, done.stdout))
        self.assertIn('127.0.0.1:1', done.stderr)
        for word in ('bob', 's3cret', 'Traceback'):
            self.assertNotIn(word, done.stderr)

    def test_unreachable_host_in_json(self) -> None:
        done = run('check', '--connect', NOWHERE, '-f', 'json')
        found = json.loads(done.stdout)
        self.assertEqual(outcome.PROBLEM, done.returncode)
        self.assertFalse(found['ok'])
        self.assertIn('127.0.0.1:1', found['failure'])
        self.assertNotIn('s3cret', done.stdout + done.stderr)

    def test_reader_that_has_seen_enough(self) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        with open(writing, 'wb') as pipe:
            done = subprocess.run(
                [SCRIPT, 'devices', '--connect', EMPTY],
                stdout=pipe,
                stderr=subprocess.PIPE,
                timeout=20,
            )
        self.assertEqual(
            (-signal.SIGPIPE, b''), (done.returncode, done.stderr)
        )

    def test_full_disk(self) -> None:
        with open('/dev/full', 'wb') as full:
            done = subprocess.run(
                [SCRIPT, 'devices', '--connect', EMPTY],
                stdout=full,
                stderr=subprocess.PIPE,
                timeout=20,
            )
        self.assertEqual(outcome.PROBLEM, done.returncode)
        self.assertEqual(
            b'nova-accel: cannot write: No space left on device\n', done.stderr
        )

    def test_interrupt_says_nothing(self) -> None:
        fifo = self.useFixture(_Fifo()).path
        with subprocess.Popen(
            [SCRIPT, 'check', '--connect', f'test:///{fifo}'],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            # It opens once libvirt reads: so Python waits inside of libvirt.
            with open(fifo, 'wb'):
                process.send_signal(signal.SIGINT)
                said = process.communicate(timeout=20)
        self.assertEqual(
            (-signal.SIGINT, (b'', b'')), (process.returncode, said)
        )

    def test_ascii_terminal(self) -> None:
        done = run(
            'check',
            '--connect',
            EMPTY,
            '--node',
            'gr\xf6\xdfe',
            PYTHONIOENCODING='ascii',
        )
        self.assertEqual((outcome.OK, ''), (done.returncode, done.stderr))
        self.assertIn('gr\\xf6\\xdfe', done.stdout)
