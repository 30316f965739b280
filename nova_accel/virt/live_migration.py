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
"""Live migration: the devices of one host stand in for those of another.

The destination claims units of its own, as for any other move, and tells the
source which of its devices replaces which. They talk through the migrate data
that nova passes around, in this order:

1. Destination: ``target_mdevs`` says that this driver will take care.
2. Source: refuses what cannot migrate; ``source_mdev_types`` names what the
   guest has, mediated devices by uuid as stock does, PCI functions by address.
3. Destination: claims, pairs, and answers in ``target_mdevs`` and
   ``pci_dev_map_src_dst``, which stock code writes into the guest's XML.

A source with stock nova works as far as it tells what the guest has. A
destination with stock nova is refused: it would not claim.
"""

import collections
import collections.abc
import contextlib
import typing as ty

from nova.compute import task_states
from nova import context as nova_context
from nova import exception as nova_exception
from nova import objects
from nova.virt.libvirt import driver as libvirt_driver
from nova.virt.libvirt import host as libvirt_host
from oslo_log import log as logging

from nova_accel.backends import base
from nova_accel.core import device
from nova_accel.core import inventory
from nova_accel.core import moving
from nova_accel.core import request
from nova_accel import exception
from nova_accel.virt import mixin
from nova_accel.virt import records
from nova_accel.virt import tracker

LOG = logging.getLogger(__name__)

_READY = {'accel': '1'}
# Stock asks as much for functions that its own options give away.
_LIBVIRT = libvirt_driver.MIN_VFIO_PCI_VARIANT_LIBVIRT_VERSION
_QEMU = libvirt_driver.MIN_VFIO_PCI_VARIANT_QEMU_VERSION
_TOO_OLD = (
    'libvirt and QEMU here are too old, at least '
    f'{".".join(map(str, _LIBVIRT))} and {".".join(map(str, _QEMU))} are '
    'needed'
)
_Dict = dict[str, str]


