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
"""What Debian must have installed on the machine."""

import collections.abc
import dataclasses
import os
import pathlib
import shutil
import subprocess

from tests.lab.harness import errors
from tests.lab.harness import process

_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'


@dataclasses.dataclass(frozen=True)
class Packages:
    """What something needs of Debian.

    :ivar commands: command -> the package that brings it.
    :ivar files: a file -> the package that brings it.
    """

    commands: collections.abc.Mapping[str, str]
    files: collections.abc.Mapping[str, str]

    def missing(self) -> list[str]:
        lacking = {
            package
            for command, package in self.commands.items()
            if shutil.which(command, path=_PATH) is None
        }
        lacking |= {
            package
            for file, package in self.files.items()
            if not pathlib.Path(file).exists()
        }
        return sorted(lacking)

    def ensure(self) -> None:
        """Install what is missing.

        Services that the packages bring are not started here; where the
        machine starts them by itself, they stay as they are.

        :raises LabError: not root, or apt failed.
        """
        lacking = self.missing()
        if lacking and os.geteuid() != 0:
            raise errors.LabError(
                'Debian packages are needed; as root run\n'
                f'  apt-get install --no-install-recommends '
                f'{" ".join(lacking)}'
            )
        if lacking:
            apt('install', '-y', '--no-install-recommends', *lacking)
        still = self.missing()
        if still:
            raise errors.LabError(f'apt-get did not bring {" ".join(still)}')


# Of every service that is made of OpenStack's packages
SERVERS = Packages(
    {
        'gcc': 'gcc',
        'ip': 'iproute2',
        'ld': 'binutils',
        'libvirtd': 'libvirt-daemon-system',
        'mariadbd': 'mariadb-server',
        'mount': 'mount',
        'pkg-config': 'pkg-config',
        'qemu-img': 'qemu-utils',
        'qemu-system-x86_64': 'qemu-system-x86',
        'rabbitmqctl': 'rabbitmq-server',
        'virsh': 'libvirt-clients',
    },
    {
        '/usr/include/libvirt/libvirt.h': 'libvirt-dev',
        '/usr/include/python3.11/Python.h': 'python3-dev',
        '/usr/lib/python3.11/ensurepip': 'python3-venv',
    },
)
LAB = Packages(
    {
        **SERVERS.commands,
        'busybox': 'busybox-static',
        'dpkg-deb': 'dpkg',
        'hostname': 'hostname',
        'make': 'make',
        'mdevctl': 'mdevctl',
        'mke2fs': 'e2fsprogs',
        'modprobe': 'kmod',
        'pgrep': 'procps',
        'udevadm': 'udev',
    },
    {
        **SERVERS.files,
        '/usr/include/libelf.h': 'libelf-dev',
        '/usr/lib/python3/dist-packages/yaml/__init__.py': 'python3-yaml',
    },
)
_MEMORY_MIB = 8192
_DISK_MIB = 5120


def why_not(state: pathlib.Path) -> str | None:
    """Say why the lab cannot run on this machine; None: it can."""
    if os.uname().machine != 'x86_64':
        return 'it needs an x86_64 processor'
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') >> 20
    if memory < _MEMORY_MIB:
        return f'it needs {_MEMORY_MIB} MiB of memory; there are {memory}'
    mount = ('unshare', '-m', 'mount', '-t', 'tmpfs', 'lab', '/mnt')
    reason = 'it needs to mount file systems, which is denied here'
    return why_not_here(state, _DISK_MIB) or denied(mount, reason)


def why_not_here(state: pathlib.Path, disk_mib: int) -> str | None:
    """Say what lacks of Debian 12, root and room on the disk."""
    release = pathlib.Path('/etc/os-release')
    text = release.read_text() if release.exists() else ''
    if 'ID=debian' not in text or 'VERSION_ID="12"' not in text:
        return 'it needs Debian 12'
    if os.geteuid() != 0:
        return 'it needs root'
    while not state.exists():
        state = state.parent
    disk = shutil.disk_usage(state).free >> 20
    if disk < disk_mib:
        return f'it needs {disk_mib} MiB free at {state}; there are {disk}'
    return None


def denied(command: collections.abc.Sequence[str], reason: str) -> str | None:
    """Return the reason where a command may not be run."""
    done = subprocess.run(command, capture_output=True)
    return reason if done.returncode else None


def apt(*arguments: str, cwd: pathlib.Path | None = None) -> None:
    """Run apt-get; where its lists are stale, refresh them and try again."""
    env = {**os.environ, 'DEBIAN_FRONTEND': 'noninteractive'}
    try:
        process.run('apt-get', *arguments, timeout=600, cwd=cwd, env=env)
    except errors.LabError:
        process.run('apt-get', 'update', timeout=300, env=env)
        process.run('apt-get', *arguments, timeout=600, cwd=cwd, env=env)
