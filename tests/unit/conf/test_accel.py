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
import tempfile

from oslo_config import cfg
import testtools

from nova_accel.conf import accel
from nova_accel.conf import sources
from nova_accel.conf import xapi


class OptionsTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.conf = cfg.ConfigOpts()
        accel.register_opts(self.conf)

    def read(self, text):
        """Read a configuration file."""
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, 'nova.conf')
            path.write_text(text)
            self.conf([], default_config_files=[str(path)])

    def test_defaults(self) -> None:
        self.read('')
        self.assertEqual(600, self.conf.accel.resync_interval)
        files = ('/etc/nova/accel.yaml', '/etc/nova/accel.d')
        self.assertEqual(
            sources.Paths(*files, frozenset(files)), accel.paths(self.conf)
        )

    def test_what_the_operator_names_must_exist(self) -> None:
        self.read('[accel]\nconfig = /a.yaml\n')
        self.assertEqual(
            sources.Paths(
                '/a.yaml',
                '/etc/nova/accel.d',
                frozenset(['/etc/nova/accel.d']),
            ),
            accel.paths(self.conf),
        )

    def test_naming_the_default_counts_as_naming(self) -> None:
        self.read('[accel]\nconfig_dir = /etc/nova/accel.d\n')
        self.assertEqual(
            {'/etc/nova/accel.yaml'}, accel.paths(self.conf).optional
        )

    def test_an_override_that_was_cleared_leaves_no_trace(self) -> None:
        self.read('')
        self.conf.set_override('config_dir', '/a', 'accel')
        self.assertEqual('/a', accel.paths(self.conf).config_dir)
        self.conf.clear_override('config_dir', 'accel')
        found = accel.paths(self.conf)
        self.assertIn(found.config_dir, found.optional)

    def test_an_empty_value_means_none(self) -> None:
        self.read('[accel]\nconfig =\nconfig_dir =\n')
        self.assertEqual((), sources.find(accel.paths(self.conf)))

    def test_no_negative_interval(self) -> None:
        self.read('[accel]\nresync_interval = -1\n')
        self.assertRaises(
            cfg.ConfigFileValueError, lambda: self.conf.accel.resync_interval
        )

    def test_registering_twice(self) -> None:
        accel.register_opts(self.conf)
        self.read('')
        self.assertEqual('/etc/nova/accel.yaml', self.conf.accel.config)


class SampleTest(testtools.TestCase):
    def test_every_option_is_listed_and_explained(self) -> None:
        groups = accel.list_opts()
        self.assertIn(
            ('accel', accel.OPTIONS), [(g.name, o) for g, o in groups]
        )
        self.assertIn(
            ('accel_xapi', xapi.OPTIONS), [(g.name, o) for g, o in groups]
        )
        for group, options in groups:
            for option in options:
                self.assertTrue(option.help, f'{group.name}.{option.name}')
