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
"""The smallest control plane that serves: all of it real but two stand-ins.

Real are MariaDB, RabbitMQ, Placement, Glance, nova-api, -scheduler and
-conductor. Keystone and Neutron are replaced (``identity``, ``network``):
neither is what the lab is about, and together they double its start.
"""

import concurrent.futures
import hashlib
import json
import os
import re
import shutil
import typing as ty

import requests

from tests.lab.harness import database
from tests.lab.harness import process
from tests.lab.harness import settings

_READY = 120
# Where the machine finds the loopback interface of the lab's host
HOST_FROM_INSIDE = '10.0.2.2'

_GUNICORN = """
import sys

def post_fork(server, worker):
    # the services would read gunicorn's arguments as theirs
    sys.argv[:] = sys.argv[:1]
"""

_FILTER = """
[filter:lab]
paste.filter_factory = tests.lab.harness.identity:filter_factory
"""


def ini(sections: dict[str, dict[str, ty.Any]]) -> str:
    return '\n'.join(
        f'[{section}]\n'
        + ''.join(f'{key} = {value}\n' for key, value in options.items())
        for section, options in sections.items()
    )


class Cloud:
    """Starts, asks and ends the control plane of one lab."""

    def __init__(self, lab: settings.Settings) -> None:
        self._lab = lab
        self.folder = lab.run / 'cloud'
        self._conf = self.folder / 'conf'
        self._database = database.Database(lab, self.folder)
        self._rabbit = database.Rabbit(lab, self.folder)
        self.daemons = {
            name: process.Daemon(name, self.folder)
            for name in (
                *('placement', 'glance', 'network'),
                *('conductor', 'scheduler', 'api'),
            )
        }

    # Life

    def start(self) -> None:
        """Start everything and wait until it answers."""
        # What remembers the processes of the last start goes with the folder.
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        self._conf.mkdir(parents=True)
        self._configure()
        self._rabbit.start()
        self._start_database()
        self._start_web('placement', 'placement.wsgi.api')
        self._start_web('glance', 'glance.wsgi.api')
        self.daemons['network'].start(
            [
                *(self._lab.tool('python'), '-m'),
                'tests.lab.harness.network',
                str(self._lab.port('network')),
            ],
            env=self._env,
        )
        self._rabbit.wait()
        for name in ('conductor', 'scheduler'):
            self.daemons[name].start(self._nova(f'nova-{name}'), env=self._env)
        self._start_web('api', 'nova.wsgi.osapi_compute', 'nova')
        for service in ('placement', 'glance', 'nova'):
            self._wait_web(service)

    def stop(self) -> None:
        stops = [
            *(daemon.stop for daemon in self.daemons.values()),
            self._rabbit.stop,
            self._database.daemon.stop,
        ]
        with concurrent.futures.ThreadPoolExecutor(len(stops)) as pool:
            for done in [pool.submit(stop) for stop in stops]:
                done.result()

    @property
    def running(self) -> dict[str, int | None]:
        named = {'mariadb': self._database.daemon, **self.daemons}
        named['rabbitmq'] = self._rabbit.daemon
        return {name: daemon.pid for name, daemon in named.items()}

    def url(self, service: str, host: str = '127.0.0.1') -> str:
        return f'http://{host}:{self._lab.port(service)}'

    def claimed(self, server: str) -> list[str]:
        """Return the units that nova's own record says a server holds."""
        row = self._database.sql(
            'select resources from nova.instance_extra '
            f"where instance_uuid = '{server}'"
        )
        return sorted(re.findall(r'"identifier": "([^"]+)"', row))

    def attachments(self, verb: str, *words: str) -> dict[str, ty.Any]:
        """Attach, detach or list, as nova's API process does.

        :param words: see ``attach``.
        :returns: ``failed``, why, and all ``attachments`` of the server.
        """
        said = process.run(
            *(self._lab.tool('python'), '-m', 'tests.lab.harness.attach'),
            *('--config-file', str(self._conf / 'nova.conf'), verb, *words),
            timeout=200,
            cwd=settings.REPOSITORY,
            env=self._env,
        )
        answer = said.strip().splitlines()[-1]
        return ty.cast(dict[str, ty.Any], json.loads(answer))

    # Parts

    @property
    def _env(self) -> dict[str, str]:
        return {
            **os.environ,
            'PYTHONPATH': str(settings.REPOSITORY),
            'OS_PLACEMENT_CONFIG_DIR': str(self._conf),
            'OS_GLANCE_CONFIG_DIR': str(self._conf),
            'OS_NOVA_CONFIG_DIR': str(self._conf),
            'OS_NOVA_CONFIG_FILES': 'api-paste.ini;nova.conf',
            'OS_NOVA_DISABLE_EVENTLET_PATCHING': '1',
        }

    def _nova(self, *words: str) -> list[str]:
        config = ('--config-file', str(self._conf / 'nova.conf'))
        return [self._lab.tool(words[0]), *config, *words[1:]]

    def _start_database(self) -> None:
        template = self._lab.state / 'template' / self._fingerprint()
        if template.exists():
            self._database.load(template)
            self._database.start()
            return
        self._database.create()
        self._database.start()
        self._database.make_schemas()
        self._make_tables()
        self._database.save(template)
        self._database.start()

    def _make_tables(self) -> None:
        """In two jobs at a time, which is what two processors can do."""
        tool, conf = self._lab.tool, str(self._conf)
        placement = (
            tool('placement-manage'),
            '--config-file',
            f'{conf}/placement.conf',
        )
        glance = (
            tool('glance-manage'),
            '--config-file',
            f'{conf}/glance-api.conf',
        )
        jobs = (
            (
                self._nova('nova-manage', 'api_db', 'sync'),
                self._nova('nova-manage', 'cell_v2', 'map_cell0'),
                self._nova(
                    *('nova-manage', 'cell_v2', 'create_cell'),
                    *('--name', 'cell1'),
                ),
                self._nova('nova-manage', 'db', 'sync'),
            ),
            ((*placement, 'db', 'sync'), (*glance, 'db_sync')),
        )
        with concurrent.futures.ThreadPoolExecutor(len(jobs)) as pool:
            for done in [pool.submit(self._in_turn, job) for job in jobs]:
                done.result()

    def _in_turn(self, commands: ty.Iterable[ty.Sequence[str]]) -> None:
        for command in commands:
            process.run(*command, timeout=240, env=self._env)

    def _fingerprint(self) -> str:
        """Of what the tables' content depends on: versions and ports."""
        stamp = (self._lab.venv / 'complete').read_text()
        text = f'{stamp} {database.url(self._lab, "")} {self._lab.state}'
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _start_web(self, name: str, module: str, port: str = '') -> None:
        command = [
            *(self._lab.tool('gunicorn'), '-k', 'gthread', '--threads', '8'),
            # nova may find a connection closed that it wants to use again
            *('--keep-alive', '600'),
            *('-w', '1', '-t', '120', '--graceful-timeout', '5'),
            *('-c', str(self._conf / 'gunicorn.py')),
            *('-b', f'127.0.0.1:{self._lab.port(port or name)}'),
            f'{module}:application',
        ]
        self.daemons[name].start(command, env=self._env)

    def _wait_web(self, service: str) -> None:
        daemon = self.daemons['api' if service == 'nova' else service]
        process.wait_for(
            service, lambda: self._answers(service), _READY, daemon
        )

    def _answers(self, service: str) -> bool:
        try:
            answer = requests.get(self.url(service), timeout=30)
        except requests.RequestException:
            return False
        return answer.status_code in (200, 300)

    # Configuration

    def _configure(self) -> None:
        for name in ('nova/api-paste.ini', 'glance/glance-api-paste.ini'):
            theirs = self._lab.venv / 'etc' / name
            ours = theirs.read_text().replace(' authtoken ', ' lab ')
            (self._conf / theirs.name).write_text(ours + _FILTER)
        (self._conf / 'gunicorn.py').write_text(_GUNICORN)
        for name, sections in {
            'nova.conf': self._nova_conf(),
            'placement.conf': self._placement_conf(),
            'glance-api.conf': self._glance_conf(),
        }.items():
            (self._conf / name).write_text(ini(sections))

    def _placement_conf(self) -> dict[str, dict[str, ty.Any]]:
        return {
            'api': {'auth_strategy': 'noauth2'},
            'placement_database': {
                'connection': database.url(self._lab, 'placement')
            },
            'placement': {
                'max_allocation_candidates': 1000,
                'allocation_candidates_generation_strategy': 'breadth-first',
                # MariaDB's snapshots make retries in one transaction futile
                'allocation_conflict_retry_count': 1,
            },
        }

    def _glance_conf(self) -> dict[str, dict[str, ty.Any]]:
        images = self.folder / 'images'
        images.mkdir()
        return {
            'DEFAULT': {
                'enabled_backends': 'file:file',
                'node_staging_uri': f'file://{self.folder}/staging',
            },
            'glance_store': {'default_backend': 'file'},
            'file': {'filesystem_store_datadir': images},
            'os_glance_staging_store': {
                'filesystem_store_datadir': f'{self.folder}/staging'
            },
            'os_glance_tasks_store': {
                'filesystem_store_datadir': f'{self.folder}/tasks'
            },
            'database': {'connection': database.url(self._lab, 'glance')},
            'paste_deploy': {
                'flavor': 'keystone',
                'config_file': self._conf / 'glance-api-paste.ini',
            },
        }

    def _nova_conf(self) -> dict[str, dict[str, ty.Any]]:
        common = self.nova_common('127.0.0.1')
        return {
            **common,
            # Else the first look for new hosts may be a minute away.
            'DEFAULT': {**common['DEFAULT'], 'periodic_fuzzy_delay': 0},
            'api_database': {
                'connection': database.url(self._lab, 'nova_api')
            },
            'database': {'connection': database.url(self._lab, 'nova')},
            'api': {'local_metadata_per_cell': 'false'},
            'wsgi': {'api_paste_config': self._conf / 'api-paste.ini'},
            'scheduler': {
                'workers': 1,
                'discover_hosts_in_cells_interval': 2,
                'max_attempts': 3,
            },
            'conductor': {'workers': 1},
            'filter_scheduler': {'track_instance_changes': 'false'},
        }

    def nova_common(self, host: str) -> dict[str, dict[str, ty.Any]]:
        """Return what every nova service is told.

        :param host: address under which this machine is reached.
        """
        return {
            'DEFAULT': {
                'transport_url': database.bus(self._lab, host),
                'debug': 'true',
                'log_options': 'false',
                'state_path': self.folder / 'nova',
                'rpc_response_timeout': 60,
                'graceful_shutdown_timeout': 3,
            },
            'oslo_concurrency': {'lock_path': self.folder / 'lock'},
            'placement': self._trusted('placement', host),
            'neutron': {
                **self._trusted('network', host),
                'endpoint_override': self.url('network', host),
            },
            'glance': {
                **self._trusted('glance', host),
                'endpoint_override': self.url('glance', host),
            },
            'vnc': {'enabled': 'false'},
            'spice': {'enabled': 'false'},
        }

    def _trusted(self, service: str, host: str) -> dict[str, ty.Any]:
        return {
            'auth_type': 'admin_token',
            'endpoint': self.url(service, host),
            'token': 'admin',
        }
