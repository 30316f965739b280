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
"""What attach adds to the time that a real libvirtd and QEMU take for it.

A guest of QEMU stands beside the simulated one: what our code asks of that
one is asked of both. In place of the host device, for which there would have
to be VFIO, it gets a controller on its PCI bus, which QEMU adds in the same
way. The guest is emulated and never runs, so that it takes no time itself.
"""

import collections.abc
import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import typing as ty
from unittest import mock

from tests.benchmarks import hosts

import libvirt

from tests.benchmarks import targets

# A bus has 32 slots; QEMU itself takes two of them.
ROUNDS = 9
TARGET = targets.at_most_more(20)

_PATH = f'{os.environ.get("PATH", os.defpath)}{os.pathsep}/usr/sbin'
_PROGRAMS = ('libvirtd', 'qemu-system-x86_64')
_NOBODY = 65534
_PATIENCE = 60.0
_DOMAIN = """
<domain type='qemu'>
  <name>bench</name>
  <memory unit='MiB'>16</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <features><acpi/></features>
  <devices>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
  </devices>
</domain>
"""
_DEVICE = "<controller type='scsi' model='virtio-scsi' index='{}'/>"
_FOR_GOOD = libvirt.VIR_DOMAIN_AFFECT_LIVE | libvirt.VIR_DOMAIN_AFFECT_CONFIG
# What our code asks of a guest, beside the attach.
_QUESTIONS = ('XMLDesc', 'isActive')


class Lacking(Exception):
    """There is no hypervisor to be measured, and why."""


class Guest:
    """One of QEMU's.

    :ivar devices: how many it was given.
    """

    def __init__(self, connection: libvirt.virConnect) -> None:
        self._connection = connection
        self._domain = connection.defineXML(_DOMAIN)
        self._uuid = self._domain.UUIDString()
        self._domain.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)
        self.devices = 0

    def attach(self) -> None:
        """Give it one more device, for good."""
        self.devices += 1
        self._domain.attachDeviceFlags(_DEVICE.format(self.devices), _FOR_GOOD)

    def check(self) -> None:
        """See that it has what was counted.

        :raises RuntimeError: it has not.
        """
        for flags in (0, libvirt.VIR_DOMAIN_XML_INACTIVE):
            has = self._domain.XMLDesc(flags).count("model='virtio-scsi'")
            if has != self.devices:
                raise RuntimeError(
                    f'The guest has {has} devices, not {self.devices}'
                )

    @contextlib.contextmanager
    def beside(self, host: hosts.Host) -> collections.abc.Iterator[None]:
        """Have it asked whatever the guest of a host's server is asked."""
        simulated = host.connection.lookupByUUIDString(host.server.uuid)
        with contextlib.ExitStack() as stack:
            for verb in _QUESTIONS:
                ask = getattr(self._domain, verb)
                stack.enter_context(_also(simulated, verb, ask))
            stack.enter_context(
                _also(simulated, 'attachDeviceFlags', self.attach)
            )
            stack.enter_context(
                _also(host.connection, 'lookupByUUIDString', self._look_up)
            )
            yield

    def _look_up(self) -> None:
        self._connection.lookupByUUIDString(self._uuid)

    def close(self) -> None:
        self._domain.destroy()
        self._domain.undefine()


def _also(
    simulated: object, verb: str, real: collections.abc.Callable[[], object]
) -> ty.Any:
    original = getattr(simulated, verb)

    def call(*args: ty.Any, **kwargs: ty.Any) -> ty.Any:
        real()
        return original(*args, **kwargs)

    return mock.patch.object(simulated, verb, call)


