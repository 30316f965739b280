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
import pathlib
import textwrap
import time

import ddt
import jsonschema
import testtools
import yaml

from nova_accel.conf import composer
from nova_accel.conf import schema
from nova_accel.core import device
from nova_accel.core import whitelist
from nova_accel import exception

DATA = pathlib.Path(__file__).parent / 'whitelist_data'
SCHEMA = jsonschema.Draft7Validator(schema.load())


def cases():
    for path in sorted(DATA.glob('*.yaml')):
        for name, case in yaml.safe_load(path.read_text()).items():
            yield [f'{path.stem}: {name}', case]


def texts(case):
    files = {'accel.yaml': case['text'], 'more.yaml': case.get('more')}
    return {name: text for name, text in files.items() if text is not None}


def problems(files):
    """Return what is wrong with files, as one text."""
    found = []
    documents = []
    for name, text in files.items():
        try:
            documents.append(composer.compose(name, text.encode()))
        except exception.InvalidWhitelist as error:
            found.append(str(error))
    try:
        whitelist.parse(documents)
    except exception.InvalidWhitelist as error:
        found.append(str(error))
    return ''.join(f'{text}\n' for text in found)


def parse(text):
    text = textwrap.dedent(text)
    return whitelist.parse([composer.compose('accel.yaml', text.encode())])


def rule(body):
    """Return the one rule that ``body`` describes."""
    text = f'version: 1\ndevices:\n  a: {{{body}}}\n'
    return parse(text).rules[0]


def make_device(number=0, **kwargs):
    values = {
        'name': f'pci_{number}',
        'ids': (f'addr:{number}',),
        'address': device.PciAddress(0, number >> 5, number & 31, 0),
        'vendor_id': '10de',
        'product_id': '1eb8',
        'class_id': '030200',
        'numa_node': number % 2,
    }
    return device.Device(**{**values, **kwargs})


@ddt.ddt
class DocumentsTest(testtools.TestCase):
    """Every document of ``whitelist_data``, by the parser and the schema.

    A document with ``problems`` is wrong, and this is the whole message.
    ``parser_only`` says why the schema cannot see it.
    """

    @ddt.idata(cases())
    @ddt.unpack
    def test_problems(self, name, case) -> None:
        self.assertEqual(case.get('problems', ''), problems(texts(case)), name)

    @ddt.idata(cases())
    @ddt.unpack
    def test_schema(self, name, case) -> None:
        wrong = 'problems' in case and 'parser_only' not in case
        self.assertEqual(wrong, not self._is_valid(case), name)

    def _is_valid(self, case):
        try:
            return all(
                SCHEMA.is_valid(yaml.safe_load(text))
                for text in texts(case).values()
            )
        except yaml.YAMLError:
            # What is no YAML never reaches a schema.
            return True


