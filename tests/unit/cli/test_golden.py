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
"""What the commands print for each host that ships, as the manual shows it.

To write the outputs anew: NOVA_ACCEL_WRITE_DOCS=1 tox -e unit -- test_golden
"""

import argparse
import contextlib
import io
import os
import pathlib
import re

import ddt
import testtools

from nova_accel.cli import main
from nova_accel.cli import outcome
from nova_accel.testing import nodes

FOLDER = pathlib.Path(__file__).parents[3] / 'doc' / 'source' / 'cli'


@ddt.ddt
class GoldenTest(testtools.TestCase):
    def check(self, name: str, code: int, *args: str) -> None:
        """Run a command on a node file and compare with what it printed."""
        printed = io.StringIO()
        uri = nodes.uri(name)
        with (
            contextlib.chdir(FOLDER),
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(printed),
        ):
            found = main.run([*args, '--connect', uri, '--node', 'host1'])
        self.assertEqual(code, found, printed.getvalue())
        shown = printed.getvalue().replace(uri, f'test:////tmp/{name}.xml')
        path = FOLDER / f'{name}-{args[0]}.out'
        if 'NOVA_ACCEL_WRITE_DOCS' in os.environ:
            path.write_text(shown)
        self.assertEqual(path.read_text(), shown)

    @ddt.data(*nodes.NAMES)
    def test_devices(self, name: str) -> None:
        self.check(name, outcome.OK, 'devices', '--config', f'{name}.yaml')

    @ddt.data(*nodes.NAMES)
    def test_check(self, name: str) -> None:
        # The one that shows what can go wrong.
        code = outcome.PROBLEM if name == 'mixed' else outcome.OK
        self.check(name, code, 'check', '--config', f'{name}.yaml')


class ManualTest(testtools.TestCase):
    def test_every_option_is_described(self) -> None:
        page = (FOLDER.parent / 'reference' / 'nova-accel.rst').read_text()
        for command in main.COMMANDS:
            parser = argparse.ArgumentParser(add_help=False)
            command.add_arguments(parser)
            for option in re.findall(r'--[a-z-]+', parser.format_usage()):
                self.assertIn(option, page)
