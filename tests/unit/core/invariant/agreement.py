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
"""Hosts of which all say the same, and changes to what one says."""

import dataclasses

import testtools

from nova_accel.core import device
from nova_accel.core import facts
from nova_accel.core import invariant
from nova_accel.core import inventory
from nova_accel.core import naming
from tests.unit.core import hosts


ONE = '11111111-0000-4000-8000-000000000001'
TWO = '22222222-0000-4000-8000-000000000002'
MOVE = '33333333-0000-4000-8000-000000000003'

VGPU = hosts.rule('t4', 1, models=('nvidia-233',))
WHOLE = hosts.rule('whole', 5, 6, kind='pci')
DEVICES = (hosts.t4(1), hosts.pci(5), hosts.pci(6))
CARD = hosts.provider_of('sn:1')
POOL = hosts.provider_of('pool:whole:10de-20b5:numa0')
NAMES = {
    CARD: naming.provider_name(hosts.NODE.name, 'sn:1'),
    POOL: naming.provider_name(hosts.NODE.name, 'pool:whole:10de-20b5:numa0'),
}


def slot(number):
    return inventory.Claim(CARD, 'VGPU', f'sn:1/nvidia-233/{number}')


def whole(bus):
    return inventory.Claim(POOL, 'CUSTOM_PCI_10DE_20B5', f'sn:{bus}')


def mdev(claim):
    return naming.mdev_uuid(claim.provider, claim.unit)


def part(claim):
    """What a guest has of a unit."""
    bus = claim.unit.removeprefix('sn:')
    return mdev(claim) if '/' in claim.unit else f'0000:{bus:0>2}:00.0'


def server(uuid, *claims, **kwargs):
    claims = frozenset(claims)
    fields = {
        'consumers': frozenset({uuid}),
        'claims': claims,
        'attached': claims,
    }
    return facts.Server(uuid, **(fields | kwargs))


def guest(uuid, *claims, running=True):
    return device.Guest(uuid, running, frozenset(map(part, claims)))


def host(*servers, offer=None, **changes):
    """A host on which all four witnesses agree, and what they change."""
    offer = offer or hosts.offer([VGPU, WHOLE], DEVICES)
    claims = frozenset(c for each in servers for c in each.claims)
    desired = inventory.desired(hosts.NODE, offer, claims, {})
    allocations = {}
    for each in servers:
        for claim in each.claims:
            mine = allocations.setdefault(claim.provider, {})
            classes = mine.setdefault(each.uuid, {})
            amount = classes.get(claim.resource_class, 0)
            classes[claim.resource_class] = amount + 1
    known = hosts.known(desired)
    vgpus = {c for c in claims if '/' in c.unit}
    found = facts.Facts(
        hosts.NODE,
        offer,
        {
            provider.uuid: facts.Placed(
                provider.name,
                known[provider.uuid],
                allocations.get(provider.uuid, {}),
            )
            for provider in desired
        },
        servers,
        tuple(guest(each.uuid, *each.attached) for each in servers),
        frozenset(map(mdev, vgpus)),
        {mdev(claim): claim for claim in vgpus},
        held=claims,
    )
    return dataclasses.replace(found, **changes)


def with_allocation(found, rp, consumer, amounts):
    """Facts in which one consumer has other amounts of a provider."""
    placed = found.providers[rp]
    allocations = {**placed.allocations, consumer: amounts}
    return dataclasses.replace(
        found,
        providers={
            **found.providers,
            rp: dataclasses.replace(placed, allocations=allocations),
        },
    )


class InvariantCase(testtools.TestCase):
    def assert_found(self, found, *expected):
        """Assert the findings: kind, device, server, provider.

        Each text names all three.
        """
        findings = invariant.check(found)
        self.assertEqual(
            list(expected),
            [(f.kind, f.device, f.server, f.provider) for f in findings],
        )
        for finding in findings:
            self.assertIn(finding.device, finding.text)
            self.assertIn(finding.server, finding.text)
            name = NAMES.get(finding.provider, finding.provider)
            self.assertIn(name, finding.text)
            self.assertIn(finding.advice, str(finding))
