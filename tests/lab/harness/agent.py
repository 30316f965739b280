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
"""Run commands inside the machine."""

import collections.abc
import dataclasses
import json
import os
import selectors
import socket
import struct
import sys
import termios
import tty

from tests.lab.harness import errors


@dataclasses.dataclass(frozen=True)
class Result:
    code: int
    output: str


class Agent:
    """Client of ``inside/agentd.py``."""

    def __init__(self, port: int) -> None:
        self._port = port

    def run(self, script: str, timeout: float = 60) -> Result:
        """Run a bash script there; output holds stderr too.

        :raises LabError: the machine does not answer, or the script did
            not end in time (then it is killed there).
        """
        request = {'script': script, 'timeout': timeout}
        try:
            with self._ask(request, timeout + 15) as conn:
                return _read_result(conn)
        except (OSError, EOFError) as exc:
            raise errors.LabError(
                f'the machine did not answer: {exc!r}; it was asked:\n'
                f'{script[:300]}'
            ) from exc

    def check(self, script: str, timeout: float = 60) -> str:
        """Run a script that must succeed and return what it printed."""
        result = self.run(script, timeout)
        if result.code:
            raise errors.LabError(
                f'inside the machine, exit code {result.code}:\n'
                f'{script[:500]}\n{result.output[-2000:]}'
            )
        return result.output

    def answers(self) -> bool:
        try:
            return self.run('true', timeout=5).code == 0
        except errors.LabError:
            return False

    def write(self, path: str, text: str) -> None:
        """Write a file there."""
        request = {'path': path, 'text': text}
        with self._ask(request, 30) as conn:
            result = _read_result(conn)
        if result.code:
            raise errors.LabError(f'{path}: {result.output}')

    def shell(self) -> None:
        """Connect this terminal to a shell there until it ends."""
        with self._ask({'shell': True}, None) as conn:
            _pump(conn)

    def _ask(
        self,
        request: collections.abc.Mapping[str, object],
        timeout: float | None,
    ) -> socket.socket:
        conn = socket.create_connection(('127.0.0.1', self._port), 5)
        conn.settimeout(timeout)
        raw = json.dumps(request).encode()
        conn.sendall(struct.pack('!I', len(raw)) + raw)
        return conn


def _read_result(conn: socket.socket) -> Result:
    (length,) = struct.unpack('!I', _read(conn, 4))
    answer = json.loads(_read(conn, length))
    return Result(answer['code'], answer['output'])


def _read(conn: socket.socket, length: int) -> bytes:
    data = b''
    while len(data) < length:
        chunk = conn.recv(length - len(data))
        if not chunk:
            raise EOFError('connection closed')
        data += chunk
    return data


def _pump(conn: socket.socket) -> None:
    stdin = sys.stdin.fileno()
    saved = termios.tcgetattr(stdin) if os.isatty(stdin) else None
    if saved is not None:
        tty.setraw(stdin)
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(conn, selectors.EVENT_READ)
            selector.register(stdin, selectors.EVENT_READ)
            while _pump_once(conn, stdin, selector):
                pass
    finally:
        if saved is not None:
            termios.tcsetattr(stdin, termios.TCSADRAIN, saved)


def _pump_once(
    conn: socket.socket, stdin: int, selector: selectors.BaseSelector
) -> bool:
    for key, _events in selector.select():
        if key.fileobj is conn:
            data = conn.recv(65536)
            if not data:
                return False
            os.write(sys.stdout.fileno(), data)
            continue
        data = os.read(stdin, 65536)
        if data:
            conn.sendall(data)
        else:
            selector.unregister(stdin)
            conn.sendall(b'\x04')
    return True
