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
"""Placement as nova-compute sees it, without Placement.

At 512 providers of stock nova's, the real one spends most of a benchmark in
requests that have nothing to do with accelerators. Its share of the cost is
told by the number of providers. Both sides get this one.
"""

import collections.abc
import copy
import types
import typing as ty
from urllib import parse

from nova.compute import provider_tree
from nova.scheduler.client import report

Allocations = dict[str, dict[str, ty.Any]]


class Placement:
    """Offers what nova-compute needs of nova's SchedulerReportClient.

    :ivar tree: what was written last.
    :ivar allocations: consumer -> provider uuid -> what it takes of it.
    :ivar requests: how often it was asked without nova's help.
    """

    def __init__(self) -> None:
        self.tree = provider_tree.ProviderTree()
        self.allocations: dict[str, Allocations] = {}
        self.requests = 0

    def allocate(
        self,
        consumer: str,
        amounts: collections.abc.Mapping[
            str, collections.abc.Mapping[str, int]
        ],
    ) -> None:
        """Give a consumer amounts by provider uuid and resource class."""
        self.allocations[consumer] = {
            rp: {'resources': dict(resources)}
            for rp, resources in amounts.items()
        }

    def hand_on(self, consumer: str, other: str) -> None:
        """Give all that a consumer has to another one."""
        self.allocations[other] = self.allocations.pop(consumer)

    # What attach and detach call

    def get(self, url: str, **_how: object) -> ty.Any:
        self.requests += 1
        path, _mark, query = url.partition('?')
        if path == '/allocation_candidates':
            return _answer(self._candidates(parse.parse_qs(query)))
        consumer = path.rpartition('/')[2]
        return _answer(
            {
                **self.get_allocs_for_consumer(None, consumer),
                'consumer_generation': 1,
            }
        )

    def put(self, url: str, body: dict[str, ty.Any], **_how: object) -> ty.Any:
        self.requests += 1
        self.allocations[url.rpartition('/')[2]] = body['allocations']
        return _answer({}, 204)

    def _candidates(self, query: dict[str, list[str]]) -> dict[str, ty.Any]:
        rc, amount = query['resources1'][0].split(':')
        rooms = {}
        for rp in self.tree.get_provider_uuids():
            record = self.tree.data(rp).inventory.get(rc)
            if record:
                used = sum(
                    each.get(rp, {}).get('resources', {}).get(rc, 0)
                    for each in self.allocations.values()
                )
                capacity = record['total'] - record['reserved']
                rooms[rp] = {'capacity': capacity, 'used': used}
        return {
            'allocation_requests': [
                {'allocations': {rp: {'resources': {rc: int(amount)}}}}
                for rp, room in rooms.items()
                if room['capacity'] - room['used'] >= int(amount)
            ],
            'provider_summaries': {
                rp: {'resources': {rc: room}} for rp, room in rooms.items()
            },
        }

    # What nova calls

    def get_provider_subtree_and_ensure_root(
        self, _context: object, rp_uuid: str, *, name: str
    ) -> provider_tree.ProviderTree:
        if not self.tree.exists(rp_uuid):
            self.tree.new_root(name, rp_uuid, generation=0)
        return self.tree.subtree(rp_uuid)

    def update_from_provider_tree(
        self,
        _context: object,
        new_tree: provider_tree.ProviderTree,
        allocations: object = None,
    ) -> None:
        # Names of units are nova-compute's own and are not kept here.
        self.tree = copy.deepcopy(new_tree)
        for rp_uuid in self.tree.get_provider_uuids():
            self.tree.update_resources(rp_uuid, {})

    def get_provider_traits(
        self, _context: object, rp_uuid: str
    ) -> report.TraitInfo:
        data = self.tree.data(rp_uuid)
        return report.TraitInfo(data.traits, data.generation)

    def get_allocations_for_provider_tree(
        self, _context: object, _nodename: str
    ) -> dict[str, ty.Any]:
        return {
            consumer: {'allocations': copy.deepcopy(allocations)}
            for consumer, allocations in self.allocations.items()
        }

    def get_allocations_for_consumer(
        self, _context: object, consumer: str
    ) -> Allocations:
        return copy.deepcopy(self.allocations.get(consumer, {}))

    def get_allocs_for_consumer(
        self, context: object, consumer: str
    ) -> dict[str, Allocations]:
        return {
            'allocations': self.get_allocations_for_consumer(context, consumer)
        }

    def delete_allocation_for_instance(
        self, _context: object, consumer: str, **_how: object
    ) -> None:
        self.allocations.pop(consumer, None)

    def get_allocations_for_resource_provider(
        self, _context: object, rp_uuid: str
    ) -> report.ProviderAllocInfo:
        return report.ProviderAllocInfo(
            {
                consumer: copy.deepcopy(allocations[rp_uuid])
                for consumer, allocations in self.allocations.items()
                if rp_uuid in allocations
            }
        )

    def clear_provider_cache(self, init: bool = False) -> None:
        """There is no cache."""


def _answer(body: dict[str, ty.Any], status: int = 200) -> ty.Any:
    return types.SimpleNamespace(status_code=status, json=lambda: body)
