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
"""A scheduler filter that knows which card can serve which vGPU model.

In the nova.conf of nova-scheduler::

    [filter_scheduler]
    available_filters = nova.scheduler.filters.all_filters
    available_filters = nova_accel.scheduler.filters.AccelFilter
    enabled_filters = ComputeFilter,...,AccelFilter

Naming it there also installs the request filter of ``request.py``.
"""

import itertools

from nova import objects
from nova.scheduler import filters
from nova.scheduler import host_manager
from oslo_log import log as logging

from nova_accel.objects import publication
from nova_accel.scheduler import placement
from nova_accel.scheduler import request
from nova_accel.scheduler import rules

LOG = logging.getLogger(__name__)

request.install()


class AccelFilter(
    filters.BaseHostFilter,  # type: ignore[misc]
    filters.CandidateFilterMixin,  # type: ignore[misc]
):
    """Drops candidates whose card cannot serve the requested vGPU model.

    Placement offers a card by classes and traits. It does not know which
    class gives which model, nor that a card which takes one model at a time
    holds another one, until the node has reserved the rest. The node's
    published capabilities tell.

    They are as old as the node's last periodic update, and the claim on the
    node is what decides. So being wrong in one direction is harmless: a
    candidate that passes in error fails its claim, and nova reschedules.
    Dropping one in error would leave a free card unused. Therefore the
    published counts are not looked at, as Placement's are fresher; which
    model a class gives does not depend on claims; and that a card holds
    another model is believed only if Placement, asked in that case alone,
    still has allocations of its other classes.

    A host that publishes nothing, nothing readable, or no cards (version
    1.0, or too many for the column) passes.

    It also lets several servers of one request share the cards of a host.
    Nova asks Placement once for all of them, and tries the same candidate
    of a host for each. So from the second server on, candidates that
    Placement has no room for any more are dropped.
    """

    RUN_ON_REBUILD = False

    def host_passes(
        self,
        host_state: host_manager.HostState,
        spec_obj: objects.RequestSpec,
    ) -> bool:
        """Return True if any candidate of the host is left."""
        if not self._drop_full(host_state):
            return False
        asked = request.asked_by_flavor(
            spec_obj, tuple(request.image_traits(spec_obj))
        )
        if asked is None or not rules.wants_vgpu(asked):
            return True
        capabilities = publication.load(host_state.stats)
        if not capabilities or not capabilities.cards:
            LOG.debug('%s publishes no vGPU cards and passes', host_state)
            return True

        def serves(candidate: rules.Candidate) -> bool:
            reason = rules.obstacle(
                capabilities, asked, candidate, _is_used_otherwise
            )
            if reason:
                LOG.debug(
                    '%s cannot serve a candidate: %s', host_state, reason
                )
            return reason is None

        return bool(self.filter_candidates(host_state, serves))

    def _drop_full(self, host_state: host_manager.HostState) -> bool:
        """Drop candidates that servers of the same request have filled."""
        # Nova makes such an object for each request, and counts up in it.
        before = vars(host_state).setdefault(
            '_accel_num_instances', host_state.num_instances
        )
        if before == host_state.num_instances:
            return True
        host_state.allocation_candidates = list(
            itertools.dropwhile(
                lambda candidate: not _has_room(host_state, candidate),
                host_state.allocation_candidates,
            )
        )
        return bool(host_state.allocation_candidates)


def _has_room(
    host_state: host_manager.HostState, candidate: rules.Candidate
) -> bool:
    """Ask about the cards alone: the host itself is in all candidates."""
    return all(
        placement.has_room(provider, allocation['resources'])
        for provider, allocation in candidate['allocations'].items()
        if provider != host_state.uuid
    )


def _is_used_otherwise(provider: str, resource_class: str) -> bool:
    return any(
        amount
        for rc, amount in placement.usages(provider).items()
        if rc != resource_class
    )
