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
"""The config drive: nova's own, written into a disk of XAPI."""

import os
import tempfile
import typing as ty

from nova.api.metadata import base as metadata
from nova import context as nova_context
from nova import objects
from nova.virt import configdrive

from nova_accel.virt.xapi import disks


def make(
    context: nova_context.RequestContext,
    store: disks.Disks,
    instance: objects.Instance,
    injected_files: ty.Any,
    admin_password: str | None,
    network_info: ty.Any,
) -> str:
    """Return a disk with the metadata of a server in it."""
    extra = {'admin_pass': admin_password} if admin_password else {}
    found = metadata.InstanceMetadata(
        instance,
        content=injected_files,
        extra_md=extra,
        network_info=network_info,
    )
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'config')
        with configdrive.ConfigDriveBuilder(instance_md=found) as builder:
            builder.make_drive(path)
        length = os.path.getsize(path)
        vdi = store.create(instance.uuid, disks.CONFIG, length, instance.name)
        try:
            store.fill(vdi, path, length)
        except BaseException:
            store.discard(vdi)
            raise
    return vdi
