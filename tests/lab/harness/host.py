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
"""One GPU host: a machine, its cards and its nova-compute."""

import collections.abc
import time

from tests.lab.harness import client
from tests.lab.harness import cloud
from tests.lab.harness import compute
from tests.lab.harness import errors
from tests.lab.harness import kernel
from tests.lab.harness import machine
from tests.lab.harness import settings
from tests.lab.harness import topology

_START_TIMEOUT = 300


class Host:
    """Number 1 is there as long as the lab is up; scenarios start others."""

    def __init__(
        self,
        about: settings.Settings,
        control: cloud.Cloud,
        number: int = 1,
    ) -> None:
        self._settings = about
        self.machine = machine.Machine(about, number)
        self.compute = compute.Compute(about, self.machine, control)
        self.client = client.Client(control)

    @property
    def name(self) -> str:
        return self.machine.name

    def boot(self, hardware: topology.Topology) -> str:
        """Start the machine with its cards; return how it went."""
        how = self.machine.boot(kernel.ensure(self._settings))
        self.plug(hardware)
        return how

    def reboot(self, hardware: topology.Topology) -> None:
        """Cut the machine's power, start it and nova-compute again."""
        self.machine.reboot(kernel.ensure(self._settings))
        self.plug(hardware)
        self.start_compute()

    def retire(self) -> None:
        """End it for good: nova and Placement forget it."""
        if self.machine.daemon.pid is None:
            return
        self.compute.stop()
        self.client.forget(self.name)
        self.machine.stop()

    def reset(self, fault: str = '') -> None:
        """Sweep away what a broken driver left; start it anew."""
        self.compute.stop()
        self.machine.sweep()
        self.restart_compute(fault)
        self.client.clear()

    # Cards

    def plug(self, hardware: topology.Topology) -> None:
        """Insert all cards and wait until libvirt lists every function."""
        self.machine.plug(hardware)
        self.machine.insert(*hardware.cards)
        functions = [
            topology.node_device(address)
            for drive in hardware.nvme
            if drive.vfs
            for address in self.machine.enable_nvme(drive)
        ]
        self.machine.wait_listed([*hardware.listed, *functions])

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

    # nova-compute

    def start_compute(self) -> None:
        self.compute.configure()
        self.restart_compute()

    def restart_compute(self, fault: str = '') -> None:
        """Start nova-compute and wait until it is ready for servers."""
        known = len(self.compute.log())
        beat = self.client.service_beat(self.name)
        self.compute.start(fault)
        until = time.monotonic() + _START_TIMEOUT
        while not self._reports(self.compute.log()[known:], beat):
            if time.monotonic() > until or not self.compute.alive:
                tail = self.compute.log()[-3000:]
                raise errors.LabError(f'nova-compute never came up:\n{tail}')
            time.sleep(0.5)

    def _reports(self, log: str, before: str | None) -> bool:
        """Tell whether it is heard of, and not only its forerunner."""
        if ' ERROR nova ' in log:
            raise errors.LabError(f'nova-compute failed:\n{log[-3000:]}')
        return (
            'Join ServiceGroup' in log
            and self.client.service_beat(self.name) not in (None, before)
            and self.name in self.client.hypervisors()
        )
