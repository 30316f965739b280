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
import random

import ddt
import testtools

from nova_accel.core import device
from nova_accel.core import inventory
from nova_accel.core import naming
from tests.unit.core import hosts

RP = hosts.provider_of('sn:1')
POOL = 'pool:r:10de-20b5:numa0'
POOL_RP = hosts.provider_of(POOL)
PCI_CLASS = 'CUSTOM_PCI_10DE_20B5'

T4_RULE = hosts.rule('r', 1, models=('nvidia-233',))
A100_RULE = hosts.rule('r', 1, 2, 3, kind='pci')


def claims(provider, resource_class, *units):
    return [inventory.Claim(provider, resource_class, u) for u in units]


def vgpus(*slots):
    return claims(RP, 'VGPU', *(f'sn:1/nvidia-233/{slot}' for slot in slots))


def whole(*buses):
    return claims(POOL_RP, PCI_CLASS, *(f'sn:{bus}' for bus in buses))


def lost(*buses):
    return {naming.missing_trait(f'sn:{bus}') for bus in buses}


def desired(offer, held=(), known=(), former=None):
    seen = inventory.joined({}, former) if former else {}
    return inventory.desired(hosts.NODE, offer, held, hosts.known(known), seen)


def counts(provider):
    """Return class -> (total, reserved, units), max_unit checked."""
    for record in provider.inventories.values():
        assert record.max_unit == record.total, record
    return {
        rc: (record.total, record.reserved, len(provider.units[rc]))
        for rc, record in provider.inventories.items()
    }


def a100s(*buses, rules=(A100_RULE,), **kwargs):
    return hosts.offer(rules, [hosts.pci(bus, **kwargs) for bus in buses])


class OfferedTest(testtools.TestCase):
    def test_card(self):
        (provider,) = desired(hosts.offer([T4_RULE], [hosts.t4(1)]))
        self.assertEqual(
            inventory.Provider(
                uuid=RP,
                name='host1_accel_sn:1',
                stable_id='sn:1',
                inventories={'VGPU': inventory.Inventory(2, 0, 2)},
                traits=frozenset(
                    {
                        'OWNER_NOVA',
                        'CUSTOM_ACCEL_MANAGED',
                        'CUSTOM_ACCEL_VENDOR_10DE',
                        'CUSTOM_ACCEL_PRODUCT_10DE_1EB8',
                        naming.who_trait('sn:1', '10de-1eb8'),
                        naming.at_trait('sn:1', '0000:01:00.0'),
                        'CUSTOM_ACCEL_MODEL_GRID_T4_8Q',
                        'HW_GPU_MAX_DISPLAY_HEADS_4',
                        'HW_GPU_RESOLUTION_W7680H4320',
                    }
                ),
                units={
                    'VGPU': frozenset(
                        {
                            'sn:1/nvidia-233/0',
                            'sn:1/nvidia-233/1',
                        }
                    )
                },
            ),
            provider,
        )

    def test_pool(self):
        (provider,) = desired(a100s(1, 2, 3))
        self.assertEqual((POOL_RP, POOL), (provider.uuid, provider.stable_id))
        self.assertEqual({PCI_CLASS: (3, 0, 3)}, counts(provider))

    def test_claim_changes_nothing(self):
        offer = hosts.offer([T4_RULE], [hosts.t4(1)])
        self.assertEqual(desired(offer), desired(offer, vgpus(0, 1)))
        self.assertEqual(desired(a100s(1, 2)), desired(a100s(1, 2), whole(2)))

    def test_one_model_reserves_the_others(self):
        offer = hosts.offer(
            [hosts.rule('r', 1, mode='dynamic')], [hosts.t4(1)]
        )
        small, large = 'CUSTOM_VGPU_GRID_T4_1Q', 'CUSTOM_VGPU_GRID_T4_8Q'
        (provider,) = desired(offer)
        self.assertEqual(
            {small: (16, 0, 16), large: (2, 0, 2)}, counts(provider)
        )
        (provider,) = desired(offer, claims(RP, large, 'sn:1/nvidia-233/1'))
        self.assertEqual(
            {small: (16, 16, 16), large: (2, 0, 2)}, counts(provider)
        )
        # Both, as after a race that nova lost: nobody gets more.
        (provider,) = desired(
            offer,
            claims(RP, large, 'sn:1/nvidia-233/1')
            + claims(RP, small, 'sn:1/nvidia-222/0', 'sn:1/nvidia-222/3'),
        )
        self.assertEqual(
            {small: (16, 14, 16), large: (2, 1, 2)}, counts(provider)
        )

    def test_card_that_mixes_reserves_nothing(self):
        offer = hosts.offer(
            [hosts.rule('r', 1, mode='dynamic')], [hosts.t4(1, mixed=True)]
        )
        held = claims(RP, 'CUSTOM_VGPU_GRID_T4_8Q', 'sn:1/nvidia-233/1')
        self.assertEqual(desired(offer), desired(offer, held))

    def test_unit_held_beyond_the_slots(self):
        (provider,) = desired(hosts.offer([T4_RULE], [hosts.t4(1)]), vgpus(5))
        self.assertEqual({'VGPU': (3, 1, 3)}, counts(provider))
        self.assertIn('sn:1/nvidia-233/5', provider.units['VGPU'])

    def test_class_was_renamed_while_in_use(self):
        before = desired(hosts.offer([T4_RULE], [hosts.t4(1)]))
        renamed = dataclasses.replace(T4_RULE, resource_class='CUSTOM_T4')
        offer = hosts.offer([renamed], [hosts.t4(1)])
        (provider,) = desired(offer, vgpus(0), before)
        self.assertEqual(
            {'CUSTOM_T4': (2, 1, 2), 'VGPU': (2, 1, 1)}, counts(provider)
        )
        (provider,) = desired(offer, (), [provider])
        self.assertEqual({'CUSTOM_T4': (2, 0, 2)}, counts(provider))

    def test_pool_of_one_became_another(self):
        # A server holds the device through its former provider.
        before = desired(a100s(1, 2))
        wide = dataclasses.replace(A100_RULE, pool='host')
        new, old = desired(a100s(1, 2, rules=[wide]), whole(1), before)
        self.assertEqual('pool:r:10de-20b5:host', new.stable_id)
        self.assertEqual({PCI_CLASS: (2, 1, 2)}, counts(new))
        self.assertEqual(POOL, old.stable_id)
        self.assertEqual({PCI_CLASS: (2, 1, 1)}, counts(old))
        self.assertFalse(old.retired)
        new, old = desired(a100s(1, 2, rules=[wide]), (), before)
        self.assertEqual({PCI_CLASS: (2, 0, 2)}, counts(new))
        self.assertTrue(old.retired)


