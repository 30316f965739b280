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
import json
import typing as ty

import ddt
import testtools

from nova_accel.cli import novaconf
from nova_accel.cli import planning
from nova_accel.core import device
from nova_accel.core import inventory
from tests.unit.cli import samples

A40 = device.VgpuModel('nvidia-559', 'NVIDIA A40-8Q', capacity=2)
BOTH = (samples.T4_8Q, samples.T4_4Q)


def spec(**fields: ty.Any) -> novaconf.Spec:
    return novaconf.Spec(json.dumps(fields), fields)


def mdev_type(name: str, *addresses: str, **more: ty.Any) -> ty.Any:
    return novaconf.MdevType(name, addresses, **more)


def plan(
    devices: list[device.Device], *options: ty.Any, mdevs: ty.Any = ()
) -> planning.Plan:
    types = tuple(o for o in options if isinstance(o, novaconf.MdevType))
    specs = tuple(o for o in options if isinstance(o, novaconf.Spec))
    conf = novaconf.NovaConf(mdev_types=types, specs=specs)
    return planning.plan(conf, device.HostView(tuple(devices), tuple(mdevs)))


def offered(
    found: planning.Plan, devices: list[device.Device]
) -> inventory.Offer:
    """What the file offers, read by the parser of nova-compute."""
    rules = planning.parse(found)
    return inventory.offer(samples.NODE, rules, devices)


def rows(
    found: planning.Plan, devices: list[device.Device]
) -> list[tuple[str, str, int, int]]:
    offer = offered(found, devices)
    return [
        (
            str(row.given.card.address),
            row.given.resource_class,
            row.given.units,
            row.ours,
        )
        for row in planning.compare(found, offer)
    ]


class VgpuTest(testtools.TestCase):
    def test_one_type_for_all_cards(self) -> None:
        devices = [samples.card(bus, models=BOTH) for bus in (1, 2)]
        found = plan(devices, mdev_type('nvidia-233'))
        self.assertEqual(
            [('0000:01:00.0', 'VGPU', 2, 2), ('0000:02:00.0', 'VGPU', 2, 2)],
            rows(found, devices),
        )
        self.assertNotIn('address', found.whitelist)
        self.assertEqual(
            ('[devices]enabled_mdev_types = nvidia-233',), found.gone
        )

    def test_one_type_a_card(self) -> None:
        devices = [samples.card(bus, models=BOTH) for bus in (1, 2, 3)]
        found = plan(
            devices,
            mdev_type('nvidia-233', '0000:02:00.0'),
            mdev_type('nvidia-232', resource_class='CUSTOM_QUARTER'),
        )
        self.assertEqual(
            [
                ('0000:02:00.0', 'VGPU', 2, 2),
                ('0000:01:00.0', 'CUSTOM_QUARTER', 4, 4),
                ('0000:03:00.0', 'CUSTOM_QUARTER', 4, 4),
            ],
            rows(found, devices),
        )
        self.assertIn('address: "0000:02:00.0"', found.whitelist)

    def test_cards_beyond_the_limit_are_left_out(self) -> None:
        devices = [samples.card(bus, models=BOTH) for bus in (1, 2, 3)]
        # What is in use is counted first, as nova does.
        mdevs = [device.Mdev('u', 'nvidia-233', devices[1].name)]
        found = plan(devices, mdev_type('nvidia-233', limit=3), mdevs=mdevs)
        self.assertEqual(
            [('0000:02:00.0', 'VGPU', 2, 2)], rows(found, devices)
        )

    def test_virtual_functions(self) -> None:
        devices = samples.sriov(1, 4, models=(A40,))
        found = plan(devices, mdev_type('nvidia-559'))
        # Nova counts functions; the card holds less.
        self.assertEqual(
            [('0000:01:00.0', 'VGPU', 4, 2)], rows(found, devices)
        )
        compared = planning.compare(found, offered(found, devices))
        self.assertEqual([], planning.problems(compared))
        self.assertIn('the card holds', compared[0].note)

    def test_virtual_functions_by_address(self) -> None:
        models = (device.VgpuModel('nvidia-559', 'NVIDIA A40-8Q', capacity=8),)
        devices = samples.sriov(1, 4, models=models)
        some = [str(dev.address) for dev in devices[1:3]]
        found = plan(devices, mdev_type('nvidia-559', *some))
        self.assertEqual(
            [('0000:01:00.0', 'VGPU', 2, 2)], rows(found, devices)
        )

    def test_what_stays_with_nova(self) -> None:
        found = plan(
            [samples.card(1, models=BOTH)],
            mdev_type('mtty-1', 'mtty_mtty'),
            mdev_type('nvidia-999'),
        )
        self.assertEqual(
            ['mtty_mtty is no PCI device', planning.NOTHING],
            [kept.reason for kept in found.kept],
        )
        self.assertEqual(
            ((), 'version: 1\ndevices: {}\n'),
            (
                found.gone,
                found.whitelist,
            ),
        )


