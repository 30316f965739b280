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
"""The whole lab as one thing: machine, control plane, nova-compute."""

import collections.abc
import concurrent.futures
import json
import pathlib

from tests.lab.harness import client
from tests.lab.harness import cloud
from tests.lab.harness import errors
from tests.lab.harness import guests
from tests.lab.harness import host
from tests.lab.harness import kernel
from tests.lab.harness import settings
from tests.lab.harness import telling
from tests.lab.harness import topology


class Lab:
    """Use ``up`` and ``down``; the parts are attributes."""

    def __init__(
        self,
        about: settings.Settings,
        say: collections.abc.Callable[[str], None] = telling.silent,
    ) -> None:
        self.settings = about
        self.cloud = cloud.Cloud(about)
        self.client = client.Client(self.cloud)
        self.host = host.Host(about, self.cloud)
        self.machine = self.host.machine
        self.compute = self.host.compute
        self._say = say

    def up(self, name: str) -> None:
        """Start everything: machine and control plane side by side.

        :raises LabError: it runs already, or some part did not start; then
            what did start runs on, for a look at it, until ``down``.
        """
        if self.hardware is not None:
            raise errors.LabError('the lab runs already; end it: lab down')
        hardware = topology.load(name)
        linux = kernel.ensure(self.settings)
        self._say(f'kernel {linux.version} and labgpu are there')
        self.settings.run.mkdir(parents=True, exist_ok=True)
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            jobs = (
                pool.submit(self._start_machine, hardware),
                pool.submit(self._start_cloud),
            )
            for job in jobs:
                job.result()
        self.host.start_compute()
        self.settings.known.write_text(json.dumps({'topology': name}))
        self._say('nova-compute reports: the lab is up')

    def down(self) -> None:
        self.second().machine.stop()
        self.machine.stop()
        self.cloud.stop()
        self.settings.known.unlink(missing_ok=True)

    @property
    def hardware(self) -> topology.Topology | None:
        """Of the running lab, None if it does not run."""
        known = self.settings.known
        if self.machine.daemon.pid is None or not known.exists():
            return None
        return topology.load(json.loads(known.read_text())['topology'])

    def second(self) -> host.Host:
        """A second host, not yet started."""
        return host.Host(self.settings, self.cloud, 2)

    def _start_machine(self, hardware: topology.Topology) -> None:
        how = self.host.boot(hardware)
        self._say(f'libvirt lists every card of {hardware.name} ({how})')

    def _start_cloud(self) -> None:
        self.cloud.start()
        image = guests.tiny_image(self.settings.run / 'guests')
        self.client.upload(
            'tiny', image, hw_disk_bus='sata', hw_machine_type='q35'
        )
        self._say('control plane answers')

    def linux_image(self) -> str:
        """Upload the Linux guest unless that is done; return its image."""
        known = self.client.image(guests.LINUX)
        if known is not None:
            return known
        made = guests.linux_files(
            kernel.fetched(self.settings), self.settings.state / 'guests'
        )
        # Its disk is never read, but a server has one.
        return self.client.upload(
            guests.LINUX,
            guests.tiny_image(self.settings.run / 'guests'),
            kernel_id=self._upload_part(made.kernel, 'aki'),
            ramdisk_id=self._upload_part(made.initrd, 'ari'),
            os_command_line=guests.LINUX_COMMAND,
            hw_disk_bus='sata',
            hw_machine_type='q35',
            hw_usb_model='qemu-xhci',
        )

    def _upload_part(self, file: pathlib.Path, kind: str) -> str:
        return self.client.upload(
            f'{guests.LINUX}-{kind}',
            file,
            disk_format=kind,
            container_format=kind,
        )
