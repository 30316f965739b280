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
"""What Placement has allocated, and nova's records of it."""

import collections
import collections.abc

from nova_accel.core import facts as evidence
from nova_accel.core.invariant import case as cases
from nova_accel.core.invariant import finding

_Amounts = collections.Counter[tuple[str, str]]

_FATES = {
    evidence.DELETED: finding.OF_DELETED,
    evidence.MOVED: finding.OF_MOVED,
    evidence.ELSEWHERE: finding.OF_ELSEWHERE,
    evidence.UNKNOWN: finding.OF_UNKNOWN,
}


def agree(case: cases.Case) -> finding.Findings:
    """Nova's records and Placement say the same, server by server."""
    allocated: dict[str, _Amounts] = collections.defaultdict(
        collections.Counter
    )
    for rp, placed in case.facts.providers.items():
        for consumer, classes in placed.allocations.items():
            server = case.by_consumer.get(consumer)
            if server is None:
                yield from _stray(case, rp, consumer, classes)
                continue
            for rc, amount in classes.items():
                allocated[server.uuid][rp, rc] += amount
    for server in case.facts.servers:
        claimed = collections.Counter(
            (claim.provider, claim.resource_class) for claim in server.claims
        )
        yield from _compared(
            case, server.uuid, allocated[server.uuid], claimed
        )


def _stray(
    case: cases.Case,
    rp: str,
    consumer: str,
    classes: collections.abc.Mapping[str, int],
) -> finding.Findings:
    kind = _FATES.get(case.facts.fates.get(consumer, evidence.UNKNOWN))
    if kind is None:
        return
    amounts = ', '.join(f'{n} of {rc}' for rc, n in sorted(classes.items()))
    yield finding.Finding(
        kind,
        f'{consumer} has {amounts} of {case.name(rp)} allocated and holds '
        f'nothing on this host',
        server=consumer,
        provider=rp,
    )


def _compared(
    case: cases.Case, server: str, allocated: _Amounts, claimed: _Amounts
) -> finding.Findings:
    for rp, rc in sorted(allocated.keys() | claimed.keys()):
        wanted, found = allocated[rp, rc], claimed[rp, rc]
        if wanted != found:
            yield finding.Finding(
                finding.NOT_CLAIMED
                if wanted > found
                else finding.NOT_ALLOCATED,
                f'server {server} has {wanted} of {rc} of {case.name(rp)} '
                f'allocated and {found} claimed',
                server=server,
                provider=rp,
            )
