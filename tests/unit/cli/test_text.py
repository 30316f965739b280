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
import ddt
import testtools

from nova_accel.cli import text
from tests.unit.cli import samples


@ddt.ddt
class TextTest(testtools.TestCase):
    def test_printable_shows_what_would_move_the_cursor(self) -> None:
        self.assertEqual('a\\x1b[31mb\\nc', text.printable('a\x1b[31mb\nc'))
        self.assertEqual('Größe', text.printable('Größe'))

    @ddt.data(('030200', '3D'), ('010802', 'NVMe'), ('ff0000', 'ff0000'))
    @ddt.unpack
    def test_class_name(self, class_id: str, expected: str) -> None:
        self.assertEqual(expected, text.class_name(class_id))

    def test_count(self) -> None:
        self.assertEqual('0 devices', text.count(0, 'device'))
        self.assertEqual('1 device', text.count(1, 'device'))
        self.assertEqual('2 entries', text.count(2, 'entry', 'entries'))

    @ddt.data(
        ('TU104GL [Tesla T4]', 'Tesla T4'),
        ('GA100 [A100 SXM4 40GB]', 'A100 SXM4 40GB'),
        ('ConnectX-6', 'ConnectX-6'),
        ('', '10de:1eb8'),
    )
    @ddt.unpack
    def test_product(self, name: str, expected: str) -> None:
        dev = samples.card(1, product_name=name)
        self.assertEqual(expected, text.product(dev))

    @ddt.data(
        ('NVIDIA Corporation', 'NVIDIA Tesla T4'),
        ('Advanced Micro Devices, Inc. [AMD/ATI]', 'AMD/ATI Tesla T4'),
        ('Tesla Inc', 'Tesla T4'),
        ('', 'Tesla T4'),
    )
    @ddt.unpack
    def test_short_name(self, vendor: str, expected: str) -> None:
        dev = samples.card(1, vendor_name=vendor)
        self.assertEqual(expected, text.short_name(dev))

    def test_some(self) -> None:
        self.assertEqual('a, b, c, d', text.some('abcd'))
        self.assertEqual('a, b, c, d and 2 more', text.some('abcdef'))
