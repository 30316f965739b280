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
"""Everything that must hold of a host."""

from nova_accel.core import facts as evidence
from nova_accel.core.invariant import allocations
from nova_accel.core.invariant import attachments
from nova_accel.core.invariant import case
from nova_accel.core.invariant import claims
from nova_accel.core.invariant import devices
from nova_accel.core.invariant import finding
from nova_accel.core.invariant import guests
from nova_accel.core.invariant import providers

_TESTS = (
    allocations.agree,
    claims.holders,
    claims.service,
    devices.attached,
    attachments.agree,
    devices.made,
    guests.entitled,
    devices.loose,
    providers.agree,
)


def check(facts: evidence.Facts) -> tuple[finding.Finding, ...]:
    """Return all that does not hold, sorted.

    Nothing is said about a server that nova is at work on.
    """
    found = case.Case(facts)
    return tuple(
        sorted(
            {
                each
                for test in _TESTS
                for each in test(found)
                if each.server not in found.busy
            }
        )
    )
