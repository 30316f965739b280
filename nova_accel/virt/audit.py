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
"""Collects what an audit of this host goes by. Reads only.

Nova's records come through its objects, hence over RPC from the conductor
on a compute host; Placement through nova's own client.
"""

import collections
import collections.abc
import contextlib
import logging
import typing as ty

from nova.compute import power_state
from nova.compute import vm_states
from nova import context as nova_context
from nova import exception as nova_exception
from nova import objects

from nova_accel.core import attachment
from nova_accel.core import facts
from nova_accel.core import invariant
from nova_accel.core import inventory
from nova_accel.core import naming
from nova_accel.core import request
from nova_accel import exception
from nova_accel import manager
from nova_accel.virt import tracker
from nova_accel.virt import tree

LOG = logging.getLogger(__name__)

Context: ty.TypeAlias = nova_context.RequestContext

# What a server of this host is like while nothing is being done to it.
_STATES = {
    vm_states.ACTIVE: facts.RUNNING,
    vm_states.BUILDING: facts.BUSY,
    vm_states.ERROR: facts.IDLE,
    vm_states.PAUSED: facts.RUNNING,
    vm_states.RESCUED: facts.RUNNING,
    vm_states.SHELVED: facts.STOPPED,
    vm_states.SOFT_DELETED: facts.STOPPED,
    vm_states.STOPPED: facts.STOPPED,
    vm_states.SUSPENDED: facts.IDLE,
}

_OVER = frozenset(
    {'cancelled', 'completed', 'confirmed', 'done', 'failed', 'reverted'}
)


def look(
    context: Context,
    host: str,
    accel: manager.Manager,
    client: ty.Any,
    running: bool = True,
) -> facts.Facts:
    """Ask all four witnesses about one host.

    :param accel: what has looked at the devices.
    :param client: nova's report client.
    :param running: ``accel`` is that of a nova-compute which runs; what it
        takes for held is a witness too.
    :raises BackendUnavailable: the hypervisor does not answer.
    :raises WitnessUnavailable: another of them does not.
    """
    accel.refresh()
    now = accel.now
    with asking('nova-conductor'):
        servers = tuple(_servers(context, host, now.node))
    with asking('Placement'):
        providers = _providers(context, client, now.node)
    with asking('nova-conductor'):
        fates = _fates(servers, providers)
    return facts.Facts(
        node=now.node,
        offer=now.offer,
        providers=providers,
        servers=servers,
        guests=accel.guests(),
        mdevs=frozenset(mdev.uuid for mdev in now.view.mdevs),
        ours=now.ours,
        strangers=accel.strangers,
        seen=accel.seen,
        fates=fates,
        held=accel.held if running else None,
    )


def report(
    context: Context, host: str, accel: manager.Manager, client: ty.Any
) -> None:
    """Log what does not hold on a host, once it is in order.

    Never raises.
    """
    if accel.idle:
        return
    try:
        # What nobody holds goes; what is left is looked at.
        accel.refresh()
        findings = invariant.check(look(context, host, accel, client))
    except Exception as e:
        LOG.warning('Accelerators could not be audited: %s', e)
        return
    for finding in findings:
        LOG.warning('Audit of accelerators: %s', finding)
    LOG.info('Audit of accelerators: %d findings', len(findings))


@contextlib.contextmanager
def asking(witness: str) -> collections.abc.Iterator[None]:
    """Name who it was that did not answer.

    :raises WitnessUnavailable: for whatever error is not of ours.
    """
    try:
        yield
    except exception.AccelError:
        raise
    except Exception as error:
        raise exception.WitnessUnavailable(
            witness=witness, reason=str(error) or type(error).__name__
        ) from error


# Nova's records


def _servers(
    context: Context, host: str, node: inventory.Node
) -> collections.abc.Iterable[facts.Server]:
    found: dict[str, facts.Server] = {}
    for record in _records(context, host, node):
        before = found.get(record.uuid)
        found[record.uuid] = before.joined(record) if before else record
    return found.values()


def _records(
    context: Context, host: str, node: inventory.Node
) -> collections.abc.Iterator[facts.Server]:
    # First, so that one whose move ends meanwhile is here or on its way.
    moves = list(tracker.moves(context, host, node.name))
    specs = _Specs(context)
    for instance in objects.InstanceList.get_by_host(
        context,
        host,
        expected_attrs=['flavor', 'resources', 'system_metadata'],
    ):
        claims = _named(instance.resources, node)
        asked = _asked(instance, specs)
        yield facts.Server(
            instance.uuid,
            frozenset({instance.uuid}),
            claims,
            claims - attachment.leaving(asked.records),
            _state(instance, asked),
            asked,
        )
    for instance, migration, resources in moves:
        if host in (migration.source_compute, migration.dest_compute):
            yield facts.Server(
                instance.uuid,
                frozenset({instance.uuid, migration.uuid}),
                _named(resources, node),
                state=facts.BUSY if instance.task_state else facts.IDLE,
            )


def _named(
    resources: tracker.Resources | None, node: inventory.Node
) -> frozenset[inventory.Claim]:
    # Named units of the root provider are stock nova's.
    return frozenset(
        claim
        for claim in tracker.claims_of(resources)
        if claim.provider != node.uuid
    )


