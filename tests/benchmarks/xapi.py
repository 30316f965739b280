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
"""What the driver of XAPI takes: calls, and memory for an image.

There is no stock driver beside it. A large pool stands beside a small one:
calls must not grow.
"""

import pathlib
import subprocess
import sys
import tempfile
import unittest

from nova_accel.testing import xapi_pool
from tests.benchmarks import targets
from tests.functional import xapi_driver

GIB = 8
LOAD = '40 GPUs, 101 VMs; small: 4 GPUs, 1 VM'
FLAT = targets.Target('as in small', lambda ours, small: ours == small)

_TOPOLOGY = """
version: 1
hosts:
  xen1:
    memory: 1048576
    cards: [{cards}]
networks:
  pool-net0: {{bridge: xenbr0, device: eth0}}
storage:
  local: {{type: ext, size: 16384, default: yes}}
vms: {{{vms}}}
"""


def topology(boards: int, vms: int) -> str:
    """Return a pool of one host with boards of four GPUs."""
    cards = [
        f'{{card: grid-k1, address: "0000:{16 + 4 * i:02x}:00.0"}}'
        for i in range(boards)
    ]
    others = [f'vm{i}: {{host: xen1, memory: 64}}' for i in range(vms)]
    return _TOPOLOGY.format(cards=', '.join(cards), vms=', '.join(others))


class Measure(xapi_driver.DriverTestCase):
    """A test, so that nova's harness serves it."""

    found: dict[str, float] = {}

    def calls(self) -> int:
        counts = dict(self.control('GET', 'calls'))
        self.control('DELETE', 'calls')
        # How often one waits for a task depends on the machine.
        waits = counts.pop('event.from', 0)
        return sum(counts.values()) + bool(waits)

    def measure(self) -> None:
        self.driver.get_available_resource('xen1')
        self.calls()
        self.driver._backend.discover()
        self.driver.get_available_resource('xen1')
        type(self).found['steady'] = self.calls()
        # The first one finds the storage, too.
        for _each in range(2):
            server = self.server()
            self.give(server, self.vgpu('GRID K140Q'))
            self.calls()
            self.spawn(server)
            type(self).found['spawn'] = self.calls()


def _counts(boards: int, vms: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, 'pool.yaml')
        path.write_text(topology(boards, vms))
        kind = type('Measure', (Measure,), {'TOPOLOGY': str(path)})
        outcome = unittest.TestResult()
        kind('measure').run(outcome)
        for _case, trace in outcome.errors + outcome.failures:
            raise RuntimeError(trace)
    return dict(kind.found)


def memory(gib: int = GIB) -> float:
    """Return the MiB above idle that the import of an image takes."""
    with xapi_pool.Pool('grid-k2') as pool:
        done = subprocess.run(
            [sys.executable, '-m', 'tests.benchmarks.xapi_import']
            + [pool.url, str(gib)],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
    return float(done.stdout)


def rows() -> list[targets.Row]:
    """Measure everything."""
    small, large = _counts(1, 1), _counts(10, 101)
    found = [
        targets.Row(f'xapi-{name}', LOAD, 'calls', large[name], few, FLAT)
        for name, few in small.items()
    ]
    return [
        *found,
        targets.Row(
            'xapi-import',
            f'{GIB} GiB, above idle',
            'MiB',
            memory(),
            0,
            targets.at_most(64),
        ),
    ]
