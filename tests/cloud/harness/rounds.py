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
"""Who wins when several claim the last unit: Placement, then the node.

Each round has a fresh provider of one unit, and so many claimants that ask
Placement for it in the same moment, each through a process of its own over
one MariaDB. Those that Placement lets win then claim on the node, where the
manager decides. What counts: how often more than one won, at each of both.
"""

import collections.abc
import concurrent.futures
import contextlib
import dataclasses
import itertools
import pathlib
import re
import threading
import uuid

import requests

from nova_accel import exception
from nova_accel import manager

from tests.cloud.harness import cloud
from tests.cloud.harness import conf
from tests.cloud.harness import settings
from tests.lab.harness import database
from tests.lab.harness import process
from tests.unit.core import hosts
from tests.unit import test_manager

CLAIMANTS = (2, 8, 16)
TABLE = (
    settings.REPOSITORY / 'doc' / 'source' / 'admin' / 'examples'
) / 'overbooking.out'
_SCHEMA = 'placement_rounds'
_HEADERS = {
    'X-Auth-Token': 'admin',
    'OpenStack-API-Version': 'placement 1.39',
}
_WORKERS = max(CLAIMANTS)
# Rounds after which the table is written
_AT_ONCE = 100
_LINE = re.compile(
    r'(.*?) +(\d+) +(\d+) +(\d+) \([\d.]+ %\) +(\d+) +(\d+) +(\d+)'
)
# What an operator can set -> our name of it
_RETRY = {'allocation_conflict_retry_count': 1}
# For the connections of these rounds alone: the cloud has the same MariaDB.
_SNAPSHOT = '&init_command=SET+SESSION+innodb_snapshot_isolation='


@dataclasses.dataclass(frozen=True)
class Variant:
    """One way to set up Placement on MariaDB."""

    name: str
    options: collections.abc.Mapping[str, int]
    isolated: bool = False


VARIANTS = (
    Variant('defaults', {}),
    Variant('allocation_conflict_retry_count = 1', _RETRY),
    Variant('innodb_snapshot_isolation = ON', {}, isolated=True),
)


@dataclasses.dataclass
class Row:
    """What some rounds came to.

    :ivar placement: rounds in which Placement let more than one win.
    :ivar most: winners of the worst round.
    :ivar none: rounds that nobody won at Placement; all may try again.
    :ivar node: rounds in which the node let more than one win.
    """

    variant: str
    claimants: int
    rounds: int = 0
    placement: int = 0
    most: int = 0
    none: int = 0
    node: int = 0

    def add(self, winners: int, kept: int) -> None:
        self.rounds += 1
        self.placement += winners > 1
        self.most = max(self.most, winners)
        self.node += kept > 1
        self.none += winners == 0


class Node:
    """A host with one unit, and the lock that nova holds at each claim."""

    def __init__(self) -> None:
        box = test_manager.Host(
            test_manager.SIXTEEN,
            devices=[hosts.t4(1, models=test_manager.MODELS)],
        )
        self._manager: manager.Manager = box.manager
        self._wants = {test_manager.rp(1): {'VGPU': 1}}
        self._lock = threading.Lock()

    def decide(self, winners: collections.abc.Sequence[str]) -> int:
        """Let them all claim; return how many got it. Then free it."""
        if not winners:
            return 0
        with concurrent.futures.ThreadPoolExecutor(len(winners)) as pool:
            kept = [one for one in pool.map(self._claim, winners) if one]
        for claims in kept:
            self._manager.unclaim(claims)
        return len(kept)

    def _claim(self, server: str) -> tuple[object, ...]:
        try:
            with self._lock:
                return self._manager.claim(self._wants, server)
        except exception.NotEnoughUnits:
            return ()


