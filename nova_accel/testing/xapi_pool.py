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
"""The XAPI simulator as a process of its own, started and controlled."""

import json
import subprocess
import sys
import types
import typing as ty
import urllib.request

from nova_accel.testing.xapi_simulator import topology as loader

_START = (
    'from nova_accel.testing.xapi_simulator import cli; import sys; '
    'sys.exit(cli.main())'
)


class Pool:
    """A pool of hosts that runs until ``stop``. A context, too.

    :param topology: name of one that ships, or a file.
    :ivar urls: of the hosts, by their names; the first is the master.
    """

    def __init__(self, topology: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, '-c', _START]
            + ['--topology', topology, '--listen', '127.0.0.1:0'],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.urls: dict[str, str] = {}
        try:
            self._await(topology)
        except BaseException:
            self.stop()
            raise

    def _await(self, topology: str) -> None:
        assert self._process.stdout is not None
        # It says where each host answers, once it does.
        for _host in loader.load(topology).hosts:
            line = self._process.stdout.readline()
            if not line:
                raise RuntimeError(f'no simulator of {topology}')
            name, *_master, url = line.split()
            self.urls[name] = url

    @property
    def url(self) -> str:
        return next(iter(self.urls.values()))

    @property
    def pid(self) -> int:
        return self._process.pid

    def __enter__(self) -> 'Pool':
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: types.TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the process. Idempotent."""
        self._process.terminate()
        self._process.wait(10)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def control(self, method: str, path: str, **body: ty.Any) -> ty.Any:
        """Tell the simulator something, or ask it."""
        return tell(self.url, method, path, **body)

    def fault(self, message: str, **how: ty.Any) -> None:
        """Let something go wrong. See ``faults`` of the simulator."""
        self.control('POST', 'faults', message=message, **how)

    def leftovers(self) -> dict[str, list[str]]:
        """What was made since the start and is there still."""
        return ty.cast(dict[str, list[str]], self.control('GET', 'leftovers'))

    def calls(self) -> dict[str, int]:
        """How often each message came since ``forget_calls``."""
        return ty.cast(dict[str, int], self.control('GET', 'calls'))

    def forget_calls(self) -> None:
        self.control('DELETE', 'calls')


def tell(url: str, method: str, path: str, **body: ty.Any) -> ty.Any:
    """Tell a simulator something, or ask it.

    :param url: of any of its hosts.
    """
    request = urllib.request.Request(
        f'{url}/simulator/{path}',
        data=json.dumps(body).encode() if method != 'GET' else None,
        method=method,
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)
