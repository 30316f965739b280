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
"""TCP ports of services: one each on 127.0.0.1, counted from a kept base."""

import collections.abc
import json
import pathlib
import socket

from tests.lab.harness import errors

_LAST = 32000


def port(
    file: pathlib.Path,
    services: collections.abc.Sequence[str],
    first: int,
    service: str,
) -> int:
    """Return the port of a service.

    :param file: remembers the base, once one was looked for.
    :param first: where to begin to look for one.
    :raises LabError: no block of ports is free.
    """
    if not file.exists():
        file.write_text(json.dumps({'base': _free_base(first, len(services))}))
    base = int(json.loads(file.read_text())['base'])
    return base + services.index(service)


def _free_base(first: int, number: int) -> int:
    for base in range(first, _LAST, 100):
        if all(_is_free(base + i) for i in range(number)):
            return base
    raise errors.LabError(f'no free block of TCP ports below {_LAST}')


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(('127.0.0.1', port))
        except OSError:
            return False
    return True
