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
import os
import pathlib

from tests.lab.harness import errors
from tests.lab.harness import ports

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]

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
        file = self.state / 'ports.json'
        return ports.port(file, SERVICES, _FIRST_PORT, service)

    def url(self, service: str) -> str:
        return f'http://127.0.0.1:{self.port(service)}'
