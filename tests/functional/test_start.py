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
"""The real nova-compute, as a process, with a file that is wrong."""

import pathlib
import subprocess
import sys
import tempfile

from nova import test

CONF = """
[DEFAULT]
compute_driver = accel.LibvirtAccelDriver
transport_url = fake:/
state_path = {folder}
[accel]
config = {folder}/accel.yaml
config_dir =
[oslo_concurrency]
lock_path = {folder}
"""

# There is no conductor and no Placement; the file is read before either is
# asked for anything.
MAIN = """
import sys
from unittest import mock
from nova.cmd import compute
with (
    mock.patch('nova.conductor.api.API.wait_until_ready'),
    mock.patch('nova.scheduler.client.report.SchedulerReportClient'),
):
    sys.argv = ['nova-compute', '--config-file', sys.argv[1]]
    sys.exit(compute.main())
"""


class WrongFileTest(test.NoDBTestCase):
    def test_nova_compute_exits_and_says_why(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            conf = pathlib.Path(folder, 'nova.conf')
            conf.write_text(CONF.format(folder=folder))
            pathlib.Path(folder, 'accel.yaml').write_text(
                'version: 1\ndevices:\n  t4: {kint: vgpu}\n'
            )
            run = subprocess.run(
                [sys.executable, '-c', MAIN, str(conf)],
                capture_output=True,
                check=False,
                text=True,
                timeout=100,
            )
        self.assertEqual(1, run.returncode, run.stderr)
        said = run.stdout + run.stderr
        self.assertIn('nova-compute does not start', said)
        self.assertIn('accel.yaml:3: devices.t4.kint: unknown key', said)
        self.assertIn("did you mean 'kind'?", said)
        self.assertNotIn('Traceback', said)
