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
"""Placement as clouds have it: several processes over one MariaDB."""

import collections.abc
import itertools
import os
import pathlib
import shutil
import sys
import tempfile
import types
import typing as ty

import fixtures
from nova.tests.functional import fixtures as nova_fixtures

from tests.lab.harness import database
from tests.lab.harness import process

PROCESSES = 4
_SCHEMA = 'placement'
# It waits longer than that only where something is wrong.
_START = 120

_CONFIGURATION = """\
[api]
auth_strategy = noauth2
[placement_database]
connection = mysql+pymysql://root@localhost/{schema}?unix_socket={socket}
sync_on_startup = true
[placement]
{options}
"""

Options = collections.abc.Mapping[str, object]


def lacking() -> list[str]:
    """Return the programs that this machine does not have."""
    needed = ('mariadbd', 'mariadb', 'mariadb-install-db')
    return [name for name in needed if _which(name) is None]


def _which(name: str) -> str | None:
    # Debian keeps daemons where not everybody looks.
    path = f'{os.environ.get("PATH", os.defpath)}{os.pathsep}/usr/sbin'
    return shutil.which(name, path=path)


class Placement(fixtures.Fixture):
    """Takes the place of the one that nova's harness has in its process.

    :param options: of its section ``[placement]``.
    :ivar urls: of each process.
    """

    def __init__(self, options: Options, number: int = PROCESSES) -> None:
        super().__init__()
        self._options = options
        self._number = number
        self.urls: list[str] = []

    def _setUp(self) -> None:
        path = f'{os.environ.get("PATH", os.defpath)}{os.pathsep}/usr/sbin'
        self.useFixture(fixtures.EnvironmentVariable('PATH', path))
        # The path of a socket may have a hundred characters.
        folder = tempfile.TemporaryDirectory(prefix='placement', dir='/tmp')
        self.addCleanup(folder.cleanup)
        self._folder = pathlib.Path(folder.name)
        self.database = database.Database(None, self._folder)
        self.database.create()
        self.addCleanup(self.database.daemon.stop)
        self.database.start()
        self.database.make_schemas([_SCHEMA])
        (self._folder / 'placement.conf').write_text(
            _CONFIGURATION.format(
                schema=_SCHEMA,
                socket=self.database.socket,
                options='\n'.join(
                    f'{name} = {value}'
                    for name, value in self._options.items()
                ),
            )
        )
        # The first one makes the tables.
        self._start([0])
        self._start(range(1, self._number))
        # Nova's own fixture needs its name when it is set up.
        self.useFixture(
            fixtures.MonkeyPatch(
                'nova.tests.functional.integrated_helpers.func_fixtures',
                types.SimpleNamespace(
                    PlacementFixture=lambda: _InTurn(self.urls)
                ),
            )
        )

    def _start(self, numbers: collections.abc.Iterable[int]) -> None:
        env = {
            **os.environ,
            'OS_PLACEMENT_CONFIG_DIR': str(self._folder),
            'PYTHONPATH': str(pathlib.Path(__file__).parents[2]),
        }
        waiting = []
        for number in numbers:
            port = self._folder / f'port{number}'
            daemon = process.Daemon(f'placement{number}', self._folder)
            self.addCleanup(daemon.stop)
            daemon.start(
                [sys.executable, '-m', 'tests.functional.placement_process'],
                env={**env, 'PLACEMENT_PORT_FILE': str(port)},
            )
            waiting.append((daemon, port))
        for daemon, port in waiting:
            process.wait_for('Placement', port.exists, _START, daemon)
            self.urls.append(f'http://127.0.0.1:{port.read_text()}')


class _InTurn(nova_fixtures.PlacementFixture):  # type: ignore[misc]
    """Asks a process after the other."""

    def __init__(self, urls: collections.abc.Iterable[str]) -> None:
        super().__init__(db=False, use_intercept=False)
        self._urls = itertools.cycle(urls)

    def _configure_placement(self, conf_fixture: ty.Any) -> None:
        # It needs one, though nothing here will use it.
        conf_fixture.config(connection='sqlite://', group='placement_database')

    @property
    def endpoint(self) -> str:
        return next(self._urls)
