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
import os
import pathlib
import random
import tempfile

import testtools

from nova_accel.conf import sources
from nova_accel import exception

EXAMPLE = pathlib.Path(__file__).parents[3] / 'etc' / 'accel.yaml'

RULE = 'version: 1\ndevices:\n  {}: {{kind: pci, match: {{driver: x}}}}\n'


class SourcesTestBase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.config = self.folder / 'accel.yaml'
        self.directory = self.folder / 'accel.d'

    def paths(self, optional=()):
        return sources.Paths(
            str(self.config), str(self.directory), frozenset(optional)
        )

    def write(self, name, rule):
        self.directory.mkdir(exist_ok=True)
        (self.directory / name).write_text(RULE.format(rule))

    def names(self, paths):
        return [rule.name for rule in sources.load(paths).rules]

    def problems(self, paths):
        """Return the message, with the folder of this test left out."""
        error = self.assertRaises(
            exception.InvalidWhitelist, sources.load, paths
        )
        return str(error).replace(f'{self.folder}/', '')


class LoadTest(SourcesTestBase):
    def test_defaults_that_do_not_exist(self) -> None:
        optional = (str(self.config), str(self.directory))
        self.assertEqual([], self.names(self.paths(optional)))

    def test_no_paths(self) -> None:
        self.assertEqual([], self.names(sources.Paths()))

    def test_one_file(self) -> None:
        self.config.write_text(RULE.format('a'))
        self.assertEqual(['a'], self.names(sources.Paths(str(self.config))))

    def test_file_first_then_the_directory_by_name(self) -> None:
        self.config.write_text(RULE.format('main'))
        for name in ('20-b', '10-c', '3-a'):
            self.write(f'{name}.yaml', name)
        self.assertEqual(
            ['main', '10-c', '20-b', '3-a'], self.names(self.paths())
        )

    def test_only_the_directory(self) -> None:
        self.write('a.yaml', 'a')
        optional = (str(self.config),)
        self.assertEqual(['a'], self.names(self.paths(optional)))

    def test_other_files_of_the_directory_are_not_read(self) -> None:
        for name in ('a.yaml~', 'a.yml', '.a.yaml', 'a.yaml.rpmsave', 'yaml'):
            self.write(name, 'a')
        self.write('b.yaml', 'b')
        paths = sources.Paths(config_dir=str(self.directory))
        self.assertEqual(['b'], self.names(paths))

    def test_main_file_inside_the_directory_is_read_once(self) -> None:
        self.write('a.yaml', 'a')
        self.config.symlink_to(self.directory / 'a.yaml')
        self.assertEqual(['a'], self.names(self.paths()))

    def test_files_that_are_read(self) -> None:
        self.config.write_text(RULE.format('main'))
        self.write('a.yaml', 'a')
        self.assertEqual(
            (str(self.config), str(self.directory / 'a.yaml')),
            sources.find(self.paths()),
        )


