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
"""Discovery on a real libvirtd: this machine's own devices.

libvirtd is started for the test, on a socket of its own, unless the machine
runs one. Where neither can be had the test is skipped, loudly: what it would
have proved is then not proved. ``NOVA_ACCEL_REQUIRE_LIBVIRTD=1`` makes that a
failure.
"""

import fcntl
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import fixtures
import libvirt
import testtools

HERE = pathlib.Path(__file__).parent
SYSFS = pathlib.Path('/sys/bus/pci/devices')
NOT_CHECKED = (
    'NOT CHECKED: that discovery reads a real libvirtd (events, reconnection,'
    " this machine's PCI devices against sysfs), because {}"
)


_LOCK = 'nova-accel-libvirtd.lock'


class Libvirtd(fixtures.Fixture):
    """A libvirtd of our own, on a socket of its own."""

    def __init__(self, program):
        super().__init__()
        self.program = program
        self.process = None

    def _setUp(self):
        self.folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        config = self.folder / 'libvirtd.conf'
        config.write_text(
            f'unix_sock_dir = "{self.folder}"\n'
            'auth_unix_rw = "none"\nauth_unix_ro = "none"\n'
        )
        self.command = [
            *(self.program, '--config', str(config)),
            *('--pid-file', str(self.folder / 'pid')),
        ]
        self.uri = f'qemu+unix:///system?socket={self.folder}/libvirt-sock'
        self.lock()
        self.addCleanup(self.stop)
        self.start()

    def lock(self):
        # Whatever its socket, a machine has room for one libvirtd: its
        # drivers keep their pid files below /run.
        file = open(pathlib.Path(tempfile.gettempdir(), _LOCK), 'w')
        self.addCleanup(file.close)
        for _ in range(900):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                time.sleep(0.1)
        raise RuntimeError(f'another test keeps {file.name} locked')

    def start(self):
        with open(self.folder / 'log', 'ab') as log:
            self.process = subprocess.Popen(
                self.command, stdout=log, stderr=log
            )
        for _ in range(300):
            if self.answers():
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        raise RuntimeError((self.folder / 'log').read_text()[-2000:])

    def answers(self):
        try:
            libvirt.open(self.uri).close()
        except libvirt.libvirtError:
            return False
        return True

    def stop(self):
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)
            self.process = None


class Probe:
    """The program that discovers, in a plain interpreter."""

    def __init__(self, uri):
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / 'libvirtd_probe.py'), uri],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def read(self):
        line = self.process.stdout.readline()
        return json.loads(line)

    def again(self):
        print(file=self.process.stdin, flush=True)
        return self.read()

    def close(self):
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


class RealLibvirtdTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        # It would print every failed attempt to connect.
        libvirt.registerErrorHandler(lambda _context, _error: None, None)
        self.daemon = None
        self.uri = self.running() or self.started()
        self.probe = Probe(self.uri)
        self.addCleanup(self.probe.close)

    def running(self):
        try:
            libvirt.open('qemu:///system').close()
        except libvirt.libvirtError:
            return None
        return 'qemu:///system'

    def started(self):
        program = shutil.which('libvirtd', path='/usr/sbin:/usr/bin:/sbin')
        if program is None:
            self.give_up('libvirtd is not installed')
        if os.geteuid() != 0:
            self.give_up('none is running and only root can start one')
        try:
            self.daemon = self.useFixture(Libvirtd(program))
        except RuntimeError as error:
            self.give_up(f'libvirtd does not start: {error}')
        return self.daemon.uri

    def give_up(self, reason):
        text = NOT_CHECKED.format(reason)
        print(text, file=sys.__stderr__)
        if os.environ.get('NOVA_ACCEL_REQUIRE_LIBVIRTD'):
            self.fail(text)
        self.skipTest(text)

    def test_devices_are_those_of_sysfs(self):
        found = self.probe.read()
        devices = {one['address']: one for one in found['devices']}
        self.assertEqual({path.name for path in SYSFS.iterdir()}, set(devices))
        for address, device in devices.items():
            self.assertEqual(
                self.sysfs(address),
                {key: device[key] for key in self.sysfs(address)},
            )
            self.assertEqual(f'pci:{address}', device['ids'][-1])
            self.assertTrue(
                device['ids'][0].startswith(('sn', 'slot', 'path'))
            )

    def sysfs(self, address):
        path = SYSFS / address
        read = {
            key: (path / file).read_text().strip().removeprefix('0x')
            for key, file in (
                ('vendor_id', 'vendor'),
                ('product_id', 'device'),
                ('class_id', 'class'),
                ('subsystem_vendor_id', 'subsystem_vendor'),
                ('subsystem_product_id', 'subsystem_device'),
            )
        }
        node = int((path / 'numa_node').read_text())
        driver = path / 'driver'
        return {
            **read,
            'numa_node': None if node < 0 else node,
            'driver': driver.resolve().name if driver.exists() else '',
        }

    def test_round_trips(self):
        found = self.probe.read()
        self.assertEqual(
            {
                'nodeDeviceEventRegisterAny': 2,
                'listAllDevices': 1,
                'XMLDesc': len(found['devices']),
            },
            found['cold'],
        )
        self.assertEqual({}, found['steady'])
        self.assertTrue(found['same'])

    def test_restart_of_libvirtd(self):
        if self.daemon is None:
            self.give_up('libvirtd is not ours to restart')
        before = self.probe.read()
        self.daemon.stop()
        self.assertIn('error', self.probe.again())
        self.daemon.start()
        after = self.probe.again()
        self.assertEqual(before['devices'], after['devices'])
        self.assertTrue(after['same_as_before'])
        self.assertEqual(before['cold'], after['cold'])
        self.assertEqual({}, after['steady'])