class ParseTest(testtools.TestCase):
    def test_every_value_of_a_vgpu_rule(self) -> None:
        found = parse("""
            version: 1
            devices:
              t4:
                kind: vgpu
                match: {vendor_id: "10DE"}
                models: [nvidia-233, GRID T4-4Q]
                mode: dynamic
                traits: [CUSTOM_B, CUSTOM_A]
                levels: {region: 3, function: 4}
                max_slots: 16
                live_migratable: no
        """).rules[0]
        self.assertEqual('t4', found.name)
        self.assertEqual('accel.yaml:4', str(found.place))
        self.assertEqual(whitelist.KIND_VGPU, found.kind)
        self.assertEqual(['vendor_id'], [key for key, _test in found.match])
        self.assertEqual(('nvidia-233', 'GRID T4-4Q'), found.models)
        self.assertEqual(whitelist.MODE_DYNAMIC, found.mode)
        self.assertIsNone(found.resource_class)
        self.assertEqual({'CUSTOM_A', 'CUSTOM_B'}, found.traits)
        self.assertEqual((('region', 3), ('function', 4)), found.levels)
        self.assertEqual(16, found.max_slots)
        self.assertIs(False, found.live_migratable)

    def test_every_value_of_a_pci_rule(self) -> None:
        found = rule(
            'kind: pci, match: {driver: x}, resource_class: PGPU, '
            'pool: device, managed: no'
        )
        self.assertEqual(whitelist.KIND_PCI, found.kind)
        self.assertEqual('PGPU', found.resource_class)
        self.assertEqual(whitelist.POOL_DEVICE, found.pool)
        self.assertIs(False, found.managed)

    def test_values_left_out(self) -> None:
        found = rule('kind: pci, match: {driver: x}')
        self.assertEqual(
            whitelist.Rule('a', found.place, 'pci', found.match), found
        )
        self.assertEqual(whitelist.POOL_NUMA, found.pool)
        self.assertIs(True, found.managed)

    def test_words_for_yes_and_no(self) -> None:
        for word, value in {
            'yes': True,
            'True': True,
            'ON': True,
            'no': False,
            'false': False,
            'Off': False,
        }.items():
            found = rule(f'kind: pci, match: {{driver: x}}, managed: {word}')
            self.assertIs(value, found.managed, word)

    def test_defaults_hold_where_a_rule_is_silent(self) -> None:
        found = parse("""
            version: 1
            defaults: {pool: host}
            devices:
              a: {kind: pci, match: {driver: x}}
              b: {kind: pci, match: {driver: x}, pool: device}
        """)
        self.assertEqual(['host', 'device'], [r.pool for r in found.rules])

    def test_defaults_hold_for_their_own_file(self) -> None:
        head = (
            'version: 1\n{}devices:\n  {}: {{kind: pci, match: {{slot: x}}}}'
        )
        documents = [
            composer.compose('a', head.format('', 'a').encode()),
            composer.compose(
                'b', head.format('defaults: {pool: host}\n', 'b').encode()
            ),
        ]
        found = whitelist.parse(documents)
        self.assertEqual(['numa', 'host'], [r.pool for r in found.rules])

    def test_no_documents(self) -> None:
        self.assertEqual(whitelist.Whitelist(), whitelist.parse([]))

    def test_the_same_text_gives_an_equal_whitelist(self) -> None:
        text = """
            version: 1
            devices:
              a: {kind: pci, match: {slot: x, path: "a/*", class: "03"}}
              b: {kind: pci, match: {address: [":1-2.*", {bus: "[0-4]"}]}}
        """
        self.assertEqual(parse(text), parse(text))
        self.assertEqual(hash(parse(text)), hash(parse(text)))
        self.assertNotEqual(parse(text), parse(text.replace('0-4', '0-5')))

    def test_problems_are_structured(self) -> None:
        error = self.assertRaises(
            exception.InvalidWhitelist, parse, 'version: 1\ndevice: {}\n'
        )
        self.assertEqual(
            exception.Problem(
                'accel.yaml',
                2,
                'device',
                "unknown key; did you mean 'devices'?",
            ),
            error.problems[1],
        )

    def test_a_long_text_is_cut(self) -> None:
        error = self.assertRaises(
            exception.InvalidWhitelist,
            rule,
            f'kind: {"x" * 200}, match: {{driver: x}}',
        )
        self.assertIn(f"'{'x' * 57}...'", str(error))


class MatchingTest(testtools.TestCase):
    def test_every_rule_that_matches(self) -> None:
        found = parse("""
            version: 1
            devices:
              gpus: {kind: vgpu, match: {class: "03"}}
              nics: {kind: pci, match: {class: "02"}}
              nvidia: {kind: pci, match: {vendor_id: "10de"}}
        """)
        gpu = make_device()
        nic = make_device(vendor_id='15b3', class_id='020700')
        other = make_device(vendor_id='8086', class_id='010802')
        self.assertEqual(
            [['gpus', 'nvidia'], ['nics'], []],
            [
                [rule.name for rule in found.matching(dev)]
                for dev in (gpu, nic, other)
            ],
        )

    def test_every_key_must_hold(self) -> None:
        found = rule('kind: pci, match: {vendor_id: "10de", numa_node: 0}')
        self.assertTrue(found.matches(make_device(0)))
        self.assertFalse(found.matches(make_device(1)))
        self.assertFalse(found.matches(make_device(0, vendor_id='10df')))

    def test_many_rules_and_devices_are_fast(self) -> None:
        rules = '\n'.join(
            f'  r{n}: {{kind: pci, match: {{vendor_id: "10de", product_id: '
            f'["1eb8", "20b0"], address: "*:{n:02x}:*.[0-3]"}}}}'
            for n in range(50)
        )
        devices = [make_device(number) for number in range(512)]
        start = time.process_time()
        found = parse(f'version: 1\ndevices:\n{rules}\n')
        matching = [found.matching(dev) for dev in devices]
        self.assertLess(time.process_time() - start, 0.5)
        self.assertEqual(512, sum(map(len, matching)))