class ProblemsTest(SourcesTestBase):
    def test_named_paths_that_do_not_exist(self) -> None:
        self.assertEqual(
            'accel.d: config_dir cannot be listed: No such file or directory; '
            'create the directory or correct the option\n'
            'accel.yaml: no such file; create it or correct its name',
            self.problems(self.paths()),
        )

    def test_default_that_is_a_dangling_link(self) -> None:
        self.config.symlink_to(self.folder / 'nowhere')
        self.assertEqual(
            'accel.yaml: no such file; create it or correct its name',
            self.problems(
                sources.Paths(
                    str(self.config), optional=frozenset([str(self.config)])
                )
            ),
        )

    def test_every_problem_of_every_file(self) -> None:
        self.config.write_text('version: 1\ndevice: {}\n')
        self.write('a.yaml', 'two words')
        self.write('b.yaml', 'fine')
        (self.directory / 'c.yaml').write_bytes(b'\0')
        self.assertEqual(
            [
                'accel.d/c.yaml: this is a binary file or not UTF-8',
                'accel.yaml:1: devices: this key is missing',
                'accel.yaml:2: device: unknown key',
                'accel.d/a.yaml:3: devices.two words: the name of a rule is '
                'made of up to 64 letters, digits, ".", "_" and "-", and '
                'starts with a letter or digit',
            ],
            [
                line.partition(';')[0]
                for line in self.problems(self.paths()).splitlines()
            ],
        )

    def test_one_name_in_two_files(self) -> None:
        self.config.write_text(RULE.format('a'))
        self.write('b.yaml', 'a')
        self.assertEqual(
            'accel.d/b.yaml:3: devices.a: this name is taken by the rule at '
            'accel.yaml:3; rename one of the two',
            self.problems(self.paths()),
        )

    def test_a_directory_for_the_file(self) -> None:
        self.config.mkdir()
        self.assertEqual(
            'accel.yaml: is a directory; name it in config_dir instead',
            self.problems(sources.Paths(str(self.config))),
        )

    def test_a_file_for_the_directory(self) -> None:
        self.directory.touch()
        self.assertEqual(
            'accel.d: config_dir cannot be listed: Not a directory; create '
            'the directory or correct the option',
            self.problems(sources.Paths(config_dir=str(self.directory))),
        )

    def test_no_regular_file(self) -> None:
        os.mkfifo(self.config)
        expected = 'is not a regular file but a device, pipe or socket'
        for path in (str(self.config), '/dev/zero'):
            error = self.assertRaises(
                exception.InvalidWhitelist,
                sources.load,
                sources.Paths(path),
            )
            self.assertEqual(f'{path}: {expected}', str(error))

    def test_a_large_file(self) -> None:
        with self.config.open('wb') as stream:
            stream.truncate(10 * 1024 * 1024)
        self.assertEqual(
            'accel.yaml: is larger than 1024 KiB, which no whitelist needs; '
            'is it the right file?',
            self.problems(sources.Paths(str(self.config))),
        )

    def test_the_largest_file(self) -> None:
        text = RULE.format('a')
        self.config.write_text(text.ljust(sources.MAX_BYTES, '\n'))
        self.assertEqual(['a'], self.names(sources.Paths(str(self.config))))

    def test_a_loop_of_links(self) -> None:
        self.config.symlink_to(self.config)
        self.assertIn(
            'accel.yaml: cannot be read: ',
            self.problems(sources.Paths(str(self.config))),
        )

    def test_a_name_that_no_file_can_have(self) -> None:
        self.assertIn(
            'cannot be read: ',
            self.problems(sources.Paths(f'{self.folder}/a\0b')),
        )

    def test_an_unreadable_file(self) -> None:
        self.config.touch(mode=0)
        self.assertEqual(
            f'{self.config}: permission denied; let the user of nova-compute '
            f'read it',
            self._as_somebody_else(sources.Paths(str(self.config))),
        )

    def test_an_unreadable_directory(self) -> None:
        self.directory.mkdir(mode=0)
        self.assertIn(
            'accel.d: config_dir cannot be listed: Permission denied;',
            self._as_somebody_else(
                sources.Paths(config_dir=str(self.directory))
            ),
        )

    def _as_somebody_else(self, paths):
        """Return what ``load`` says to a user who is not root."""
        self.folder.chmod(0o755)
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                if os.geteuid() == 0:
                    os.setuid(65534)
                sources.load(paths)
            except exception.InvalidWhitelist as error:
                os.write(writer, str(error).encode())
            finally:
                os._exit(0)
        os.close(writer)
        with open(reader) as stream:
            said = stream.read()
        os.waitpid(child, 0)
        return said


class DamagedFileTest(SourcesTestBase):
    """Whatever happens to a file, it is read or refused with a message."""

    PIECES = (
        *'\t\n\0 :-,[]{}"\'#&*!|>%@`?~=.<\\\x1b\xff\u2028',
        *('<<: ', '- ', '? ', '---\n', '...\n', '!!int ', '&a ', '*a', ': '),
        *('null', '1e9', '0x1f', '0o7', '2020-01-01', '.inf', '.nan', '-1'),
        *('version', 'match', 'models', 'levels', '[' * 30, '{a: ' * 30),
    )

    def test_two_hundred_damages(self) -> None:
        good = EXAMPLE.read_text()
        # Without the comments most damages hit something.
        good = '\n'.join(
            line
            for line in good.splitlines()
            if line.strip() and not line.lstrip().startswith('#')
        )
        chance = random.Random(20)
        results = {self._result(good, chance) for _ in range(200)}
        self.assertEqual({'read', 'refused'}, results)

    def _result(self, good, chance):
        text = good
        for _ in range(chance.randint(1, 4)):
            text = self._damage(text, chance)
        self.config.write_bytes(text.encode('latin-1', 'replace'))
        try:
            sources.load(sources.Paths(str(self.config)))
        except exception.InvalidWhitelist as error:
            self.assertTrue(error.problems)
            self.assertEqual(
                {str(self.config)}, {p.file for p in error.problems}
            )
            return 'refused'
        return 'read'

    def _damage(self, text, chance):
        start = chance.randrange(len(text))
        end = start + chance.choice((0, 0, 1, 1, 5, 40))
        piece = chance.choice((*self.PIECES, '', text[start:end] * 2))
        return text[:start] + piece + text[end:]
