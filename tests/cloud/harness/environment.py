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
"""The Python environment that every service of the cloud runs in."""

import hashlib
import pathlib

from tests.cloud.harness import settings
from tests.lab.harness import environment

_LISTS = (
    'requirements.txt',
    'test-requirements.txt',
    'tests/cloud/requirements.txt',
    'tests/functional/requirements.txt',
)
# Must match the library of the machine.
_OWN = ('libvirt-python', 'nova-accel')


def ensure(cloud: settings.Settings) -> None:
    """Make or complete the environment; nothing to do when warm."""
    theirs = _Stamp(cloud.venv / 'complete', 'constraints.txt', *_LISTS)
    ours = _Stamp(cloud.venv / 'ours', 'setup.cfg')
    if not theirs.holds():
        constraints = cloud.state / 'constraints.txt'
        constraints.write_text(_constraints())
        lists = [word for name in _LISTS for word in ('-r', _path(name))]
        libvirt = f'libvirt-python=={environment.libvirt_version()}'
        environment.install(
            cloud.venv, '-c', str(constraints), *lists, libvirt
        )
        theirs.set()
    if not ours.holds():
        environment.install(cloud.venv, '--no-deps', '-e', _path('.'))
        ours.set()


def _path(name: str) -> str:
    return str(settings.REPOSITORY / name)


class _Stamp:
    """Remembers what something was made from."""

    def __init__(self, file: pathlib.Path, *names: str) -> None:
        digest = hashlib.sha256(str(settings.REPOSITORY).encode())
        for name in names:
            digest.update((settings.REPOSITORY / name).read_bytes())
        self._file = file
        self._wanted = digest.hexdigest()

    def holds(self) -> bool:
        return self._file.exists() and self._file.read_text() == self._wanted

    def set(self) -> None:
        self._file.write_text(self._wanted)


def _constraints() -> str:
    lines = (settings.REPOSITORY / 'constraints.txt').read_text().splitlines()
    return '\n'.join(
        line for line in lines if line.partition('=')[0] not in _OWN
    )