class LostFromPoolTest(testtools.TestCase):
    def test_device_in_use_is_gone(self):
        before = desired(a100s(1, 2, 3))
        (provider,) = desired(a100s(1, 3), whole(2), before)
        self.assertEqual({PCI_CLASS: (3, 0, 3)}, counts(provider))
        self.assertEqual(lost(2), provider.traits - before[0].traits)

        # Its server is deleted: reserved before Placement could give it.
        released = desired(a100s(1, 3), (), [provider])
        self.assertEqual({PCI_CLASS: (3, 1, 2)}, counts(released[0]))
        self.assertEqual(provider.traits, released[0].traits)
        self.assertEqual(released, desired(a100s(1, 3), (), released))

        # It comes back.
        self.assertEqual(before, desired(a100s(1, 2, 3), (), released))

    def test_idle_device_is_gone(self):
        before = desired(a100s(1, 2, 3))
        after = desired(a100s(1, 3), (), before, former=a100s(1, 2, 3))
        self.assertEqual({PCI_CLASS: (3, 1, 2)}, counts(after[0]))
        self.assertEqual(lost(2), after[0].traits - before[0].traits)
        # Placement remembers it once nova-compute has restarted.
        self.assertEqual(after, desired(a100s(1, 3), (), after))
        self.assertEqual(before, desired(a100s(1, 2, 3), (), after))

    def test_two_devices_are_gone_one_after_the_other(self):
        after = desired(a100s(1, 3), (), (), former=a100s(1, 2, 3))
        after = desired(a100s(1), whole(3), after, former=a100s(1, 3))
        self.assertEqual({PCI_CLASS: (3, 1, 2)}, counts(after[0]))
        self.assertLess(lost(2, 3), after[0].traits)

    def test_operator_forgets_a_device(self):
        (after,) = desired(a100s(1, 3), (), (), former=a100s(1, 2, 3))
        traits = after.traits - lost(2)
        (after,) = desired(
            a100s(1, 3), (), [dataclasses.replace(after, traits=traits)]
        )
        self.assertEqual({PCI_CLASS: (2, 0, 2)}, counts(after))

    def test_device_that_is_here_but_not_offered_is_not_lost(self):
        narrow = [hosts.rule('r', 1, 3, kind='pci')]
        (provider,) = desired(
            a100s(1, 2, 3, rules=narrow),
            whole(2),
            desired(a100s(1, 2, 3)),
            former=a100s(1, 2, 3),
        )
        self.assertEqual({PCI_CLASS: (3, 0, 3)}, counts(provider))
        self.assertEqual(frozenset(), provider.traits & lost(1, 2, 3))
        (provider,) = desired(a100s(1, 2, 3, rules=narrow), (), [provider])
        self.assertEqual({PCI_CLASS: (2, 0, 2)}, counts(provider))

    def test_all_devices_are_gone(self):
        before = desired(a100s(1, 2))
        (provider,) = desired(a100s(), whole(2), before, former=a100s(1, 2))
        self.assertEqual({PCI_CLASS: (2, 1, 1)}, counts(provider))
        self.assertEqual(
            {naming.MISSING} | lost(1, 2), provider.traits - before[0].traits
        )
        self.assertFalse(provider.retired)
        (after,) = desired(a100s(), (), [provider])
        self.assertEqual({PCI_CLASS: (2, 2, 0)}, counts(after))
        self.assertFalse(after.retired)
        self.assertEqual(before, desired(a100s(1, 2), (), [after]))


