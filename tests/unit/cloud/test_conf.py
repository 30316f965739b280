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
import configparser
import pathlib
import socket
import tempfile

import testtools

from nova_accel.conf import sources
from nova_accel.core import naming
from nova_accel.core import whitelist

from tests.cloud.harness import conf
from tests.cloud.harness import hosts
from tests.cloud.harness import settings
from tests.lab.harness import errors


class IniTest(testtools.TestCase):
    def test_a_tuple_is_an_option_given_several_times(self) -> None:
        self.assertEqual(
            '[a]\nx = 1\nx = 2\n\n[b]\ny = z\n',
            conf.ini({'a': {'x': (1, 2)}, 'b': {'y': 'z'}}),
        )


class _FolderTestCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        self.folder = pathlib.Path(temporary.name)


class SettingsTest(_FolderTestCase):
    def test_each_service_has_a_port_that_is_kept(self) -> None:
        cloud = settings.Settings(self.folder)
        ports = [cloud.port(name) for name in settings.SERVICES]
        self.assertEqual(len(ports), len(set(ports)))
        again = settings.Settings(self.folder)
        self.assertEqual(
            ports, [again.port(name) for name in settings.SERVICES]
        )

    def test_ports_that_somebody_has_are_left_alone(self) -> None:
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            first = settings.Settings(self.folder).port('database')
            taken.bind(('127.0.0.1', first + 3))
            taken.listen()
            (self.folder / 'ports.json').unlink()
            other = settings.Settings(self.folder).port('database')
        self.assertNotEqual(first, other)

    def test_paths_that_do_not_fit_are_refused(self) -> None:
        for bad in ('/tmp/with space', '/tmp/' + 'x' * 60):
            self.assertRaises(
                errors.LabError, settings.Settings, pathlib.Path(bad)
            )


class FilesTest(_FolderTestCase):
    def test_every_file_is_readable_and_on_the_loopback(self) -> None:
        cloud = settings.Settings(self.folder)
        for name, sections in conf.Conf(cloud)._files().items():
            text = conf.ini(sections)
            parser = configparser.RawConfigParser(strict=False)
            parser.read_string(text)
            self.assertNotIn('0.0.0.0', text, name)
            self.assertNotIn('localhost', text, name)


class RulesTest(testtools.TestCase):
    def test_the_hosts_offer_what_tempest_is_told(self) -> None:
        offered = set()
        for about in hosts.HOSTS.values():
            rules = sources.load(sources.Paths(str(about.rules)))
            for rule in rules.rules:
                offered |= _classes(rule)
        self.assertEqual(set(hosts.CLASSES), offered)


def _classes(rule: whitelist.Rule) -> set[str]:
    if rule.resource_class:
        return {rule.resource_class}
    if rule.mode == whitelist.MODE_DYNAMIC:
        return {naming.vgpu_class(model) for model in rule.models}
    return {'VGPU'}
