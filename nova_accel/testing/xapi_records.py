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
"""Records that somebody else would make: of machines, images, volumes."""

import datetime
import typing as ty
import uuid

MIB = 1 << 20


def vm(
    name: str = 'somebody', memory_mb: int = 256, **changes: ty.Any
) -> ty.Any:
    """Return the record of a machine that is halted.

    :param changes: fields that are to be other than usual.
    """
    memory = memory_mb * MIB
    return {
        'name_label': name,
        'name_description': '',
        'user_version': 0,
        'is_a_template': False,
        'affinity': '',
        'memory_static_min': memory,
        'memory_dynamic_min': memory,
        'memory_dynamic_max': memory,
        'memory_static_max': memory,
        'VCPUs_params': {},
        'VCPUs_max': 1,
        'VCPUs_at_startup': 1,
        'actions_after_shutdown': 'destroy',
        'actions_after_reboot': 'restart',
        'actions_after_crash': 'destroy',
        'PV_bootloader': '',
        'PV_kernel': '',
        'PV_ramdisk': '',
        'PV_args': '',
        'PV_bootloader_args': '',
        'PV_legacy_args': '',
        'HVM_boot_policy': 'BIOS order',
        'HVM_boot_params': {'order': 'dc'},
        'platform': {},
        'PCI_bus': '',
        'recommendations': '',
        'other_config': {},
        **changes,
    }


def image(form: str, size: int, **fields: ty.Any) -> dict[str, ty.Any]:
    """Return what Glance says of an image.

    :param form: ``raw`` or ``vhd``.
    :param fields: fields that are to be other than usual.
    """
    made = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    return {
        'id': str(uuid.uuid4()),
        'name': 'image',
        'created_at': made,
        'updated_at': made,
        'deleted_at': None,
        'deleted': False,
        'status': 'active',
        'is_public': False,
        'visibility': 'public',
        'protected': False,
        'container_format': 'bare',
        'disk_format': form,
        'size': size,
        'min_ram': 0,
        'min_disk': 0,
        'tags': [],
        'properties': {},
        **fields,
    }


def volume(**fields: ty.Any) -> dict[str, ty.Any]:
    """Return how Cinder says to reach the volume of topology two-hosts.

    :param fields: fields that are to be other than usual.
    """
    return {
        'driver_volume_type': 'iscsi',
        'data': {
            'target_portal': '192.0.2.10:3260',
            'target_iqn': 'iqn.2010-10.org.openstack:volume-1',
            'target_lun': 1,
            'auth_method': 'CHAP',
            'auth_username': 'nova',
            'auth_password': 'secret',
        },
        **fields,
    }
