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
"""Hosts in a line or two."""

import collections.abc
import textwrap
import typing as ty

from nova_accel.cli import survey
from nova_accel.conf import composer
from nova_accel.core import device
from nova_accel.core import inventory
from nova_accel.core import whitelist

NODE = inventory.Node('host1', '4f1b3f6e-7d3f-4a53-8b0e-2f0c5b7d3c11')

T4_8Q = device.VgpuModel('nvidia-233', 'GRID T4-8Q', capacity=2)
T4_4Q = device.VgpuModel('nvidia-232', 'GRID T4-4Q', capacity=4)


def card(bus: int, function: int = 0, **facts: ty.Any) -> device.Device:
    """Return a T4 without vGPUs, unless told otherwise."""
    address = device.PciAddress(0, bus, 0, function)
    known = {
        'vendor_id': '10de',
        'product_id': '1eb8',
        'class_id': '030200',
        'vendor_name': 'NVIDIA Corporation',
        'product_name': 'TU104GL [Tesla T4]',
        'numa_node': 0,
    }
    return device.Device(
        name=f'pci_{bus:02x}_{function}',
        ids=(f'path:0000-{bus:02x}.{function}', f'pci:{address}'),
        address=address,
        **{**known, **facts},
    )


def sriov(bus: int, functions: int, **facts: ty.Any) -> list[device.Device]:
    """Return a physical function and its virtual functions.

    :param facts: of the virtual functions.
    """
    physical = card(bus, dev_type=device.TYPE_PF)
    return [
        physical,
        *(
            card(
                bus,
                1 + index,
                dev_type=device.TYPE_VF,
                parent=physical.address,
                vf_index=index,
                **facts,
            )
            for index in range(functions)
        ),
    ]


def rules(text: str) -> whitelist.Whitelist:
    """Read a whitelist."""
    document = composer.compose('accel.yaml', textwrap.dedent(text).encode())
    return whitelist.parse([document])


def look(
    devices: collections.abc.Iterable[device.Device],
    text: str = 'version: 1\ndevices: {}',
) -> survey.Survey:
    """Look at a host of these devices with this whitelist."""
    view = device.HostView(devices=tuple(devices))
    return survey.Survey(
        uri='qemu:///system',
        local=True,
        node=NODE,
        node_uuid_known=True,
        files=('accel.yaml',),
        view=view,
        offer=inventory.offer(NODE, rules(text), view.devices),
    )
