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
"""Processes of the lab: started in a group of their own, ended by it.

A process is remembered as (pid, start time), so that a number the kernel
has given to someone else since is never signalled.
"""

import collections.abc
import json
import os
import pathlib
import signal
import subprocess
import time

from tests.lab.harness import errors


def run(
    *command: str,
    timeout: float = 300,
    cwd: pathlib.Path | None = None,
    env: collections.abc.Mapping[str, str] | None = None,
    said: str = '',
) -> str:
    """Run to the end and return what it printed.

    :param said: what it reads from its standard input.
    :raises LabError: it failed or took too long; with its last lines.
    """
    try:
        done = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            input=said,
            timeout=timeout,
            cwd=cwd,
            env=env,
            text=True,
            errors='replace',
        )
    except subprocess.TimeoutExpired:
        raise errors.LabError(
            f'{" ".join(command)[:200]}: no end after {timeout:.0f} s'
        ) from None
    if done.returncode:
        tail = '\n'.join(done.stdout.splitlines()[-15:])
        raise errors.LabError(
            f'{" ".join(command)[:200]}: exit code {done.returncode}\n{tail}'
        )
    return done.stdout


class Daemon:
    """A process that outlives the command that started it."""

    def __init__(self, name: str, folder: pathlib.Path) -> None:
        self.name = name
        self.log = folder / f'{name}.log'
        self._file = folder / f'{name}.process'

    def start(
        self,
        command: collections.abc.Sequence[str],
        env: collections.abc.Mapping[str, str] | None = None,
        nice: int = 0,
    ) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open('ab') as log:
            child = subprocess.Popen(
                ['nice', '-n', str(nice), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=env,
                # where a crash dump may go
                cwd=self.log.parent,
                start_new_session=True,
            )
        self.adopt(child.pid)

    def adopt(self, pid: int) -> None:
        """Take a process that leads a group of its own."""
        self._file.write_text(json.dumps({'pid': pid, 'born': _born(pid)}))

    @property
    def pid(self) -> int | None:
        """Of the running process, None if it does not run."""
        try:
            known = json.loads(self._file.read_text())
        except (OSError, ValueError):
            return None
        pid = int(known['pid'])
        alive = _born(pid) is not None and _born(pid) == known['born']
        return pid if alive else None

    def signal(self, number: signal.Signals) -> None:
        pid = self.pid
        if pid is not None:
            os.killpg(pid, number)

    def stop(self, patience: float = 15) -> None:
        """End the whole group: asked first, then killed."""
        pid = self.pid
        if pid is not None:
            _end_group(pid, signal.SIGTERM, patience)
            _end_group(pid, signal.SIGKILL, 5)
        self._file.unlink(missing_ok=True)

    def tail(self, lines: int = 15) -> str:
        try:
            text = self.log.read_text(errors='replace')
        except OSError:
            return ''
        return '\n'.join(text.splitlines()[-lines:])


def _born(pid: int) -> str | None:
    """Start time of a process in clock ticks; None: gone, or a zombie."""
    try:
        with open(f'/proc/{pid}/stat') as file:
            fields = file.read().rpartition(')')[2].split()
    except OSError:
        return None
    return None if fields[0] == 'Z' else fields[19]


def _end_group(group: int, number: signal.Signals, patience: float) -> None:
    try:
        os.killpg(group, number)
        until = time.monotonic() + patience
        while time.monotonic() < until:
            _reap(group)
            os.killpg(group, 0)
            time.sleep(0.1)
    except ProcessLookupError:
        pass


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass


def wait_for(
    what: str,
    test: collections.abc.Callable[[], bool],
    timeout: float,
    daemon: Daemon | None = None,
    pause: float = 0.2,
) -> None:
    """Wait until a test holds.

    :raises LabError: it does not in time, or the daemon died before.
    """
    until = time.monotonic() + timeout
    while not test():
        if daemon is not None and daemon.pid is None:
            raise errors.LabError(f'{daemon.name} ended:\n{daemon.tail()}')
        if time.monotonic() > until:
            tail = f':\n{daemon.tail()}' if daemon is not None else ''
            raise errors.LabError(f'no {what} after {timeout:.0f} s{tail}')
        time.sleep(pause)
