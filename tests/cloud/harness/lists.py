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
"""How tests end with drivers that do not work, and what that says of them.

The outcomes are kept in one file of the repository, test by test, so that a
run that was cut short goes on where it stopped. The lists are made from it.
"""

import ast
import collections.abc
import datetime
import pathlib
import re
import typing as ty

from tests.cloud.harness import hosts
from tests.cloud.harness import settings

FOLDER = settings.REPOSITORY / 'tools' / 'tempest-lists'
PLUGIN = settings.REPOSITORY / 'nova_accel_tempest'
FAULTS = settings.REPOSITORY / 'doc' / 'source' / 'contributor' / 'faults.out'
# As the kinds of a host's driver are named
DRIVERS = (hosts.BROKEN, hosts.SILENT)
_MARK = 'passes_without_a_driver'

_HEADER = """\
# Written by `tox -e cloud -- control` on {date}; do not edit.
# {versions}
#
"""
# File -> what is in it
_WORDS = {
    'include': """\
# Tests that fail when the driver does not work: with the driver that raises
# (broken), with the one that reports nothing (silent), or with both.
""",
    'exclude': """\
# Tests that pass although no driver serves a single guest: they say nothing
# about a driver. A run leaves them out unless it is asked for everything.
""",
    'skipped': """\
# Tests that were skipped: this cloud has not what they need, so it is not
# known whether they say anything about a driver.
""",
    'unjudged': """\
# Tests that were not run with every driver that does not work. The next
# `tox -e cloud -- control` goes on with them.
""",
    'untagged': """\
# Tests of nova_accel_tempest without the attribute "driver": they need not
# fail when the driver does not work. How they ended (broken, silent), why.
""",
    'outcomes': """\
# How each test ended with each driver that does not work.
""",
}

# Of the table of faults
_COLUMN = 19
_NOBODY = 'NOBODY'

Outcomes = dict[str, dict[str, str]]


def file_of(name: str) -> pathlib.Path:
    return FOLDER / f'{name}.txt'


class Book:
    """Driver -> test -> outcome, in a file.

    :param versions: of what was tested; outcomes of others do not count.
    """

    def __init__(self, versions: str) -> None:
        self.versions = versions
        self.outcomes: Outcomes = {name: {} for name in DRIVERS}
        self._read()

    def _read(self) -> None:
        file = file_of('outcomes')
        text = file.read_text() if file.exists() else ''
        if f'\n# {self.versions}\n' not in text:
            return
        for line in text.splitlines():
            if not line.startswith('#'):
                name, *words = line.split()
                for driver, outcome in (word.split('=') for word in words):
                    self.outcomes[driver][name] = outcome

    def forget(self, names: collections.abc.Iterable[str]) -> None:
        for name in names:
            for found in self.outcomes.values():
                found.pop(plain(name), None)

    def add(
        self, driver: str, results: collections.abc.Mapping[str, str]
    ) -> None:
        for name, outcome in results.items():
            self.outcomes[driver][plain(name)] = outcome

    def open(
        self, driver: str, names: collections.abc.Iterable[str]
    ) -> list[str]:
        """Those of some tests that have not run with a driver."""
        known = self.outcomes[driver]
        return [name for name in names if plain(name) not in known]

    def write(
        self, date: datetime.date, names: collections.abc.Iterable[str]
    ) -> None:
        """Write the outcomes and every list.

        :param names: all tests that there are.
        """
        FOLDER.mkdir(parents=True, exist_ok=True)
        header = _HEADER.format(date=date.isoformat(), versions=self.versions)
        lines = _lines(self.outcomes, sorted(map(plain, names)))
        for kind, words in _WORDS.items():
            text = ''.join(f'{line}\n' for line in lines[kind])
            file_of(kind).write_text(header + words + text)


def _lines(
    outcomes: Outcomes, names: collections.abc.Sequence[str]
) -> dict[str, list[str]]:
    reasons = untagged()
    ran = sorted(set().union(*outcomes.values()))
    return {
        'include': [
            f'{_regex(name)}  # {", ".join(drivers)}'
            for name, drivers in meaningful(outcomes).items()
        ],
        'exclude': [_regex(name) for name in meaningless(outcomes)],
        'skipped': [
            name
            for name in ran
            if {found.get(name) for found in outcomes.values()} == {'skip'}
        ],
        'unjudged': [
            name
            for name in names
            if any(name not in found for found in outcomes.values())
        ],
        'untagged': [
            f'{name}  # {_ended(outcomes, name)}: {reason}'
            for name, reason in reasons.items()
        ],
        'outcomes': [f'{name} {_said(outcomes, name)}' for name in ran],
    }


