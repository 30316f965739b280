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

import typing as ty

import testtools

from nova_accel.cli import aliases
from nova_accel.cli import novaconf
from nova_accel.cli import planning
from tests.unit.cli import samples
from tests.unit.cli import test_planning

DEVICES = [samples.card(1), samples.card(2, product_id='20b0')]
PLAN = test_planning.plan(
    DEVICES,
    test_planning.spec(product_id='1eb8', resource_class='T4'),
    test_planning.spec(product_id='20b0'),
)


def alias(name: str, **fields: str) -> novaconf.Alias:
    return novaconf.Alias(name, {'name': name, **fields})


ALIASES = (
    alias('t4', resource_class='t4', traits='fast'),
    alias('a100', vendor_id='10de', product_id='20B0'),
    alias('any', vendor_id='10de'),
    alias('nic', vendor_id='15b3'),
)


def convert(value: str, **others: str) -> aliases.Flavor:
    properties: dict[str, ty.Any] = {aliases.ALIAS: value}
    more = {key.replace('__', ':'): text for key, text in others.items()}
    plan: planning.Plan = PLAN
    return aliases.convert('f', {**properties, **more}, ALIASES, plan)


class ConvertTest(testtools.TestCase):
    def test_without_an_alias_nothing_changes(self) -> None:
        found = aliases.convert('f', {'resources:VGPU': '1'}, ALIASES, PLAN)
        self.assertFalse(found.changes)

    def test_classes_amounts_and_traits(self) -> None:
        found = convert('a100:2, t4')
        self.assertEqual(
            (
                ('resources:CUSTOM_PCI_10DE_20B0', '2'),
                ('resources:CUSTOM_T4', '1'),
                ('trait:CUSTOM_FAST', 'required'),
            ),
            found.add,
        )
        self.assertEqual((aliases.ALIAS,), found.drop)
        self.assertEqual((), found.problems)

    def test_amounts_add_up(self) -> None:
        found = convert('t4:1,t4:2', resources__CUSTOM_T4='1')
        self.assertEqual(('resources:CUSTOM_T4', '4'), found.add[0])

    def test_what_cannot_be_told(self) -> None:
        for value, said in (
            ('none', "there is no [pci]alias 'none'"),
            ('nic:1', 'means no device that this host will offer'),
            ('any:1', 'CUSTOM_PCI_10DE_20B0 and CUSTOM_T4'),
        ):
            found = convert(value)
            self.assertEqual((), found.add)
            self.assertIn(said, found.problems[0])
