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
"""Open vSwitch in user space: no kernel module, no service of the machine."""

import os
import pathlib
import shutil

from tests.cloud.harness import settings
from tests.lab.harness import database
from tests.lab.harness import errors
from tests.lab.harness import process

_SCHEMA = '/usr/share/openvswitch/vswitch.ovsschema'
BRIDGES = ('br-int', 'br-ex')
# What Open vSwitch leaves in the kernel when it ends
LEFT = ('ovs-netdev', *BRIDGES)
DEVICES = pathlib.Path('/sys/class/net')


class Switch:
    """The two daemons, with their sockets and files in one folder."""

    def __init__(self, cloud: settings.Settings) -> None:
        self._cloud = cloud
        self.folder = cloud.run / 'ovs'
        self.daemons = {
            name: process.Daemon(name, self.folder)
            for name in ('ovsdb-server', 'ovs-vswitchd')
        }

    @property
    def env(self) -> dict[str, str]:
        """With it the tools of Open vSwitch find this one."""
        folder = str(self.folder)
        return {
            **os.environ,
            'OVS_RUNDIR': folder,
            'OVS_LOGDIR': folder,
            'OVS_DBDIR': folder,
        }

    def start(self) -> None:
        """Start both.

        :raises LabError: another Open vSwitch has devices of these names.
        """
        taken = [name for name in BRIDGES if (DEVICES / name).exists()]
        if taken:
            raise errors.LabError(
                f'{", ".join(taken)}: the machine has such network devices '
                'already; another Open vSwitch runs here'
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        file, socket = self.folder / 'conf.db', self.folder / 'db.sock'
        process.run('ovsdb-tool', 'create', str(file), _SCHEMA)
        port = self._cloud.port('ovsdb')
        self.daemons['ovsdb-server'].start(
            [
                *('ovsdb-server', str(file), '--no-chdir'),
                f'--remote=punix:{socket}',
                f'--remote=ptcp:{port}:127.0.0.1',
                f'--unixctl={self.folder}/ovsdb-server.ctl',
            ],
            env=self.env,
        )
        process.wait_for(
            'ovsdb-server',
            lambda: database.is_open(port),
            30,
            self.daemons['ovsdb-server'],
        )
        self.daemons['ovs-vswitchd'].start(
            [
                *('ovs-vswitchd', f'unix:{socket}', '--disable-system'),
                f'--unixctl={self.folder}/ovs-vswitchd.ctl',
            ],
            env=self.env,
        )
        for bridge in BRIDGES:
            self.vsctl(
                *('--may-exist', 'add-br', bridge),
                *('--', 'set', 'bridge', bridge, 'datapath_type=netdev'),
            )

    def vsctl(self, *words: str) -> str:
        program = shutil.which('ovs-vsctl') or '/usr/bin/ovs-vsctl'
        db = f'--db=unix:{self.folder}/db.sock'
        return process.run(
            *(program, '--timeout=30', db, *words), env=self.env
        )

    def stop(self) -> None:
        ours = (self.folder / 'conf.db').exists()
        self.daemons['ovs-vswitchd'].stop()
        self.daemons['ovsdb-server'].stop()
        if ours:
            self._remove_devices()
            (self.folder / 'conf.db').unlink()

    @staticmethod
    def _remove_devices() -> None:
        """It leaves the network devices of its bridges behind."""
        for name in LEFT:
            if (DEVICES / name).exists():
                process.run('ip', 'link', 'delete', name)