def _said(outcomes: Outcomes, name: str) -> str:
    return ' '.join(
        f'{driver}={found[name]}'
        for driver, found in outcomes.items()
        if name in found
    )


def _ended(outcomes: Outcomes, name: str) -> str:
    return ', '.join(found.get(name, '-') for found in outcomes.values())


def short(name: str) -> str:
    """Class and test alone."""
    return '.'.join(plain(name).split('.')[-2:])


def plain(name: str) -> str:
    """A test's name without its tags, which may change."""
    return name.partition('[')[0]


def meaningless(outcomes: Outcomes) -> list[str]:
    """Tests that pass with every driver that does not work."""
    every = [
        {name for name, outcome in found.items() if outcome == 'success'}
        for found in outcomes.values()
    ]
    return sorted(set.intersection(*every)) if every else []


def meaningful(outcomes: Outcomes) -> dict[str, list[str]]:
    """Test -> the drivers with which it fails."""
    found: dict[str, list[str]] = {}
    for driver, results in outcomes.items():
        for name, outcome in results.items():
            if outcome == 'fail':
                found.setdefault(name, []).append(driver)
    return dict(sorted(found.items()))


def _regex(name: str) -> str:
    """As stestr reads lists: a regular expression, to its end or its tags."""
    return rf'^{re.escape(name)}(\[|$)'


# The plugin's own tests


def untagged() -> dict[str, str]:
    """Test of the plugin -> why it may pass without a driver."""
    return {
        name: reason
        for name, (tagged, reason) in plugin_tests().items()
        if not tagged
    }


def plugin_tests() -> dict[str, tuple[bool, str]]:
    """Test of the plugin -> whether it is a driver's; why if it is not."""
    found: dict[str, tuple[bool, str]] = {}
    for file in sorted(PLUGIN.rglob('test_*.py')):
        parts = file.relative_to(PLUGIN.parent).with_suffix('').parts
        tree = ast.parse(file.read_text())
        for cls in ast.walk(tree):
            if isinstance(cls, ast.ClassDef):
                for test in _tests(cls):
                    name = '.'.join((*parts, cls.name, test.name))
                    found[name] = _marks(tree, test)
    return found


def _tests(cls: ast.ClassDef) -> list[ast.FunctionDef]:
    return [
        each
        for each in cls.body
        if isinstance(each, ast.FunctionDef) and each.name.startswith('test_')
    ]


def _marks(tree: ast.Module, test: ast.FunctionDef) -> tuple[bool, str]:
    tagged, reason = False, ''
    for call in test.decorator_list:
        if not isinstance(call, ast.Call):
            continue
        name = ast.unparse(call.func)
        if name == 'decorators.attr':
            tagged |= "'driver'" in ast.unparse(call)
        elif name.endswith(_MARK):
            reason = _value(tree, call.args[0])
    return tagged, reason


def _value(tree: ast.Module, node: ast.expr) -> str:
    """A string, or a name that the module gives to one."""
    if isinstance(node, ast.Name):
        for line in tree.body:
            if (
                isinstance(line, ast.Assign)
                and ast.unparse(line.targets[0]) == node.id
            ):
                node = line.value
    return ty.cast(str, ast.literal_eval(node))


def known_faults() -> dict[str, list[str]]:
    """Read the table of faults back: what earlier runs have found."""
    text = FAULTS.read_text() if FAULTS.exists() else ''
    rows: dict[str, list[str]] = {}
    for line in text.splitlines()[1:]:
        fault, name = line[:_COLUMN].strip(), line[_COLUMN:].strip()
        if fault:
            names = rows.setdefault(fault, [])
        if name != _NOBODY:
            names.append(name)
    return rows


def fault_table(
    rows: collections.abc.Mapping[str, collections.abc.Sequence[str]],
) -> str:
    """Render which tests noticed which fault."""
    lines = [f'{"fault":{_COLUMN}}noticed by']
    for fault, names in rows.items():
        for number, name in enumerate(names or [_NOBODY]):
            lines.append(f'{"" if number else fault:{_COLUMN}}{name}')
    return '\n'.join(lines) + '\n'
