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
"""What we write into ``other_config``, so that XAPI can be read back.

Nothing else remembers which virtual machine is which server.
"""

SERVER = 'nova_uuid'
"""Of a VM, a VGPU, a VUSB and a VDI: the server in nova."""

HOST = 'nova_accel_host'
"""Of a VM: uuid of the XAPI host whose nova-compute has it."""

LEFT = 'nova_accel_left'
"""Of a VM: the server has been resized, and may be reverted."""

UNIT = 'nova_accel_unit'
"""Of a VGPU and a VUSB: the unit that a claim names."""

ENABLED = 'nova_accel_enabled'
"""Of a PUSB: we let it be passed through, and take that back."""

MDEV = 'nova_accel_mdev'
"""Of a VGPU: the uuid that stands for provider and unit."""

PURPOSE = 'nova_accel_purpose'
"""Of a VDI: ``root``, ``ephemeral``, ``config``..."""

PCI = 'pci'
"""XAPI's own, of a VM: ``0/0000:04:00.0,0/0000:05:00.0``."""
