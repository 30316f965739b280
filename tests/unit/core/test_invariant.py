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
import dataclasses

import ddt
import testtools

from nova_accel.core import attachment
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


class AgreementTest(InvariantCase):
    def test_an_empty_host(self):
        self.assert_found(host())

    def test_servers_with_devices(self):
        self.assert_found(
            host(server(ONE, slot(0), whole(5)), server(TWO, slot(1)))
        )

    def test_a_stopped_server_without_a_guest(self):
        stopped = server(ONE, slot(0), state=facts.STOPPED)
        self.assert_found(host(stopped, guests=()))

    def test_a_suspended_server(self):
        saved = server(ONE, slot(0), state=facts.IDLE)
        self.assert_found(host(saved, guests=(guest(ONE, running=False),)))

    def test_a_resize_on_the_same_host(self):
        moving = server(
            ONE,
            slot(0),
            slot(1),
            consumers=frozenset({ONE, MOVE}),
            attached=frozenset({slot(1)}),
        )
        found = with_allocation(host(moving), CARD, ONE, {'VGPU': 1})
        found = with_allocation(found, CARD, MOVE, {'VGPU': 1})
        self.assert_found(found)

    def test_a_server_that_nova_is_at_work_on(self):
        found = host(
            server(ONE, slot(0), state=facts.BUSY), guests=(), held=frozenset()
        )
        self.assert_found(with_allocation(found, CARD, ONE, {'VGPU': 2}))

    def test_a_server_that_is_being_scheduled(self):
        found = with_allocation(host(), CARD, TWO, {'VGPU': 1})
        self.assert_found(dataclasses.replace(found, fates={TWO: facts.BUSY}))

    def test_devices_of_others(self):
        other = device.Guest(
            TWO, True, frozenset({'0000:99:00.0', mdev(whole(5))})
        )
        self.assert_found(host(guests=(other,)))

    def test_a_mediated_device_that_stock_nova_made(self):
        taken = '44444444-0000-4000-8000-000000000004'
        self.assert_found(
            host(
                server(ONE, slot(0)),
                guests=(device.Guest(ONE, True, frozenset({taken})),),
                mdevs=frozenset({taken}),
                ours={taken: slot(0)},
            )
        )

    def test_a_held_device_that_is_listed_no_more(self):
        held = server(ONE, slot(0), whole(5))
        offer = hosts.offer([], DEVICES, frozenset({'sn:1', 'sn:5'}))
        before = host(held)
        known = {rp: p.known for rp, p in before.providers.items()}
        kept = hosts.known(
            inventory.desired(hosts.NODE, offer, held.claims, known)
        )
        providers = {
            rp: dataclasses.replace(placed, known=kept[rp])
            for rp, placed in before.providers.items()
        }
        self.assert_found(
            dataclasses.replace(before, offer=offer, providers=providers)
        )


@ddt.ddt
class AllocationTest(InvariantCase):
    def test_more_allocated_than_claimed(self):
        found = host(server(ONE, slot(0)))
        self.assert_found(
            with_allocation(found, CARD, ONE, {'VGPU': 2}),
            ('allocation-without-claim', '', ONE, CARD),
        )

    def test_less_allocated_than_claimed(self):
        found = host(server(ONE, slot(0)))
        self.assert_found(
            with_allocation(found, CARD, ONE, {}),
            ('claim-without-allocation', '', ONE, CARD),
        )

    def test_allocated_from_another_provider(self):
        found = host(server(ONE, slot(0)))
        found = with_allocation(found, CARD, ONE, {})
        self.assert_found(
            with_allocation(found, POOL, ONE, {'CUSTOM_PCI_10DE_20B5': 1}),
            ('allocation-without-claim', '', ONE, POOL),
            ('claim-without-allocation', '', ONE, CARD),
        )

    @ddt.data(
        (facts.DELETED, 'allocation-of-deleted-server'),
        (facts.MOVED, 'allocation-of-finished-move'),
        (facts.ELSEWHERE, 'allocation-of-other-host'),
        (facts.UNKNOWN, 'allocation-of-unknown-consumer'),
    )
    @ddt.unpack
    def test_a_consumer_that_holds_nothing(self, fate, kind):
        found = with_allocation(host(), CARD, TWO, {'VGPU': 1})
        self.assert_found(
            dataclasses.replace(found, fates={TWO: fate}),
            (kind, '', TWO, CARD),
        )