@ddt.ddt
class NotOfferedTest(testtools.TestCase):
    """Known providers that no pool stands for."""

    def setUp(self):
        super().setUp()
        self.before = desired(hosts.offer([T4_RULE], [hosts.t4(1)]))

    def after(self, offer, held=()):
        (provider,) = desired(offer, held, self.before)
        return provider

    # rules, devices, slots held; total and reserved, missing, retired
    @ddt.data(
        # The card is away.
        ([T4_RULE], [], (), 2, True, False),
        ([T4_RULE], [], (1,), 1, True, False),
        ([], [], (1,), 1, True, False),
        # Away, and nobody waits for it.
        ([], [], (), 2, True, True),
        # Here, but no longer listed, or withheld.
        ([], [hosts.t4(1)], (), 2, False, True),
        ([], [hosts.t4(1)], (0, 1), 0, False, False),
        ([T4_RULE], [hosts.pci(1)], (), 2, False, True),
        ([T4_RULE], [hosts.pci(1)], (0,), 1, False, False),
    )
    @ddt.unpack
    def test_card(self, rules, devices, slots, reserved, missing, retired):
        provider = self.after(hosts.offer(rules, devices), vgpus(*slots))
        self.assertEqual({'VGPU': (2, reserved, len(slots))}, counts(provider))
        self.assertEqual(
            self.before[0].traits | ({naming.MISSING} if missing else set()),
            provider.traits,
        )
        self.assertEqual(retired, provider.retired)

    def test_card_comes_back(self):
        away = desired(hosts.offer([T4_RULE], []), vgpus(0), self.before)
        back = desired(hosts.offer([T4_RULE], [hosts.t4(1)]), vgpus(0), away)
        self.assertEqual(self.before, back)

    def test_more_is_held_than_was_known(self):
        provider = self.after(hosts.offer([], []), vgpus(0, 1, 2))
        self.assertEqual({'VGPU': (3, 0, 3)}, counts(provider))

    @ddt.data(
        # rules, devices here, retired
        ([A100_RULE], [], False),
        ([], [], True),
        ([hosts.rule('other', 1, kind='pci')], [], True),
        ([dataclasses.replace(A100_RULE, pool='host')], [], True),
        ([dataclasses.replace(A100_RULE, pool='device')], [], True),
        ([hosts.rule('r', 1, 2, 3)], [], True),
        # Its devices are here, and the rule no longer names them.
        ([hosts.rule('r', 9, kind='pci')], [1], True),
        # Devices of another pool of the rule do not count.
        ([hosts.rule('r', 9, kind='pci')], [], False),
    )
    @ddt.unpack
    def test_idle_pool(self, rules, buses, retired):
        (provider,) = desired(
            a100s(*buses, rules=rules), (), desired(a100s(1, 2))
        )
        self.assertEqual({PCI_CLASS: (2, 2, 0)}, counts(provider))
        self.assertEqual(retired, provider.retired)
        self.assertEqual(not buses, naming.MISSING in provider.traits)

    def test_pool_moved_to_another_numa_node(self):
        before = desired(a100s(1, 2))
        new, old = desired(a100s(1, 2, numa_node=1), whole(1), before)
        self.assertEqual('pool:r:10de-20b5:numa1', new.stable_id)
        self.assertEqual({PCI_CLASS: (2, 1, 2)}, counts(new))
        self.assertEqual({PCI_CLASS: (2, 1, 1)}, counts(old))
        self.assertEqual(before[0].traits, old.traits)

    def test_operators_traits_stay(self):
        kept = self.before[0].traits | {'CUSTOM_RACK_7'}
        before = [dataclasses.replace(self.before[0], traits=kept)]
        (provider,) = desired(hosts.offer([], []), vgpus(0), before)
        self.assertIn('CUSTOM_RACK_7', provider.traits)

    def test_order(self):
        offer = hosts.offer(
            [hosts.rule('r', 2, 5, models=('nvidia-233',))],
            [hosts.t4(5), hosts.t4(2)],
        )
        before = desired(
            hosts.offer(
                [hosts.rule('r', 9, 8, models=('nvidia-233',))],
                [hosts.t4(9), hosts.t4(8)],
            )
        )
        self.assertEqual(
            ['sn:2', 'sn:5', 'sn:8', 'sn:9'],
            [p.stable_id for p in desired(offer, (), before[::-1])],
        )


