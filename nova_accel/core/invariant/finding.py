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
"""One thing that does not hold, and what to do about it."""

import collections.abc
import dataclasses


NOT_CLAIMED = 'allocation-without-claim'
NOT_ALLOCATED = 'claim-without-allocation'
OF_DELETED = 'allocation-of-deleted-server'
OF_MOVED = 'allocation-of-finished-move'
OF_ELSEWHERE = 'allocation-of-other-host'
OF_UNKNOWN = 'allocation-of-unknown-consumer'
TWICE = 'claim-twice'
NO_SERVER = 'claim-without-server'
FORGOTTEN = 'claim-forgotten'
NO_PROVIDER = 'claim-without-provider'
NOT_ASKED = 'claim-not-asked-for'
NO_DEVICE = 'claim-without-device'
NOT_ATTACHED = 'device-not-attached'
NOT_MADE = 'device-not-there'
SHARED = 'device-in-two-guests'
NOT_HELD = 'device-without-claim'
LOOSE = 'mdev-without-claim'
UNCLAIMED = 'attachment-without-claim'
NO_GROUP = 'attachment-without-group'
NO_RECORD = 'group-without-attachment'
UNREADABLE = 'attachment-unreadable'
SPEC = 'request-spec-differs'
ABSENT = 'provider-missing'
ORPHAN = 'provider-orphan'
NOT_OURS = 'provider-not-ours'
AMOUNTS = 'inventory-differs'
TRAITS = 'traits-differ'

_UPDATE = (
    'nova-compute corrects it when it refreshes its cache of Placement, '
    'after SIGHUP at its next update; if it stays, read its log'
)

ADVICE = {
    NOT_CLAIMED: 'cold-migrate the server: nova claims anew where it arrives',
    NOT_ALLOCATED: 'cold-migrate the server, which allocates anew; until '
    'then Placement offers the unit to others, and this host refuses them',
    OF_DELETED: 'nothing uses it: delete the allocation (nova-accel doctor '
    '--fix does, or openstack resource provider allocation delete)',
    OF_MOVED: 'the move is over: look at the server, then delete the '
    'allocation with openstack resource provider allocation delete',
    OF_ELSEWHERE: 'start nova-compute of the host that the server has left '
    'and let it update; if it stays, nova-manage placement '
    'heal_allocations',
    OF_UNKNOWN: 'nova has no record of it: it is being scheduled this very '
    'moment, or was purged; if it stays, nova-manage placement audit',
    TWICE: 'stop one of the servers, then cold-migrate it',
    NO_SERVER: 'nova-compute corrects it at its next update; if it stays, '
    'read its log',
    FORGOTTEN: 'restart nova-compute before it gives the unit away again',
    NO_PROVIDER: 'cold-migrate the server: nova claims anew where it arrives',
    NOT_ASKED: 'cold-migrate the server: it gets what its flavor asks for '
    'where it arrives',
    NO_DEVICE: 'bring the device back (power, slot, driver, virtual '
    'functions), or migrate the server',
    NOT_ATTACHED: 'hard-reboot the server: it is started with all it holds',
    NOT_MADE: 'hard-reboot the server: its devices are made again',
    SHARED: 'stop one of the servers, then hard-reboot the other',
    NOT_HELD: 'hard-reboot the server: it is started with what it holds; a '
    'guest that nova does not know can only go by hand (virsh)',
    LOOSE: 'nova-compute destroys it at its next update, nova-accel doctor '
    '--fix at once; if it stays, a guest uses it',
    UNCLAIMED: 'detach it (openstack server remove accelerator) and attach '
    'it again',
    NO_GROUP: 'detach it and attach it again: as it is, a move of the server '
    'would lose it',
    NO_RECORD: 'restart nova-compute; if it stays, somebody changed the '
    'system metadata of the server: cold-migrate it and report a bug',
    UNREADABLE: 'a later release wrote it, or it is damaged: upgrade '
    'nova-compute of this host, or delete the key accel_attachment_<id> '
    'from instance_system_metadata',
    SPEC: 'nova-accel doctor --fix, or the next request on the accelerators '
    'of the server, makes it the same; until then a move allocates wrongly',
    ABSENT: _UPDATE,
    ORPHAN: 'nova-compute deletes it at its next update, unless something '
    'is allocated from it still',
    NOT_OURS: 'something else made it: rename it, or delete it with '
    'openstack resource provider delete',
    AMOUNTS: _UPDATE,
    TRAITS: _UPDATE,
}

# All but what nova-compute itself may leave to its next update.
AT_ONCE = frozenset(ADVICE) - {LOOSE, NOT_MADE, ORPHAN, TRAITS}


@dataclasses.dataclass(frozen=True, order=True)
class Finding:
    """One thing that does not hold.

    :ivar kind: a key of ``ADVICE``.
    :ivar text: what is wrong.
    :ivar device: unit, uuid of a mediated device, or PCI address; '' where
        it is about none.
    :ivar server: uuid of a server or of a migration, or ''.
    :ivar provider: uuid, or ''.
    """

    kind: str
    text: str
    device: str = ''
    server: str = ''
    provider: str = ''

    @property
    def advice(self) -> str:
        """What to do about it."""
        return ADVICE[self.kind]

    def __str__(self) -> str:
        return f'{self.kind}: {self.text}; {self.advice}'


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one finding when somebody set out to repair it.

    :ivar text: what was done, or why nothing was.
    """

    finding: Finding
    done: bool
    text: str


Findings = collections.abc.Iterator[Finding]
