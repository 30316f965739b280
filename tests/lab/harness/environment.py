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
"""The Python environment that serves on the host and inside the machine.

It is made from Debian's own interpreter, because the virtual machine sees
the host's /usr and nothing else of the host's Pythons.
"""

import hashlib
import os
import pathlib

from tests.lab.harness import errors
from tests.lab.harness import process
from tests.lab.harness import settings

_REQUIREMENTS = (
    'nova==34.0.0',
    'openstack-placement==16.0.0',
    'glance==33.0.0',
    # 2.1 turns a deprecation into an error of placement's API
    'sqlalchemy<2.1',
    'gunicorn',
    'PyMySQL',
    'PyYAML',
    'requests',
    'stestr',
    'testtools',
)


def ensure(lab: settings.Settings) -> None:
    """Make the environment as far as the machine needs it.

    ``complete`` does the rest; nothing is left to do when warm.
    """
    if is_complete(lab):
        return
    libvirt = f'libvirt-python=={libvirt_version()}'
    wants = (*_REQUIREMENTS, libvirt, '-e', str(settings.REPOSITORY))
    install(lab.venv, *wants)
    _compile_loaded(lab)


def complete(lab: settings.Settings) -> None:
    """Compile what only the services of the host need, too."""
    if is_complete(lab):
        return
    process.run(
        *(lab.tool('python'), '-m', 'compileall', '-q', '-j', '0'),
        *('-x', r'/tests?/', str(lab.venv / 'lib')),
        timeout=600,
    )
    _stamp(lab).write_text(fingerprint())


def _compile_loaded(lab: settings.Settings) -> None:
    """Compile what the machine loads beforehand, by loading it here.

    All of it would take three times as long, and the machine waits for it.
    The machine reads the files that are listed ahead of their use.
    """
    code = 'import zygote; zygote.load(); print(*zygote.files(), sep="\\n")'
    env = {**os.environ, 'OS_NOVA_DISABLE_EVENTLET_PATCHING': '1'}
    env.pop('PYTHONDONTWRITEBYTECODE', None)
    printed = process.run(
        *(lab.tool('python'), '-c', code),
        env={**env, 'PYTHONPATH': str(settings.LAB / 'inside')},
        timeout=300,
    )
    names = [line for line in printed.splitlines() if line.startswith('/')]
    (lab.venv / 'loaded').write_text('\n'.join(names))


def is_complete(lab: settings.Settings) -> bool:
    stamp = _stamp(lab)
    return stamp.exists() and stamp.read_text() == fingerprint()


def _stamp(lab: settings.Settings) -> pathlib.Path:
    return lab.venv / 'complete'


def install(venv: pathlib.Path, *wants: str) -> None:
    """Install packages, compiled when they are first imported.

    :param venv: made if there is none.
    :param wants: as pip takes them.
    """
    python = str(venv / 'bin' / 'python')
    if not os.path.exists(python):
        process.run('/usr/bin/python3', '-m', 'venv', str(venv))
    env = {**os.environ, 'PIP_DISABLE_PIP_VERSION_CHECK': '1'}
    pip = (python, '-m', 'pip', 'install', '-q')
    try:
        process.run(*pip, 'uv', timeout=300, env=env)
        process.run(
            *(str(venv / 'bin' / 'uv'), 'pip', 'install', '-q', '--no-cache'),
            *('--python', python, *wants),
            timeout=600,
        )
    except errors.LabError as exc:
        # It does not know what pip has been told: another index, say.
        print(f'pip has to install, which takes longer: {exc}')
        env.pop('PYTHONDONTWRITEBYTECODE', None)
        process.run(*pip, '--prefer-binary', *wants, timeout=900, env=env)


def libvirt_version() -> str:
    """Of the library on this machine: the binding must match it."""
    return process.run('pkg-config', '--modversion', 'libvirt').strip()


def fingerprint() -> str:
    """Of what has to be installed."""
    files = ('setup.cfg', 'pyproject.toml', 'requirements.txt')
    digest = hashlib.sha256(' '.join(_REQUIREMENTS).encode())
    digest.update(str(settings.REPOSITORY).encode())
    for name in files:
        path: pathlib.Path = settings.REPOSITORY / name
        digest.update(path.read_bytes() if path.exists() else b'-')
    return digest.hexdigest()
