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
"""tempest on the cloud: what it runs, and what its outcome means."""

import argparse
import collections.abc
import dataclasses
import datetime
import io
import os
import pathlib
import random
import re
import subprocess
import typing as ty

import subunit
import testtools

from tests.cloud.harness import cloud
from tests.cloud.harness import faults
from tests.cloud.harness import hosts
from tests.cloud.harness import lists
from tests.cloud.harness import workspace
from tests.lab.harness import errors
from tests.lab.harness import process

# tempest's own tests that are run beside the plugin's
_COMPUTE = r'^tempest\.api\.compute\..*smoke'
_OURS = r'^nova_accel_tempest\.'
EVERYTHING = f'({_OURS})|({_COMPUTE})'
# Two processors run the cloud, too.
_CONCURRENCY = os.environ.get('NOVA_ACCEL_JOBS', '2')
_HANGS = 3600


@dataclasses.dataclass(frozen=True)
class Result:
    """How one test ended: ``success``, ``fail``, ``skip``."""

    name: str
    outcome: str


# What is run


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('regex', nargs='?', help='only these')
    parser.add_argument(
        '--all', action='store_true', help='also tests that say nothing'
    )
    parser.add_argument(
        '--all-probability',
        type=float,
        default=0.0,
        metavar='P',
        help='run everything with this probability (0 to 1)',
    )
    parser.add_argument(
        '--seed', type=int, help='of that choice and of the order of hosts'
    )
    parser.add_argument(
        '--if-possible',
        action='store_true',
        help='where this machine does not allow it, say so and succeed',
    )


@dataclasses.dataclass(frozen=True)
class Choice:
    """What tempest shall run."""

    regex: str
    exclude: pathlib.Path | None


def chosen(options: argparse.Namespace) -> Choice:
    """Choose: a subset that means something, or everything.

    The seed is printed, so that the same choice can be made again.
    """
    if options.regex:
        return Choice(options.regex, None)
    seed = options.seed
    if seed is None:
        seed = random.SystemRandom().randrange(1 << 32)
    lucky = random.Random(seed).random() < options.all_probability
    # Which tests mean nothing is not known before `control` has run.
    whole = options.all or lucky or not lists.EXCLUDE.exists()
    words = 'everything' if whole else 'what says something about a driver'
    print(f'tempest runs {words}; again: --seed {seed}', flush=True)
    return Choice(EVERYTHING, None if whole else lists.EXCLUDE)


def run(box: cloud.Cloud, choice: Choice) -> int:
    """Run; print every outcome and stestr's totals."""
    results = _run(box, choice)
    print_totals(results)
    return int(any(one.outcome == 'fail' for one in results))


def print_totals(results: collections.abc.Sequence[Result]) -> None:
    for one in results:
        if one.outcome != 'success':
            print(f'{one.outcome:7} {one.name}')
    count = {
        word: sum(one.outcome == word for one in results)
        for word in ('success', 'skip', 'fail')
    }
    print(
        f'\n - Passed: {count["success"]}\n - Skipped: {count["skip"]}'
        f'\n - Failed: {count["fail"]}'
    )


def _run(box: cloud.Cloud, choice: Choice) -> list[Result]:
    folder = workspace.write(box)
    command = [
        *(box.settings.tool('tempest'), 'run'),
        *('--config-file', str(folder / 'etc' / 'tempest.conf')),
        *('--regex', choice.regex, '--concurrency', _CONCURRENCY),
    ]
    if choice.exclude is not None:
        command += ['--exclude-list', str(choice.exclude)]
    env = {**box.services.env, 'OS_TEST_TIMEOUT': '600'}
    for name in ('OS_STDOUT_CAPTURE', 'OS_STDERR_CAPTURE'):
        env[name] = '1'
    try:
        done = subprocess.run(
            command, cwd=folder, env=env, timeout=_HANGS, check=False
        )
    except subprocess.TimeoutExpired:
        raise errors.LabError(f'tempest: no end after {_HANGS} s') from None
    last = _last(box, folder)
    if not last:
        raise errors.LabError(f'tempest ran nothing (exit {done.returncode})')
    return last


def _last(box: cloud.Cloud, folder: pathlib.Path) -> list[Result]:
    """Read the outcomes of the run that has just ended."""
    stream = subprocess.run(
        [box.settings.tool('stestr'), 'last', '--subunit'],
        cwd=folder,
        env=box.services.env,
        capture_output=True,
        check=False,
    ).stdout
    return read(stream)


def read(stream: bytes) -> list[Result]:
    """Read a subunit stream; what is no test of its own is left out."""
    found: dict[str, str] = {}

    class Take(testtools.StreamResult):
        def status(
            self,
            test_id: str | None = None,
            test_status: str | None = None,
            **_more: ty.Any,
        ) -> None:
            if test_id and test_status not in (None, 'inprogress', 'exists'):
                found[test_id] = ty.cast(str, test_status)

    subunit.ByteStreamToStreamResult(io.BytesIO(stream)).run(Take())
    words = {'xfail': 'success', 'uxsuccess': 'fail'}
    return [
        Result(name, words.get(outcome, outcome))
        for name, outcome in sorted(found.items())
    ]


# What it means


def control(box: cloud.Cloud, regex: str | None) -> int:
    """Run everything on drivers that do not work; write the lists.

    :returns: 1 if a test that is tagged as a driver's passes all the same.
    """
    choice = Choice(regex or EVERYTHING, None)
    found: dict[str, list[Result]] = {}
    try:
        for driver in ('accel.BrokenDriver', 'accel.SilentDriver'):
            box.restart_hosts(tuple(hosts.HOSTS), driver)
            found[driver] = _run(box, choice)
    finally:
        box.restart_hosts(tuple(hosts.HOSTS))
    passed = set.intersection(
        *(
            {one.name for one in results if one.outcome == 'success'}
            for results in found.values()
        )
    )
    today = datetime.datetime.now(datetime.UTC).date()
    outcomes = {
        driver: {one.name: one.outcome for one in results}
        for driver, results in found.items()
    }
    lists.write(outcomes, today, versions(box))
    wrong = sorted(
        name
        for results in found.values()
        for one in results
        if one.outcome == 'success' and is_driver_test(name := one.name)
    )
    for name in wrong:
        print(f'passes without a driver: {name}')
    print(f'{len(passed)} tests say nothing about a driver')
    return int(bool(wrong))


def versions(box: cloud.Cloud) -> str:
    text = process.run(box.settings.tool('python'), '-m', 'pip', 'freeze')
    wanted = ('nova==', 'tempest==')
    return ', '.join(
        line for line in text.splitlines() if line.startswith(wanted)
    )


def is_driver_test(name: str) -> bool:
    tags = re.search(r'\[(.*)\]$', name)
    return bool(tags) and 'driver' in tags[1].split(',')


def blame(box: cloud.Cloud, names: collections.abc.Sequence[str]) -> int:
    """Plant each fault in turn; say which tests notice.

    :returns: 1 if a fault is noticed by none.
    """
    rows: dict[str, list[str]] = {}
    try:
        for name in names or faults.FAULTS:
            box.restart_hosts(hosts.SYNTHETIC, fault=name)
            rows[name] = [
                one.name
                for one in _run(box, Choice(faults.TESTS, None))
                if one.outcome == 'fail'
            ]
    finally:
        box.restart_hosts(hosts.SYNTHETIC)
    table = lists.fault_table(rows)
    print(table)
    if not names:
        lists.FAULTS.write_text(table)
    return int(not all(rows.values()))
