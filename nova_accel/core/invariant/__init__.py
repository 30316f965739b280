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
"""What must always hold, and where it does not.

Every allocation has one claim, every claim one device in one guest, every
mediated device of ours a claim, every claim a server, and Placement's
amounts are those that claims and devices make. Pure: facts in, findings out.
"""

from nova_accel.core.invariant import checks
from nova_accel.core.invariant import finding

check = checks.check
Finding = finding.Finding
Outcome = finding.Outcome
ADVICE = finding.ADVICE
AT_ONCE = finding.AT_ONCE

NOT_CLAIMED = finding.NOT_CLAIMED
NOT_ALLOCATED = finding.NOT_ALLOCATED
OF_DELETED = finding.OF_DELETED
OF_MOVED = finding.OF_MOVED
OF_ELSEWHERE = finding.OF_ELSEWHERE
OF_UNKNOWN = finding.OF_UNKNOWN
TWICE = finding.TWICE
NO_SERVER = finding.NO_SERVER
FORGOTTEN = finding.FORGOTTEN
NO_PROVIDER = finding.NO_PROVIDER
NOT_ASKED = finding.NOT_ASKED
NO_DEVICE = finding.NO_DEVICE
NOT_ATTACHED = finding.NOT_ATTACHED
NOT_MADE = finding.NOT_MADE
SHARED = finding.SHARED
NOT_HELD = finding.NOT_HELD
LOOSE = finding.LOOSE
UNCLAIMED = finding.UNCLAIMED
NO_GROUP = finding.NO_GROUP
NO_RECORD = finding.NO_RECORD
UNREADABLE = finding.UNREADABLE
SPEC = finding.SPEC
ABSENT = finding.ABSENT
ORPHAN = finding.ORPHAN
NOT_OURS = finding.NOT_OURS
AMOUNTS = finding.AMOUNTS
TRAITS = finding.TRAITS