class _Specs:
    """Request specs, for as long as the conductor can read them.

    It may be one of a cell, which has no way to the database of the API.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._told = True

    def groups(self, uuid: str) -> dict[str, attachment.Group] | None:
        """Return what a request spec asks for; None: nobody can tell."""
        if not self._told:
            return None
        try:
            spec = objects.RequestSpec.get_by_instance_uuid(
                self._context, uuid
            )
        except nova_exception.RequestSpecNotFound:
            return None
        except Exception as e:
            LOG.info('Request specs are not looked at: %s', type(e).__name__)
            self._told = False
            return None
        return attachment.groups(spec.flavor.extra_specs)


def _asked(instance: objects.Instance, specs: _Specs) -> facts.Asked:
    records = attachment.read(instance.system_metadata)
    extra_specs = instance.flavor.extra_specs
    groups = attachment.groups(extra_specs)
    return facts.Asked(
        tuple(records.values()),
        attachment.unreadable(instance.system_metadata),
        _amounts(extra_specs),
        groups,
        specs.groups(instance.uuid) if groups or records else None,
    )


def _amounts(
    extra_specs: collections.abc.Mapping[str, str],
) -> dict[str, int]:
    found: collections.Counter[str] = collections.Counter()
    for group in request.parse(extra_specs).groups:
        found.update(dict(group.resources))
    return dict(found)


def _state(instance: objects.Instance, asked: facts.Asked) -> str:
    if instance.task_state:
        return facts.BUSY
    if any(r.state == attachment.ATTACHING for r in asked.records):
        return facts.BUSY
    if instance.vm_state == vm_states.RESIZED:
        up = instance.power_state == power_state.RUNNING
        return facts.RUNNING if up else facts.STOPPED
    return _STATES.get(instance.vm_state, facts.BUSY)


# Placement


def known(
    context: Context, client: ty.Any, node: inventory.Node
) -> dict[str, inventory.KnownProvider]:
    """Return the providers of ours that Placement has, by uuid."""
    return {
        rp: placed.known
        for rp, placed in _providers(context, client, node).items()
        if placed.known is not None
    }


def _providers(
    context: Context, client: ty.Any, node: inventory.Node
) -> dict[str, facts.Placed]:
    found = {}
    for record in client.get_providers_in_tree(context, node.uuid):
        name, rp = record['name'], record['uuid']
        if not naming.is_named_like_ours(node.name, name):
            continue
        stable_id = naming.stable_id_of(node.name, node.uuid, name, rp)
        placed = facts.Placed(name)
        if stable_id is not None:
            placed = facts.Placed(
                name,
                inventory.KnownProvider(
                    stable_id,
                    tree.inventories(_inventories(context, client, rp)),
                    frozenset(client.get_provider_traits(context, rp).traits),
                ),
                _allocations(context, client, rp),
            )
        found[rp] = placed
    return found


def _inventories(
    context: Context, client: ty.Any, rp: str
) -> dict[str, dict[str, ty.Any]]:
    answer = client.get(
        f'/resource_providers/{rp}/inventories',
        global_request_id=context.global_id,
    )
    if not answer:
        raise nova_exception.ResourceProviderRetrievalFailed(uuid=rp)
    return ty.cast(dict[str, dict[str, ty.Any]], answer.json()['inventories'])


def _allocations(
    context: Context, client: ty.Any, rp: str
) -> dict[str, dict[str, int]]:
    info = client.get_allocations_for_resource_provider(context, rp)
    return {
        consumer: dict(allocation['resources'])
        for consumer, allocation in info.allocations.items()
    }


# Consumers that hold nothing here


def _fates(
    servers: collections.abc.Iterable[facts.Server],
    providers: collections.abc.Mapping[str, facts.Placed],
) -> dict[str, str]:
    known = {consumer for each in servers for consumer in each.consumers}
    strays = {
        consumer
        for placed in providers.values()
        for consumer in placed.allocations
    } - known
    # A deleted record is proof; no record at all is none.
    all_records = nova_context.get_admin_context(read_deleted='yes')
    return {consumer: _fate(all_records, consumer) for consumer in strays}


def _fate(context: Context, consumer: str) -> str:
    with contextlib.suppress(nova_exception.InstanceNotFound):
        return _fate_of_server(context, consumer)
    try:
        migration = objects.Migration.get_by_uuid(context, consumer)
        server = _fate_of_server(context, migration.instance_uuid)
    except (
        nova_exception.MigrationNotFound,
        nova_exception.InstanceNotFound,
    ):
        return facts.UNKNOWN
    if server == facts.DELETED:
        return facts.DELETED
    return facts.MOVED if migration.status in _OVER else facts.BUSY


def _fate_of_server(context: Context, uuid: str) -> str:
    instance = objects.Instance.get_by_uuid(context, uuid, expected_attrs=[])
    if instance.deleted:
        return facts.DELETED
    if instance.task_state or instance.vm_state == vm_states.BUILDING:
        return facts.BUSY
    return facts.ELSEWHERE
