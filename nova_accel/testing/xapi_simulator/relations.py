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
"""Which fields of two classes say the same.

XAPI's database keeps both sides; so does the store: who sets ``VBD.VM`` finds
the VBD in ``VM.VBDs``.
"""

ONE_TO_MANY = (
    (('GPU_group', 'PGPUs'), ('PGPU', 'GPU_group')),
    (('GPU_group', 'VGPUs'), ('VGPU', 'GPU_group')),
    (('PGPU', 'resident_VGPUs'), ('VGPU', 'resident_on')),
    (('SR', 'PBDs'), ('PBD', 'SR')),
    (('SR', 'VDIs'), ('VDI', 'SR')),
    (('USB_group', 'PUSBs'), ('PUSB', 'USB_group')),
    (('USB_group', 'VUSBs'), ('VUSB', 'USB_group')),
    (('VDI', 'VBDs'), ('VBD', 'VDI')),
    (('VDI', 'snapshots'), ('VDI', 'snapshot_of')),
    (('VGPU_type', 'VGPUs'), ('VGPU', 'type')),
    (('VM', 'VBDs'), ('VBD', 'VM')),
    (('VM', 'VGPUs'), ('VGPU', 'VM')),
    (('VM', 'VIFs'), ('VIF', 'VM')),
    (('VM', 'VUSBs'), ('VUSB', 'VM')),
    (('VM', 'children'), ('VM', 'parent')),
    (('VM', 'consoles'), ('console', 'VM')),
    (('VM', 'snapshots'), ('VM', 'snapshot_of')),
    (('host', 'PBDs'), ('PBD', 'host')),
    (('host', 'PCIs'), ('PCI', 'host')),
    (('host', 'PGPUs'), ('PGPU', 'host')),
    (('host', 'PIFs'), ('PIF', 'host')),
    (('host', 'PUSBs'), ('PUSB', 'host')),
    (('host', 'host_CPUs'), ('host_cpu', 'host')),
    (('host', 'resident_VMs'), ('VM', 'resident_on')),
    (('network', 'PIFs'), ('PIF', 'network')),
    (('network', 'VIFs'), ('VIF', 'network')),
    (('task', 'subtasks'), ('task', 'subtask_of')),
    (('PIF', 'sriov_physical_PIF_of'), ('network_sriov', 'physical_PIF')),
    (('PIF', 'sriov_logical_PIF_of'), ('network_sriov', 'logical_PIF')),
    (('PIF', 'VLAN_slave_of'), ('VLAN', 'tagged_PIF')),
)
"""The set on one side, the reference on the other."""

MANY_TO_MANY = (
    (('PGPU', 'enabled_VGPU_types'), ('VGPU_type', 'enabled_on_PGPUs')),
    (('PGPU', 'supported_VGPU_types'), ('VGPU_type', 'supported_on_PGPUs')),
    (
        ('GPU_group', 'enabled_VGPU_types'),
        ('VGPU_type', 'enabled_on_GPU_groups'),
    ),
    (
        ('GPU_group', 'supported_VGPU_types'),
        ('VGPU_type', 'supported_on_GPU_groups'),
    ),
)
"""Two sets; the first side is the one that is written."""

Side = tuple[str, str]

FROM_REFERENCE: dict[Side, Side] = {
    reference: many for many, reference in ONE_TO_MANY
}
FROM_SET: dict[Side, Side] = dict(MANY_TO_MANY)
DERIVED = frozenset(FROM_REFERENCE.values()) | frozenset(FROM_SET.values())
"""Fields that nobody writes: they follow from the other side."""
