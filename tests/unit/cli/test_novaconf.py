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

from nova_accel.cli import novaconf
from tests.unit.cli import command


class ReadTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.command = self.useFixture(command.Command())

    def read(self, *texts: str) -> novaconf.NovaConf:
        return novaconf.read(
            [
                self.command.write(f'{number}.conf', text)
                for number, text in enumerate(texts)
            ]
        )

    def refused(self, text: str) -> str:
        return str(self.assertRaises(novaconf.Unreadable, self.read, text))

    def test_types(self) -> None:
        found = self.read(
            """
[devices]
enabled_mdev_types = nvidia-35, nvidia-36, nvidia-37, nvidia-38
[mdev_nvidia-35]
device_addresses = 0000:84:00.0,0000:85:00.0
mdev_class = CUSTOM_NOTVGPU
[vgpu_nvidia-36]
device_addresses = 0000:86:00.0
[mdev_nvidia-37]
max_instances = 3
"""
        )
        self.assertEqual(
            (
                novaconf.MdevType(
                    'nvidia-35',
                    ('0000:84:00.0', '0000:85:00.0'),
                    'CUSTOM_NOTVGPU',
                ),
                novaconf.MdevType('nvidia-36', ('0000:86:00.0',)),
                # The second type without addresses is not used.
                novaconf.MdevType('nvidia-37', limit=3),
            ),
            found.mdev_types,
        )

    def test_old_names(self) -> None:
        found = self.read(
            """
[devices]
enabled_vgpu_types = nvidia-35
[DEFAULT]
pci_alias = {"name": "a"}
[pci]
passthrough_whitelist = {"vendor_id": "8086"}
"""
        )
        self.assertEqual('nvidia-35', found.mdev_types[0].name)
        self.assertEqual('a', found.aliases[0].name)
        self.assertEqual({'vendor_id': '8086'}, found.specs[0].fields)

    def test_several_files_and_several_specs(self) -> None:
        found = self.read(
            '[pci]\ndevice_spec = [{"vendor_id": "1"}, {"vendor_id": "2"}]\n'
            'device_spec = {"vendor_id": "3"}\n',
            '[pci]\nreport_in_placement = true\n',
        )
        self.assertEqual(
            ['1', '2', '3'], [s.fields['vendor_id'] for s in found.specs]
        )
        self.assertTrue(found.report_in_placement)
        self.assertEqual(2, len(found.files))

    def test_what_makes_no_sense(self) -> None:
        for text, said in (
            ('[pci]\ndevice_spec = {nonsense}\n', 'device_spec = {nonsense}'),
            ('[pci]\nalias = 3\n', 'not a JSON object'),
            ('[pci\n', '0.conf'),
            ('[pci]\nreport_in_placement = perhaps\n', 'perhaps'),
            (
                '[devices]\nenabled_mdev_types = a\n'
                '[mdev_a]\nmax_instances = 0\n',
                'max_instances',
            ),
        ):
            self.assertIn(said, self.refused(text))

    def test_no_file(self) -> None:
        error = self.assertRaises(
            novaconf.Unreadable, novaconf.read, ['/nonexistent/nova.conf']
        )
        self.assertIn('/nonexistent/nova.conf', str(error))
