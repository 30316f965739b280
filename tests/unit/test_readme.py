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
"""What the README shows is what the programs print."""

import pathlib
import re
import textwrap

import testtools

ROOT = pathlib.Path(__file__).resolve().parents[2]

_SHOWN = re.compile(
    r'^\.\. shown: (?P<file>\S+)\n\n::\n\n(?P<block>(?:(?: {4}.*)?\n)+)', re.M
)


class ReadmeTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.text = (ROOT / 'README.rst').read_text()

    def test_every_block_is_in_the_file_it_names(self) -> None:
        found = list(_SHOWN.finditer(self.text))
        self.assertEqual(self.text.count('.. shown:'), len(found))
        self.assertNotEqual([], found)
        for match in found:
            block = textwrap.dedent(match['block']).strip()
            self.assertIn(block, (ROOT / match['file']).read_text())

    def test_the_files_it_names_are_there(self) -> None:
        for name in re.findall(
            r'``((?:doc|specs|etc|tools)(?:/[\w./-]+)?)``', self.text
        ):
            self.assertTrue((ROOT / name).exists(), name)
