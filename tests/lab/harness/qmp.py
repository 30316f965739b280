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
"""QEMU's own control socket: pull and push cards of the host."""

import json
import pathlib
import socket
import typing as ty

from tests.lab.harness import errors


class Qmp:
    """One conversation; use as a context manager."""

    def __init__(self, path: pathlib.Path, timeout: float = 20) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        self._socket.connect(str(path))
        self._lines = self._socket.makefile('rb')
        self._lines.readline()
        self.run('qmp_capabilities')

    def __enter__(self) -> 'Qmp':
        return self

    def __exit__(self, *_about: object) -> None:
        self._lines.close()
        self._socket.close()

    def run(self, command: str, **arguments: ty.Any) -> ty.Any:
        """Return what the command returns.

        :raises LabError: QEMU refused.
        """
        text = json.dumps({'execute': command, 'arguments': arguments})
        self._socket.sendall(text.encode())
        while True:
            line = self._lines.readline()
            if not line:
                raise errors.LabError(f'QEMU hung up during {command}')
            answer = json.loads(line)
            if 'error' in answer:
                raise errors.LabError(f'{command}: {answer["error"]["desc"]}')
            if 'return' in answer:
                return answer['return']
