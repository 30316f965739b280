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
"""Who holds which unit."""

import collections

from nova_accel.core.invariant import case as cases
from nova_accel.core.invariant import finding


def holders(case: cases.Case) -> finding.Findings:
    """A unit is held once, by a server, from a provider of this node."""
    found = collections.defaultdict(list)
    for server in case.facts.servers:
        for claim in server.claims:
            found[claim.unit].append((server.uuid, claim))
            if claim.provider not in case.desired:
                yield case.about(
                    finding.NO_PROVIDER,
                    claim,
                    server.uuid,
                    'this node has no such provider',
                )
    for (first, _claim), *others in found.values():
        for other, claim in others if first not in case.busy else ():
            text = f'server {first} holds it too'
            yield case.about(finding.TWICE, claim, other, text)


def service(case: cases.Case) -> finding.Findings:
    """What nova-compute takes for held is what nova's records say."""
    held = case.facts.held
    if held is None:
        return
    sides = (
        (
            finding.NO_SERVER,
            held - case.claims,
            'nova-compute takes it for held, and no record of nova names it',
        ),
        (
            finding.FORGOTTEN,
            case.claims - held,
            'nova-compute takes it for free, and a server holds it',
        ),
    )
    owners = {c: s.uuid for s in case.facts.servers for c in s.claims}
    for kind, claims, text in sides:
        for claim in claims:
            if claim.provider not in case.unsettled:
                owner = owners.get(claim, '')
                yield case.about(kind, claim, owner, text)