class Rounds:
    """Placement by itself, over the cloud's MariaDB, in a schema apart."""

    def __init__(self, box: cloud.Cloud) -> None:
        self._box = box
        self._about = box.settings
        self._folder = box.settings.run / 'rounds'
        self._url = box.settings.url('rounds')
        self._daemon = box.rounds
        self._local = threading.local()

    def play(self, row: Row, count: int) -> None:
        """Play some more rounds of a row."""
        node = Node()
        barrier = threading.Barrier(row.claimants)
        with concurrent.futures.ThreadPoolExecutor(row.claimants) as pool:
            for _ in range(count):
                provider = self._provider()
                asks = [
                    pool.submit(self._ask, barrier, provider)
                    for _ in range(row.claimants)
                ]
                answers = [ask.result() for ask in asks]
                winners = [consumer for consumer, won in answers if won]
                row.add(len(winners), node.decide(winners))

    @contextlib.contextmanager
    def serving(self, variant: Variant) -> collections.abc.Iterator[None]:
        """Have Placement up, in so many processes, as a variant says."""
        sql = self._box.services.database.sql
        sql(f'create database if not exists {_SCHEMA} character set utf8')
        folder = self._configure(variant)
        env = {
            **self._box.services.env,
            'OS_PLACEMENT_CONFIG_DIR': str(folder),
        }
        tool = self._about.tool
        file = ('--config-file', str(folder / 'placement.conf'))
        process.run(tool('placement-manage'), *file, 'db', 'sync', env=env)
        self._daemon.start(
            [
                *(tool('gunicorn'), '-w', str(_WORKERS), '-t', '120'),
                # Loaded once; oslo.db has no connection outlive a fork.
                '--preload',
                *('-k', 'gthread', '--threads', '2', '--keep-alive', '60'),
                *('-c', self._box.services.conf.file('gunicorn.py')),
                *('-b', f'127.0.0.1:{self._about.port("rounds")}'),
                'placement.wsgi.api:application',
            ],
            env=env,
        )
        try:
            process.wait_for('placement', self._answers, 180, self._daemon)
            yield
        finally:
            self._daemon.stop()
            sql(f'drop database {_SCHEMA}')

    def _answers(self) -> bool:
        return database.is_open(self._about.port('rounds')) and (
            requests.get(self._url, timeout=60).status_code == 200
        )

    def _configure(self, variant: Variant) -> pathlib.Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        on = 'ON' if variant.isolated else 'OFF'
        url = database.url(self._about, _SCHEMA)
        sections: conf.Sections = {
            'api': {'auth_strategy': 'noauth2'},
            'placement_database': {'connection': f'{url}{_SNAPSHOT}{on}'},
            'placement': dict(variant.options),
        }
        (self._folder / 'placement.conf').write_text(conf.ini(sections))
        return self._folder

    def _call(self, method: str, path: str, body: object) -> int:
        # One connection a thread, as each API process has its own.
        if not hasattr(self._local, 'session'):
            self._local.session = requests.Session()
            self._local.session.headers.update(_HEADERS)
        answer = self._local.session.request(
            method, self._url + path, json=body, timeout=120
        )
        return int(answer.status_code)

    def _provider(self) -> str:
        """Make a provider of one unit."""
        known = str(uuid.uuid4())
        self._call(
            *('POST', '/resource_providers'), {'name': known, 'uuid': known}
        )
        body = {
            'resource_provider_generation': 0,
            'inventories': {'VGPU': {'total': 1}},
        }
        path = f'/resource_providers/{known}/inventories'
        status = self._call('PUT', path, body)
        assert status == 200, status
        return known

    def _ask(
        self, barrier: threading.Barrier, provider: str
    ) -> tuple[str, bool]:
        """Ask for the unit as one server; tell whether it was allocated."""
        consumer = str(uuid.uuid4())
        body = {
            'allocations': {provider: {'resources': {'VGPU': 1}}},
            'project_id': 'rounds',
            'user_id': 'rounds',
            'consumer_generation': None,
            'consumer_type': 'INSTANCE',
        }
        barrier.wait()
        status = self._call('PUT', f'/allocations/{consumer}', body)
        return consumer, status == 204


def table(rows: collections.abc.Iterable[Row]) -> str:
    """Render what was measured."""
    lines = [
        f'{"Placement on MariaDB":38} {"claimants":>9} {"rounds":>6} '
        f'{"over-booked":>16} {"most":>4} {"nobody":>6} {"twice":>5}'
    ]
    for row in rows:
        share = 100 * row.placement / max(row.rounds, 1)
        booked = f'{row.placement} ({share:.1f} %)'
        lines.append(
            f'{row.variant:38} {row.claimants:>9} {row.rounds:>6} '
            f'{booked:>16} {row.most:>4} {row.none:>6} {row.node:>5}'
        )
    return '\n'.join(lines) + '\n'


def known_rows() -> list[Row]:
    """Read the table back: what earlier runs came to."""
    text = TABLE.read_text() if TABLE.exists() else ''
    return [
        Row(found[1], *map(int, found.groups()[1:]))
        for line in text.splitlines()
        if (found := _LINE.fullmatch(line))
    ]


def play(
    box: cloud.Cloud, count: int, write: bool, again: bool = False
) -> int:
    """Play rounds in every variant with every number of claimants.

    :param count: of each; those in the table of the manual count.
    :param write: write that table, now and then on the way.
    :param again: begin it anew.
    :returns: 1 if a device was given to two servers.
    """
    rows = _rows([] if again or not write else known_rows())
    game = Rounds(box)
    for variant in VARIANTS:
        open_ = [
            row
            for row in rows
            if row.variant == variant.name and row.rounds < count
        ]
        if not open_:
            continue
        with game.serving(variant):
            for row in open_:
                while row.rounds < count:
                    game.play(row, min(_AT_ONCE, count - row.rounds))
                    if write:
                        # What is measured stays, whatever happens next.
                        TABLE.write_text(table(rows))
                print(table([row]).splitlines()[1], flush=True)
    print(f'\n{table(rows)}')
    return int(any(row.node for row in rows))


def _rows(known: collections.abc.Iterable[Row]) -> list[Row]:
    """A row for everything there is to measure, in order."""
    found = {(row.variant, row.claimants): row for row in known}
    wanted = itertools.product((one.name for one in VARIANTS), CLAIMANTS)
    return [found.get(one, Row(*one)) for one in wanted]
