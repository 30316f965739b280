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
"""Where the lab keeps its things, and how big it is."""

import dataclasses
import os
import pathlib

from tests.lab.harness import errors
from tests.lab.harness import ports

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
LAB = REPOSITORY / 'tests' / 'lab'

_SERVICES = (
    'agent',
    'libvirt',
    'database',
    'rabbit',
    'rabbit_dist',
    'epmd',
    'placement',
    'nova',
    'glance',
    'network',
    'agent2',
    'libvirt2',
)
_FIRST_PORT = 23100
# In the machine: how many round trips to libvirt nova-compute has made.
CALLS = '/run/libvirt-calls'
# Seconds from one look of nova-compute at its devices to the next
UPDATE_INTERVAL = 20


def default_state() -> pathlib.Path:
    named = os.environ.get('NOVA_ACCEL_LAB')
    if named:
        return pathlib.Path(named).resolve()
    cache = os.environ.get('XDG_CACHE_HOME', '/var/tmp')
    return pathlib.Path(cache).resolve() / 'nova-accel-lab'


def _processors() -> int:
    """Two where the host has them to spare.

    Emulated processors that wait for each other in a spin lock, while the
    host runs only one of them, get nowhere.
    """
    named = os.environ.get('NOVA_ACCEL_LAB_CPUS')
    if named:
        return int(named)
    return 2 if (os.cpu_count() or 1) >= 4 else 1


@dataclasses.dataclass(frozen=True)
class Settings:
    """One lab.

    :ivar state: the one folder that everything of the lab lives in.
    :ivar memory_mib: of the virtual machine.
    :ivar processors: of the virtual machine.
    """

    state: pathlib.Path
    memory_mib: int = 5120
    processors: int = dataclasses.field(default_factory=_processors)

    def __post_init__(self) -> None:
        for path in (self.state, REPOSITORY):
            if any(char in str(path) for char in ' ,:'):
                raise errors.LabError(
                    f'{path}: the lab needs paths without space, comma and '
                    f'colon; set NOVA_ACCEL_LAB to another folder'
                )

    @property
    def run(self) -> pathlib.Path:
        """What belongs to one start; emptied at the next."""
        return self.state / 'run'

    @property
    def known(self) -> pathlib.Path:
        """Tells what is up."""
        return self.run / 'up.json'

    @property
    def venv(self) -> pathlib.Path:
        return self.state / 'venv'

    def tool(self, name: str) -> str:
        return str(self.venv / 'bin' / name)

    def port(self, service: str) -> int:
        file = self.state / 'ports.json'
        return ports.port(file, _SERVICES, _FIRST_PORT, service)
