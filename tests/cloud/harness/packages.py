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

import pathlib

from tests.lab.harness import packages

CLOUD = packages.Packages(
    {**packages.SERVERS.commands, 'ovs-vswitchd': 'openvswitch-switch'},
    packages.SERVERS.files,
)
_MEMORY_MIB = 5000
_DISK_MIB = 4096


def why_not(state: pathlib.Path) -> str | None:
    """Say why the cloud cannot run on this machine; None: it can."""
    if not pathlib.Path('/dev/net/tun').exists():
        return 'it needs /dev/net/tun for Open vSwitch in user space'
    free = _available_mib()
    if free < _MEMORY_MIB:
        return f'it needs {_MEMORY_MIB} MiB of free memory; there are {free}'
    own = ('unshare', '-m', '-p', '-f', 'mount', '-t', 'tmpfs', 'x', '/run')
    reason = 'it needs to make namespaces and mount in them'
    return packages.why_not_here(state, _DISK_MIB) or packages.denied(
        own, reason
    )


def _available_mib() -> int:
    for line in pathlib.Path('/proc/meminfo').read_text().splitlines():
        if line.startswith('MemAvailable:'):
            return int(line.split()[1]) >> 10
    return 0
