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
"""The control plane: web services and their workers, all of them real."""

import collections.abc
import concurrent.futures
import hashlib
import os
import shutil
import typing as ty

import requests

from tests.cloud.harness import conf
from tests.cloud.harness import nest
from tests.cloud.harness import settings
from tests.lab.harness import database
from tests.lab.harness import process

_READY = 300
# service -> module of its WSGI application
_WEB = {
    'keystone': 'keystone.wsgi.api',
    'placement': 'placement.wsgi.api',
    'glance': 'glance.wsgi.api',
    'neutron': 'neutron.wsgi.api',
    'nova': 'nova.wsgi.osapi_compute',
    'accelerators': 'nova_accel.api.wsgi',
}
_FAMILIES = {
    **dict.fromkeys(('nova', 'accelerators'), nest.NOVA),
    **dict.fromkeys(('conductor', 'scheduler'), nest.NOVA),
    **dict.fromkeys(('neutron', 'neutron-rpc', 'ovs-agent'), nest.NEUTRON),
}
# What answers a GET of the root without credentials
_WELCOME = (200, 300)


class Services:
    """Starts and ends what has no hardware."""

    def __init__(self, cloud: settings.Settings) -> None:
        self._cloud = cloud
        self.conf = conf.Conf(cloud)
        self.nest = nest.Nest(cloud)
        self._logs = cloud.run / 'log'
        self.database = database.Database(cloud, cloud.run / 'database')
        self._rabbit = database.Rabbit(cloud, cloud.run / 'rabbitmq')
        names = (*_WEB, 'neutron-rpc', 'conductor', 'scheduler', 'ovs-agent')
        self.daemons = {
            name: process.Daemon(name, self._logs) for name in names
        }

    @property
    def env(self) -> dict[str, str]:
        folder = str(self.conf.folder)
        env = {
            **os.environ,
            # Some write there; nothing shall be outside of our folder.
            'HOME': str(self._cloud.run),
            # The tools of Open vSwitch find ours by it.
            'OVS_RUNDIR': str(self._cloud.run / 'ovs'),
            'PATH': f'{self.conf.path}:{self._cloud.venv}/bin:'
            f'{os.environ["PATH"]}',
            'PYTHONPATH': str(settings.REPOSITORY),
            'OS_KEYSTONE_CONFIG_FILES': self.conf.file('keystone.conf'),
            'OS_PLACEMENT_CONFIG_DIR': folder,
            'OS_GLANCE_CONFIG_DIR': folder,
            'OS_NEUTRON_CONFIG_DIR': folder,
            'OS_NEUTRON_CONFIG_FILES': 'neutron.conf;ml2.ini',
            'OS_NOVA_CONFIG_DIR': folder,
            'OS_NOVA_CONFIG_FILES': 'nova-api-paste.ini;nova.conf',
            'OS_NOVA_DISABLE_EVENTLET_PATCHING': '1',
        }
        # It would compile what it imports at each start anew.
        env.pop('PYTHONDONTWRITEBYTECODE', None)
        return env

    # Life

    def start(self) -> None:
        """Start the database, the message bus, keystone, placement and glance.

        For the others the nest needs some seconds more.
        """
        self.conf.write()
        self._rabbit.start()
        self.nest.start(self.env)
        self._start_database()
        self._start_webs(nest.OTHERS)

    def start_rest(self) -> None:
        """Start nova and neutron; their workers need the message bus."""
        self._start_webs(nest.NOVA, nest.NEUTRON)
        self._rabbit.wait(_READY)
        self._start('conductor', 'nova-conductor', ('nova.conf',))
        self._start('scheduler', 'nova-scheduler', ('nova.conf',))
        files = ('neutron.conf', 'ml2.ini')
        self._start('neutron-rpc', 'neutron-rpc-server', files)
        # It configures Open vSwitch for neutron.
        files = ('neutron.conf', 'openvswitch.ini')
        self._start('ovs-agent', 'neutron-openvswitch-agent', files)

    def wait(self) -> None:
        for name in _WEB:
            self.wait_web(name)

    def stop(self) -> None:
        """End all at once; the database last."""
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            for done in [
                pool.submit(one.stop) for one in self.daemons.values()
            ]:
                done.result()
        self.nest.stop()
        self._rabbit.stop()
        self.database.daemon.stop()

    @property
    def running(self) -> dict[str, int | None]:
        named = {
            'mariadb': self.database.daemon,
            'rabbitmq': self._rabbit.daemon,
            **self.daemons,
        }
        return {name: daemon.pid for name, daemon in named.items()}

    def command(self, *words: str, file: str) -> list[str]:
        """Return the command line of a tool with a file of ours."""
        tool = self._cloud.tool(words[0])
        return [tool, '--config-file', self.conf.file(file), *words[1:]]

    # Parts

    def _start(
        self, name: str, program: str, files: collections.abc.Iterable[str]
    ) -> None:
        words = [self._cloud.tool(program)]
        for file in files:
            words += ['--config-file', self.conf.file(file)]
        self.launch(self.daemons[name], words, _FAMILIES[name])

    def _start_webs(self, *families: str) -> None:
        for name in _WEB:
            if _FAMILIES.get(name, nest.OTHERS) in families:
                self._start_web(name)

    def _start_web(self, name: str) -> None:
        command = [
            *(self._cloud.tool('gunicorn'), '-k', 'gthread'),
            *('--threads', '8', '-w', '1', '-t', '180'),
            *('--graceful-timeout', '3', '--keep-alive', '30'),
            *('-c', self.conf.file('gunicorn.py')),
            *('-b', f'127.0.0.1:{self._cloud.port(name)}'),
            f'{_WEB[name]}:application',
        ]
        family = _FAMILIES.get(name, nest.OTHERS)
        self.launch(self.daemons[name], command, family)

    def launch(
        self,
        daemon: process.Daemon,
        words: collections.abc.Sequence[str],
        family: str,
    ) -> None:
        """Start a Python program: from the nest, as long as there is one."""
        if self.nest.daemon.pid is None:
            daemon.start(words, env=self.env)
        else:
            self.nest.bear(family, daemon, words)

    def wait_web(self, name: str) -> None:
        process.wait_for(
            name, lambda: self._answers(name), _READY, self.daemons[name]
        )

    def _answers(self, name: str) -> bool:
        if not database.is_open(self._cloud.port(name)):
            return False
        try:
            answer = requests.get(self._cloud.url(name), timeout=60)
        except requests.RequestException:
            return False
        return answer.status_code in _WELCOME

    # Database

    def _start_database(self) -> None:
        template = self._cloud.state / 'template' / self._fingerprint()
        keys = self._cloud.run / 'keystone'
        if (template / 'complete').exists():
            self.database.load(template / 'data')
            shutil.copytree(template / 'keystone', keys)
            self.database.start()
            return
        for folder in ('fernet', 'credential'):
            (keys / folder).mkdir(parents=True, mode=0o700)
        self.database.create()
        self.database.start()
        self.database.make_schemas(conf.SCHEMAS)
        self._make_tables()
        shutil.rmtree(template.parent, ignore_errors=True)
        self.database.save(template / 'data')
        shutil.copytree(keys, template / 'keystone')
        (template / 'complete').touch()
        self.database.start()

    def _fingerprint(self) -> str:
        """Of what the tables' content depends on."""
        stamp = (self._cloud.venv / 'complete').read_text()
        text = f'{stamp} {database.url(self._cloud, "")} {self._cloud.state}'
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _make_tables(self) -> None:
        """In two jobs at a time, which is what two processors can do."""
        jobs = (
            [
                self.command(*words, file='nova.conf')
                for words in (
                    ('nova-manage', 'api_db', 'sync'),
                    ('nova-manage', 'cell_v2', 'map_cell0'),
                    ('nova-manage', 'cell_v2', 'create_cell', '--name', 'c1'),
                    ('nova-manage', 'db', 'sync'),
                )
            ],
            [
                *self._keystone_jobs(),
                self.command(
                    'placement-manage', 'db', 'sync', file='placement.conf'
                ),
                self.command(
                    'glance-manage', 'db_sync', file='glance-api.conf'
                ),
                self.command(
                    *('neutron-db-manage', 'upgrade', 'heads'),
                    file='neutron.conf',
                ),
            ],
        )
        with concurrent.futures.ThreadPoolExecutor(len(jobs)) as pool:
            for done in [pool.submit(self._in_turn, job) for job in jobs]:
                done.result()

    def _keystone_jobs(self) -> collections.abc.Iterator[list[str]]:
        root = ('--keystone-user', 'root', '--keystone-group', 'root')
        url = self._cloud.url('keystone') + '/v3'
        for words in (
            ('db_sync',),
            ('fernet_setup', *root),
            ('credential_setup', *root),
            (
                *('bootstrap', '--bootstrap-password', conf.PASSWORD),
                *('--bootstrap-region-id', conf.REGION),
                *('--bootstrap-public-url', url),
                *('--bootstrap-internal-url', url),
                *('--bootstrap-admin-url', url),
            ),
        ):
            yield self.command('keystone-manage', *words, file='keystone.conf')

    def _in_turn(self, commands: ty.Iterable[ty.Sequence[str]]) -> None:
        for command in commands:
            process.run(*command, timeout=300, env=self.env)