class ClaimTest(InvariantCase):
    def test_one_unit_for_two_servers(self):
        self.assert_found(
            host(
                server(ONE, slot(0)),
                server(TWO, slot(0), attached=frozenset()),
            ),
            ('claim-twice', slot(0).unit, TWO, CARD),
        )

    def test_a_provider_of_another_node(self):
        far = hosts.provider_of('sn:9')
        claim = inventory.Claim(far, 'VGPU', 'sn:1/nvidia-233/0')
        self.assert_found(
            host(
                server(ONE, claim, attached=frozenset()),
                mdevs=frozenset(),
                ours={},
            ),
            ('claim-without-allocation', '', ONE, far),
            ('claim-without-provider', claim.unit, ONE, far),
        )

    def test_a_device_that_is_gone(self):
        held = server(ONE, whole(6))
        here = hosts.offer([VGPU, WHOLE], DEVICES[:2])
        known = {rp: p.known for rp, p in host(held).providers.items()}
        found = host(held, offer=here)
        wanted = inventory.desired(hosts.NODE, here, held.claims, known)
        after = hosts.known(wanted)
        providers = {
            rp: dataclasses.replace(placed, known=after[rp])
            for rp, placed in found.providers.items()
        }
        self.assert_found(
            dataclasses.replace(found, providers=providers),
            ('claim-without-device', 'sn:6', ONE, POOL),
        )

    def test_what_the_service_believes(self):
        self.assert_found(
            host(server(ONE, slot(0)), held=frozenset({slot(1)})),
            ('claim-forgotten', slot(0).unit, ONE, CARD),
            ('claim-without-server', slot(1).unit, '', CARD),
        )

    def test_a_service_that_was_not_asked(self):
        self.assert_found(host(server(ONE, slot(0)), held=None))


class DeviceTest(InvariantCase):
    def test_a_running_server_without_a_guest(self):
        self.assert_found(
            host(server(ONE, slot(0)), guests=()),
            ('device-not-attached', slot(0).unit, ONE, CARD),
        )

    def test_a_guest_that_lacks_a_device(self):
        self.assert_found(
            host(
                server(ONE, slot(0), whole(5)), guests=(guest(ONE, slot(0)),)
            ),
            ('device-not-attached', 'sn:5', ONE, POOL),
        )

    def test_a_stopped_guest_that_lacks_a_device(self):
        stopped = server(ONE, whole(5), state=facts.STOPPED)
        self.assert_found(
            host(stopped, guests=(guest(ONE, running=False),)),
            ('device-not-attached', 'sn:5', ONE, POOL),
        )

    def test_a_mediated_device_that_is_not_there(self):
        self.assert_found(
            host(server(ONE, slot(0)), mdevs=frozenset(), ours={}),
            ('device-not-there', slot(0).unit, ONE, CARD),
        )

    def test_a_guest_that_is_off_needs_no_mediated_device(self):
        stopped = server(ONE, slot(0), state=facts.STOPPED)
        off = guest(ONE, slot(0), running=False)
        self.assert_found(
            host(stopped, guests=(off,), mdevs=frozenset(), ours={})
        )

    def test_a_device_in_two_guests(self):
        self.assert_found(
            host(
                server(ONE, whole(5)),
                guests=(guest(ONE, whole(5)), guest(TWO, whole(5))),
            ),
            ('device-in-two-guests', '0000:05:00.0', TWO, POOL),
            ('device-without-claim', '0000:05:00.0', TWO, POOL),
        )

    def test_a_guest_with_a_device_that_it_does_not_hold(self):
        self.assert_found(
            host(server(ONE), guests=(guest(ONE, whole(5)),)),
            ('device-without-claim', '0000:05:00.0', ONE, POOL),
        )

    def test_a_guest_that_has_a_whole_card_of_vgpus(self):
        card = device.Guest(ONE, True, frozenset({'0000:01:00.0'}))
        self.assert_found(
            host(guests=(card,)),
            ('device-without-claim', '0000:01:00.0', ONE, CARD),
        )

    def test_a_mediated_device_that_nobody_holds(self):
        self.assert_found(
            host(ours={mdev(slot(1)): slot(1)}),
            ('mdev-without-claim', mdev(slot(1)), '', CARD),
        )


