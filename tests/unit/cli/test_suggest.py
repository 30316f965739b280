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
import testtools

from nova_accel.cli import suggest
from nova_accel.core import device
from nova_accel.core import inventory
from tests.unit.cli import samples

ASPEED = {
    'vendor_id': '1a03',
    'product_id': '2000',
    'class_id': '030000',
    'product_name': 'ASPEED Graphics Family',
}
NVME = {
    'vendor_id': '144d',
    'product_id': 'a80a',
    'class_id': '010802',
    'product_name': 'PM9A3',
}
ETHERNET = {
    'vendor_id': '8086',
    'product_id': '1592',
    'class_id': '020000',
    'product_name': 'E810',
}


class SuggestTest(testtools.TestCase):
    def offered(self, devices: list[device.Device]) -> inventory.Offer:
        """What the host offers once the suggestion is its whitelist."""
        text = suggest.whitelist(samples.look(devices))
        return samples.look(devices, text).offer

    def test_vgpu_cards(self) -> None:
        models = (samples.T4_8Q, samples.T4_4Q)
        offer = self.offered(
            [samples.card(bus, models=models) for bus in range(2)]
        )
        self.assertEqual([2, 2], [len(p.stocks[0].units) for p in offer.pools])
        self.assertEqual((), offer.withheld)

    def test_card_of_unknown_capacity(self) -> None:
        model = device.VgpuModel('nvidia-1', 'X')
        offer = self.offered([samples.card(1, models=(model,))])
        self.assertEqual(1, len(offer.pools[0].stocks[0].units))

    def test_vgpus_on_virtual_functions(self) -> None:
        model = device.VgpuModel('nvidia-1', 'X')
        devices = samples.sriov(1, 4, models=(model,))
        offer = self.offered(devices)
        self.assertEqual(4, len(offer.pools[0].stocks[0].units))
        self.assertNotIn(
            '\n    max_slots', suggest.whitelist(samples.look(devices))
        )

    def test_whole_cards(self) -> None:
        offer = self.offered([samples.card(1), samples.card(2)])
        self.assertEqual(2, len(offer.pools[0].stocks[0].units))

    def test_virtual_functions(self) -> None:
        offer = self.offered([*samples.sriov(1, 3), samples.card(2)])
        (pool,) = offer.pools
        self.assertEqual(3, len(pool.stocks[0].units))
        self.assertEqual((), offer.withheld)

    def test_what_the_host_may_need_is_a_comment(self) -> None:
        devices = [
            samples.card(1, **ASPEED),
            samples.card(2, **NVME),
            samples.card(3),
        ]
        text = suggest.whitelist(samples.look(devices))
        self.assertIn('# pm9a3:', text)
        self.assertIn('# aspeed-graphics-family:', text)
        self.assertEqual(1, len(self.offered(devices).pools))
        uncommented = '\n'.join(
            line.replace('# ', '', 1)
            if line.startswith('  # ') and not line.endswith('.')
            else line
            for line in text.splitlines()
        )
        self.assertEqual(
            3, len(samples.look(devices, uncommented).offer.pools)
        )

    def test_only_what_the_host_may_need(self) -> None:
        self.assertEqual((), self.offered([samples.card(1, **NVME)]).pools)

    def test_nothing_to_offer(self) -> None:
        devices = [
            samples.card(1, **ETHERNET),
            samples.card(0, class_id='060400'),
        ]
        self.assertEqual('', suggest.whitelist(samples.look(devices)))

    def test_what_a_rule_names_is_left_alone(self) -> None:
        whitelist = """
        version: 1
        devices:
          t4: {kind: pci, match: {address: "0000:01:00.0"}}
        """
        devices = [samples.card(1), samples.card(2)]
        self.assertEqual(
            '', suggest.whitelist(samples.look(devices, whitelist))
        )

    def test_names_do_not_collide(self) -> None:
        whitelist = """
        version: 1
        devices:
          tesla-t4: {kind: pci, match: {vendor_id: "ffff"}}
        """
        twin = samples.card(2, product_id='1eb9')
        text = suggest.whitelist(
            samples.look([samples.card(1), twin], whitelist)
        )
        self.assertIn('\n  tesla-t4-10de-1eb8:\n', text)
        self.assertIn('\n  tesla-t4-10de-1eb9:\n', text)

    def test_strange_names_do_no_harm(self) -> None:
        devices = [samples.card(1, product_name='a"b: {#\n} \x1b[0m ')]
        self.assertEqual(1, len(self.offered(devices).pools))
        devices = [samples.card(1, product_name='†')]
        self.assertEqual(1, len(self.offered(devices).pools))
