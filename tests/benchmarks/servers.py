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
"""Servers on a host, without the services that would put them there."""

import collections.abc
import typing as ty

from nova.compute import vm_states
from nova import context as nova_context
from nova.network import model as network_model
from nova import objects
from oslo_utils import uuidutils

_IMAGE = '155d900f-4e14-4e4c-a73d-069cbf4541e6'
_SIZE = {'memory_mb': 512, 'vcpus': 1, 'root_gb': 1, 'ephemeral_gb': 0}


def _flavor(number: int, vgpus: int) -> objects.Flavor:
    return objects.Flavor(
        id=number,
        name=f'bench-{vgpus}',
        flavorid=f'bench-{vgpus}',
        swap=0,
        rxtx_factor=1.0,
        vcpu_weight=0,
        disabled=False,
        is_public=True,
        projects=[],
        description=None,
        extra_specs={
            'resources:VGPU': str(vgpus),
            'accel_hotplug:max_VGPU': '1',
        },
        **_SIZE,
    )


_BUILT = _flavor(1, 4)
RESIZED = _flavor(2, 2)
"""What a server is resized to."""
AMOUNTS = {'MEMORY_MB': 512, 'VCPU': 1, 'DISK_GB': 1}
"""What a server takes of the host itself."""

_DOMAIN = """<domain type='kvm'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <memory>524288</memory>
  <vcpu>1</vcpu>
  <os><type>hvm</type></os>
  <devices>{devices}</devices>
</domain>
"""
HOSTDEV = """
    <hostdev mode='subsystem' type='mdev' model='vfio-pci'>
      <source><address uuid='{}'/></source>
    </hostdev>"""


def running(
    context: nova_context.RequestContext,
    node: objects.ComputeNode,
    resources: collections.abc.Iterable[objects.Resource],
) -> objects.Instance:
    """Write a server that runs on a host into nova's database."""
    return _create(
        context,
        vm_state=vm_states.ACTIVE,
        power_state=1,
        host=node.host,
        node=node.hypervisor_hostname,
        compute_id=node.id,
        resources=objects.ResourceList(objects=list(resources)),
    )


def requested(context: nova_context.RequestContext) -> objects.Instance:
    """Write a server that is to be built into nova's database."""
    instance = _create(context, vm_state=vm_states.BUILDING)
    objects.InstanceAction.action_start(context, instance.uuid, 'create')
    return instance


def asked(instance: objects.Instance, task: str) -> objects.Instance:
    """Return a server as nova's API hands it on, to have this done to it."""
    found = objects.Instance.get_by_uuid(
        instance._context,
        instance.uuid,
        expected_attrs=['flavor', 'metadata', 'system_metadata', 'info_cache'],
    )
    found.task_state = task
    found.save()
    return found


def resizing(instance: objects.Instance) -> objects.Migration:
    """Write into the database that a server is resized where it is."""
    host = instance.host
    migration = objects.Migration(
        instance._context,
        uuid=uuidutils.generate_uuid(),
        instance_uuid=instance.uuid,
        migration_type='resize',
        status='pre-migrating',
        old_instance_type_id=instance.flavor.id,
        new_instance_type_id=RESIZED.id,
        source_compute=host,
        source_node=host,
        dest_compute=host,
        dest_node=host,
        dest_compute_id=instance.compute_id,
        dest_host='127.0.0.1',
    )
    migration.create()
    return migration


def no_volumes() -> objects.BlockDeviceMappingList:
    return objects.BlockDeviceMappingList(objects=[])


def _create(
    context: nova_context.RequestContext, **facts: ty.Any
) -> objects.Instance:
    instance = objects.Instance(
        context,
        uuid=uuidutils.generate_uuid(),
        project_id=context.project_id,
        user_id=context.user_id,
        image_ref=_IMAGE,
        flavor=_BUILT,
        instance_type_id=_BUILT.id,
        old_flavor=None,
        new_flavor=None,
        system_metadata={},
        pci_requests=objects.InstancePCIRequests(requests=[]),
        **_SIZE,
        **facts,
    )
    instance.create()
    cache = objects.InstanceInfoCache.new(context, instance.uuid)
    cache.network_info = network_model.NetworkInfo()
    cache.save()
    return instance


def domain(
    instance: objects.Instance, mdevs: collections.abc.Iterable[str]
) -> str:
    """Return the definition of a guest that has these mediated devices."""
    return _DOMAIN.format(
        name=instance.name,
        uuid=instance.uuid,
        devices=''.join(map(HOSTDEV.format, mdevs)),
    )