class LiveMigrationMixin(mixin.AccelDriverMixin):
    """Put in front of nova's libvirt driver."""

    def check_can_live_migrate_destination(
        self,
        context: nova_context.RequestContext,
        instance: objects.Instance,
        *args: ty.Any,
        **kwargs: ty.Any,
    ) -> ty.Any:
        data = super().check_can_live_migrate_destination(
            context, instance, *args, **kwargs
        )
        if instance.resources:
            data.target_mdevs = dict(_READY)
        return data

    def check_can_live_migrate_source(
        self,
        context: nova_context.RequestContext,
        instance: objects.Instance,
        dest_check_data: ty.Any,
        *args: ty.Any,
        **kwargs: ty.Any,
    ) -> ty.Any:
        with _refusing():
            records.check_rest(instance)
            leaving = self._assignments(instance, self.accel_claims(instance))
            for assignment in leaving:
                self._check_leaves(assignment, instance, dest_check_data)
        data = super().check_can_live_migrate_source(
            context, instance, dest_check_data, *args, **kwargs
        )
        functions = {
            part.name: part.kind
            for part in map(_part, leaving)
            if _is_address(part.name)
        }
        if functions:
            data.source_mdev_types = {**_types(data), **functions}
        return data

    def _assignments(
        self,
        instance: objects.Instance,
        claims: collections.abc.Iterable[inventory.Claim],
    ) -> list[base.Assignment]:
        return [*self.accel.assignments(instance.uuid, claims).values()]

    def _check_leaves(
        self,
        assignment: base.Assignment,
        instance: objects.Instance,
        data: ty.Any,
    ) -> None:
        """Refuse a device that has to stay.

        :raises NotMigratable: names it.
        """
        obstacle = self._obstacle(assignment, data)
        if obstacle is not None:
            raise exception.NotMigratable(
                device=f'{assignment.function.address} ({assignment.unit})',
                server=instance.uuid,
                reason=obstacle,
            )

    def _obstacle(
        self, assignment: base.Assignment, data: ty.Any
    ) -> str | None:
        if not assignment.live_migratable:
            return (
                'live_migratable is not set for it in the whitelist; '
                'cold-migrate the server'
            )
        if 'target_mdevs' not in data:
            return (
                'nova-compute of the destination does not run this driver, '
                'or runs a version that does not claim such devices'
            )
        if assignment.mdev_uuid is None and not self._is_new_enough():
            return _TOO_OLD
        return None

    def _is_new_enough(self) -> bool:
        """Tell whether PCI functions may migrate; stock asks for vGPUs."""
        return bool(
            self._host.has_min_version(
                lv_ver=_LIBVIRT,
                hv_ver=_QEMU,
                hv_type=libvirt_host.HV_DRIVER_QEMU,
            )
        )

    def check_source_migrate_data_at_dest(
        self,
        ctxt: nova_context.RequestContext,
        instance: objects.Instance,
        migrate_data: ty.Any,
        migration: objects.Migration,
        limits: ty.Any,
        allocs: ty.Any,
    ) -> ty.Any:
        if 'target_mdevs' in migrate_data:
            del migrate_data.target_mdevs
        there = [
            moving.Part(t, name) for name, t in _types(migrate_data).items()
        ]
        claimed = _claimed(instance, there)
        wanted = request.wants(allocs, self.accel.providing).ours
        if not wanted and not claimed:
            return super().check_source_migrate_data_at_dest(
                ctxt, instance, migrate_data, migration, limits, allocs
            )
        self._claim(ctxt, instance, migration, limits, allocs)
        try:
            self.accel_announce(ctxt, instance)
            with _refusing():
                coming = self._assignments(instance, self._arriving(instance))
                pairs = moving.pair(
                    instance.uuid, there, claimed, map(_part, coming)
                )
            _set_types(
                migrate_data,
                {p.name: p.kind for p in there if p.name not in pairs},
            )
            data = super().check_source_migrate_data_at_dest(
                ctxt, instance, migrate_data, migration, limits, allocs
            )
        except Exception:
            self._abandon(ctxt, instance)
            raise
        return _answered(data, pairs)

    def _claim(
        self,
        ctxt: nova_context.RequestContext,
        instance: objects.Instance,
        migration: objects.Migration,
        limits: ty.Any,
        allocs: ty.Any,
    ) -> None:
        """Claim units here, as nova does for servers with a NUMA topology.

        :raises MigrationPreCheckError: there are not enough.
        """
        moved = instance.migration_context
        current = moved is not None and moved.migration_id == migration.id
        if not current or not self._arriving(instance):
            rt = self.virtapi._compute.rt
            node = self.accel.now.node.name
            try:
                rt.live_migration_claim(
                    ctxt, instance, node, migration, limits, allocs
                )
            except nova_exception.ComputeResourcesUnavailable as e:
                raise nova_exception.MigrationPreCheckError(
                    reason=e.format_message()
                ) from e

    def _arriving(
        self, instance: objects.Instance
    ) -> frozenset[inventory.Claim]:
        """Units of ours that a server is to have here once it has moved."""
        return self.accel_moving(instance, 'new_resources')

    def _abandon(
        self, ctxt: nova_context.RequestContext, instance: objects.Instance
    ) -> None:
        """Give back what a server that does not come has claimed here."""
        rt = self.virtapi._compute.rt
        rt.drop_move_claim(
            ctxt,
            instance,
            self.accel.now.node.name,
            flavor=instance.flavor,
        )
        instance.drop_migration_context()

    def pre_live_migration(
        self,
        context: nova_context.RequestContext,
        instance: objects.Instance,
        *args: ty.Any,
        **kwargs: ty.Any,
    ) -> ty.Any:
        self.accel.attach(instance.uuid, self._arriving(instance))
        return super().pre_live_migration(context, instance, *args, **kwargs)

    def rollback_live_migration_at_destination(
        self,
        context: nova_context.RequestContext,
        instance: objects.Instance,
        *args: ty.Any,
        **kwargs: ty.Any,
    ) -> None:
        # The source then has the claim dropped, which it is told to do by
        # the same sign as for servers with a NUMA topology.
        try:
            super().rollback_live_migration_at_destination(
                context, instance, *args, **kwargs
            )
        finally:
            self.accel.detach(instance.uuid, self._arriving(instance))

    def post_live_migration_at_source(
        self,
        context: nova_context.RequestContext,
        instance: objects.Instance,
        network_info: ty.Any,
    ) -> None:
        super().post_live_migration_at_source(context, instance, network_info)
        self._detach(instance)

    # What nova leaves behind of a live migration that somebody cut short

    def cleanup(
        self,
        context: nova_context.RequestContext,
        instance: objects.Instance,
        *args: ty.Any,
        **kwargs: ty.Any,
    ) -> None:
        super().cleanup(context, instance, *args, **kwargs)
        if instance.task_state != task_states.DELETING:
            return
        migration = self._leaving(instance)
        if migration is not None:
            # It holds what the server has here, and nova will find no server
            # to give that back to.
            client = self.virtapi._compute.reportclient
            client.delete_allocation_for_instance(
                context.elevated(),
                migration.uuid,
                consumer_type='migration',
                force=True,
            )

    def accel_audit(self, context: nova_context.RequestContext) -> None:
        try:
            self._reclaim(context)
        except Exception:
            LOG.exception('Live migrations that ended were not looked at')
        super().accel_audit(context)

    def _reclaim(self, context: nova_context.RequestContext) -> None:
        """Undo the moves that nova gave up when this service was restarted.

        Nova only says of them that they failed.
        """
        if self.accel.idle:
            return
        for instance in objects.InstanceList.get_by_host(
            context,
            self.virtapi._compute.host,
            expected_attrs=['resources', 'migration_context', 'flavor'],
        ):
            migration = self._leaving(instance)
            if migration is not None and migration.status == 'error':
                self._undo_move(context, instance, migration)

    def _leaving(self, instance: objects.Instance) -> objects.Migration | None:
        """Return the live migration away from here that holds our units."""
        if not self.accel_moving(instance, 'old_resources'):
            return None
        migration = objects.Migration.get_by_id(
            instance._context, instance.migration_context.migration_id
        )
        here = migration.source_compute == self.virtapi._compute.host
        return migration if migration.is_live_migration and here else None

    def _undo_move(
        self,
        context: nova_context.RequestContext,
        instance: objects.Instance,
        migration: objects.Migration,
    ) -> None:
        if not self.instance_exists(instance) or instance.task_state:
            LOG.warning(
                'Server %s may run on %s already: its live migration from '
                'here was cut short',
                instance.uuid,
                migration.dest_compute,
            )
            return
        compute = self.virtapi._compute
        compute._revert_allocation(context, instance, migration)
        try:
            compute.compute_rpcapi.drop_move_claim_at_destination(
                context, instance, migration.dest_compute
            )
        except Exception as e:
            LOG.warning(
                'Host %s keeps the devices meant for server %s until its '
                'next update: %s',
                migration.dest_compute,
                instance.uuid,
                e,
            )
        instance.drop_migration_context()


