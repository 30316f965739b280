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
"""What an audit of one host goes by: four witnesses, as they stand now.

Nova's records, Placement, the hypervisor's guests, and its devices. Each was
asked on its own; ``core/invariant.py`` says where they disagree.
"""

import collections.abc
import dataclasses

from nova_accel.core import attachment
from nova_accel.core import device
from nova_accel.core import inventory

RUNNING = 'running'
STOPPED = 'stopped'
IDLE = 'idle'
BUSY = 'busy'

# Of two things that nova says about a server, the one further to the right
# decides.
STATES = (IDLE, STOPPED, RUNNING, BUSY)

DELETED = 'deleted'
MOVED = 'moved'
ELSEWHERE = 'elsewhere'
UNKNOWN = 'unknown'


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a server of this host asks for, beyond what it was made with.

    :ivar records: its attachments.
    :ivar unreadable: ids of records that nobody can make sense of.
    :ivar flavor: resource class -> amount, of all groups of its flavor.
    :ivar groups: those of attachments, by the id of each.
    :ivar spec: the same in its request spec; None: nobody could tell.
    """

    records: tuple[attachment.Attachment, ...] = ()
    unreadable: frozenset[str] = frozenset()
    flavor: collections.abc.Mapping[str, int] = dataclasses.field(
        default_factory=dict
    )
    groups: collections.abc.Mapping[str, attachment.Group] = dataclasses.field(
        default_factory=dict
    )
    spec: collections.abc.Mapping[str, attachment.Group] | None = None


@dataclasses.dataclass(frozen=True)
class Server:
    """One server that holds, or should hold, something on this host.

    :ivar consumers: who has its allocations in Placement: the server, and
        the migration while it moves.
    :ivar claims: all it holds here, both ends of a move included.
    :ivar attached: those of them that its guest here is made of.
    :ivar state: ``RUNNING``: its guest is up. ``STOPPED``: there may be no
        guest, and if there is one it has the devices. ``IDLE``: the guest
        may lack them (suspended, in error, on the other end of a move).
        ``BUSY``: nova is at work on it, nothing can be said.
    :ivar asked: None where only the other end of its move is here.
    """

    uuid: str
    consumers: frozenset[str]
    claims: frozenset[inventory.Claim] = frozenset()
    attached: frozenset[inventory.Claim] = frozenset()
    state: str = RUNNING
    asked: Asked | None = None

    def joined(self, other: 'Server') -> 'Server':
        """Put together what two records say about one server."""
        return Server(
            self.uuid,
            self.consumers | other.consumers,
            self.claims | other.claims,
            self.attached | other.attached,
            max(self.state, other.state, key=STATES.index),
            self.asked or other.asked,
        )


@dataclasses.dataclass(frozen=True)
class Placed:
    """One provider as Placement has it.

    :ivar known: None: it bears a name like ours and is not ours.
    :ivar allocations: consumer -> resource class -> amount.
    """

    name: str
    known: inventory.KnownProvider | None = None
    allocations: collections.abc.Mapping[
        str, collections.abc.Mapping[str, int]
    ] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Facts:
    """One host, as four witnesses describe it.

    :ivar providers: by uuid, those that have a name like ours.
    :ivar ours: mediated devices of ours that exist, by uuid.
    :ivar strangers: units in use that no server holds.
    :ivar seen: see ``inventory.desired``.
    :ivar fates: what became of consumers that hold nothing here by nova's
        records: ``BUSY``, ``DELETED``, ``MOVED`` (a migration that is over),
        ``ELSEWHERE`` (a server of another host) or ``UNKNOWN``.
    :ivar held: what nova-compute itself takes for held; None: not asked.
    """

    node: inventory.Node
    offer: inventory.Offer = inventory.Offer()
    providers: collections.abc.Mapping[str, Placed] = dataclasses.field(
        default_factory=dict
    )
    servers: tuple[Server, ...] = ()
    guests: tuple[device.Guest, ...] = ()
    mdevs: frozenset[str] = frozenset()
    ours: collections.abc.Mapping[str, inventory.Claim] = dataclasses.field(
        default_factory=dict
    )
    strangers: frozenset[inventory.Claim] = frozenset()
    seen: inventory.Members = dataclasses.field(default_factory=dict)
    fates: collections.abc.Mapping[str, str] = dataclasses.field(
        default_factory=dict
    )
    held: frozenset[inventory.Claim] | None = None
