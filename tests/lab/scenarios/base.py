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
"""What every scenario starts from and must leave behind."""

import collections.abc
import contextlib
import json
import pathlib
import signal
import time
import types
import typing as ty

import testtools

from tests.lab.harness import compute
from tests.lab.harness import errors
from tests.lab.harness import guests
from tests.lab.harness import host
from tests.lab.harness import lab
from tests.lab.harness import process
from tests.lab.harness import settings
from tests.lab.harness import topology

# Seconds. A restart of nova-compute was seen to take 200 on a host whose
# processors were busy with other work.
_TIMEOUT = 900
RAM = 32
# One unit of everything that the topology "mixed" offers
VGPU = {'resources__VGPU': '1'}
VF_VGPU = {'resources__CUSTOM_A40_24Q': '1'}
GPU = {'resources__CUSTOM_A100': '1'}
NVME = {'resources__CUSTOM_NVME_VF': '1'}


_Test = ty.TypeVar('_Test', bound=collections.abc.Callable[..., None])


def core(test: _Test) -> _Test:
    """Mark one of the few scenarios that run with every change."""
    setattr(test, 'core', True)  # noqa: B010
    return test


class Scenario(testtools.TestCase):
    """A test on the running lab. Serial: the host is one.

    :ivar ram: of its servers, MiB.
    :ivar report_timeout: how long the guest may take to start, seconds.
    """

    ram = RAM
    report_timeout: float = 120
    read_report = staticmethod(guests.read_report)

    def setUp(self) -> None:
        super().setUp()
        self._watch()
        self.lab = lab.Lab(settings.Settings(settings.default_state()))
        self.nova = self.lab.client
        self.agent = self.lab.machine.agent
        hardware = self.lab.hardware
        if hardware is None:
            self.fail('the lab does not run: tests/lab/lab up')
        self.hardware: topology.Topology = hardware
        self.cards = hardware.cards
        self.measured: dict[str, tuple[float, int]] = {}
        self.addCleanup(self._write_measured)
        self.before = self.nova.free()
        self.exchanged = False
        self.addCleanup(self._leave_nothing)

    def _watch(self) -> None:
        def late(_number: int, _frame: types.FrameType | None) -> ty.NoReturn:
            raise errors.LabError(f'the scenario took over {_TIMEOUT} s')

        signal.signal(signal.SIGALRM, late)
        signal.alarm(_TIMEOUT)
        self.addCleanup(signal.alarm, 0)

    # What remains

    def _leave_nothing(self) -> None:
        self.nova.clear()
        if self.exchanged:
            self._begin_anew()
        self.assert_all_free()

    def _begin_anew(self) -> None:
        """Put the cards of before back, and let nobody miss the others.

        As long as one is missed, a new one may have been put in its place.
        """
        if self.lab.compute.alive:
            self.lab.compute.stop()
        self.replug(*self.hardware.cards)
        for provider in self.nova.providers():
            if 'CUSTOM_ACCEL_MANAGED' in self.nova.traits(provider):
                self.nova.delete_provider(provider)
        self.lab.host.restart_compute()

    def assert_all_free(self) -> None:
        """No domain, no mediated device, no binding, all units free."""
        process.wait_for('units free again', self._all_free, 60, pause=1)
        self.assertEqual('', self.agent.check('virsh list --all --name')[:-1])
        self.assertEqual([], self.mdevs())
        bound = 'ls /sys/bus/pci/drivers/vfio-pci | grep : | xargs'
        self.assertEqual('', self.agent.check(bound).strip())

    def _all_free(self) -> bool:
        return self.nova.free() == self.before

    # Measures

    @contextlib.contextmanager
    def timed(self, what: str) -> collections.abc.Iterator[None]:
        """Note seconds and round trips to libvirt, those of others too."""
        calls = self.lab.compute.calls()
        start = time.monotonic()
        yield
        took = round(time.monotonic() - start, 1)
        now = self.lab.compute.calls()
        # It counts from 0 when nova-compute starts.
        self.measured[what] = (took, now - calls if now >= calls else now)

    def _write_measured(self) -> None:
        folder: pathlib.Path = self.lab.settings.run / 'measured'
        folder.mkdir(exist_ok=True)
        (folder / f'{self.id()}.json').write_text(json.dumps(self.measured))

    # Doing

    def replug(self, *cards: topology.Card) -> None:
        """Exchange the cards of the host; put back at the end."""
        self.exchanged = True
        self.lab.host.replug(self.cards, cards)
        self.cards = cards

    def card(self, name: str) -> topology.Card:
        return next(card for card in self.cards if card.name == name)

    def boot(self, on: str = '', **specs: str) -> str:
        """Boot a server, on a named host or any; return it ACTIVE."""
        server = self.ask(on, **specs)
        with self.timed('boot'):
            self.nova.wait_status(server, 'ACTIVE')
        return server

    def ask(self, on: str = '', **specs: str) -> str:
        name = f'{self.id().rpartition(".")[2]}-{time.monotonic_ns()}'
        flavor = self.nova.flavor(name, self.ram, **specs)
        return self.nova.create(name, flavor, self.image(), on)

    def image(self) -> str:
        """Return the image of its servers."""
        image = self.nova.image('tiny')
        assert image is not None
        return image

    def wait_runs(self, server: str) -> None:
        """Wait until nova and libvirt say that a server runs."""

        def runs() -> bool:
            now = self.nova.server(server)
            idle = now['OS-EXT-STS:task_state'] is None
            listed = self.agent.run('virsh list --uuid').output
            return idle and now['status'] == 'ACTIVE' and server in listed

        process.wait_for(f'server {server}', runs, 200, pause=1)

    def delete(self, *servers: str) -> None:
        with self.timed('delete'):
            for server in servers:
                self.nova.delete(server)
            self.nova.wait_gone(*servers)

    # Seeing

    def mdevs(self, host: host.Host | None = None) -> list[str]:
        agent = (host or self.lab.host).machine.agent
        text = agent.check('ls /sys/bus/mdev/devices 2>/dev/null; true')
        return sorted(text.split())

    def mdev_parent(self, uuid: str) -> str:
        """Return the address of the function an mdev was created on."""
        path = f'/sys/bus/mdev/devices/{uuid}'
        return self.agent.check(
            f'basename $(dirname $(readlink -f {path}))'
        ).strip()

    def domain(self, server: str) -> str:
        """Return the XML of the running domain of a server."""
        return self.agent.check(f'virsh dumpxml {server}')

    def hostdevs(self, server: str) -> int:
        return self.domain(server).count('<hostdev ')

    def guest_sees(self, server: str, vendor: str) -> list[guests.Seen]:
        """Return the functions of a vendor in the guest's own report."""

        def reported() -> bool:
            return 'GUEST-UP' in self.console(server)

        process.wait_for(
            'report of the guest', reported, self.report_timeout, pause=1
        )
        report = self.read_report(self.console(server))
        return [seen for seen in report if seen.id.startswith(vendor)]

    def console(self, server: str) -> str:
        """Return what the guest has said so far."""
        path = f'{compute.INSTANCES}/{server}/console.log'
        return self.agent.run(f'cat {path}').output

    def claimed(self, server: str) -> list[str]:
        """Return the units of nova's own record of a server."""
        return self.lab.cloud.claimed(server)

    def address_of(self, unit: str) -> str:
        """Return where the card of a unit sits, by its serial."""
        serial = unit.partition('/')[0].removeprefix('sn:')
        return next(
            card.addresses[0] for card in self.cards if card.serial == serial
        )

    def held(self, server: str) -> dict[str, int]:
        """Return resource class -> amount of ours that Placement knows."""
        found: dict[str, int] = {}
        for allocation in self.nova.allocations(server).values():
            for name, amount in allocation['resources'].items():
                if name not in ('VCPU', 'MEMORY_MB', 'DISK_GB'):
                    found[name] = found.get(name, 0) + amount
        return found


class LinuxScenario(Scenario):
    """The servers run Linux: it tells about USB and about every change."""

    ram = guests.LINUX_RAM
    # An emulator in an emulator translates the kernel's code: that takes
    # many minutes where the host has other work.
    report_timeout = 600
    read_report = staticmethod(guests.read_linux_report)

    def image(self) -> str:
        return self.lab.linux_image()

    def wait_guest_sees(
        self, server: str, vendor: str, number: int
    ) -> list[guests.Seen]:
        """Wait until the guest has so many devices of a vendor."""

        def right() -> bool:
            return len(self.guest_sees(server, vendor)) == number

        process.wait_for(
            f'report of {number} devices of {vendor}',
            right,
            self.report_timeout,
            pause=1,
        )
        return self.guest_sees(server, vendor)
