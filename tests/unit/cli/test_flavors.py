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
import collections.abc

import testtools

from nova_accel.cli import flavors
from nova_accel.core import device
from nova_accel.core import request
from tests.unit.cli import samples

T4 = """
version: 1
devices:
  t4:
    kind: vgpu
    match: {product_id: "1eb8"}
    models: [nvidia-233]
"""
WHOLE = """
version: 1
devices:
  t4:
    kind: pci
    match: {product_id: "1eb8"}
    resource_class: CUSTOM_T4
"""
TRAIT = 'trait%s:CUSTOM_ACCEL_MODEL_GRID_T4_8Q'


def found(
    devices: collections.abc.Iterable[device.Device], text: str
) -> list[flavors.Flavor]:
    return list(flavors.of(samples.look(devices, text).offer))


def vgpu_cards(number: int) -> list[device.Device]:
    return [
        samples.card(bus, models=(samples.T4_8Q, samples.T4_4Q))
        for bus in range(number)
    ]


class FlavorsTest(testtools.TestCase):
    def test_one_card(self) -> None:
        one, host = found(vgpu_cards(1), T4)
        self.assertEqual(
            (('resources:VGPU', '1'), (TRAIT % '', 'required')),
            one.properties,
        )
        self.assertEqual(
            (('resources:VGPU', '2'), (TRAIT % '', 'required')),
            host.properties,
        )
        self.assertEqual(('t4', 't4.x2'), (one.name, host.name))
        self.assertEqual(flavors.HOST, host.purpose)

    def test_whole_host_of_two_cards_takes_two_groups(self) -> None:
        _one, host = found(vgpu_cards(2), T4)
        self.assertEqual(
            (
                ('resources1:VGPU', '2'),
                (TRAIT % '1', 'required'),
                ('resources2:VGPU', '2'),
                (TRAIT % '2', 'required'),
                ('group_policy', 'isolate'),
            ),
            host.properties,
        )
        self.assertEqual(4, host.amount)

    def test_no_flavor_that_floods_placement(self) -> None:
        number = flavors.MAX_GROUPS + 1
        _one, card = found(vgpu_cards(number), T4)
        self.assertEqual((flavors.CARD, 2), (card.purpose, card.amount))

    def test_pool_of_whole_devices_takes_one_group(self) -> None:
        _one, host = found(map(samples.card, range(8)), WHOLE)
        self.assertEqual((('resources:CUSTOM_T4', '8'),), host.properties)

    def test_single_device_is_the_whole_host(self) -> None:
        (one,) = found([samples.card(1)], WHOLE)
        self.assertEqual(flavors.ONE, one.purpose)

    def test_several_models_have_names_of_their_own(self) -> None:
        text = T4.replace('[nvidia-233]', '[nvidia-233, nvidia-232]')
        names = [
            flavor.name
            for flavor in found(vgpu_cards(1), f'{text}    mode: dynamic\n')
        ]
        self.assertEqual(
            [
                't4.vgpu_grid_t4_8q',
                't4.vgpu_grid_t4_8q.x2',
                't4.vgpu_grid_t4_4q',
                't4.vgpu_grid_t4_4q.x4',
            ],
            names,
        )

    def test_nova_reads_the_amount(self) -> None:
        for flavor in found(vgpu_cards(3), T4):
            asked = request.parse(dict(flavor.properties))
            self.assertEqual(flavor.amount, asked.amount('VGPU'))

    def test_command(self) -> None:
        (one,) = found([samples.card(1)], WHOLE)
        self.assertEqual(
            'openstack flavor create --vcpus 4 --ram 8192 --disk 40 '
            '--property resources:CUSTOM_T4=1 t4',
            flavors.command(one),
        )
