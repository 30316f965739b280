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

import json
import sys
import time
import typing as ty
import unittest

from tests.lab.harness import settings

PACKAGE = 'tests.lab.scenarios'


class _Result(unittest.TestResult):
    """Says each outcome as soon as it is known."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[str, str, float]] = []
        self._began = 0.0
        self._outcome = ''
        self._trace = ''

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self._began = time.monotonic()
        self._outcome = 'ok'
        self._trace = ''

    def addError(self, test: unittest.TestCase, err: ty.Any) -> None:
        super().addError(test, err)
        self._outcome = 'ERROR'
        self._trace += self.errors[-1][1]

    def addFailure(self, test: unittest.TestCase, err: ty.Any) -> None:
        super().addFailure(test, err)
        self._outcome = 'FAILED'
        self._trace += self.failures[-1][1]

    def stopTest(self, test: unittest.TestCase) -> None:
        super().stopTest(test)
        passed = time.monotonic() - self._began
        name = test.id().removeprefix(f'{PACKAGE}.')
        self.rows.append((name, self._outcome, passed))
        print(f'{passed:7.1f} s  {self._outcome:6}  {name}', flush=True)
        if self._trace:
            print(self._trace, flush=True)


def run(about: settings.Settings, pattern: str) -> bool:
    """Run the scenarios whose name contains a text; tell if all passed."""
    suite = unittest.TestSuite(
        test for test in _flat(_found()) if pattern in test.id()
    )
    if not suite.countTestCases():
        print(f'lab: no scenario is called {pattern}', file=sys.stderr)
        return False
    result = _Result()
    suite.run(result)
    _print_table(about, result)
    return result.wasSuccessful()


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


def _print_table(about: settings.Settings, result: _Result) -> None:
    print(f'\n{"scenario":58} {"result":7} {"s":>6}  measured, s')
    for name, outcome, passed in result.rows:
        file = about.run / 'measured' / f'{PACKAGE}.{name}.json'
        known = json.loads(file.read_text()) if file.exists() else {}
        told = ', '.join(f'{what} {took}' for what, took in known.items())
        print(f'{name:58} {outcome:7} {passed:6.1f}  {told}')