def rows(host: hosts.Host, rounds: int = ROUNDS) -> list[targets.Row]:
    """Measure a host that has a server which runs."""
    load = '1 vGPU, claimed, made and plugged into a guest of QEMU'
    all_of_it = '1 vGPU, all of attach, with records in SQLite'
    try:
        with _guest() as guest:
            raw, part, whole = _milliseconds(host, guest, rounds)
    except Lacking as e:
        print(f'attach-time is NOT MEASURED: {e}', file=sys.stderr, flush=True)
        return [targets.Row('attach-time', load, 'ms', 0, 0, TARGET, str(e))]
    return [
        targets.Row('attach-time', load, 'ms', part, raw, TARGET),
        targets.Row('attach-time-whole', all_of_it, 'ms', whole, raw),
    ]


def _milliseconds(
    host: hosts.Host, guest: Guest, rounds: int
) -> tuple[float, ...]:
    """Return the least times: libvirt's own, and two of ours around it."""
    times: tuple[list[float], ...] = ([], [], [])
    for _ in range(rounds):
        times[0].append(_timed(guest.attach))
        with guest.beside(host):
            times[1].append(_timed(host.plug))
            host.unplug()
            times[2].append(_timed(host.attach))
            host.detach()
    guest.check()
    if guest.devices != 3 * rounds:
        raise RuntimeError(f'{guest.devices} devices in {rounds} rounds')
    return tuple(round(min(found), 2) for found in times)


def _timed(action: collections.abc.Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return 1000 * (time.perf_counter() - start)


# libvirtd


@contextlib.contextmanager
def _guest() -> collections.abc.Iterator[Guest]:
    """Start one on a libvirtd of our own; both are gone afterwards.

    :raises Lacking: that is not possible here.
    """
    for program in _PROGRAMS:
        if shutil.which(program, path=_PATH) is None:
            raise Lacking(f'{program} is not installed')
    with contextlib.ExitStack() as stack:
        # The path of a socket may have a hundred characters.
        folder = stack.enter_context(
            tempfile.TemporaryDirectory(prefix='bench', dir='/tmp')
        )
        home = pathlib.Path(folder)
        stack.callback(_end, _start(home))
        try:
            connection = _connect(home)
            stack.callback(connection.close)
            guest = Guest(connection)
        except (libvirt.libvirtError, TimeoutError) as e:
            log = (home / 'log').read_text(errors='replace')
            raise Lacking(f'{e}\n{log[-1000:]}'.strip()) from e
        stack.callback(guest.close)
        yield guest


def _start(home: pathlib.Path) -> 'subprocess.Popen[bytes]':
    """Start a session daemon: it keeps to its folder, root's would not."""
    settings = home / 'libvirt'
    settings.mkdir()
    # It would leave virtlogd behind.
    (settings / 'qemu.conf').write_text('stdio_handler = "file"\n')
    identity: dict[str, ty.Any] = {}
    if os.geteuid() == 0:
        identity = {'user': _NOBODY, 'group': _NOBODY, 'extra_groups': []}
        for path in (home, settings, settings / 'qemu.conf'):
            os.chown(path, _NOBODY, _NOBODY)
    with (home / 'log').open('wb') as log:
        return subprocess.Popen(
            ['libvirtd'],
            executable=shutil.which('libvirtd', path=_PATH),
            env={
                'PATH': _PATH,
                **dict.fromkeys(_HOMES, str(home)),
            },
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            **identity,
        )


_HOMES = (
    'HOME',
    'XDG_RUNTIME_DIR',
    'XDG_CONFIG_HOME',
    'XDG_CACHE_HOME',
    'XDG_DATA_HOME',
)


def _end(daemon: 'subprocess.Popen[bytes]') -> None:
    daemon.terminate()
    try:
        daemon.wait(15)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def _connect(home: pathlib.Path) -> libvirt.virConnect:
    """Wait until libvirtd answers.

    :raises TimeoutError: it does not.
    """
    socket = home / 'libvirt' / 'libvirt-sock'
    until = time.monotonic() + _PATIENCE
    while not socket.exists():
        if time.monotonic() > until:
            raise TimeoutError('libvirtd does not answer')
        time.sleep(0.1)
    return libvirt.open(f'qemu+unix:///session?socket={socket}')
