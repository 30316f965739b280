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
"""A libvirtd of the cloud's own, beside whatever the machine runs.

It and its guests live in namespaces of processes and of mounts, where the
places that libvirt writes to are folders of the cloud. When the first
process there ends, the kernel ends all others: no guest can stay behind.
"""

import os
import shutil
import textwrap

from tests.cloud.harness import settings
from tests.lab.harness import process

# Where libvirt writes -> a folder of ours
_PLACES = {
    '/run/libvirt': 'run',
    '/etc/libvirt': 'etc',
    '/var/lib/libvirt': 'lib',
    '/var/log/libvirt': 'log',
}
# What QEMU can do; libvirt asks it for seconds, and again if it changes.
_CACHE = '/var/cache/libvirt'
_LIBVIRTD_CONF = """
unix_sock_group = "root"
unix_sock_rw_perms = "0700"
auth_unix_ro = "none"
auth_unix_rw = "none"
"""
_QEMU_CONF = """
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
namespaces = []
cgroup_controllers = []
# so that no virtlogd is needed
stdio_handler = "file"
"""
# The shell is the namespace's first process: it must not ignore the end of
# others, and must not end before them.
_INSIDE = """\
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
while read -r place ours; do
    mkdir -p "$place"
    mount --bind "$ours" "$place"
done <"$1"
libvirtd &
wait $!
"""


class Hypervisor:
    """libvirtd with the QEMU driver."""

    def __init__(self, cloud: settings.Settings) -> None:
        self.folder = cloud.run / 'libvirt'
        self._places = {
            **{place: self.folder / ours for place, ours in _PLACES.items()},
            _CACHE: cloud.state / 'libvirt-cache',
        }
        self.daemon = process.Daemon('libvirtd', self.folder)

    @property
    def uri(self) -> str:
        socket = self.folder / 'run' / 'libvirt-sock'
        return f'qemu+unix:///system?socket={socket}'

    def start(self, env: dict[str, str]) -> None:
        """Start it.

        :param env: of the tools that libvirt runs, ovs-vsctl for one.
        """
        for ours in self._places.values():
            ours.mkdir(parents=True, exist_ok=True)
        (self.folder / 'etc' / 'libvirtd.conf').write_text(
            textwrap.dedent(_LIBVIRTD_CONF)
        )
        (self.folder / 'etc' / 'qemu.conf').write_text(
            textwrap.dedent(_QEMU_CONF)
        )
        table = self.folder / 'places'
        table.write_text(
            ''.join(
                f'{place} {ours}\n' for place, ours in self._places.items()
            )
        )
        for place in self._places:
            # Debian's package makes them, but for /run.
            if not place.startswith('/run'):
                os.makedirs(place, exist_ok=True)
        command = [
            *('unshare', '--mount', '--pid', '--fork', '--mount-proc'),
            *('--kill-child=KILL', 'sh', '-c', _INSIDE, 'sh', str(table)),
        ]
        self.daemon.start(command, env=env)

    def wait(self) -> None:
        process.wait_for('libvirtd', self._answers, 200, self.daemon)

    def _answers(self) -> bool:
        if not (self.folder / 'run' / 'libvirt-sock').exists():
            return False
        try:
            self.virsh('version')
        except process.errors.LabError:
            return False
        return True

    def virsh(self, *words: str) -> str:
        program = shutil.which('virsh') or '/usr/bin/virsh'
        return process.run(program, '-c', self.uri, *words, timeout=30)

    def stop(self) -> None:
        self.daemon.stop()
