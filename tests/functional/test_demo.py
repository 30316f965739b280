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
"""The demo tells what the documents show, and says so when a step fails."""

import os
import pathlib
import subprocess
import sys

from nova import test

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHOWN = ROOT / 'doc' / 'source' / 'demo.out'


class DemoTest(test.NoDBTestCase):
    def test_it_tells_what_the_documents_show(self) -> None:
        """Rewrite the page with NOVA_ACCEL_WRITE_DOCS=1."""
        run = _run('-m', 'nova_accel.cli.demo')
        self.assertEqual(0, run.returncode, run.stdout + run.stderr)
        told, ending = run.stdout.rstrip().rsplit('\n', 1)
        self.assertRegex(ending, r'^Every step held, in \d+ s\.$')
        if os.environ.get('NOVA_ACCEL_WRITE_DOCS'):
            SHOWN.write_text(told.rstrip() + '\n')
        self.assertEqual(SHOWN.read_text(), told.rstrip() + '\n')

    def test_a_step_that_does_not_hold_fails_it(self) -> None:
        run = _run('-c', FAULT)
        self.assertEqual(1, run.returncode)
        self.assertIn('a planted fault', run.stdout)
        self.assertIn('A step did not hold', run.stdout)


def _run(*arguments: str) -> 'subprocess.CompletedProcess[str]':
    # Placement's first candidate depends on the hash seed.
    fixed = {'PYTHONHASHSEED': '0', 'PYTHONUTF8': '1'}
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        check=False,
        text=True,
        timeout=300,
        env={**os.environ, **fixed},
    )


FAULT = """
import os
import sys
os.environ['OS_NOVA_DISABLE_EVENTLET_PATCHING'] = '1'
from nova_accel.cli import demo
from nova_accel.cli import story
story.Demo.make_flavors = lambda self: self.fail('a planted fault')
sys.exit(demo.main([]))
"""