@ddt.ddt
class PciTest(testtools.TestCase):
    def test_whole_devices(self) -> None:
        devices = [samples.card(bus) for bus in (1, 2)]
        found = plan(devices, spec(vendor_id='10de', product_id='1eb8'))
        self.assertEqual(
            [
                ('0000:01:00.0', 'CUSTOM_PCI_10DE_1EB8', 1, 1),
                ('0000:02:00.0', 'CUSTOM_PCI_10DE_1EB8', 1, 1),
            ],
            rows(found, devices),
        )

    def test_tags(self) -> None:
        devices = [samples.card(1)]
        found = plan(
            devices,
            spec(
                address='0000:01:00.0',
                resource_class='my-gpu',
                traits='fast, HW_GPU_API_VULKAN',
                managed='no',
                live_migratable='yes',
            ),
        )
        (rule,) = planning.parse(found).rules
        self.assertEqual('CUSTOM_MY_GPU', rule.resource_class)
        self.assertEqual({'CUSTOM_FAST', 'HW_GPU_API_VULKAN'}, rule.traits)
        self.assertEqual((False, True), (rule.managed, rule.live_migratable))
        self.assertEqual(
            [('0000:01:00.0', 'CUSTOM_MY_GPU', 1, 1)], rows(found, devices)
        )

    @ddt.data(
        {'address': '0000:02:*.*'},
        {
            'address': {
                'domain': '.*',
                'bus': '02',
                'slot': '.*',
                'function': '.*',
            }
        },
        {'address': '0000:02:00.0'},
    )
    def test_addresses_as_nova_writes_them(self, match: ty.Any) -> None:
        devices = [samples.card(bus) for bus in (1, 2)]
        self.assertEqual(
            [('0000:02:00.0', 'CUSTOM_PCI_10DE_1EB8', 1, 1)],
            rows(plan(devices, spec(**match)), devices),
        )

    def test_the_first_option_takes_a_device(self) -> None:
        devices = [samples.card(bus) for bus in (1, 2)]
        found = plan(
            devices,
            spec(address='0000:02:00.0', resource_class='B'),
            spec(vendor_id='10de', resource_class='A'),
        )
        self.assertEqual(
            [
                ('0000:02:00.0', 'CUSTOM_B', 1, 1),
                ('0000:01:00.0', 'CUSTOM_A', 1, 1),
            ],
            rows(found, devices),
        )

    def test_functions_rather_than_their_card(self) -> None:
        devices = samples.sriov(1, 3)
        found = plan(devices, spec(address='0000:01:00.0'))
        self.assertEqual(
            [('0000:01:00.0', 'CUSTOM_PCI_10DE_1EB8', 3, 3)],
            rows(found, devices),
        )
        self.assertIn('dev_type: "type-VF"', found.whitelist)

    def test_bridges_are_left_out(self) -> None:
        devices = [samples.card(1), samples.card(2, class_id='060400')]
        found = plan(devices, spec())
        self.assertEqual(1, len(rows(found, devices)))

    def test_what_stays_with_nova(self) -> None:
        found = plan(
            [samples.card(1)],
            spec(vendor_id='15b3', physical_network='physnet1'),
            spec(address='0000:01:00.0', one_time_use='true'),
            spec(vendor_id='15b3'),
            spec(vendor_id='nonsense'),
        )
        self.assertEqual([], list(found.rules))
        self.assertEqual((), found.gone)
        reasons = [kept.reason for kept in found.kept]
        self.assertEqual(
            [
                'ports of Neutron ask for it',
                'a whitelist has no such key yet',
                planning.NOTHING,
            ],
            reasons[:3],
        )
        self.assertIn('it is not understood', reasons[3])

    def test_a_card_that_cannot_be_offered_is_a_problem(self) -> None:
        devices = [
            dataclasses.replace(samples.card(bus), ids=('sn:1',))
            for bus in (1, 2)
        ]
        found = plan(devices, spec(vendor_id='10de'))
        problems = planning.problems(
            planning.compare(found, offered(found, devices))
        )
        self.assertEqual(2, len(problems))
        self.assertIn('0000:01:00.0: nova offers 1 of', problems[0])


class NamesTest(testtools.TestCase):
    def test_rules_have_names_of_their_own(self) -> None:
        devices = [samples.card(bus) for bus in (1, 2, 3)]
        found = plan(
            devices,
            *(spec(address=f'0000:0{bus}:00.0') for bus in (1, 2, 3)),
        )
        self.assertEqual(
            ['tesla-t4', 'tesla-t4-2', 'tesla-t4-3'],
            [rule.name for rule in found.rules],
        )
        self.assertEqual(3, len(planning.parse(found).rules))
