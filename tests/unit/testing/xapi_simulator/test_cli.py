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
"""The console script: a process of its own, and what it says."""

import contextlib
import io
import os
import pathlib
import signal
import ssl
import subprocess
import sys
import tempfile

import ddt
import fixtures
import testtools
import XenAPI

from nova_accel.testing.xapi_simulator import cards
from nova_accel.testing.xapi_simulator import cli
from nova_accel.testing.xapi_simulator import control
from nova_accel.testing.xapi_simulator import keys
from nova_accel.testing.xapi_simulator import server
from nova_accel.testing.xapi_simulator import topology

ROOT = pathlib.Path(__file__).parents[4]
PAGE = ROOT / 'doc' / 'source' / 'contributor' / 'xapi-simulator.rst'
PEM = pathlib.Path(__file__).with_name('localhost.pem')


@ddt.ddt
class ProcessTest(testtools.TestCase):
    def start(self, *arguments):
        process = subprocess.Popen(
            [
                sys.executable,
                '-m',
                'nova_accel.testing.xapi_simulator',
                *arguments,
            ],
            cwd=ROOT,
            env={**os.environ, 'PYTHONPATH': str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.addCleanup(process.stdout.close)
        return process

    @ddt.data(signal.SIGINT, signal.SIGTERM)
    def test_life(self, number):
        process = self.start('--topology', 'two-hosts')
        first, second = (process.stdout.readline() for _ in range(2))
        name, mark, url = first.split()
        self.assertEqual(('xen1', '(master)'), (name, mark))
        self.assertEqual('xen2', second.split()[0])
        session = XenAPI.Session(url)
        self.addCleanup(session('close'))
        session.xenapi.login_with_password('root', 'password')
        self.assertEqual(2, len(session.xenapi.host.get_all()))
        process.send_signal(number)
        self.assertEqual(0, process.wait(15))


class SaysTest(testtools.TestCase):
    def run_it(self, *arguments):
        """Return exit status, stdout and stderr."""
        out, errors = io.StringIO(), io.StringIO()
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(errors),
        ):
            try:
                status = cli.main(list(arguments))
            except SystemExit as exit_:
                status = exit_.code
        return status, out.getvalue(), errors.getvalue()

    def test_help_teaches(self):
        status, text, _ = self.run_it('--help')
        self.assertEqual(0, status)
        for word in ('two-hosts', 'XenAPI.Session', 'faults', 'leftovers'):
            self.assertIn(word, text)

    def test_page_shows_the_help(self):
        """To write it anew: NOVA_ACCEL_WRITE_DOCS=1 tox -e unit."""
        with fixtures.EnvironmentVariable('COLUMNS', '79'):
            _, text, _ = self.run_it('--help')
        shown = f'$ nova-accel-xapi-simulator --help\n{text}'
        path = PAGE.with_suffix('.out')
        if 'NOVA_ACCEL_WRITE_DOCS' in os.environ:
            path.write_text(shown)
        self.assertEqual(path.read_text(), shown)

    def test_page_tells_all_keys(self):
        page = PAGE.read_text()
        tables = (
            getattr(keys, name)
            for name in vars(keys)
            if name.isupper() and name.startswith('_')
        )
        known = {
            key
            for table in (*tables, cards.KEYS)
            if isinstance(table, dict)
            for key in table
        }
        self.assertGreater(len(known), 40)
        self.assertEqual([], [k for k in known if f'``{k}``' not in page])

    def test_page_tells_all_of_control(self):
        page = ' '.join(PAGE.read_text().split())
        for method, what in control.VERBS:
            self.assertIn(f'``{method} /simulator/{what}``', page)

    def test_page_tells_all_topologies(self):
        page = PAGE.read_text()
        for name in topology.shipped():
            self.assertIn(f'``{name}``', page)

    def test_wrong_topology(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, 'pool.yaml')
            path.write_text('version: 1\nhosts: {xen1: {ram: 4}}\n')
            status, _, said = self.run_it('--topology', str(path))
        self.assertEqual(1, status)
        self.assertIn(f'{path}:2: hosts.xen1.ram: unknown key', said)

    def test_no_topology(self):
        status, _, said = self.run_it('--topology', '/nonexistent')
        self.assertEqual(1, status)
        self.assertIn('/nonexistent: cannot be read', said)

    def test_wrong_usage(self):
        for wrong in ('here', 'localhost:80', '127.0.0.1:', '127.0.0.1:99999'):
            status, _, said = self.run_it(
                '--topology', 't4', '--listen', wrong
            )
            self.assertEqual(2, status)
            self.assertIn('--listen', said)

    def test_address_that_is_not_ours(self):
        status, _, said = self.run_it(
            '--topology', 't4', '--listen', '192.0.2.1:80'
        )
        self.assertEqual(1, status)
        self.assertIn('192.0.2.1:80', said)

    def test_certificate_that_is_none(self):
        status, _, said = self.run_it(
            '--topology', 't4', '--certificate', '/nonexistent.pem'
        )
        self.assertEqual(1, status)
        self.assertIn('--certificate', said)


class TlsTest(testtools.TestCase):
    def test_talks(self):
        found = topology.load('two-hosts')
        with server.Simulator(found, certificate=str(PEM)) as simulator:
            self.assertTrue(simulator.url.startswith('https://'))
            session = XenAPI.Session(simulator.url, ignore_ssl=True)
            self.addCleanup(session('close'))
            session.xenapi.login_with_password('root', 'password')
            strict = XenAPI.Session(simulator.url)
            self.addCleanup(strict('close'))
            self.assertRaises(
                ssl.SSLError,
                strict.xenapi.login_with_password,
                'root',
                'password',
            )
