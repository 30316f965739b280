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
"""The sample that ships is what the options generate."""

import io
import pathlib

from oslo_config import cfg
from oslo_config import generator
import testtools

SAMPLE = pathlib.Path(__file__).parents[3] / 'etc' / 'nova-accel.conf.sample'


class SampleTest(testtools.TestCase):
    def test_it_is_up_to_date(self) -> None:
        """Write it anew with ``tox -e genconfig``."""
        conf = cfg.ConfigOpts()
        generator.register_cli_opts(conf)
        conf(
            args=['--namespace', 'nova_accel', '--wrap-width', '79'],
            default_config_files=[],
        )
        found = io.StringIO()
        generator.generate(conf, found)
        self.assertEqual(SAMPLE.read_text(), found.getvalue())
