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
"""What tempest's outcomes mean: drivers that do not work, planted faults."""

import argparse
import collections.abc
import datetime
import time

from tests.cloud.harness import cloud
from tests.cloud.harness import faults
from tests.cloud.harness import hosts
from tests.cloud.harness import lists
from tests.cloud.harness import tempest
from tests.cloud.harness import trials
from tests.lab.harness import process


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('--regex', help='only tests whose name has it')
    parser.add_argument(
        '--minutes',
        type=float,
        help='for each driver; the next control goes on with the others',
    )
    parser.add_argument(
        '--again',
        action='store_true',
        help='forget how these tests ended before',
    )


def control(box: cloud.Cloud, options: argparse.Namespace) -> int:
    """Run tests on drivers that do not work; write the lists.

    :returns: 1 if a test that is tagged as a driver's passes all the same.
    """
    program = tempest.Tempest(box)
    every = trials.in_order(program.names(trials.EVERYTHING))
    book = lists.Book(versions(box))
    wanted = every
    if options.regex:
        wanted = program.names(options.regex)
    if options.again:
        book.forget(wanted)
    try:
        for driver in lists.DRIVERS:
            open_ = book.open(driver, wanted)
            if open_:
                box.restart_hosts(tuple(hosts.HOSTS), driver)
                _judge(program, book, driver, open_, every, options.minutes)
    finally:
        box.restore_hosts()
    return _tell(book, every)


def _judge(
    program: tempest.Tempest,
    book: lists.Book,
    driver: str,
    names: list[str],
    every: list[str],
    minutes: float | None,
) -> None:
    until = None if minutes is None else time.monotonic() + 60 * minutes
    for batch in program.batches(names, until):
        known = {one.name: one.outcome for one in batch if one.name in names}
        book.add(driver, known)
        # Whatever happens next: this is known.
        book.write(_today(), every)


def _today() -> datetime.date:
    return datetime.datetime.now(datetime.UTC).date()


def _tell(book: lists.Book, every: list[str]) -> int:
    tagged = [
        (driver, tempest.plain(name), found[tempest.plain(name)])
        for driver, found in book.outcomes.items()
        for name in every
        if trials.is_driver_test(name) and tempest.plain(name) in found
    ]
    for driver, name, outcome in tagged:
        if outcome != 'fail':
            print(f'{outcome} with the {driver} driver: {name}')
    open_ = {n for d in book.outcomes for n in book.open(d, every)}
    nothing = lists.meaningless(book.outcomes)
    print(
        f'{len(nothing)} tests say nothing about a driver, '
        f'{len(lists.meaningful(book.outcomes))} do, {len(open_)} of '
        f'{len(every)} are not judged yet'
    )
    return int(any(outcome == 'success' for *_, outcome in tagged))


def versions(box: cloud.Cloud) -> str:
    text = process.run(box.settings.tool('python'), '-m', 'pip', 'freeze')
    wanted = ('nova==', 'tempest==')
    return ', '.join(
        line for line in text.splitlines() if line.startswith(wanted)
    )


def blame(box: cloud.Cloud, names: collections.abc.Sequence[str]) -> int:
    """Plant each fault in turn; say which tests notice.

    The table in the documentation keeps what earlier runs have found of the
    others.

    :returns: 1 if a fault is noticed by none.
    """
    program = tempest.Tempest(box)
    tests = program.names(faults.TESTS)
    rows = lists.known_faults()
    try:
        for name in names or faults.FAULTS:
            box.restart_hosts(hosts.SYNTHETIC, fault=name)
            rows[name] = sorted(
                lists.short(one.name)
                for batch in program.batches(tests)
                for one in batch
                if one.outcome == 'fail' and one.name in tests
            )
            # Whatever happens next: this is known.
            lists.FAULTS.write_text(lists.fault_table(_in_order(rows)))
    finally:
        box.restart_hosts(hosts.SYNTHETIC)
    print(lists.fault_table(_in_order(rows)))
    return int(not all(rows.values()))


def _in_order(
    rows: collections.abc.Mapping[str, list[str]],
) -> dict[str, list[str]]:
    return {name: rows[name] for name in faults.FAULTS if name in rows}