class ForgottenByPlacementTest(testtools.TestCase):
    def test_card_is_recomputed_from_its_units(self):
        (provider,) = desired(hosts.offer([], []), vgpus(0, 1))
        self.assertEqual('sn:1', provider.stable_id)
        self.assertEqual({'VGPU': (2, 0, 2)}, counts(provider))
        self.assertEqual(
            {naming.MISSING, naming.MANAGED, 'OWNER_NOVA'}, provider.traits
        )

    def test_unknown_providers_are_left_out(self):
        strangers = [
            *claims('elsewhere', 'VGPU', 'sn:1/nvidia-233/0'),
            *claims(RP, 'VGPU', 'sn:2/nvidia-233/0'),
            *claims(RP, 'CUSTOM_PMEM', 'ns_0'),
            # Somebody else's mediated device, which no provider serves.
            *claims('', '', 'sn:1/nvidia-233/0'),
        ]
        self.assertEqual((), desired(hosts.offer([], []), strangers))


@ddt.ddt
class RandomClaimsTest(testtools.TestCase):
    """What holds for any claims on any host."""

    @ddt.data(*range(40))
    def test_claims(self, seed):
        rng = random.Random(seed)
        rules, devices = hosts.random_host(rng)
        offer = hosts.offer(rules, devices)
        idle = desired(offer)
        held = hosts.random_claims(rng, offer)
        busy = desired(offer, held)
        self.assertEqual(
            [(p.uuid, p.traits, p.units) for p in idle],
            [(p.uuid, p.traits, p.units) for p in busy],
        )
        for pool, before, after in zip(offer.pools, idle, busy, strict=True):
            if len(pool.stocks) == 1 or not pool.exclusive:
                self.assertEqual(before, after)
        self._placement_and_node_agree(offer, busy, held)
        # Written and read back, nothing changes any more.
        self.assertEqual(busy, desired(offer, held, busy, offer))
        self.assertEqual(idle, desired(offer, (), busy, offer))

    @ddt.data(*range(40))
    def test_devices_come_and_go(self, seed):
        rng = random.Random(seed)
        rules, devices = hosts.random_host(rng)
        full = hosts.offer(rules, devices)
        held = hosts.random_claims(rng, full)
        ids = frozenset(
            naming.UnitId.parse(claim.unit).device for claim in held
        )
        before = desired(full, held)
        ids |= {provider.stable_id for provider in before}
        here = [
            dev
            for dev in devices
            if dev.dev_type == device.TYPE_VF or rng.random() < 0.6
        ]
        partial = hosts.offer(rules, here, ids)
        after = desired(partial, held, before, full)
        self._placement_and_node_agree(partial, after, held)
        self.assertLessEqual(
            {claim.provider for claim in held}, {p.uuid for p in after}
        )
        for provider in after:
            if provider.retired:
                self.assertFalse(any(provider.units.values()))
        # All is as it was once they are back. (A twin that was alone for a
        # while may have got a provider of its own.)
        again = hosts.offer(rules, devices, ids)
        if again.pools == full.pools:
            back = desired(again, held, after, partial)
            self.assertEqual(before, tuple(p for p in back if not p.retired))

    def _placement_and_node_agree(self, offer, providers, held):
        """What Placement would give is what the node could."""
        holdings = inventory.Holdings.of(held)
        pools = {hosts.provider_of(p.stable_id): p for p in offer.pools}
        for provider in providers:
            pool = pools.get(provider.uuid)
            free = {
                stock.resource_class: inventory.free(pool, stock, holdings)
                for stock in (pool.stocks if pool else ())
            }
            for rc, record in provider.inventories.items():
                mine = {
                    claim.unit
                    for claim in held
                    if (claim.provider, claim.resource_class)
                    == (provider.uuid, rc)
                }
                self.assertGreaterEqual(record.total, 1)
                self.assertLessEqual(mine, provider.units[rc])
                self.assertEqual(
                    record.total - record.reserved - len(mine),
                    len(free.get(rc, ())),
                )
                self.assertLessEqual(free.get(rc, set()), provider.units[rc])
