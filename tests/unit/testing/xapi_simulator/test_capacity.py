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
"""What a GPU has left, and which GPU a vGPU gets."""

import ddt

from tests.unit.testing.xapi_simulator import common


class _CapacityTestCase(common.PoolTestCase):
    def left(self, model):
        """Remaining capacity of each GPU, in the order of addresses."""
        vgpu_type = self.type(model)
        return [
            int(self.api.PGPU.get_remaining_capacity(pgpu, vgpu_type))
            for pgpu in self.pgpus()
        ]

    def pgpus(self):
        records = self.api.PGPU.get_all_records()
        return sorted(
            records,
            key=lambda ref: self.api.PCI.get_pci_id(records[ref]['PCI']),
        )

    def run_one(self, model, **changes):
        vm = self.vm_with(model, **changes)
        self.start(vm)
        return vm


@ddt.ddt
class TypesTest(_CapacityTestCase):
    """Every type of the cards, alone on a GPU."""

    @ddt.data(
        ('GRID K100', 8),
        ('GRID K120Q', 8),
        ('GRID K140Q', 4),
        ('GRID K160Q', 2),
        ('GRID K180Q', 1),
        ('passthrough', 1),
    )
    @ddt.unpack
    def test_empty(self, model, each):
        self.assertEqual([each] * 4, self.left(model))

    @ddt.data(
        ('GRID K100', [7, 0, 0, 0, 0]),
        ('GRID K140Q', [0, 3, 0, 0, 0]),
        ('GRID K180Q', [0, 0, 0, 0, 0]),
        ('passthrough', [0, 0, 0, 0, 0]),
    )
    @ddt.unpack
    def test_one_type_a_gpu(self, model, expected):
        """One vGPU takes its share, and keeps all other types out."""
        self.run_one(model)
        models = (
            'GRID K100',
            'GRID K140Q',
            'GRID K160Q',
            'GRID K180Q',
            'passthrough',
        )
        self.assertEqual(expected, [self.left(one)[0] for one in models])

    def test_types_are_published(self):
        record = self.api.VGPU_type.get_record(self.type('GRID K140Q'))
        self.assertEqual('1006632960', record['framebuffer_size'])
        self.assertEqual('nvidia', record['implementation'])
        self.assertEqual('2560', record['max_resolution_x'])
        self.assertEqual([], record['compatible_types_in_vm'])
        self.assertEqual(4, len(record['supported_on_PGPUs']))
        self.assertEqual(4, len(record['enabled_on_PGPUs']))
        self.assertEqual([self.group()], record['enabled_on_GPU_groups'])


@ddt.ddt
class AlgorithmTest(_CapacityTestCase):
    @ddt.data(('depth_first', [5, 8, 8, 8]), ('breadth_first', [7, 7, 7, 8]))
    @ddt.unpack
    def test_three(self, algorithm, expected):
        self.api.GPU_group.set_allocation_algorithm(self.group(), algorithm)
        for _ in range(3):
            self.run_one('GRID K100')
        self.assertEqual(expected, self.left('GRID K100'))

    def test_depth_first_is_default(self):
        self.assertEqual(
            'depth_first',
            self.api.GPU_group.get_allocation_algorithm(self.group()),
        )

    def test_other_word(self):
        self.refused(
            'FIELD_TYPE_ERROR',
            self.api.GPU_group.set_allocation_algorithm,
            self.group(),
            'widest',
        )


class GetterTest(_CapacityTestCase):
    def test_never_raises(self):
        """A type that is not supported or not enabled has 0 left."""
        pgpu, *_ = self.pgpus()
        self.api.PGPU.set_enabled_VGPU_types(pgpu, [self.type('GRID K100')])
        self.assertEqual([0, 4, 4, 4], self.left('GRID K140Q'))

    def test_no_such_type(self):
        pgpu, *_ = self.pgpus()
        details = self.refused(
            'HANDLE_INVALID',
            self.api.PGPU.get_remaining_capacity,
            pgpu,
            'OpaqueRef:none',
        )
        self.assertEqual(['VGPU_type', 'OpaqueRef:none'], details)

    def test_maximum_is_static(self):
        pgpu, *_ = self.pgpus()
        before = self.api.PGPU.get_supported_VGPU_max_capacities(pgpu)
        self.run_one('GRID K180Q')
        after = self.api.PGPU.get_supported_VGPU_max_capacities(pgpu)
        self.assertEqual(before, after)
        self.assertEqual('8', after[self.type('GRID K100')])


