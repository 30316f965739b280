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
"""What a cloud that has ended may not leave behind."""

import collections.abc
import os
import pathlib
import time

from tests.cloud.harness import settings
from tests.cloud.harness import switch
from tests.lab.harness import database

# What is on its way to its end gets so many seconds.
_PATIENCE = 10


def wait(about: settings.Settings) -> list[str]:
    """Name what is left of a cloud; waits a little for what is ending."""
    until = time.monotonic() + _PATIENCE
    while (found := [*find(about)]) and time.monotonic() < until:
        time.sleep(0.2)
    return found


def find(about: settings.Settings) -> collections.abc.Iterator[str]:
    """Processes, ports, network devices and mounts of a cloud."""
    yield from _processes(about.run)
    for service in settings.SERVICES:
        port = about.port(service)
        if database.is_open(port):
            yield f'port {port} ({service})'
    for name in switch.LEFT:
        if (switch.DEVICES / name).exists():
            yield f'network device {name}'
    for line in pathlib.Path('/proc/self/mounts').read_text().splitlines():
        if f' {about.state}/' in line:
            yield f'mount {line.split()[1]}'


def _processes(folder: pathlib.Path) -> collections.abc.Iterator[str]:
    """Those that live in a folder, or were told of it at their start."""
    mark = os.fsencode(f'{folder}/')
    for process in pathlib.Path('/proc').glob('[0-9]*'):
        if int(process.name) == os.getpid():
            continue
        try:
            words = (process / 'cmdline').read_bytes()
            told = words + (process / 'environ').read_bytes()
            place = os.fsencode(f'{os.readlink(process / "cwd")}/')
        except OSError:
            continue
        if mark in told or place.startswith(mark):
            command = words.replace(b'\0', b' ').decode(errors='replace')
            yield f'process {process.name}: {command[:100]}'
