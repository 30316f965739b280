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
"""Cost does not grow with what did not change. By counts, not by clocks."""

import collections
import pathlib
import tempfile
import typing as ty
from unittest import mock

from nova_accel.testing import cloud
from nova_accel.testing import connection
from nova_accel.testing import node_xml

RULES = """
version: 1
devices:
  small:
    kind: vgpu
    match: {vendor_id: "10de"}
    models: [nvidia-231]
"""

# What libvirt is asked about the host's devices, whoever asks.
_DEVICES = ('nodeDevice', 'virNodeDevice', 'listAllDevices', 'listDevices')

Calls = collections.Counter[str]


class FlatTest(cloud.CloudTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.write_rules(RULES)
        self.four = self.flavor(resources__VGPU=4)

    def start(self, name: str, cards: int) -> connection.HybridConnection:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = pathlib.Path(folder.name, 'node.xml')
        path.write_text(node_xml.vgpu_host(cards))
        conn = connection.HybridConnection(str(path), hostname=name)
        self.start_compute(name, connection=conn)
        # The first updates create the providers.
        self.run_periodic(name)
        return conn

    def counted(
        self, conn: connection.HybridConnection, action: ty.Any
    ) -> Calls:
        before = collections.Counter(conn.calls)
        action()
        return collections.Counter(conn.calls) - before

    def spawn_on(self, host: str) -> None:
        self.boot(self.four, host=host)

    def test_a_spawn_costs_the_same_on_a_host_of_any_size(self) -> None:
        few, many = self.start('few', 4), self.start('many', 16)
        self.boot(self.four, host='many')
        self.assertEqual(
            _devices(self.counted(few, lambda: self.spawn_on('few'))),
            _devices(self.counted(many, lambda: self.spawn_on('many'))),
        )

    def test_a_spawn_makes_one_call_for_each_device_it_asks_for(self) -> None:
        conn = self.start('few', 4)
        calls = self.counted(conn, lambda: self.spawn_on('few'))
        self.assertEqual({'nodeDeviceCreateXML': 4}, _devices(calls))

    def test_an_update_asks_for_no_device_when_nothing_changed(self) -> None:
        conn = self.start('many', 16)
        calls = self.counted(conn, lambda: self.run_periodic('many'))
        self.assertEqual({}, _devices(calls))

    def test_an_update_asks_for_the_one_device_that_changed(self) -> None:
        conn = self.start('many', 16)
        name = next(
            name for name, kind in conn.machine.names() if kind == 'pci'
        )
        conn.machine.alter(conn.machine.describe(name))
        calls = self.counted(conn, lambda: self.run_periodic('many'))
        self.assertIn(sum(_devices(calls).values()), (1, 2, 3))

    def test_a_call_for_each_device_would_be_noticed(self) -> None:
        conn = self.start('many', 16)
        accel = self.computes['many'].driver.accel

        def careless() -> None:
            for name, _kind in conn.machine.names():
                conn.nodeDeviceLookupByName(name)

        with mock.patch.object(accel, 'refresh', careless):
            calls = self.counted(conn, lambda: self.run_periodic('many'))
        self.assertGreater(sum(_devices(calls).values()), 16)


def _devices(calls: Calls) -> dict[str, int]:
    return {
        verb: count
        for verb, count in calls.items()
        if verb.startswith(_DEVICES)
    }
