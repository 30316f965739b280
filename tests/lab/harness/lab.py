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
import time

from tests.lab.harness import client
from tests.lab.harness import cloud
from tests.lab.harness import compute
from tests.lab.harness import errors
from tests.lab.harness import guests
from tests.lab.harness import kernel
from tests.lab.harness import machine
from tests.lab.harness import settings
from tests.lab.harness import topology

_START_TIMEOUT = 300


def _silent(_text: str) -> None:
    pass


class Lab:
    """Use ``up`` and ``down``; the parts are attributes."""

    def __init__(
        self,
        about: settings.Settings,
        say: collections.abc.Callable[[str], None] = _silent,
    ) -> None:
        self.settings = about
        self.machine = machine.Machine(about)
        self.cloud = cloud.Cloud(about)
        self.client = client.Client(self.cloud)
        self.compute = compute.Compute(about, self.machine, self.cloud)
        self._say = say

    def up(self, name: str) -> None:
        """Start everything: machine and control plane side by side.

        :raises LabError: it runs already, or some part did not start; then
            what did start runs on, for a look at it, until ``down``.
        """
        if self.machine.daemon.pid is not None:
            raise errors.LabError('the lab runs already; end it: lab down')
        host = topology.load(name)
        linux = kernel.ensure(self.settings)
        self._say(f'kernel {linux.version} and labgpu are there')
        self.settings.run.mkdir(parents=True, exist_ok=True)
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            jobs = (
                pool.submit(self._start_machine, linux, host),
                pool.submit(self._start_cloud),
            )
            for job in jobs:
                job.result()
        self.start_compute()
        (self.settings.run / 'up.json').write_text(
            json.dumps({'topology': name})
        )
        self._say('nova-compute reports: the lab is up')

    def down(self) -> None:
        self.machine.stop()
        self.cloud.stop()
        (self.settings.run / 'up.json').unlink(missing_ok=True)

    @property
    def host(self) -> topology.Topology | None:
        """Of the running lab, None if it does not run."""
        known = self.settings.run / 'up.json'
        if self.machine.daemon.pid is None or not known.exists():
            return None
        return topology.load(json.loads(known.read_text())['topology'])

    def _start_machine(
        self, linux: kernel.Kernel, host: topology.Topology
    ) -> None:
        self._say(f'libvirt answers ({self.machine.boot(linux)})')
        self.plug(host)
        self._say(f'topology {host.name}: libvirt lists every function')

    def reboot(self) -> None:
        """Cut the machine's power, start it and nova-compute again."""
        host = self.host
        assert host is not None
        self.machine.reboot(kernel.ensure(self.settings))
        self.plug(host)
        self.start_compute()

    def reset(self, fault: str = '') -> None:
        """Sweep away what a broken driver left; start it anew."""
        self.compute.stop()
        self.machine.sweep()
        self.restart_compute(fault)
        servers = self.client.servers()
        for server in servers:
            self.client.delete(server)
        self.client.wait_gone(*servers)

    def replug(
        self,
        before: collections.abc.Collection[topology.Card],
        after: collections.abc.Collection[topology.Card],
    ) -> None:
        """Exchange cards; one that stays in its slot is left alone."""
        for card in before:
            if card not in after:
                self.machine.remove(card)
        new = [card for card in after if card not in before]
        self.machine.insert(*new)
        self.machine.wait_listed([n for card in new for n in card.listed])

    def plug(self, host: topology.Topology) -> None:
        """Insert all cards and wait until libvirt lists every function."""
        self.machine.plug(host)
        self.machine.insert(*host.cards)
        functions = [
            topology.node_device(address)
            for drive in host.nvme
            if drive.vfs
            for address in self.machine.enable_nvme(drive)
        ]
        self.machine.wait_listed([*host.listed, *functions])

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

    def start_compute(self) -> None:
        self.compute.configure()
        self.restart_compute()

    def restart_compute(self, fault: str = '') -> None:
        """Start nova-compute and wait until it is ready for servers."""
        known = len(self.compute.log())
        self.compute.start(fault)
        until = time.monotonic() + _START_TIMEOUT
        while not self._reports(self.compute.log()[known:]):
            if time.monotonic() > until or not self.compute.alive:
                tail = self.compute.log()[-3000:]
                raise errors.LabError(f'nova-compute never came up:\n{tail}')
            time.sleep(0.5)

    def _reports(self, log: str) -> bool:
        if ' ERROR nova ' in log:
            raise errors.LabError(f'nova-compute failed:\n{log[-3000:]}')
        mapped = self.client.service_beat(compute.NAME) is not None
        return 'Join ServiceGroup' in log and mapped and self._scheduled()

    def _scheduled(self) -> bool:
        """Tell whether the scheduler knows the host."""
        found = self.client.nova('GET', '/os-hypervisors')
        return bool(found['hypervisors'])