@contextlib.contextmanager
def _refusing() -> collections.abc.Iterator[None]:
    """Let nova try another host, or tell the user why there is none."""
    try:
        yield
    except exception.AccelError as e:
        raise nova_exception.MigrationPreCheckError(reason=str(e)) from e


def _part(assignment: base.Assignment) -> moving.Part:
    if assignment.mdev_uuid is not None:
        return moving.Part(assignment.mdev_type or '', assignment.mdev_uuid)
    function = assignment.function
    return moving.Part(
        f'{function.vendor_id}:{function.product_id}', str(function.address)
    )


def _is_address(name: str) -> bool:
    try:
        device.PciAddress.parse(name)
    except exception.InvalidAddress:
        return False
    return True


def _claimed(
    instance: objects.Instance, there: collections.abc.Iterable[moving.Part]
) -> collections.Counter[str]:
    """Kind -> how many devices of ours a server has on its host."""
    units = (
        inventory.read_unit(claim.unit)
        for claim in tracker.claims_of(instance.resources)
    )
    vgpus = [unit.part for unit in units if unit and unit.is_vgpu]
    functions = [part.kind for part in there if _is_address(part.name)]
    return collections.Counter(vgpus + functions)


def _types(data: ty.Any) -> _Dict:
    return dict(data.source_mdev_types) if 'source_mdev_types' in data else {}


def _set_types(data: ty.Any, types: _Dict) -> None:
    """Leave to stock what is stock's."""
    if types:
        data.source_mdev_types = types
    elif 'source_mdev_types' in data:
        del data.source_mdev_types


def _answered(data: ty.Any, pairs: _Dict) -> ty.Any:
    """Tell the source which device here replaces which of there."""
    functions = {a: b for a, b in pairs.items() if _is_address(a)}
    mdevs = {a: b for a, b in pairs.items() if a not in functions}
    stock = data.target_mdevs if 'target_mdevs' in data else {}
    # Even if it is empty: without it a rollback may skip this host.
    data.target_mdevs = {**stock, **mdevs}
    stock = data.pci_dev_map_src_dst if 'pci_dev_map_src_dst' in data else {}
    data.pci_dev_map_src_dst = {**stock, **functions}
    data.src_supports_numa_live_migration = True
    return data
