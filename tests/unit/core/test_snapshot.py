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

import testtools

from nova_accel.core import device
from nova_accel.core import identity
from nova_accel.core import inventory
from nova_accel.core import naming
from nova_accel.core import snapshot
from nova_accel.core import whitelist
from tests.unit.core import hosts

RULE = hosts.rule('r', 1, models=('nvidia-233',))
RP = hosts.provider_of('sn:1')
FOREIGN = '7d7ff1b5-0b75-4e2c-b6a9-7a4fcd3a5ab1'
CARD = hosts.t4(1)


def taken(*rules, devices=(CARD,), mdevs=(), known_ids=frozenset()):
    """What a look at a host makes."""
    found = hosts.offer(rules, devices, known_ids)
    return snapshot.Snapshot(
        hosts.NODE,
        whitelist.Whitelist(rules),
        device.HostView(tuple(devices), tuple(sorted(mdevs))),
        identity.InUse(frozenset(known_ids)),
        snapshot.Index(hosts.NODE, found),
    )


def mdev(unit, parent=CARD, type_id='nvidia-233', provider=RP):
    uuid = naming.mdev_uuid(provider, unit)
    return device.Mdev(uuid, type_id, parent.name)


def claim(unit, resource_class='VGPU', provider=RP):
    return inventory.Claim(provider, resource_class, unit)


class IndexTest(testtools.TestCase):
    def test_pools_by_provider(self):
        now = taken(RULE)
        self.assertEqual({RP: now.offer.pools[0]}, now.index.pools)

    def test_every_unit_by_its_mediated_device(self):
        self.assertEqual(
            {
                naming.mdev_uuid(RP, unit): claim(unit)
                for unit in ('sn:1/nvidia-233/0', 'sn:1/nvidia-233/1')
            },
            taken(RULE).index.by_mdev,
        )

    def test_whole_devices_and_functions_have_none(self):
        rules = [
            hosts.rule('whole', 1, kind='pci'),
            hosts.rule('vfs', 2, kind='pci', dev_types=('type-VF',)),
        ]
        devices = [hosts.pci(1), *hosts.sriov(2, 4)]
        self.assertEqual({}, taken(*rules, devices=devices).index.by_mdev)


class OursTest(testtools.TestCase):
    """A mediated device is ours by its uuid, and by nothing else."""

    UNIT = 'sn:1/nvidia-233/1'

    def ours(self, *rules, **kwargs):
        return list(taken(*rules, **kwargs).ours.values())

    def test_offered(self):
        self.assertEqual(
            [claim(self.UNIT)], self.ours(RULE, mdevs=[mdev(self.UNIT)])
        )

    def test_not_listed_any_more(self):
        self.assertEqual(
            [claim(self.UNIT, '')], self.ours(mdevs=[mdev(self.UNIT)])
        )

    def test_listed_as_another_model(self):
        other = dataclasses.replace(RULE, models=('nvidia-222',))
        self.assertEqual(
            [claim(self.UNIT, '')], self.ours(other, mdevs=[mdev(self.UNIT)])
        )

    def test_a_slot_that_is_no_more(self):
        fewer = dataclasses.replace(RULE, max_slots=1)
        self.assertEqual(
            [claim(self.UNIT, '')], self.ours(fewer, mdevs=[mdev(self.UNIT)])
        )

    def test_virtual_functions(self):
        card = hosts.sriov(3, 12, (hosts.A40_8Q,))
        provider = hosts.provider_of('sn:3')
        unit = 'sn:3/nvidia-559/7'
        made = mdev(unit, card[8], 'nvidia-559', provider)
        self.assertEqual(
            [claim(unit, '', provider)], self.ours(devices=card, mdevs=[made])
        )
        # The same uuid on another function is not what we make.
        elsewhere = dataclasses.replace(made, parent=card[3].name)
        self.assertEqual([], self.ours(devices=card, mdevs=[elsewhere]))

    def test_strangers(self):
        made = mdev(self.UNIT)
        for stranger in (
            dataclasses.replace(made, uuid=FOREIGN),
            dataclasses.replace(made, parent='pci_gone'),
            dataclasses.replace(made, type_id='nvidia-222'),
        ):
            self.assertEqual([], self.ours(mdevs=[stranger]))

    def test_strangers_take_room_and_ours_do_not(self):
        now = taken(
            RULE,
            mdevs=[
                mdev('sn:1/nvidia-233/0'),
                device.Mdev(FOREIGN, 'nvidia-233', CARD.name),
            ],
        )
        self.assertEqual({inventory.Claim('', '', self.UNIT)}, now.strangers)

    def test_a_withdrawn_unit_is_no_stranger(self):
        fewer = dataclasses.replace(RULE, max_slots=1)
        now = taken(fewer, mdevs=[mdev(self.UNIT)])
        self.assertEqual(frozenset(), now.strangers)


class ServesTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.now = taken(RULE, known_ids=frozenset({'sn:1'}))

    def serves(self, rule=RULE, node=hosts.NODE, ids=()):
        rules = whitelist.Whitelist((rule,))
        return self.now.serves(node, rules, identity.InUse(frozenset(ids)))

    def test_the_same(self):
        self.assertTrue(self.serves(ids={'sn:1'}))

    def test_what_is_remembered_of_another_card(self):
        for who, expected in (
            ('10de-1eb8', True),
            ('10de-20b5', False),
        ):
            trait = naming.who_trait('sn:1', who)
            in_use = identity.InUse(
                frozenset({'sn:1'}), who=dict([naming.read_who(trait)])
            )
            rules = self.now.rules
            self.assertEqual(
                expected, self.now.serves(hosts.NODE, rules, in_use)
            )

    def test_ids_that_go_change_nothing(self):
        self.assertTrue(self.serves())

    def test_an_id_it_would_choose_anyway(self):
        now = taken(RULE)
        rules = whitelist.Whitelist((RULE,))
        in_use = identity.InUse(frozenset({'sn:1'}))
        self.assertTrue(now.serves(hosts.NODE, rules, in_use))

    def test_an_id_that_may_change_a_choice(self):
        self.assertFalse(self.serves(ids={'path:1'}))

    def test_other_rules_or_another_node(self):
        self.assertFalse(self.serves(hosts.rule('other', 1)))
        other = dataclasses.replace(hosts.NODE, name='host2')
        self.assertFalse(self.serves(node=other))

    def test_nothing(self):
        nothing = snapshot.NOTHING
        self.assertEqual({}, nothing.index.pools)
        self.assertEqual({}, nothing.ours)
        self.assertEqual(frozenset(), nothing.strangers)
