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
"""Which tests mean something: lists that a run writes and a run reads."""

import collections.abc
import datetime
import re

from tests.cloud.harness import settings

FOLDER = settings.REPOSITORY / 'tools' / 'tempest-lists'
INCLUDE = FOLDER / 'include.txt'
EXCLUDE = FOLDER / 'exclude.txt'
FAULTS = settings.REPOSITORY / 'doc' / 'source' / 'contributor' / 'faults.out'

_HEADER = """\
# Written by `tox -e cloud -- control` on {date}; do not edit.
# {versions}
#
"""
_EXCLUDED = """\
# Tests that pass although no driver serves a single guest: they say nothing
# about a driver. A run leaves them out unless it is asked for everything.
"""
_INCLUDED = """\
# Tests that fail when the driver does not work, with the driver that raises
# (broken), with the one that reports nothing (silent), or with both.
"""

Outcomes = collections.abc.Mapping[str, collections.abc.Mapping[str, str]]


def plain(name: str) -> str:
    """A test's name without its tags, which may change."""
    return name.partition('[')[0]


def meaningless(outcomes: Outcomes) -> list[str]:
    """Tests that pass with every driver that does not work."""
    every = [
        {name for name, outcome in found.items() if outcome == 'success'}
        for found in outcomes.values()
    ]
    return sorted(map(plain, set.intersection(*every))) if every else []


def meaningful(outcomes: Outcomes) -> dict[str, list[str]]:
    """Test -> the drivers with which it fails."""
    found: dict[str, list[str]] = {}
    for driver, results in outcomes.items():
        for name, outcome in results.items():
            if outcome == 'fail':
                found.setdefault(plain(name), []).append(driver)
    return dict(sorted(found.items()))


def write(outcomes: Outcomes, date: datetime.date, versions: str) -> None:
    """Write both lists.

    :param outcomes: driver -> test -> how it ended.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    header = _HEADER.format(date=date.isoformat(), versions=versions)
    EXCLUDE.write_text(
        header
        + _EXCLUDED
        + ''.join(f'{_regex(name)}\n' for name in meaningless(outcomes))
    )
    INCLUDE.write_text(
        header
        + _INCLUDED
        + ''.join(
            f'{_regex(name)}  # {", ".join(drivers)}\n'
            for name, drivers in meaningful(outcomes).items()
        )
    )


def _regex(name: str) -> str:
    """As stestr reads lists: a regular expression, to its end or its tags."""
    return rf'^{re.escape(name)}(\[|$)'


def fault_table(
    rows: collections.abc.Mapping[str, collections.abc.Sequence[str]],
) -> str:
    """Render which tests noticed which fault."""
    lines = [f'{"fault":18} noticed by']
    for fault, names in rows.items():
        short = [plain(name).split('.', 2)[-1] for name in names]
        for number, name in enumerate(short or ['NOBODY']):
            lines.append(f'{"" if number else fault:18} {name}')
    return '\n'.join(lines) + '\n'