class ProviderTest(InvariantCase):
    def changed(self, found, rp, **changes):
        placed = found.providers[rp]
        known = dataclasses.replace(placed.known, **changes)
        return dataclasses.replace(
            found,
            providers={
                **found.providers,
                rp: dataclasses.replace(placed, known=known),
            },
        )

    def test_a_name_like_ours(self):
        stranger = hosts.provider_of('sn:8')
        found = host()
        found = dataclasses.replace(
            found,
            providers={
                **found.providers,
                stranger: facts.Placed('host1_accel_sn:7'),
            },
        )
        self.assert_found(found, ('provider-not-ours', '', '', stranger))

    def test_one_that_placement_lacks(self):
        found = host()
        providers = {CARD: found.providers[CARD]}
        self.assert_found(
            dataclasses.replace(found, providers=providers),
            ('provider-missing', '', '', POOL),
        )

    def test_one_that_stands_for_nothing(self):
        found = host()
        offer = hosts.offer([VGPU], DEVICES)
        self.assert_found(
            dataclasses.replace(found, offer=offer),
            ('provider-orphan', '', '', POOL),
        )

    def test_amounts(self):
        record = inventory.Inventory(2, 1, 2)
        found = self.changed(host(), CARD, inventories={'VGPU': record})
        self.assert_found(found, ('inventory-differs', '', '', CARD))
        (finding,) = invariant.check(found)
        self.assertIn('total 2, reserved 1, max_unit 2', finding.text)
        self.assertIn('total 2, reserved 0, max_unit 2', finding.text)

    def test_a_class_too_many(self):
        records = host().providers[CARD].known.inventories
        more = {**records, 'PGPU': inventory.Inventory(1, 0, 1)}
        found = self.changed(host(), CARD, inventories=more)
        self.assert_found(found, ('inventory-differs', '', '', CARD))

    def test_traits(self):
        found = self.changed(
            host(), CARD, traits=frozenset({naming.MANAGED, 'CUSTOM_MINE'})
        )
        self.assert_found(found, ('traits-differ', '', '', CARD))

    def test_amounts_on_which_a_claim_is_under_way(self):
        record = inventory.Inventory(2, 1, 2)
        busy = server(ONE, slot(0), state=facts.BUSY)
        self.assert_found(
            self.changed(host(busy), CARD, inventories={'VGPU': record})
        )


class AdviceTest(testtools.TestCase):
    def test_every_kind_has_advice(self):
        kinds = {
            value
            for name, value in vars(invariant).items()
            if name.isupper()
            and isinstance(value, str)
            and '-' in value
            and ' ' not in value
        }
        self.assertEqual(kinds, invariant.ADVICE.keys())

    def test_what_holds_at_once_is_part_of_all(self):
        self.assertLess(invariant.AT_ONCE, invariant.ADVICE.keys())

    def test_a_host_without_anything(self):
        self.assertEqual((), invariant.check(facts.Facts(hosts.NODE)))


class AttachmentTest(InvariantCase):
    """A server with an attachment, of which all say the same at first."""

    ID = '11111111-1111-1111-1111-111111111111'

    def record(self, state=attachment.ATTACHED, claims=None):
        record = attachment.Attachment(self.ID, 'VGPU', 1, state)
        return record.holding([slot(0)] if claims is None else claims)

    def asked(self, **changes):
        group = {self.ID: ('VGPU', 1)}
        asked = facts.Asked(
            (self.record(),), frozenset(), {'VGPU': 1}, group, group
        )
        return dataclasses.replace(asked, **changes)

    def found(self, asked, **changes):
        return host(server(ONE, slot(0), asked=asked, **changes))

    def test_all_agree(self):
        self.assert_found(self.found(self.asked()))
        self.assert_found(self.found(self.asked(spec=None)))

    def test_a_record_without_its_claim(self):
        for claims in ([], [slot(1)]):
            asked = self.asked(records=(self.record(claims=claims),))
            expected = (invariant.UNCLAIMED, '', ONE, '')
            self.assert_found(self.found(asked), expected)

    def test_a_failed_one_needs_none(self):
        record = self.record(attachment.ERROR, claims=[])
        asked = self.asked(records=(record,), flavor={'VGPU': 1}, groups={})
        self.assert_found(self.found(asked), (invariant.SPEC, '', ONE, ''))

    def test_a_flavor_that_does_not_ask_for_it(self):
        asked = self.asked(groups={}, spec={})
        self.assert_found(self.found(asked), (invariant.NO_GROUP, '', ONE, ''))

    def test_a_record_that_got_lost(self):
        asked = self.asked(records=())
        self.assert_found(
            self.found(asked), (invariant.NO_RECORD, '', ONE, '')
        )

    def test_a_record_that_cannot_be_read(self):
        asked = self.asked(records=(), unreadable=frozenset({self.ID}))
        self.assert_found(
            self.found(asked), (invariant.UNREADABLE, '', ONE, '')
        )

    def test_a_request_spec_that_is_not_told(self):
        asked = self.asked(spec={})
        found = self.found(asked)
        self.assert_found(found, (invariant.SPEC, '', ONE, ''))
        (finding,) = invariant.check(found)
        self.assertIn('1 of VGPU', finding.text)

    def test_a_claim_that_nobody_asked_for(self):
        asked = self.asked(flavor={})
        self.assert_found(
            self.found(asked), (invariant.NOT_ASKED, '', ONE, '')
        )

    def test_a_server_at_work(self):
        asked = self.asked(groups={}, spec={}, flavor={})
        self.assert_found(self.found(asked, state=facts.BUSY))
