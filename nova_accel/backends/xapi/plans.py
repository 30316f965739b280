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
"""What has to be done to give a virtual machine a device.

Values: the driver carries them out while it builds the machine.
"""

import dataclasses
import typing as ty


@dataclasses.dataclass(frozen=True)
class VgpuPlan:
    """Create a VGPU.

    :ivar group: reference of the GPU group.
    :ivar vgpu_type: reference of the type.
    :ivar mdev: what stands for the unit of the claim.
    """

    unit: str
    mdev: str
    group: str
    vgpu_type: str


@dataclasses.dataclass(frozen=True)
class PciPlan:
    """Pass functions through.

    :ivar addresses: the claimed one, then those that must go with it.
    """

    unit: str
    addresses: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class UsbPlan:
    """Create a VUSB.

    :ivar group: reference of the USB group, which has this device alone.
    """

    unit: str
    group: str


Plan: ty.TypeAlias = VgpuPlan | PciPlan | UsbPlan
