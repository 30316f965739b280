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
"""Where the cloud keeps its things, and on which ports it listens."""

import dataclasses
import json
import os
import pathlib
import socket

from tests.lab.harness import errors

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]

# One TCP port each on 127.0.0.1, counted from a base that is kept.
SERVICES = (
    *('database', 'rabbit', 'rabbit_dist', 'epmd'),
    *('keystone', 'placement', 'glance', 'nova', 'neutron'),
    *('ovsdb', 'openflow', 'accelerators', 'xapi', 'rounds'),
)
_FIRST_PORT = 24100


def default_state() -> pathlib.Path:
    named = os.environ.get('NOVA_ACCEL_CLOUD')
    if named:
        return pathlib.Path(named).resolve()
    cache = os.environ.get('XDG_CACHE_HOME', '/var/tmp')
    return pathlib.Path(cache).resolve() / 'nova-accel-cloud'


@dataclasses.dataclass(frozen=True)
class Settings:
    """One cloud.

    :ivar state: the one folder that everything of the cloud lives in.
    """

    state: pathlib.Path

    def __post_init__(self) -> None:
        for path in (self.state, REPOSITORY):
            if any(char in str(path) for char in ' ,:;'):
                raise errors.LabError(
                    f'{path}: the cloud needs paths without space, comma, '
                    'colon and semicolon; set NOVA_ACCEL_CLOUD to another '
                    'folder'
                )
        # A socket's path has 108 bytes at most.
        if len(str(self.state)) > 60:
            raise errors.LabError(
                f'{self.state}: too long for paths of sockets; set '
                'NOVA_ACCEL_CLOUD to a folder of at most 60 characters'
            )

    @property
    def run(self) -> pathlib.Path:
        """What belongs to one start; emptied at the next."""
        return self.state / 'run'

    @property
    def conf(self) -> pathlib.Path:
        return self.run / 'conf'

    @property
    def venv(self) -> pathlib.Path:
        return self.state / 'venv'

    def tool(self, name: str) -> str:
        return str(self.venv / 'bin' / name)

    def port(self, service: str) -> int:
        return self._base_port() + SERVICES.index(service)

    def url(self, service: str) -> str:
        return f'http://127.0.0.1:{self.port(service)}'

    def _base_port(self) -> int:
        file = self.state / 'ports.json'
        if not file.exists():
            file.write_text(json.dumps({'base': _free_base()}))
        return int(json.loads(file.read_text())['base'])


def _free_base() -> int:
    for base in range(_FIRST_PORT, 32000, 100):
        if all(_is_free(base + i) for i in range(len(SERVICES))):
            return base
    raise errors.LabError('no free block of TCP ports below 32000')


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(('127.0.0.1', port))
        except OSError:
            return False
    return True
