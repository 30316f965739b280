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
"""Runs a program of the operator's, which is trusted with nothing.

No shell, an environment of our own, an unprivileged user, limits, and an
end: it and all that it has started are killed when its time is over, and it
is killed when nova-compute dies.
"""

import collections.abc
import contextlib
import ctypes
import dataclasses
import logging
import os
import pwd
import resource
import selectors
import signal
import subprocess
import time

from nova_accel.core import upkeep
from nova_accel import exception

LOG = logging.getLogger(__name__)

# Bytes of what it says that are kept; the rest is read and thrown away.
MAX_OUTPUT = 4096
_ENVIRONMENT = {
    'PATH': '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    'LC_ALL': 'C',
}
_LIMITS = {
    resource.RLIMIT_CORE: 0,
    resource.RLIMIT_NOFILE: 1024,
}
# Who it is where nova-compute is root and nobody is named.
NOBODY = 'nobody'
_PR_SET_PDEATHSIG = 1
_PIECE = 65536
_GRACE = 5.0
_PAUSE = 0.05

_libc = ctypes.CDLL(None)


@dataclasses.dataclass(frozen=True)
class User:
    """Who a program is run as.

    :ivar change: None: as we are.
    """

    name: str
    change: pwd.struct_passwd | None = None


def user(name: str) -> User:
    """Return who is meant by ``[accel] command_user``.

    :param name: '': who we are, or nobody if that is root.
    :raises CannotRun: it is root, unknown, or we may not become it.
    """
    me = os.geteuid()
    try:
        who = pwd.getpwnam(name or NOBODY) if name or not me else None
        if who is None:
            return User(str(me))
    except KeyError as error:
        raise _cannot(f'there is no user {name or NOBODY!r}') from error
    if not who.pw_uid:
        raise _cannot(
            f'[accel] command_user is {who.pw_name}: name a user who may do '
            f'what it needs, and nothing else'
        )
    if who.pw_uid == me:
        return User(who.pw_name)
    if me:
        raise _cannot(
            f'[accel] command_user is {who.pw_name}, and nova-compute is not '
            f'allowed to become it: leave the option empty'
        )
    return User(who.pw_name, who)


def _cannot(reason: str, program: str = 'A command') -> exception.CannotRun:
    return exception.CannotRun(program=program, reason=reason)


def run(
    command: upkeep.Command,
    environment: collections.abc.Mapping[str, str],
    who: User,
) -> str:
    """Run a program to its end; return the beginning of what it said.

    :param environment: what it is to know.
    :raises CommandFailed: it cannot be run, fails, or takes too long.
    """
    program = command.argv[0]
    deadline = time.monotonic() + command.timeout
    try:
        process = _start(command, environment, who)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise _cannot(str(error), program) from error
    try:
        said = _listen(process, deadline)
        # It may close its output and go on.
        while not _is_over(process):
            _check(deadline)
            time.sleep(_PAUSE)
    except TimeoutError as error:
        raise exception.CommandFailed(
            program=program,
            how=f'was killed: it took more than {command.timeout} s',
            said='',
        ) from error
    finally:
        _end(process)
    if process.returncode:
        raise exception.CommandFailed(
            program=program,
            how=_ended(process.returncode),
            said=f'; it said: {said}' if said else '',
        )
    return said


def _start(
    command: upkeep.Command,
    environment: collections.abc.Mapping[str, str],
    who: User,
) -> 'subprocess.Popen[bytes]':
    change = who.change
    process = subprocess.Popen(
        command.argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd='/',
        env={**_ENVIRONMENT, **environment},
        start_new_session=True,
        user=change.pw_uid if change else None,
        group=change.pw_gid if change else None,
        extra_groups=[] if change else None,
        umask=0o077,
        preexec_fn=_tie,
    )
    for which, limit in _LIMITS.items():
        with contextlib.suppress(OSError, ValueError):
            resource.prlimit(process.pid, which, (limit, limit))
    return process


def _tie() -> None:
    # In the child: it dies with the thread that has started it.
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _listen(process: 'subprocess.Popen[bytes]', deadline: float) -> str:
    """Read what it says until it ends; TimeoutError: it does not."""
    assert process.stdout is not None
    said = b''
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            # What it has started may keep the pipe open when it is gone.
            if _is_over(process) and not selector.select(0):
                break
            _check(deadline)
            if selector.select(_PAUSE):
                piece = os.read(process.stdout.fileno(), _PIECE)
                if not piece:
                    break
                said = (said + piece)[:MAX_OUTPUT]
    text = said.decode(errors='replace')
    return ' '.join(
        ''.join(c if c.isprintable() else ' ' for c in text).split()
    )


def _is_over(process: 'subprocess.Popen[bytes]') -> bool:
    # Not waited for yet: its number is not given to anybody else.
    how = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, process.pid, how) is not None


def _check(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise TimeoutError


def _end(process: 'subprocess.Popen[bytes]') -> None:
    """Leave nothing of it behind."""
    # Its group outlives it as long as anything of it does.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        LOG.warning('Process %d cannot be killed', process.pid)
    if process.stdout is not None:
        process.stdout.close()


def _ended(code: int) -> str:
    if code > 0:
        return f'ended with exit code {code}'
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f'signal {-code}'
    return f'was killed by {name}'
