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
"""What any nova driver gains: rules, providers, claims and their release.

Overrides only; each calls super and asks the manager. The signatures are
nova's own, passed through as they come.
"""

import collections
import typing as ty

import nova.conf
from nova import context as nova_context
from nova import exception as nova_exception
from nova import objects
from nova import utils
from nova.virt import driver
from oslo_log import log as logging

from nova_accel.backends import base
from nova_accel.conf import accel as accel_conf
from nova_accel.conf import sources
from nova_accel.core import attachment
from nova_accel.core import inventory
from nova_accel.core import request
from nova_accel.core import whitelist
from nova_accel import exception
from nova_accel import manager
from nova_accel.objects import publication
from nova_accel.virt import audit
from nova_accel.virt import caretaker
from nova_accel.virt import desk
from nova_accel.virt import device_endpoint
from nova_accel.virt import endpoint
from nova_accel.virt import records
from nova_accel.virt import reload
from nova_accel.virt import tracker
from nova_accel.virt import tree

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)

accel_conf.register_opts(CONF)


class AccelDriverMixin(driver.ComputeDriver):  # type: ignore[misc]
    """Put in front of a nova driver class.

    The hypervisor's driver says which backend it has and which node it is.
    """

    # Whether a server that exists can get devices: see ``holding.Driver``.
    accel_hotplug = False
    accel_no_hotplug = 'its driver cannot'
    accel_desk: desk.Desk | None = None

    def __init__(self, *args: ty.Any, **kwargs: ty.Any) -> None:
        # Not in init_host: that runs in a worker, and nova starts a worker
        # that dies anew, for ever. Here the whole service stops.
        self._rules = _rules()
        super().__init__(*args, **kwargs)
        self._units = tree.UnitsCache()
        self._settled: tree.Settled | None = None
        self.accel = manager.Manager(self.accel_backend())
        self.accel_caretaker = caretaker.Caretaker(
            self, CONF.accel.command_user, CONF.accel.health_interval
        )

    @property
    def rules(self) -> whitelist.Whitelist:
        """The whitelist as it was when the driver was made."""
        return self._rules

    def accel_backend(self) -> base.Backend:
        raise NotImplementedError

    def accel_node(self) -> inventory.Node:
        raise NotImplementedError

    def accel_elsewhere(self) -> inventory.Elsewhere:
        """What tells the devices that options of nova's give to servers."""
        return inventory.nowhere

    def init_host(self, host: str) -> None:
        super().init_host(host)
        node = self.accel_node()
        context = nova_context.get_admin_context()
        held = tracker.held_on(context, host, node)
        self.accel.start(node, self._rules, held, self.accel_elsewhere())
        if held:
            self._remember(context, node)
        tracker.adopt(self.virtapi._compute.rt, self.accel)
        self.accel_desk = desk.Desk(self)
        self.virtapi._compute.additional_endpoints.append(
            endpoint.Endpoint(self.accel_desk)
        )
        self.virtapi._compute.additional_endpoints.append(
            device_endpoint.Endpoint(self)
        )
        reload.subscribe(self.accel_reload, self._reset_service)

    def _remember(
        self, context: nova_context.RequestContext, node: inventory.Node
    ) -> None:
        """Learn from Placement who is who, before nova resumes guests."""
        client = self.virtapi._compute.reportclient
        try:
            self.accel.remember(audit.known(context, client, node))
        except Exception as e:
            # Ids name the make, or are serial numbers: that much is sure.
            LOG.warning(
                'Until the first update of resources, devices are not '
                'compared with what Placement remembers of them: %s',
                e,
            )

    def accel_check(self, offer: inventory.Offer) -> None:
        """Refuse what the whitelist would offer, if it must not be.

        :raises ClaimedTwice: something else gives a device of it away.
        """

    def accel_reload(self) -> None:
        """Read the whitelist anew; a wrong one changes nothing. Never raises.

        Placement hears of it with the next update.
        """
        try:
            rules = sources.load(accel_conf.paths(CONF))
            self.accel.reload(rules, self.accel_check)
        except exception.AccelError as e:
            LOG.error(
                'The whitelist is not read anew; the one in use stays: %s', e
            )
        except Exception:
            LOG.exception('The whitelist is not read anew')
        else:
            LOG.info('The whitelist was read anew: %d rules', len(rules.rules))

    def _reset_service(self) -> None:
        """Do what nova does after it has read its configuration anew."""
        compute = self.virtapi._compute
        # It throws the cache away that an update goes by.
        utils.synchronized(tracker.SEMAPHORE, fair=True)(compute.reset)()

    def accel_obey(
        self, context: nova_context.RequestContext, discover: bool = False
    ) -> dict[str, list[str]]:
        """Go by what Placement says of our devices now, from now on.

        :param discover: look at all devices anew, first.
        :returns: id of each device that is offered -> its marks.
        :raises BackendUnavailable: the hypervisor does not answer.
        """
        if discover:
            self.accel.rescan()
        compute = self.virtapi._compute
        node = self.accel.now.node
        for provider in self.accel.providing | {node.uuid}:
            # What an operator wrote is read with the update.
            compute.reportclient.invalidate_resource_provider(
                provider, cacheonly=True
            )
        compute.rt.publish(context.elevated())
        self._follow()
        return {
            device: sorted(marks)
            for device, marks in self.accel.service.marks.items()
        }

    def accel_attend(
        self, context: nova_context.RequestContext, device: str, again: bool
    ) -> list[str]:
        """Clean or prepare a device if that is due, and wait for it.

        :param again: also if it has failed before.
        :returns: why it failed.
        """
        # It was looked at: what is wrong with it from now on counts.
        self.accel.absolve(device)
        self.accel_obey(context)
        return self.accel_caretaker.attend(device, again)

    def accel_declare_clean(
        self, context: nova_context.RequestContext, device: str
    ) -> int:
        """Take an operator's word that a device is clean.

        :returns: how many of its units were not.
        """
        self.accel_obey(context)
        return self.accel_caretaker.declare_clean(device)

    def _follow(self) -> None:
        """See to guests whose devices have other addresses than before.

        Costs nothing while no device that a server holds has moved.
        """
        places = self.accel.places
        if not self.accel.moved(places):
            self.accel.followed(places)
            return
        try:
            done = self.accel_heal(nova_context.get_admin_context())
        except Exception:
            LOG.exception(
                'Guests could not be compared with where their devices are '
                'now; that is tried again'
            )
            return
        if done:
            self.accel.followed(places)

    def accel_heal(self, context: nova_context.RequestContext) -> bool:
        """Define guests anew that do not run and whose devices have moved.

        :returns: False: there is one left that nova is at work on.
        """
        return True

    def accel_audit(self, context: nova_context.RequestContext) -> None:
        """Log where nova, Placement and this host disagree. Never raises.

        Once, at the start, while nobody is served yet.
        """
        compute = self.virtapi._compute
        audit.report(context, compute.host, self.accel, compute.reportclient)

    def node_is_available(self, nodename: str) -> bool:
        # Runs under the lock that all claims share, where stock would ask
        # the hypervisor; the name does not change while the service runs.
        return nodename == self.accel.now.node.name

    def get_available_resource(self, nodename: str) -> dict[str, ty.Any]:
        self.accel.refresh()
        self._follow()
        resources = super().get_available_resource(nodename)
        if not self.accel.idle:
            resources['stats'] = publication.into(
                resources.get('stats') or {},
                self.accel.capabilities(),
                # They share a column of limited length.
                others=self.virtapi._compute.rt.stats.get(nodename),
            )
        return ty.cast(dict[str, ty.Any], resources)

    def update_provider_tree(
        self,
        provider_tree: ty.Any,
        nodename: str,
        allocations: ty.Any = None,
    ) -> None:
        super().update_provider_tree(
            provider_tree, nodename, allocations=allocations
        )
        if not self.node_is_available(nodename):
            return
        node = tree.node(provider_tree, nodename, self.accel_hotplug)
        settled, basis = self._settled, self.accel.basis
        if settled is None or not settled.restore(provider_tree, node, basis):
            self._settled = self._update(provider_tree, node, basis)

    def _update(
        self,
        provider_tree: ty.Any,
        node: inventory.Node,
        basis: tuple[object, ...],
    ) -> tree.Settled | None:
        """Bring the tree to the desired state.

        :returns: None: the next update has to do it all again.
        """
        before = tree.records(provider_tree, node)
        known = tree.read(provider_tree, node)
        providers = self.accel.providers(node, known)
        gone = [p for p in providers if p.retired and self._unused(p)]
        tree.write(
            provider_tree,
            node,
            [p for p in providers if p not in gone],
            self._units,
        )
        for provider in gone:
            provider_tree.remove(provider.uuid)
        if any(provider.retired for provider in providers):
            # Placement is to be asked about it again.
            return None
        if tree.records(provider_tree, node) != before:
            return None
        return tree.Settled.of(provider_tree, node, basis)

    def _unused(self, provider: inventory.Provider) -> bool:
        """Ask Placement: deleting a provider in use fails every update."""
        client = self.virtapi.reportclient
        try:
            info = client.get_allocations_for_resource_provider(
                nova_context.get_admin_context(), provider.uuid
            )
        except Exception as e:
            # A claim may be waiting for this update: ask again next time.
            LOG.warning(
                'Provider %s is kept: Placement does not tell whether it is '
                'in use: %s',
                provider.name,
                e,
            )
            return False
        return not info.allocations

    # The life of a server

    def spawn(
        self,
        context: nova_context.RequestContext,
        instance: objects.Instance,
        image_meta: ty.Any,
        injected_files: ty.Any,
        admin_password: ty.Any,
        allocations: ty.Any,
        *args: ty.Any,
        **kwargs: ty.Any,
    ) -> None:
        self._check_claims(instance, allocations)
        self._arrived(instance)
        self.accel_announce(context, instance)
        try:
            super().spawn(
                context,
                instance,
                image_meta,
                injected_files,
                admin_password,
                allocations,
                *args,
                **kwargs,
            )
        except Exception as e:
            self.accel_blame(context, instance, str(e))
            self._detach(instance)
            raise

    def accel_blame(
        self,
        context: nova_context.RequestContext,
        instance: objects.Instance,
        text: str,
    ) -> None:
        """Quarantine what an error names as its cause. Never raises."""
        self.accel.blame(instance.uuid, self.accel_claims(instance), text)
        self.accel_caretaker.tell(context)

    def finish_migration(
        self,
        context: nova_context.RequestContext,
        migration: objects.Migration,
        instance: objects.Instance,
        disk_info: ty.Any,
        network_info: ty.Any,
        image_meta: ty.Any,
        resize_instance: ty.Any,
        allocations: ty.Any,
        *args: ty.Any,
        **kwargs: ty.Any,
    ) -> None:
        self._check_claims(instance, allocations)
        self._arrived(instance)
        self.accel_announce(context, instance)
        super().finish_migration(
            context,
            migration,
            instance,
            disk_info,
            network_info,
            image_meta,
            resize_instance,
            allocations,
            *args,
            **kwargs,
        )

    def finish_revert_migration(
        self,
        context: nova_context.RequestContext,
        instance: objects.Instance,
        *args: ty.Any,
        **kwargs: ty.Any,
    ) -> None:
        self._arrived(instance)
        super().finish_revert_migration(context, instance, *args, **kwargs)

    def post_live_migration_at_destination(
        self,
        context: nova_context.RequestContext,
        instance: objects.Instance,
        *args: ty.Any,
        **kwargs: ty.Any,
    ) -> None:
        arriving = self.accel_moving(instance, 'new_resources')
        self._arrived(instance, arriving)
        super().post_live_migration_at_destination(
            context, instance, *args, **kwargs
        )

    def _arrived(
        self,
        instance: objects.Instance,
        claims: frozenset[inventory.Claim] = frozenset(),
    ) -> None:
        """Let attachments of a server that came here name its units here."""
        claims = claims or self.accel_claims(instance)
        if self.accel_desk is not None:
            self.accel_desk.arrived(instance, claims)

    def accel_wanted(
        self, instance: objects.Instance
    ) -> frozenset[inventory.Claim]:
        """Units that a guest which is started now is to have."""
        claims = self.accel_claims(instance)
        if not claims:
            return claims
        return claims - attachment.leaving(records.of(instance).values())

    def accel_tend(
        self, context: nova_context.RequestContext, starting: bool
    ) -> None:
        """Look after attachments that are under way. Never raises."""
        if self.accel_desk is None or self.accel.idle:
            return
        self.accel_caretaker.watch(context)
        self.accel_caretaker.tend()
        if starting:
            self.accel_desk.resume(context)
        else:
            self.accel_desk.tend(context)

    def _check_claims(
        self, instance: objects.Instance, allocations: ty.Any
    ) -> None:
        """Refuse to start a server without a device that it is to have."""
        claimed = collections.Counter(
            (claim.provider, claim.resource_class)
            for claim in self.accel_claims(instance)
        )
        wants = request.wants(allocations, self.accel.providing)
        for provider, classes in wants.ours.items():
            for resource_class, amount in classes.items():
                if claimed[provider, resource_class] < amount:
                    raise nova_exception.ComputeResourcesUnavailable(
                        reason=f'{amount} of {resource_class} of provider '
                        f'{provider} are allocated, and '
                        f'{claimed[provider, resource_class]} claimed'
                    )

    def cleanup(
        self,
        context: nova_context.RequestContext,
        instance: objects.Instance,
        network_info: ty.Any,
        block_device_info: ty.Any = None,
        destroy_disks: bool = True,
        *args: ty.Any,
        **kwargs: ty.Any,
    ) -> None:
        super().cleanup(
            context,
            instance,
            network_info,
            block_device_info,
            destroy_disks,
            *args,
            **kwargs,
        )
        # A hard reboot keeps the disks, and comes back for the devices.
        if destroy_disks:
            self._detach(instance)

    def _detach(self, instance: objects.Instance) -> None:
        # Whatever is wrong with the record of a server on its way out, its
        # cleanup goes on: the periodic collects what stays behind.
        try:
            claims = self.accel_claims(instance)
        except Exception as e:
            LOG.warning(
                'Cannot read what devices server %s holds: %s',
                instance.uuid,
                e,
            )
            return
        self.accel.detach(instance.uuid, claims)

    def accel_started(self, context: nova_context.RequestContext) -> None:
        """Note that the first update of the resources went well.

        Called under the lock that all claims share.
        """

    def confirm_migration(
        self,
        context: nova_context.RequestContext,
        migration: objects.Migration,
        instance: objects.Instance,
        network_info: ty.Any,
    ) -> None:
        super().confirm_migration(context, migration, instance, network_info)
        self.accel.detach(
            instance.uuid, self.accel_moving(instance, 'old_resources')
        )

    def accel_claims(
        self, instance: objects.Instance
    ) -> frozenset[inventory.Claim]:
        """Units of ours that a server holds, by nova's own record."""
        return self._ours(instance.resources)

    def accel_moving(
        self, instance: objects.Instance, field: str
    ) -> frozenset[inventory.Claim]:
        """Units of ours that a server has on one end of its move.

        :param field: ``old_resources`` or ``new_resources``.
        """
        moving = instance.migration_context
        # Records of old releases lack the fields.
        if moving is None or field not in moving:
            return frozenset()
        return self._ours(getattr(moving, field))

    def _ours(
        self, resources: tracker.Resources | None
    ) -> frozenset[inventory.Claim]:
        return frozenset(
            claim
            for claim in tracker.claims_of(resources)
            if claim.provider in self.accel
        )

    def accel_announce(
        self,
        context: nova_context.RequestContext,
        instance: objects.Instance,
    ) -> None:
        """Tell Placement what a claim has just excluded.

        :raises ComputeResourcesUnavailable: it has to know, and does not.
        """
        if not self.accel.unannounced:
            return
        owes = self.accel.owes
        try:
            self.virtapi._compute.rt.publish(context.elevated())
        except Exception as e:
            if owes:
                # It would be forgotten that it has to be cleaned.
                raise nova_exception.ComputeResourcesUnavailable(
                    reason=f'Placement does not note down what is to be '
                    f'cleaned after server {instance.uuid}: {e}'
                ) from e
            # The claim stands. The next periodic update says the same.
            LOG.warning(
                'Placement could not be told which vGPU models the claim of '
                'server %s excludes',
                instance.uuid,
                exc_info=True,
            )


def _rules() -> whitelist.Whitelist:
    try:
        return sources.load(accel_conf.paths(CONF))
    except exception.InvalidWhitelist as e:
        said = str(e)
    # Out here the log does not repeat it as the error being handled; and of
    # any other exception nova would log a traceback.
    LOG.critical('nova-compute does not start: %s', said)
    raise SystemExit(1)
