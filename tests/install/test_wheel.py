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
"""What the wheel and the source archive hold."""

import importlib.metadata
import sys
import zipfile

import testtools

from tests.install import environments


def _files(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def _code(wheel):
    return {name for name in _files(wheel) if '.dist-info/' not in name}


class WheelTest(testtools.TestCase):
    def test_one_file_below_nova(self):
        inside = _files(environments.our_wheel())
        self.assertEqual(
            {'nova/virt/accel.py'},
            {name for name in inside if name.startswith('nova/')},
        )

    def test_every_file_of_the_packages(self):
        listed = environments.run(
            *('git', 'ls-files', 'nova_accel', 'nova_accel_tempest'),
            cwd=environments.checkout(),
        )
        inside = _files(environments.our_wheel())
        self.assertEqual(set(), set(listed.splitlines()) - inside)

    def test_no_tests_and_no_tools(self):
        tops = {
            name.partition('/')[0] for name in _code(environments.our_wheel())
        }
        self.assertEqual({'nova', 'nova_accel', 'nova_accel_tempest'}, tops)

    def test_never_brings_a_nova_along(self):
        (metadata,) = (
            path
            for path in zipfile.Path(environments.our_wheel()).iterdir()
            if path.name.endswith('.dist-info')
        )
        wanted = importlib.metadata.PathDistribution(metadata).requires or []
        self.assertEqual(
            [],
            [
                line
                for line in wanted
                if line.lower().startswith(('nova', 'libvirt', 'xenapi'))
                and 'extra ==' not in line
            ],
        )

    def test_source_archive_builds_without_git(self):
        folder = environments.workshop() / 'sdist'
        folder.mkdir()
        environments.run(
            sys.executable,
            '-c',
            f'from pbr import build; build.build_sdist({str(folder)!r})',
            cwd=environments.checkout(),
        )
        (sdist,) = folder.glob('*.tar.gz')
        source = environments.unpack(sdist, folder)
        self.assertFalse((source / '.git').exists())
        wheel = environments.build_wheel(source)
        self.assertEqual(environments.our_wheel().name, wheel.name)
        self.assertEqual(_code(environments.our_wheel()), _code(wheel))
