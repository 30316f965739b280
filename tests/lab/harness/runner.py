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
"""Run scenarios one after the other and print what they measured."""

import collections.abc
import dataclasses
import json
import math
import time
import typing as ty
import unittest

from tests.lab.harness import errors
from tests.lab.harness import settings

PACKAGE = 'tests.lab.scenarios'
OK = 'ok'
NOT_RUN = 'NOT RUN'


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How one scenario ended.

    :ivar word: ``OK``, ``NOT_RUN``, FAILED or ERROR.
    """

    name: str
    word: str
    seconds: float = 0

    @property
    def failed(self) -> bool:
        return self.word not in (OK, NOT_RUN)


def run(
    about: settings.Settings,
    words: collections.abc.Collection[str] = (),
    core: bool = False,
    deadline: float = math.inf,
) -> list[Outcome]:
    """Run scenarios, telling each outcome at once and a table at the end.

    :param words: parts of names; none: all.
    :param core: only those marked with ``scenarios.base.core``.
    :param deadline: none begins after it, on the clock ``monotonic``.
    :raises LabError: there is none.
    """
    chosen = [
        test
        for test in _flat(_found())
        if any(word in test.id() for word in words or ('',))
        and (not core or _is_core(test))
    ]
    if not chosen:
        raise errors.LabError(f'no scenario is called {", ".join(words)}')
    outcomes = []
    for test in chosen:
        outcomes.append(_run(test, deadline))
        print(_line(outcomes[-1]), flush=True)
    _print_table(about, outcomes)
    return outcomes


def _run(test: unittest.TestCase, deadline: float) -> Outcome:
    name = test.id().removeprefix(f'{PACKAGE}.')
    began = time.monotonic()
    if began > deadline:
        return Outcome(name, NOT_RUN)
    result = unittest.TestResult()
    test.run(result)
    for _test, trace in result.failures + result.errors:
        print(trace, flush=True)
    word = 'ERROR' if result.errors else 'FAILED' if result.failures else OK
    return Outcome(name, word, time.monotonic() - began)


def _line(outcome: Outcome) -> str:
    return f'{outcome.seconds:7.1f} s  {outcome.word:7}  {outcome.name}'


def _is_core(test: unittest.TestCase) -> bool:
    method = getattr(test, test.id().rpartition('.')[2])
    return bool(getattr(method, 'core', False))


def _found() -> unittest.TestSuite:
    folder = settings.LAB / 'scenarios'
    loader = unittest.TestLoader()
    return loader.discover(str(folder), top_level_dir=str(settings.REPOSITORY))


def _flat(suite: ty.Any) -> ty.Iterator[unittest.TestCase]:
    for one in suite:
        if isinstance(one, unittest.TestSuite):
            yield from _flat(one)
        else:
            yield one


def _print_table(
    about: settings.Settings, outcomes: collections.abc.Iterable[Outcome]
) -> None:
    measured = 'measured: s/libvirt calls'
    print(f'\n{"scenario":58} {"result":7} {"s":>6}  {measured}')
    for one in outcomes:
        file = about.run / 'measured' / f'{PACKAGE}.{one.name}.json'
        # The file may be of an earlier run.
        ran = one.word != NOT_RUN and file.exists()
        known = json.loads(file.read_text()) if ran else {}
        told = ', '.join(
            f'{what} {took}/{calls}' for what, (took, calls) in known.items()
        )
        print(f'{one.name:58} {one.word:7} {one.seconds:6.1f}  {told}')


def print_totals(outcomes: collections.abc.Sequence[Outcome]) -> None:
    """In the words of stestr, which tools/test reads."""
    failed = sum(one.failed for one in outcomes)
    skipped = sum(one.word == NOT_RUN for one in outcomes)
    print(
        f'\n - Passed: {len(outcomes) - failed - skipped}'
        f'\n - Skipped: {skipped}\n - Failed: {failed}'
    )
