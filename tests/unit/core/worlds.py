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
"""A small host, what Placement remembers of it, and what changed since."""

import dataclasses

from nova_accel.core import facts
from nova_accel.core import identity
from nova_accel.core import inventory
from nova_accel.core import naming
from nova_accel.core import remapping
from nova_accel.core import whereabouts
from nova_accel.core import whitelist
from tests.unit.core import hosts

SERVER = 'd7f6ad6c-3f1b-4c6e-8f7e-1f0a4f5c1a01'
OTHER = '0f1d2c3b-3f1b-4c6e-8f7e-1f0a4f5c1a02'
RULE = hosts.rule('t4', *range(1, 9), models=('nvidia-233',))
WHOLE = hosts.rule('whole', *range(1, 9), kind='pci')


def card(bus, slot, serial='', make=hosts.t4, **kwargs):
    ids = (f'slot:{slot}', f'pci:0000:{bus:02x}:00.0')
    if serial:
        ids = (f'sn:{serial}', *ids)
    return make(bus, ids=ids, serial=serial, **kwargs)


class World:
    """A host as Placement remembers it, and what is in it now."""

    def __init__(self, *devices, rule=RULE):
        self.rule = rule
        self.known = {}
        self.servers = ()
        self.guests = ()
        self.change(*devices)
        self.update()

    def change(self, *devices):
        self.devices = devices

    def in_use(self):
        traits = [t for one in self.known.values() for t in one.traits]
        claimed = frozenset(
            inventory.read_unit(claim.unit).device for claim in self.claims()
        )
        return identity.InUse(
            claimed.union(one.stable_id for one in self.known.values()),
            claimed,
            dict(filter(None, map(naming.read_who, traits))),
            {
                said[0]: said[1:]
                for said in filter(None, map(naming.read_remap, traits))
            },
        )

    def claims(self):
        return [c for server in self.servers for c in server.claims]

    def offer(self):
        return inventory.offer(
            hosts.NODE,
            whitelist.Whitelist((self.rule,)),
            self.devices,
            self.in_use(),
        )

    def update(self):
        """What nova-compute does."""
        for _ in range(2):
            found = inventory.desired(
                hosts.NODE, self.offer(), self.claims(), self.known
            )
            self.known = {
                one.uuid: inventory.KnownProvider(
                    one.stable_id,
                    one.inventories,
                    one.traits
                    | {
                        t
                        for t in self.known.get(one.uuid, one).traits
                        if naming.read_remap(t)
                    },
                )
                for one in found
                if not one.retired
            }

    def serve(self, uuid, stable_id, part='/nvidia-233/0', state=None):
        (provider,) = (
            rp
            for rp, one in self.known.items()
            if naming.is_pool(one.stable_id) or one.stable_id == stable_id
        )
        device = naming.UnitId(stable_id)
        claim = inventory.Claim(provider, 'VGPU', f'{device}{part}')
        self.servers += (
            facts.Server(
                uuid,
                frozenset({uuid}),
                frozenset({claim}),
                state=state or facts.STOPPED,
            ),
        )
        return claim

    def look(self):
        offer = self.offer()
        found = facts.Facts(
            hosts.NODE,
            offer,
            {
                rp: facts.Placed(
                    naming.provider_name(hosts.NODE.name, one.stable_id), one
                )
                for rp, one in self.known.items()
            },
            self.servers,
            self.guests,
        )
        return found, inventory.service(hosts.NODE, offer, self.known)

    def entries(self):
        return {e.id: e for e in whereabouts.entries(*self.look())}

    def plan(self, old, new):
        return remapping.plan(*self.look(), old, new)

    def apply(self, plan):
        self.known = {
            rp: dataclasses.replace(one, traits=plan.traits(rp, one.traits))
            for rp, one in self.known.items()
        }

    def at(self, stable_id):
        """Where what goes by an id is now."""
        found = self.offer().cards.get(stable_id)
        return None if found is None else found.device.address.bus


def place(slot, kind='10de-1eb8'):
    return f'slot:{slot}:{kind}'
