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
"""What a server that exists has allocated in Placement: set, never added to.

An answer may be lost after Placement has done what it was asked for. So each
write says how much is to be there in the end, guarded by the generation of
the consumer, and is repeated until Placement says that it is so.
"""

import collections.abc
import copy
import random
import threading
import typing as ty

from keystoneauth1 import exceptions as ks_exc
from nova import context as nova_context

from nova_accel.core import inventory
from nova_accel.core import naming
from nova_accel.core import request
from nova_accel import exception

# Requests for candidates within one tree, and consumers with generations.
_CANDIDATES = '1.31'
_ALLOCATIONS = '1.28'

_TRIES = 8
# Seconds before the second try; it doubles, and is spread.
PAUSE = 0.05
_LONGEST = 5.0

Context: ty.TypeAlias = nova_context.RequestContext
_Body = dict[str, ty.Any]


class Placing:
    """The allocations of servers of one host.

    :param client: nova's report client.
    """

    def __init__(self, client: ty.Any) -> None:
        self._client = client

    def candidates(
        self, context: Context, node: str, resource_class: str, amount: int
    ) -> list[str]:
        """Return the providers of a node that have room, the fullest first.

        Only those where hot attach works.

        :param node: uuid of its root provider.
        :raises PlacementFailed: it does not answer.
        """
        group = '1'
        url = (
            f'/allocation_candidates?resources{group}={resource_class}:'
            f'{amount}&required{group}={naming.HOTPLUG}&in_tree{group}={node}'
        )
        body = self._read(context, url, _CANDIDATES)
        summaries = body['provider_summaries']
        found = {
            provider
            for each in body['allocation_requests']
            for provider in each['allocations']
        }

        def left(provider: str) -> tuple[int, str]:
            record = summaries[provider]['resources'][resource_class]
            return record['capacity'] - record['used'], provider

        return sorted(found, key=left)

    def _read(self, context: Context, url: str, version: str) -> _Body:
        reason: object = ''
        for _try in self._tries():
            try:
                answer = self._client.get(
                    url, version=version, global_request_id=context.global_id
                )
            except ks_exc.ClientException as e:
                reason = e
                continue
            if answer.status_code == 200:
                return ty.cast(_Body, answer.json())
            reason = _detail(answer)
            if answer.status_code < 500:
                break
        raise exception.PlacementFailed(reason=reason)

    def settle(
        self,
        context: Context,
        server: str,
        wanted: request.Amounts,
        ours: collections.abc.Container[str],
    ) -> None:
        """Let a server have allocated what it is to have of our providers.

        :param wanted: all of it. What else it has from ``ours`` goes.
        :raises NoRoom: Placement has given it to somebody else.
        :raises PlacementFailed: it does not answer, or refuses.
        """
        reason: object = ''
        for _try in self._tries():
            current = self._read(
                context, f'/allocations/{server}', _ALLOCATIONS
            )
            body = _changed(current, wanted, ours)
            if body is None:
                return
            try:
                answer = self._client.put(
                    f'/allocations/{server}',
                    body,
                    version=_ALLOCATIONS,
                    global_request_id=context.global_id,
                )
            except ks_exc.ClientException as e:
                # It may have been done nonetheless.
                reason = e
                continue
            if answer.status_code == 204:
                return
            reason = _detail(answer)
            if not _is_passing(answer):
                break
        else:
            raise exception.PlacementFailed(reason=reason)
        if answer.status_code == 409:
            raise exception.NoRoom(reason=reason)
        raise exception.PlacementFailed(reason=reason)

    def _tries(self) -> collections.abc.Iterator[int]:
        waiting = threading.Event()
        longest = PAUSE
        for number in range(_TRIES):
            if number:
                waiting.wait(random.uniform(longest / 2, longest))
                longest = min(2 * longest, _LONGEST)
            yield number


def _changed(
    current: _Body,
    wanted: request.Amounts,
    ours: collections.abc.Container[str],
) -> _Body | None:
    """Return what to write; None where nothing has to be."""
    allocations = copy.deepcopy(current['allocations'])
    if not allocations and not wanted:
        return None
    if not allocations:
        raise exception.PlacementFailed(
            reason='the server has nothing allocated at all; have nova-manage '
            'placement heal_allocations put that right first'
        )
    for provider in [rp for rp in allocations if rp in ours]:
        if provider not in wanted:
            del allocations[provider]
    for provider, amounts in wanted.items():
        allocations.setdefault(provider, {})['resources'] = dict(amounts)
    body = {
        **current,
        'allocations': {
            provider: {'resources': each['resources']}
            for provider, each in allocations.items()
        },
    }
    before = {
        provider: {'resources': each['resources']}
        for provider, each in current['allocations'].items()
    }
    return None if body['allocations'] == before else body


def _is_passing(answer: ty.Any) -> bool:
    """Tell an error that the next try may not meet."""
    if answer.status_code >= 500:
        return True
    codes = {each.get('code') for each in _errors(answer)}
    return answer.status_code == 409 and 'placement.concurrent_update' in codes


def _errors(answer: ty.Any) -> list[dict[str, ty.Any]]:
    try:
        return list(answer.json()['errors'])
    except (KeyError, TypeError, ValueError):
        return []


def _detail(answer: ty.Any) -> str:
    said = [str(each.get('detail', '')).strip() for each in _errors(answer)]
    return '; '.join(filter(None, said)) or f'status {answer.status_code}'


def amounts(
    claims: collections.abc.Iterable[inventory.Claim],
) -> dict[str, dict[str, int]]:
    """Count claims: provider -> resource class -> amount."""
    found: dict[str, dict[str, int]] = {}
    for claim in claims:
        classes = found.setdefault(claim.provider, {})
        classes[claim.resource_class] = (
            classes.get(claim.resource_class, 0) + 1
        )
    return found
