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
from tests.lab.harness import snapshot
from tests.lab.harness import topology

# A loaded machine needs 80 s.
_BOOT_TIMEOUT = 300
_RESTORE_TIMEOUT = 60
_CMD = '/sys/module/labgpu/parameters/cmd'
# The guests' log files and nova-compute's, as the host sees them too.
OUT = '/var/log/lab'
# Slow in software: page tables of five levels, wide registers, and copies that
# the processor is asked to make by itself.
_CPU = 'max,la57=off,avx2=off,erms=off,fsrm=off'
# Of what outlives a reboot: nova's state, libvirt's definitions.
_DATA_MIB = 1024


@dataclasses.dataclass(frozen=True)
class _Share:
    """A folder of the host, mounted inside.

    :ivar path: where it is mounted, and where it is on the host too unless
        ``source`` says otherwise.
    """

    path: str
    source: str = ''
    writable: bool = False


def _drive(number: int) -> str:
    """Of a disk in the machine, counted from 0."""
    return f'vd{chr(ord("a") + number)}'


def _address(number: int) -> str:
    """Of a machine in the network between them."""
    return f'192.168.99.{number}'


class Machine:
    """Starts, asks and ends a machine of one lab.

    :param number: 1 or 2; a second one differs by its name and addresses.
    """

    def __init__(self, lab: settings.Settings, number: int = 1) -> None:
        self._lab = lab
        self._number = number
        self._suffix = '' if number == 1 else str(number)
        self.name = f'gpuhost{self._suffix}'
        self.address = _address(number)
        self.folder = lab.run / f'machine{self._suffix}'
        self.out = self.folder / 'out'
        self.daemon = process.Daemon('qemu', self.folder)
        self.agent = agent.Agent(self._port('agent'))

    def _port(self, service: str) -> int:
        return self._lab.port(service + self._suffix)

    @property
    def _data(self) -> pathlib.Path:
        return self.folder / 'data.ext4'

    @property
    def _initrd(self) -> pathlib.Path:
        return self.folder / 'initrd'

    @property
    def console(self) -> pathlib.Path:
        return self.folder / 'console'

    def begin(self, linux: kernel.Kernel) -> None:
        """Start to boot, perhaps before there is an environment.

        ``boot`` goes on with it, in another process if need be.
        """
        self._empty()
        self._lab.known.unlink(missing_ok=True)
        initrd.build(linux, self._initrd)
        self._begun.touch()
        self.daemon.start(self._command(linux))

    def boot(self, linux: kernel.Kernel) -> str:
        """Start with an empty data disk; return how it went, to be told."""
        if not self._is_begun:
            self._refuse_twice()
            self._empty()
        return self._start(linux)

    def _empty(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.out.mkdir(parents=True)
        images.empty(self._data, _DATA_MIB)

    @property
    def _is_begun(self) -> bool:
        return self.daemon.pid is not None and self._begun.exists()

    @property
    def _begun(self) -> pathlib.Path:
        return self.folder / 'begun'

    def _refuse_twice(self) -> None:
        if self.daemon.pid is not None:
            raise errors.LabError('the machine runs already; end it: lab down')

    def reboot(self, linux: kernel.Kernel) -> str:
        """Cut the power and start again; the data disk keeps its content."""
        self.agent.check('sync')
        self.stop()
        return self._start(linux)

    def _start(self, linux: kernel.Kernel) -> str:
        """Restore the machine as it was saved after a boot, or boot."""
        begun = self._is_begun
        if not begun:
            initrd.build(linux, self._initrd)
        command = self._command(linux)
        saved = snapshot.Snapshot(
            self._lab, self._anonymous(command), self._initrd
        )
        started = time.monotonic()
        restored = not begun and self._restore(command, saved)
        if not restored:
            self._boot(command)
            self._save(saved)
        how = 'restored' if restored else 'booted'
        self._begun.unlink(missing_ok=True)
        self.agent.check(f'/lab/join {time.time()} {self.name}')
        return f'{how} in {time.monotonic() - started:.1f} s'

    def _anonymous(self, command: list[str]) -> list[str]:
        """The command line without what differs between machines."""
        differs = {
            str(self.folder): 'FOLDER',
            f':{self._port("agent")}-': 'AGENT',
            f':{self._port("libvirt")}-': 'LIBVIRT',
        }
        text = '\0'.join(command)
        for own, common in differs.items():
            text = text.replace(own, common)
        return text.split('\0')

    def _restore(self, command: list[str], saved: snapshot.Snapshot) -> bool:
        if not saved.file.exists():
            return False
        (self.folder / 'qmp').unlink(missing_ok=True)
        self.daemon.start([*command, *saved.arguments])
        try:
            process.wait_for('QEMU', self._listens, 20, self.daemon)
            with self.qmp() as control:
                saved.resume(control)
            process.wait_for(
                'agent', self.agent.answers, _RESTORE_TIMEOUT, self.daemon
            )
            return True
        except errors.LabError as exc:
            print(f'lab: booting, as nothing was restored: {exc}', flush=True)
            self.stop()
            saved.file.unlink()
            return False

    def _listens(self) -> bool:
        return (self.folder / 'qmp').exists()

    def _boot(self, command: list[str]) -> None:
        """Start and wait for libvirt, and for a nova in memory.

        QEMU's multi-threaded emulation was seen to hang once in a while
        with both processors in a spin lock: then it is started again.
        """
        for attempt in range(2):
            if self.daemon.pid is None:
                self.console.unlink(missing_ok=True)
                self.daemon.start(command)
            try:
                process.wait_for(
                    'agent', self.agent.answers, _BOOT_TIMEOUT, self.daemon
                )
                self.agent.check('/lab/load')
                process.wait_for(
                    'machine', self._said_ready, _BOOT_TIMEOUT, self.daemon
                )
                break
            except errors.LabError as exc:
                self.stop()
                if attempt:
                    raise
                print(f'lab: starting again: {exc}', flush=True)
        self.agent.check(
            'until [ -e /run/zygote ]; do sleep 0.5\n'
            'pgrep -f zygote.py || { cat /var/log/zygote.log; exit 1; }; done',
            _BOOT_TIMEOUT,
        )

    def _save(self, saved: snapshot.Snapshot) -> None:
        try:
            with self.qmp() as control:
                saved.save(control)
        except errors.LabError as exc:
            print(f'lab: not saved for the next start: {exc}', flush=True)

    def _said_ready(self) -> bool:
        console = self.console
        return console.exists() and b'LAB-READY' in console.read_bytes()

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

    def connect(self) -> None:
        """Plug in the network between the machines, unless it is."""
        mac = f'52:54:00:99:00:{self._number:02x}'
        found = self.agent.run(f'grep -l {mac} /sys/class/net/*/address')
        if found.code == 0:
            return
        path = self._lab.run / 'net'
        ends = {
            side: {'type': 'unix', 'path': f'{path}{number}'}
            for side, number in (
                ('local', self._number),
                ('remote', 3 - self._number),
            )
        }
        pathlib.Path(f'{path}{self._number}').unlink(missing_ok=True)
        card = {'driver': 'virtio-net-pci', 'id': 'peer', 'netdev': 'peer'}
        card |= {'mac': mac, 'romfile': '', 'bus': topology.LAST_PORT}
        with self.qmp() as control:
            control.run('netdev_add', type='dgram', id='peer', **ends)
            control.run('device_add', **card)
        self.agent.check(f'/lab/connect {mac} {self.address}')

    def plug(self, host: topology.Topology) -> None:
        """Plug in what QEMU itself imitates."""
        with self.qmp() as control:
            for command, about in topology.plug_commands(host, self.folder):
                control.run(command, **about)

    def enable_nvme(self, drive: topology.Nvme) -> list[str]:
        """Enable a drive's virtual functions; return their addresses.

        The host's own driver is kept off them, as an operator would.
        """
        printed = self.agent.check(
            f'serials=/sys/class/nvme/*/serial\n'
            f'find() {{ grep -sl "{drive.serial}" $serials; }}\n'
            f'until find > /dev/null; do sleep 0.3; done; d=$(find)\n'
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

    def _command(self, linux: kernel.Kernel) -> list[str]:
        disks = images.ensure(self._lab, linux)
        *debian, environment = disks
        shares = ','.join(
            f'{tag}:{"rw" if share.writable else "ro"}:{share.path}'
            for tag, share in self._mounts().items()
        )
        append = (
            'console=ttyS0 quiet panic=-1 intel_iommu=on iommu=pt '
            'mitigations=off nokaslr tsc=reliable init_on_alloc=0 apparmor=0 '
            f'lab.disks={",".join(debian)} '
            f'lab.environment={_drive(len(debian))} '
            f'lab.data={_drive(len(disks))} '
            f'lab.share={shares} lab.venv={environment} '
            f'lab.repository={settings.REPOSITORY}'
        )
        return [
            *self._machine(linux, append),
            *self._disks(disks.values()),
            *self._shares(),
            *self._network(),
            *topology.qemu_fixtures(),
        ]

    def _machine(self, linux: kernel.Kernel, append: str) -> list[str]:
        return [
            'qemu-system-x86_64',
            *('-name', 'nova-accel-lab'),
            *('-machine', 'q35,kernel-irqchip=split'),
            *('-accel', 'tcg,thread=multi,tb-size=512'),
            *('-cpu', _CPU, '-smp', str(self._lab.processors)),
            *('-m', f'{self._lab.memory_mib}M'),
            *('-nodefaults', '-no-user-config', '-display', 'none'),
            *('-no-reboot', '-serial', f'file:{self.console}'),
            *('-qmp', f'unix:{self.folder}/qmp,server=on,wait=off'),
            *('-kernel', str(linux.image)),
            *('-initrd', str(self._initrd)),
            *('-append', append),
            *('-device', 'intel-iommu,intremap=on'),
            # Slots named by the root ports, as on a real host; ACPI would
            # call every slot 0.
            '-global',
            'ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off',
        ]

    def _mounts(self) -> dict[str, _Share]:
        """Tag -> share."""
        return {
            # The sources change while the machine runs.
            'repository': _Share(str(settings.REPOSITORY)),
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

    def _disks(
        self, images: collections.abc.Iterable[pathlib.Path]
    ) -> list[str]:
        arguments: list[str] = []
        files = {**dict.fromkeys(images, 'readonly=on')}
        files[self._data] = 'cache=unsafe'
        for number, (file, mode) in enumerate(files.items()):
            drive = f'file={file},if=none,id=disk{number},format=raw'
            arguments += (
                *('-drive', f'{drive},{mode}'),
                *('-device', f'virtio-blk-pci,drive=disk{number}'),
            )
        return arguments

    def _network(self) -> list[str]:
        forwards = ''.join(
            f',hostfwd=tcp:127.0.0.1:{self._port(name)}-:{inside}'
            for name, inside in (('agent', 2222), ('libvirt', 16509))
        )
        return [
            *('-netdev', f'user,id=lan{forwards}'),
            *('-device', 'virtio-net-pci,netdev=lan,romfile='),
        ]
