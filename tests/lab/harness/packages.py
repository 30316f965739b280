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

import os
import pathlib
import shutil
import subprocess

from tests.lab.harness import errors
from tests.lab.harness import process

# command -> the package that brings it
_COMMANDS = {
    'busybox': 'busybox-static',
    'gcc': 'gcc',
    'ld': 'binutils',
    'make': 'make',
    'modprobe': 'kmod',
    'udevadm': 'udev',
    'dpkg-deb': 'dpkg',
    'qemu-system-x86_64': 'qemu-system-x86',
    'qemu-img': 'qemu-utils',
    'libvirtd': 'libvirt-daemon-system',
    'virsh': 'libvirt-clients',
    'mdevctl': 'mdevctl',
    'mke2fs': 'e2fsprogs',
    'hostname': 'hostname',
    'mount': 'mount',
    'pgrep': 'procps',
    'mariadbd': 'mariadb-server',
    'rabbitmqctl': 'rabbitmq-server',
    'pkg-config': 'pkg-config',
    'ip': 'iproute2',
}
# a file -> the package that brings it
_FILES = {
    '/usr/include/libvirt/libvirt.h': 'libvirt-dev',
    '/usr/include/python3.11/Python.h': 'python3-dev',
    '/usr/lib/python3.11/ensurepip': 'python3-venv',
    '/usr/include/libelf.h': 'libelf-dev',
    '/usr/lib/python3/dist-packages/yaml/__init__.py': 'python3-yaml',
}
_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'


_MEMORY_MIB = 8192
_DISK_MIB = 5120


def why_not(state: pathlib.Path) -> str | None:
    """Say why the lab cannot run on this machine; None: it can."""
    release = pathlib.Path('/etc/os-release')
    text = release.read_text() if release.exists() else ''
    if 'ID=debian' not in text or 'VERSION_ID="12"' not in text:
        return 'it needs Debian 12'
    if os.geteuid() != 0:
        return 'it needs root'
    if os.uname().machine != 'x86_64':
        return 'it needs an x86_64 processor'
    mount = ('unshare', '-m', 'mount', '-t', 'tmpfs', 'lab', '/mnt')
    if subprocess.run(mount, capture_output=True).returncode:
        return 'it needs to mount file systems, which is denied here'
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') >> 20
    if memory < _MEMORY_MIB:
        return f'it needs {_MEMORY_MIB} MiB of memory; there are {memory}'
    while not state.exists():
        state = state.parent
    disk = shutil.disk_usage(state).free >> 20
    if disk < _DISK_MIB:
        return f'it needs {_DISK_MIB} MiB free at {state}; there are {disk}'
    return None


def missing() -> list[str]:
    lacking = {
        package
        for command, package in _COMMANDS.items()
        if shutil.which(command, path=_PATH) is None
    }
    lacking |= {
        package
        for file, package in _FILES.items()
        if not pathlib.Path(file).exists()
    }
    return sorted(lacking)


def ensure() -> None:
    """Install what is missing.

    :raises LabError: not root, or apt failed.
    """
    lacking = missing()
    if not lacking:
        return
    if os.geteuid() != 0:
        raise errors.LabError(
            'the lab needs Debian packages; as root run\n'
            f'  apt-get install --no-install-recommends {" ".join(lacking)}'
        )
    apt('install', '-y', '--no-install-recommends', *lacking)


def apt(*arguments: str, cwd: pathlib.Path | None = None) -> None:
    """Run apt-get; where its lists are stale, refresh them and try again."""
    env = {**os.environ, 'DEBIAN_FRONTEND': 'noninteractive'}
    try:
        process.run('apt-get', *arguments, timeout=600, cwd=cwd, env=env)
    except errors.LabError:
        process.run('apt-get', 'update', timeout=300, env=env)
        process.run('apt-get', *arguments, timeout=600, cwd=cwd, env=env)
