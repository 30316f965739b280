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
from tests.lab.harness import packages

# command -> the package that brings it
_COMMANDS = {
    'gcc': 'gcc',
    'ld': 'binutils',
    'ip': 'iproute2',
    'mariadbd': 'mariadb-server',
    'mount': 'mount',
    'libvirtd': 'libvirt-daemon-system',
    'ovs-vswitchd': 'openvswitch-switch',
    'pkg-config': 'pkg-config',
    'qemu-img': 'qemu-utils',
    'qemu-system-x86_64': 'qemu-system-x86',
    'rabbitmqctl': 'rabbitmq-server',
    'virsh': 'libvirt-clients',
}
# a file -> the package that brings it
_FILES = {
    '/usr/include/libvirt/libvirt.h': 'libvirt-dev',
    '/usr/include/python3.11/Python.h': 'python3-dev',
    '/usr/lib/python3.11/ensurepip': 'python3-venv',
}
_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
_MEMORY_MIB = 5000
_DISK_MIB = 4096


def why_not(state: pathlib.Path) -> str | None:
    """Say why the cloud cannot run on this machine; None: it can."""
    release = pathlib.Path('/etc/os-release')
    text = release.read_text() if release.exists() else ''
    if 'ID=debian' not in text or 'VERSION_ID="12"' not in text:
        return 'it needs Debian 12'
    if os.geteuid() != 0:
        return 'it needs root'
    if not pathlib.Path('/dev/net/tun').exists():
        return 'it needs /dev/net/tun for Open vSwitch in user space'
    own = ('unshare', '-m', '-p', '-f', 'mount', '-t', 'tmpfs', 'x', '/run')
    if subprocess.run(own, capture_output=True).returncode:
        return 'it needs to make namespaces and mount in them'
    free = _available_mib()
    if free < _MEMORY_MIB:
        return f'it needs {_MEMORY_MIB} MiB of free memory; there are {free}'
    while not state.exists():
        state = state.parent
    disk = shutil.disk_usage(state).free >> 20
    if disk < _DISK_MIB:
        return f'it needs {_DISK_MIB} MiB free at {state}; there are {disk}'
    return None


def _available_mib() -> int:
    for line in pathlib.Path('/proc/meminfo').read_text().splitlines():
        if line.startswith('MemAvailable:'):
            return int(line.split()[1]) >> 10
    return 0


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

    Services that the packages bring are not started here; where the machine
    starts them by itself, they stay as they are: the cloud has its own.
    """
    lacking = missing()
    if lacking:
        packages.apt('install', '-y', '--no-install-recommends', *lacking)
    still = missing()
    if still:
        raise errors.LabError(f'apt-get did not bring {" ".join(still)}')
