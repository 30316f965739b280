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
"""What a cloud offers: read from Placement, as the scheduler sees it."""

import collections.abc
import dataclasses
import typing as ty

MANAGED = 'CUSTOM_ACCEL_MANAGED'


@dataclasses.dataclass(frozen=True)
class Provider:
    """One provider of ours.

    :ivar root: uuid of the compute node.
    :ivar free: resource class -> units that can be claimed now.
    :ivar total: resource class -> units in service.
    """

    uuid: str
    name: str
    root: str
    free: collections.abc.Mapping[str, int]
    total: collections.abc.Mapping[str, int]
    traits: frozenset[str]


class Offers:
    """Reads the providers that bear our trait.

    :param client: tempest's of resource providers, with at least
        microversion 1.18.
    """

    def __init__(self, client: ty.Any) -> None:
        self._client = client
        self._having: dict[str, frozenset[str]] = {}

    def read(self, resource_class: str = '') -> list[Provider]:
        """Read all of our providers.

        :param resource_class: only those that have had it before, which is
            cheaper: each costs three requests.
        """
        wanted = self._having.get(resource_class)
        found = [
            self._provider(one)
            for one in self._ours()
            if wanted is None or one['uuid'] in wanted
        ]
        if wanted is None:
            self._remember(found)
        return found

    def uuids(self) -> set[str]:
        return {one['uuid'] for one in self._ours()}

    def _ours(self) -> list[dict[str, ty.Any]]:
        found = self._client.list_resource_providers(required=MANAGED)
        return sorted(
            found['resource_providers'], key=lambda one: str(one['name'])
        )

    def _remember(self, providers: collections.abc.Iterable[Provider]) -> None:
        having: dict[str, set[str]] = {}
        for provider in providers:
            for rc in provider.total:
                having.setdefault(rc, set()).add(provider.uuid)
        self._having = {rc: frozenset(ids) for rc, ids in having.items()}

    def _provider(
        self, about: collections.abc.Mapping[str, ty.Any]
    ) -> Provider:
        uuid = about['uuid']
        client = self._client
        found = client.list_resource_provider_inventories(uuid)['inventories']
        used = client.list_resource_provider_usages(uuid)['usages']
        traits = client.list_resource_provider_traits(uuid)['traits']
        total = {
            rc: record['total'] - record['reserved']
            for rc, record in found.items()
        }
        return Provider(
            uuid,
            about['name'],
            about['root_provider_uuid'],
            {rc: total[rc] - used.get(rc, 0) for rc in total},
            total,
            frozenset(traits),
        )


def by_class(
    providers: collections.abc.Iterable[Provider],
) -> dict[str, list[Provider]]:
    """Resource class -> the providers that have any of it in service."""
    found: dict[str, list[Provider]] = {}
    for provider in providers:
        for rc, total in provider.total.items():
            if total > 0:
                found.setdefault(rc, []).append(provider)
    return found


def free(
    providers: collections.abc.Iterable[Provider], resource_class: str
) -> int:
    return sum(each.free.get(resource_class, 0) for each in providers)
