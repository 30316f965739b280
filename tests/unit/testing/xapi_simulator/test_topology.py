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
"""Topologies: those that ship, and what is said of a wrong one."""

import pathlib
import tempfile

import ddt
import testtools

from nova_accel import exception
from nova_accel.testing.xapi_simulator import build
from nova_accel.testing.xapi_simulator import cards
from nova_accel.testing.xapi_simulator import topology


def load(text):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, 'pool.yaml')
        path.write_text(text)
        return topology.load(str(path))


@ddt.ddt
class ShippedTest(testtools.TestCase):
    def test_names(self):
        self.assertLessEqual(
            {'grid-k1', 'grid-k2', 'm60', 't4', 'a40', 'mxgpu', 'two-hosts'},
            set(topology.shipped()),
        )

    @ddt.data(*topology.shipped())
    def test_builds(self, name):
        one = build.build(topology.load(name), '127.0.0.1')
        self.addCleanup(one.close)
        self.assertEqual(
            one.store.refs('host')[0],
            one.store.get('pool', one.pool, 'master'),
        )
        for pgpu in one.store.refs('PGPU'):
            group = one.store.get('PGPU', pgpu, 'GPU_group')
            self.assertIn(pgpu, one.store.get('GPU_group', group, 'PGPUs'))

    @ddt.data(*topology.shipped())
    def test_says_where_it_is_from(self, name):
        path = topology.FOLDER / f'{name}.yaml'
        comment = path.read_text().split('version:')[0]
        self.assertIn('made up', comment)

    def test_cards_say_where_they_are_from(self):
        for card in cards.shipped().values():
            self.assertGreater(len(card.source), 20, card.name)

    @ddt.data(
        ('grid-k1', 4, [8, 8, 4, 2, 1]),
        ('grid-k2', 2, [8, 8, 4, 2, 1]),
        ('m60', 2, [16, 8, 4, 2, 1]),
        ('t4', 1, [16, 8, 4, 2, 1]),
        ('a40', 1, [32, 24, 16, 12, 8, 6, 4, 3, 2, 1]),
    )
    @ddt.unpack
    def test_figures(self, name, gpus, each):
        card = cards.shipped()[name]
        self.assertEqual(gpus, card.gpus)
        self.assertEqual(each, [one.per_gpu for one in card.types])


HOSTS = 'hosts:\n  xen1: {}\n'


@ddt.ddt
class WrongTest(testtools.TestCase):
    def test_vm_that_does_not_fit(self):
        found = load(
            f'version: 1\n{HOSTS}vms:\n  v:\n    host: xen1\n'
            '    memory: 99999999\n'
        )
        error = self.assertRaises(
            exception.InvalidTopology, build.build, found, '127.0.0.1'
        )
        (problem,) = error.problems
        self.assertEqual(('vms.v', 5), (problem.key, problem.line))
        self.assertIn('HOST_NOT_ENOUGH_FREE_MEMORY', str(error))

    @ddt.data(
        (f'{HOSTS}', None, 'version'),
        (f'version: 2\n{HOSTS}', 1, 'version'),
        ('version: 1\n', None, 'hosts'),
        ('version: 1\nhosts: {}\n', 2, 'hosts'),
        (f'version: 1\n{HOSTS}nets: {{}}\n', 4, 'nets'),
        ('version: 1\nhosts:\n  xen1:\n    ram: 1\n', 4, 'hosts.xen1.ram'),
        (
            'version: 1\nhosts:\n  xen1:\n    memory: lots\n',
            4,
            'hosts.xen1.memory',
        ),
        (
            'version: 1\nhosts:\n  xen1:\n    cards:\n'
            '    - {card: grid-k3, address: "0000:04:00.0"}\n',
            4,
            'hosts.xen1.cards',
        ),
        (
            'version: 1\nhosts:\n  xen1:\n    cards:\n'
            '    - card: grid-k1\n      address: "04:00"\n',
            6,
            'hosts.xen1.cards[0].address',
        ),
        (
            f'version: 1\n{HOSTS}networks:\n  n:\n    hosts: [xen9]\n',
            6,
            'networks.n.hosts',
        ),
        (
            f'version: 1\n{HOSTS}vms:\n  v:\n    host: xen9\n',
            6,
            'vms.v.host',
        ),
        (
            f'version: 1\n{HOSTS}vms:\n  v:\n    host: xen1\n'
            '    vgpus: [GRID K100]\n',
            7,
            'vms.v.vgpus',
        ),
        (
            f'version: 1\n{HOSTS}faults:\n  - message: VM.strat\n',
            5,
            'faults[0].message',
        ),
        (
            f'version: 1\n{HOSTS}faults:\n  - message: VM.start\n'
            '    error: [HOST_DISABLD]\n',
            6,
            'faults[0].error',
        ),
        (
            'version: 1\nhosts:\n  xen1:\n    pci:\n'
            '    - address: "0000:01:00.0"\n      vendor_id: "nvidia"\n'
            '      device_id: "0001"\n      class_id: "0300"\n',
            6,
            'hosts.xen1.pci[0].vendor_id',
        ),
        (
            'version: 1\nhosts:\n  xen1:\n    address: here\n',
            4,
            'hosts.xen1.address',
        ),
        (
            'version: 1\nhosts:\n  xen1: {address: 127.0.0.9}\n'
            '  xen2: {address: 127.0.0.9}\n',
            4,
            'hosts.xen2.address',
        ),
        (
            'version: 1\nhosts:\n  xen1:\n    cards:\n'
            '    - {card: radeon, address: "0000:01:00.0"}\n'
            '    - {card: radeon, address: "0000:01:00.0"}\n',
            3,
            'hosts.xen1',
        ),
    )
    @ddt.unpack
    def test_names_line_and_key(self, text, line, key):
        error = self.assertRaises(exception.InvalidTopology, load, text)
        (problem,) = error.problems
        self.assertEqual(key, problem.key, error)
        if line is not None:
            self.assertEqual(line, problem.line, error)
        self.assertIn('pool.yaml', str(error))

    @ddt.data('', 'a: [', '\0', '*x', '{a: 1, a: 2}')
    def test_no_yaml(self, text):
        self.assertRaises(exception.InvalidTopology, load, text)

    def test_missing(self):
        error = self.assertRaises(
            exception.InvalidTopology, topology.load, '/nonexistent.yaml'
        )
        self.assertIn('No such file', str(error))

    def test_own_card(self):
        found = load(
            'version: 1\n'
            'hosts:\n'
            '  xen1:\n'
            '    cards: [{card: mine, address: "0000:01:00.0"}]\n'
            'cards:\n'
            '  mine:\n'
            '    source: this test\n'
            '    vendor_id: "10de"\n'
            '    device_id: "ffff"\n'
            '    vendor: V\n'
            '    device: D\n'
            '    types: [{model: M, framebuffer: 1, per_gpu: 3}]\n'
        )
        one = build.build(found, '127.0.0.1')
        self.addCleanup(one.close)
        (pgpu,) = one.store.refs('PGPU')
        self.assertIn(
            3,
            one.store.get(
                'PGPU', pgpu, 'supported_VGPU_max_capacities'
            ).values(),
        )