class EnabledTest(_CapacityTestCase):
    def test_group_follows(self):
        model = self.type('GRID K180Q')
        for pgpu in self.pgpus():
            self.api.PGPU.set_enabled_VGPU_types(pgpu, [model])
        self.assertEqual(
            [model], self.api.GPU_group.get_enabled_VGPU_types(self.group())
        )
        details = self.refused('VM_REQUIRES_VGPU', self.run_one, 'GRID K100')
        self.assertEqual(self.type('GRID K100'), details[2])

    def test_add_and_remove(self):
        pgpu, *_ = self.pgpus()
        model = self.type('GRID K180Q')
        self.api.PGPU.remove_enabled_VGPU_types(pgpu, model)
        self.assertEqual(0, self.left('GRID K180Q')[0])
        self.api.PGPU.add_enabled_VGPU_types(pgpu, model)
        self.assertEqual(1, self.left('GRID K180Q')[0])

    def test_in_use(self):
        vm = self.run_one('GRID K100')
        pgpu, *_ = self.pgpus()
        details = self.refused(
            'PGPU_IN_USE_BY_VM',
            self.api.PGPU.set_enabled_VGPU_types,
            pgpu,
            [self.type('GRID K180Q')],
        )
        self.assertEqual([vm], details)

    def test_of_another_card(self):
        pgpu, *_ = self.pgpus()
        store = self.simulator.world.store
        other = store.create('VGPU_type', model_name='other')
        details = self.refused(
            'VGPU_TYPE_NOT_SUPPORTED',
            self.api.PGPU.set_enabled_VGPU_types,
            pgpu,
            [other],
        )
        supported = self.api.PGPU.get_supported_VGPU_types(pgpu)
        self.assertEqual([other, *supported], details)


class GroupTest(_CapacityTestCase):
    def test_move_a_gpu(self):
        pgpu, *_ = self.pgpus()
        group = self.api.GPU_group.create('second', '', {})
        self.api.PGPU.set_GPU_group(pgpu, group)
        self.assertEqual([pgpu], self.api.GPU_group.get_PGPUs(group))
        self.assertEqual(
            ['10de/0ff2'], self.api.GPU_group.get_GPU_types(group)
        )
        self.assertEqual(
            '8',
            self.api.GPU_group.get_remaining_capacity(
                group, self.type('GRID K100')
            ),
        )
        details = self.refused(
            'GPU_GROUP_CONTAINS_PGPU', self.api.GPU_group.destroy, group
        )
        self.assertEqual([pgpu], details)

    def test_not_while_in_use(self):
        self.run_one('GRID K100')
        pgpu, *_ = self.pgpus()
        self.refused(
            'PGPU_IN_USE_BY_VM',
            self.api.PGPU.set_GPU_group,
            pgpu,
            self.api.GPU_group.create('second', '', {}),
        )

    def test_empty_group(self):
        group = self.api.GPU_group.create('second', '', {})
        vm = self.vm()
        model = self.type('GRID K100')
        self.api.VGPU.create(vm, group, '0', {}, model)
        details = self.refused('VM_REQUIRES_VGPU', self.start, vm)
        self.assertEqual([vm, group, model], details)

    def test_whole_gpu_of_an_empty_group(self):
        group = self.api.GPU_group.create('second', '', {})
        vm = self.vm()
        self.api.VGPU.create(vm, group)
        details = self.refused('VM_REQUIRES_GPU', self.start, vm)
        self.assertEqual([vm, group], details)


class ForeignTest(_CapacityTestCase):
    TOPOLOGY = 'grid-k2'

    def test_somebody_elses_vm(self):
        """It is no server of ours, and takes its share all the same."""
        self.assertEqual([3, 4], self.left('GRID K240Q'))
        self.assertEqual([0, 1], self.left('GRID K280Q'))


class MxgpuTest(_CapacityTestCase):
    TOPOLOGY = 'mxgpu'

    def test_one_type(self):
        self.run_one('FirePro S7150 MxGPU')
        self.assertEqual([3], self.left('FirePro S7150 MxGPU'))
        self.assertEqual([0], self.left('passthrough'))
