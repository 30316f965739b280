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
"""tempest as a program: which tests there are, and how some of them end."""

import collections.abc
import dataclasses
import io
import os
import pathlib
import re
import signal
import subprocess
import time
import typing as ty

import subunit
import testtools

from tests.cloud.harness import cloud
from tests.cloud.harness import workspace
from tests.lab.harness import errors

# Two processors run the cloud, too.
_CONCURRENCY = os.environ.get('NOVA_ACCEL_JOBS', '2')
_HANGS = 3600
# Tests of one batch: what a run that is cut short has to do again.
BATCH = 20
# A run with a time limit: smaller ones, and so much longer for the last.
SHORT = 8
_GRACE = 180
# What stands for a class whose preparation failed or skipped it
_SET_UP = re.compile(r'setUpClass \((.*)\)')


@dataclasses.dataclass(frozen=True)
class Result:
    """How one test ended: ``success``, ``fail``, ``skip``."""

    name: str
    outcome: str


class Tempest:
    """tempest in its folder, on one cloud."""

    def __init__(self, box: cloud.Cloud) -> None:
        self._box = box
        self._folder = workspace.write(box)

    def names(self, regex: str) -> list[str]:
        """Names of tests, with their tags.

        :raises LabError: tempest says what is wrong instead.
        """
        done = subprocess.run(
            self._command('--regex', regex, '--list-tests'),
            cwd=self._folder,
            env=self._env,
            capture_output=True,
            check=False,
            text=True,
        )
        if done.returncode:
            said = (done.stderr or done.stdout)[-2000:]
            raise errors.LabError(f'tempest lists no tests: {said}')
        lines = done.stdout.splitlines()
        return [one for one in lines if one.startswith(('nova_', 'tempest.'))]

    def run(
        self, names: collections.abc.Sequence[str], limit: float = _HANGS
    ) -> list[Result]:
        """Run tests by their names; print how each of them ends.

        :param limit: seconds; then it is ended, and nothing is known.
        :raises LabError: it ran none.
        """
        file = self._folder / 'load.txt'
        file.write_text(''.join(f'{name}\n' for name in names))
        command = self._command(
            *('--load-list', str(file), '--concurrency', _CONCURRENCY)
        )
        code = _watch(command, self._folder, self._env, limit)
        if code is None:
            return []
        found = self._last()
        if not found:
            raise errors.LabError(f'tempest ran nothing (exit {code})')
        return settle(names, found)

    def batches(
        self,
        names: collections.abc.Sequence[str],
        until: float | None = None,
        size: int = BATCH,
    ) -> collections.abc.Iterator[list[Result]]:
        """Run tests in their order, some at a time.

        :param until: of ``time.monotonic``; no batch begins after it, and
            none takes much longer.
        """
        for batch in batches(names, size):
            left = _HANGS if until is None else until - time.monotonic()
            if left < 0:
                return
            yield self.run(batch, left + _GRACE)

    def _command(self, *words: str) -> list[str]:
        return [
            *(self._box.settings.tool('tempest'), 'run'),
            *('--config-file', str(self._folder / 'etc' / 'tempest.conf')),
            *words,
        ]

    @property
    def _env(self) -> dict[str, str]:
        return {
            **self._box.services.env,
            'OS_TEST_TIMEOUT': '900',
            'OS_STDOUT_CAPTURE': '1',
            'OS_STDERR_CAPTURE': '1',
        }

    def _last(self) -> list[Result]:
        """Read the outcomes of the run that has just ended."""
        stream = subprocess.run(
            [self._box.settings.tool('stestr'), 'last', '--subunit'],
            cwd=self._folder,
            env=self._env,
            capture_output=True,
            check=False,
        ).stdout
        return read(stream)


def _watch(
    command: list[str],
    folder: pathlib.Path,
    env: dict[str, str],
    limit: float,
) -> int | None:
    """Run a command that has children; end all of them with us.

    :returns: its exit code; None if it had to be ended.
    """
    process = subprocess.Popen(
        command, cwd=folder, env=env, start_new_session=True
    )
    try:
        return process.wait(limit)
    except subprocess.TimeoutExpired:
        print(f'tempest: ended after {limit:.0f} s', flush=True)
        return None
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def batches(
    names: collections.abc.Sequence[str], size: int = BATCH
) -> collections.abc.Iterator[list[str]]:
    """Part a list of tests; those of one class stay together.

    What a class sets up is then set up once.
    """
    batch: list[str] = []
    for group in _by_class(names):
        if batch and len(batch) + len(group) > size:
            yield batch
            batch = []
        batch += group
    if batch:
        yield batch


def _by_class(
    names: collections.abc.Iterable[str],
) -> collections.abc.Iterable[list[str]]:
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(class_of(name), []).append(name)
    return found.values()


def class_of(name: str) -> str:
    return plain(name).rpartition('.')[0]


def plain(name: str) -> str:
    """A test's name without its tags, which may change."""
    return name.partition('[')[0]


def settle(
    names: collections.abc.Iterable[str],
    found: collections.abc.Iterable[Result],
) -> list[Result]:
    """Tell how each test ended, also where its class could not be set up.

    What is none of the tests is kept where it failed: a class that could
    not clean up, for one. A test of which nothing was heard is left out.
    """
    heard = {one.name: one.outcome for one in found}
    classes = {
        match[1]: outcome
        for name, outcome in heard.items()
        if (match := _SET_UP.match(name))
    }
    settled = {
        name: heard.get(name) or classes.get(class_of(name)) for name in names
    }
    more = {
        name: outcome
        for name, outcome in heard.items()
        if outcome == 'fail' and name not in settled
    }
    return [
        Result(name, outcome)
        for name, outcome in {**settled, **more}.items()
        if outcome
    ]


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
