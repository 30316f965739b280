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
"""What only OpenStack's infrastructure runs is at least well-formed here."""

import pathlib
import re
import subprocess

import testtools
import yaml

_ROOT = pathlib.Path(__file__).parents[2]
_DEVSTACK = _ROOT / 'devstack'


class ZuulTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.items = yaml.safe_load((_ROOT / '.zuul.yaml').read_text())

    def test_jobs_and_one_project(self) -> None:
        kinds = [kind for item in self.items for kind in item]
        self.assertEqual({'job', 'project'}, set(kinds))
        self.assertEqual(1, kinds.count('project'))

    def test_the_project_runs_jobs_that_are_defined(self) -> None:
        defined = {i['job']['name'] for i in self.items if 'job' in i}
        project = next(i['project'] for i in self.items if 'project' in i)
        for pipeline in ('check', 'gate'):
            for job in project[pipeline]['jobs']:
                name = job if isinstance(job, str) else next(iter(job))
                self.assertIn(name, defined)

    def test_tox_environments_exist(self) -> None:
        tox = (_ROOT / 'tox.ini').read_text()
        for item in self.items:
            name = item.get('job', {}).get('vars', {}).get('tox_envlist')
            if name not in (None, 'all'):
                self.assertIn(f'[testenv:{name}]', tox)


class DevstackTest(testtools.TestCase):
    def test_bash_can_read_it(self) -> None:
        for name in ('settings', 'plugin.sh'):
            done = subprocess.run(
                ['bash', '-n', str(_DEVSTACK / name)],
                capture_output=True,
                text=True,
            )
            self.assertEqual(('', 0), (done.stderr, done.returncode), name)

    def test_every_setting_is_used_and_every_used_one_set(self) -> None:
        set_here = set(
            re.findall(
                r'^(NOVA_ACCEL_\w+)=',
                (_DEVSTACK / 'settings').read_text(),
                re.MULTILINE,
            )
        )
        used = set(
            re.findall(
                r'\$\{?(NOVA_ACCEL_\w+)', (_DEVSTACK / 'plugin.sh').read_text()
            )
        )
        self.assertEqual(set_here, used)

    def test_each_function_that_is_called_is_defined(self) -> None:
        text = (_DEVSTACK / 'plugin.sh').read_text()
        defined = set(re.findall(r'^function (\w+)', text, re.MULTILINE))
        for name in re.findall(r'\b(\w*nova_accel\w*)\b', text):
            known = name in defined or name == 'nova_accel'
            self.assertTrue(known, name)

    def test_files_that_it_copies_exist(self) -> None:
        for name in ('gpu1', 'gpu2'):
            file = _ROOT / 'tests' / 'cloud' / 'rules' / f'{name}.yaml'
            self.assertTrue(file.is_file())
