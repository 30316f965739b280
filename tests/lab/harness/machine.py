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
"""The virtual machine that is the GPU host."""

import collections.abc
import contextlib
import dataclasses
import pathlib
import shutil
import time

from tests.lab.harness import agent
from tests.lab.harness import errors
from tests.lab.harness import images
from tests.lab.harness import initrd
from tests.lab.harness import kernel
from tests.lab.harness import process
from tests.lab.harness import qmp
from tests.lab.harness import settings
from tests.lab.harness import topology

# A loaded machine needs 80 s.
_BOOT_TIMEOUT = 240
_CMD = '/sys/module/labgpu/parameters/cmd'
# The guests' log files and nova-compute's, as the host sees them too.
OUT = '/var/log/lab'
# What outlives a reboot: nova's state, libvirt's definitions.
DATA = '/var/lib/lab'
_DATA_MIB = 1024


@dataclasses.dataclass(frozen=True)
class _Share:
    """A folder of the host, mounted inside.

    :ivar path: where it is mounted, and where it is on the host too unless
        ``source`` says otherwise.
    :ivar cache: of 9p: ``loose`` never looks at the host again, ``none``
        always does.
    """

    path: str
    source: str = ''
    writable: bool = False
    cache: str = 'none'


class Machine:
    """Starts, asks and ends the machine of one lab."""

    def __init__(self, lab: settings.Settings) -> None:
        self._lab = lab
        self.folder = lab.run / 'machine'
        self.out = self.folder / 'out'
        self.daemon = process.Daemon('qemu', self.folder)
        self.agent = agent.Agent(lab.port('agent'))

    @property
    def _data(self) -> pathlib.Path:
        return self.folder / 'data.ext4'

    @property
    def console(self) -> pathlib.Path:
        return self.folder / 'console'

    def boot(self, linux: kernel.Kernel, host: topology.Topology) -> float:
        """Start and wait for libvirt inside; return its uptime, seconds.

        QEMU's multi-threaded emulation was seen to hang once in a while
        with both processors in a spin lock: then it is started again.
        """
        shutil.rmtree(self.folder, ignore_errors=True)
        self.out.mkdir(parents=True)
        images.empty(self._data, _DATA_MIB)
        return self._boot(linux, host)

    def reboot(self, linux: kernel.Kernel, host: topology.Topology) -> float:
        """Cut the power and start again; disks keep what they hold."""
        self.agent.check('sync')
        self.stop()
        return self._boot(linux, host)

    def _boot(self, linux: kernel.Kernel, host: topology.Topology) -> float:
        for _attempt in range(2):
            self.start(linux, host)
            try:
                return self.wait_ready()
            except errors.LabError as exc:
                failure = exc
                print(f'lab: starting again: {exc}', flush=True)
                self.stop()
        raise failure

    def start(self, linux: kernel.Kernel, host: topology.Topology) -> None:
        """Start; returns at once, see ``wait_ready``."""
        if self.daemon.pid is not None:
            raise errors.LabError('the machine runs already; end it: lab down')
        self.console.unlink(missing_ok=True)
        initrd.build(linux, self.folder / 'initrd')
        command = [
            *self._machine(linux),
            *self._shares(),
            *self._disks(),
            *self._network(),
            *topology.qemu_devices(host, self.folder),
        ]
        self.daemon.start(command)

    def wait_ready(self) -> float:
        """Wait for libvirt inside; return its uptime then, in seconds."""
        process.wait_for(
            'machine', self._said_ready, _BOOT_TIMEOUT, self.daemon
        )
        return self.milestones()['READY']

    def _said_ready(self) -> bool:
        return 'READY' in self.milestones()

    def milestones(self) -> dict[str, float]:
        """What the console told about the start -> seconds of uptime."""
        if not self.console.exists():
            return {}
        text = self.console.read_text(errors='replace')
        said = (
            line.strip().removeprefix('LAB-').split()
            for line in text.splitlines()
            if line.startswith('LAB-')
        )
        return {word[0]: float(word[1]) for word in said if len(word) == 2}

    def stop(self) -> None:
        self.daemon.stop(patience=5)

    def qmp(self) -> contextlib.AbstractContextManager[qmp.Qmp]:
        return qmp.Qmp(self.folder / 'qmp')

    # What the hardware does

    def insert(self, *cards: topology.Card) -> None:
        """Insert cards and enable their virtual functions."""
        for card in cards:
            self.tell_module(card.command)
            for address in card.addresses if card.vfs else ():
                self.enable_functions(address, card.vfs)
        self.agent.check('udevadm settle -t 60', timeout=90)

    def enable_nvme(self, drive: topology.Nvme) -> list[str]:
        """Enable a drive's virtual functions; return their addresses.

        The host's own driver is kept off them, as an operator would.
        """
        printed = self.agent.check(
            f'd=$(grep -l "{drive.serial}" /sys/class/nvme/nvme*/serial)\n'
            f'd=$(readlink -f $(dirname $d)/device)\n'
            f'echo 0 > $d/sriov_drivers_autoprobe\n'
            f'echo {drive.vfs} > $d/sriov_numvfs\n'
            f'for v in $d/virtfn*; do basename $(readlink -f $v); done',
            timeout=120,
        )
        return printed.split()

    def remove(self, card: topology.Card) -> None:
        self.tell_module(f'del bus={card.bus:#x}')
        self.agent.check('udevadm settle -t 60', timeout=90)

    def sweep(self) -> None:
        """End all domains, remove all mediated devices."""
        self.agent.check(
            'for d in $(virsh list --all --name); do\n'
            '  virsh destroy $d; virsh undefine $d; done\n'
            'for m in /sys/bus/mdev/devices/*/remove; do\n'
            '  [ ! -e $m ] || echo 1 > $m; done\n'
            'true',
            timeout=120,
        )

    def tell_module(self, command: str) -> None:
        """Speak to labgpu; see the head of labgpu.c for the words."""
        self.agent.check(f"echo '{command}' > {_CMD}", timeout=120)

    def enable_functions(self, address: str, number: int) -> None:
        path = f'/sys/bus/pci/devices/{address}'
        self.agent.check(
            f'echo {number} > {path}/sriov_numvfs',
            timeout=120,
        )

    def wait_listed(self, names: collections.abc.Collection[str]) -> None:
        """Wait until libvirt lists node devices."""
        wanted = set(names)
        until = time.monotonic() + 120
        while wanted - set(self._listed()):
            if time.monotonic() > until:
                lacking = ', '.join(sorted(wanted - set(self._listed())))
                raise errors.LabError(f'libvirt never listed {lacking}')
            time.sleep(0.5)

    def _listed(self) -> list[str]:
        text = self.agent.check('virsh nodedev-list --cap pci', timeout=60)
        return text.split()

    # QEMU's command line, in parts

    def _machine(self, linux: kernel.Kernel) -> list[str]:
        shares = ','.join(
            f'{tag}:{"rw" if share.writable else "ro"}:{share.cache}:'
            f'{share.path}'
            for tag, share in self._mounts().items()
        )
        disks = ','.join([*images.ensure(self._lab), f'{DATA}:rw'])
        append = (
            'console=ttyS0 quiet panic=-1 intel_iommu=on iommu=pt '
            'mitigations=off nokaslr tsc=reliable init_on_alloc=0 '
            f'lab.share={shares} lab.disks={disks} '
            f'lab.modules={linux.modules} '
            f'lab.pid1={settings.LAB}/inside/pid1 lab.venv={self._lab.venv}'
        )
        return [
            'qemu-system-x86_64',
            *('-name', 'nova-accel-lab'),
            *('-machine', 'q35,kernel-irqchip=split'),
            *('-accel', 'tcg,thread=multi,tb-size=512'),
            # five levels of page tables are slow to walk in software
            *('-cpu', 'max,la57=off', '-smp', str(self._lab.processors)),
            *('-m', f'{self._lab.memory_mib}M'),
            *('-nodefaults', '-no-user-config', '-display', 'none'),
            *('-no-reboot', '-serial', f'file:{self.console}'),
            *('-qmp', f'unix:{self.folder}/qmp,server=on,wait=off'),
            *('-kernel', str(linux.image)),
            *('-initrd', str(self.folder / 'initrd')),
            *('-append', append),
            *('-device', 'intel-iommu,intremap=on'),
            # Slots named by the root ports, as on a real host; ACPI would
            # call every slot 0.
            '-global',
            'ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off',
        ]

    def _mounts(self) -> dict[str, '_Share']:
        """Tag -> share, a folder before those inside it."""
        own = (
            _Share(str(self._lab.state), cache='loose'),
            # The sources change while the machine runs.
            _Share(str(settings.REPOSITORY)),
        )
        inner = sorted(own, key=lambda share: len(share.path))
        return {
            'usr': _Share('/usr', cache='loose'),
            **{f'lab{i}': share for i, share in enumerate(inner)},
            'out': _Share(OUT, source=str(self.out), writable=True),
        }

    def _shares(self) -> list[str]:
        arguments: list[str] = []
        for tag, share in self._mounts().items():
            source = share.source or share.path
            device = f'local,id={tag},path={source},security_model=none'
            mode = '' if share.writable else ',readonly=on'
            arguments += (
                *('-fsdev', f'{device},multidevs=remap{mode}'),
                *('-device', f'virtio-9p-pci,fsdev={tag},mount_tag={tag}'),
            )
        return arguments

    def _disks(self) -> list[str]:
        arguments: list[str] = []
        files = {
            **dict.fromkeys(images.ensure(self._lab).values(), 'readonly=on'),
            self._data: 'cache=unsafe',
        }
        for number, (file, mode) in enumerate(files.items()):
            drive = f'file={file},if=none,id=disk{number},format=raw'
            arguments += (
                *('-drive', f'{drive},{mode}'),
                *('-device', f'virtio-blk-pci,drive=disk{number}'),
            )
        return arguments

    def _network(self) -> list[str]:
        forwards = ''.join(
            f',hostfwd=tcp:127.0.0.1:{self._lab.port(name)}-:{inside}'
            for name, inside in (('agent', 2222), ('libvirt', 16509))
        )
        return [
            *('-netdev', f'user,id=lan{forwards}'),
            *('-device', 'virtio-net-pci,netdev=lan,romfile='),
        ]
