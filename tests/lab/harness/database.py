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
"""MariaDB and RabbitMQ of the lab's control plane."""

import collections.abc
import os
import pathlib
import shutil

from tests.lab.harness import process
from tests.lab.harness import settings

_SYNC = 180
SCHEMAS = ('nova_api', 'nova_cell0', 'nova', 'placement', 'glance')


def url(lab: settings.Settings, schema: str) -> str:
    port = lab.port('database')
    return f'mysql+pymysql://root@127.0.0.1:{port}/{schema}?charset=utf8'


def bus(lab: settings.Settings, host: str = '127.0.0.1') -> str:
    return f'rabbit://guest:guest@{host}:{lab.port("rabbit")}/'


class Database:
    """Started on a copy of a template, so that every start is a fresh one.

    :param lab: None for one that only its socket leads to.
    """

    def __init__(
        self, lab: settings.Settings | None, folder: pathlib.Path
    ) -> None:
        self._lab = lab
        self._data = folder / 'mysql'
        self.socket = folder / 'mysql.sock'
        self.daemon = process.Daemon('mariadb', folder)

    def create(self) -> None:
        process.run(
            'mariadb-install-db',
            '--no-defaults',
            '--auth-root-authentication-method=normal',
            '--skip-test-db',
            '--user=root',
            '--innodb-log-file-size=8M',
            f'--datadir={self._data}',
        )

    def start(self) -> None:
        command = [
            'mariadbd',
            '--no-defaults',
            '--user=root',
            f'--datadir={self._data}',
            f'--socket={self.socket}',
            f'--pid-file={self.socket.with_suffix(".pid")}',
            *self._network(),
            '--innodb-log-file-size=8M',
            '--innodb-flush-log-at-trx-commit=0',
            '--max-connections=500',
            '--skip-log-bin',
        ]
        self.daemon.start(command)
        process.wait_for('MariaDB', self._answers, 60, self.daemon)

    def _network(self) -> list[str]:
        if self._lab is None:
            return ['--skip-networking']
        port = self._lab.port('database')
        return ['--bind-address=127.0.0.1', f'--port={port}']

    def _answers(self) -> bool:
        return self.socket.exists() and 'ok' in self.sql("select 'ok'")

    def sql(self, text: str) -> str:
        return process.run(
            *('mariadb', '--no-defaults', '-uroot', '-e', text),
            f'--socket={self.socket}',
        )

    def make_schemas(
        self, schemas: collections.abc.Iterable[str] = SCHEMAS
    ) -> None:
        for schema in schemas:
            self.sql(f'create database {schema} character set utf8')

    def save(self, template: pathlib.Path) -> None:
        self.daemon.stop()
        shutil.rmtree(template, ignore_errors=True)
        shutil.copytree(self._data, template)

    def load(self, template: pathlib.Path) -> None:
        shutil.copytree(template, self._data)


class Rabbit:
    """The message bus, with a node name and ports of its own."""

    def __init__(self, lab: settings.Settings, folder: pathlib.Path) -> None:
        self._lab = lab
        self._folder = folder / 'rabbit'
        self.daemon = process.Daemon('rabbitmq', folder)
        self._epmd = process.Daemon('epmd', folder)

    @property
    def _env(self) -> dict[str, str]:
        lab, folder = self._lab, self._folder
        return {
            **os.environ,
            'HOME': str(folder),
            'RABBITMQ_NODENAME': f'lab{lab.port("rabbit")}@localhost',
            'RABBITMQ_NODE_IP_ADDRESS': '127.0.0.1',
            'RABBITMQ_NODE_PORT': str(lab.port('rabbit')),
            'RABBITMQ_DIST_PORT': str(lab.port('rabbit_dist')),
            'RABBITMQ_MNESIA_BASE': str(folder / 'mnesia'),
            'RABBITMQ_LOG_BASE': str(folder / 'log'),
            'RABBITMQ_ENABLED_PLUGINS_FILE': str(folder / 'plugins'),
            'RABBITMQ_CONFIG_FILE': str(folder / 'none'),
            'ERL_EPMD_ADDRESS': '127.0.0.1',
            'ERL_EPMD_PORT': str(lab.port('epmd')),
        }

    def start(self) -> None:
        self._folder.mkdir(parents=True)
        (self._folder / 'plugins').write_text('[].\n')
        # Else the first node would start one that outlives it.
        epmd = shutil.which('epmd') or '/usr/bin/epmd'
        self._epmd.start([epmd], env=self._env)
        # The one in sbin would change the user.
        server = '/usr/lib/rabbitmq/bin/rabbitmq-server'
        # Everybody waits for it, and it is the slowest.
        self.daemon.start([server], env=self._env, nice=-5)

    def wait(self, patience: float = 90) -> None:
        process.wait_for('RabbitMQ', self._answers, patience, self.daemon)

    def _answers(self) -> bool:
        return is_open(self._lab.port('rabbit'))

    def stop(self) -> None:
        self.daemon.stop()
        self._epmd.stop()


def is_open(port: int) -> bool:
    """Tell whether something listens on a port of the loopback interface."""
    # 0A is LISTEN, and the address is written in little endian.
    wanted = f'0100007F:{port:04X} 00000000:0000 0A'
    return wanted in pathlib.Path('/proc/net/tcp').read_text()
