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
"""What a run of tempest on the cloud consists of."""

import argparse
import collections.abc
import dataclasses
import random
import re
import time

from tests.cloud.harness import cloud
from tests.cloud.harness import lists
from tests.cloud.harness import tempest
from tests.lab.harness import errors

OURS = 'nova_accel_tempest.'
# tempest's own tests that are run beside the plugin's
COMPUTE = r'^tempest\.api\.compute\.'
EVERYTHING = rf'(^{re.escape(OURS)})|({COMPUTE})'


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
        '--seed',
        type=int,
        help="of that choice and of the order of tempest's own tests",
    )
    parser.add_argument(
        '--minutes',
        type=float,
        help='begin nothing after so many; what was left out is counted as '
        'skipped',
    )
    parser.add_argument(
        '--if-possible',
        action='store_true',
        help='where this machine does not allow it, say so and succeed',
    )


@dataclasses.dataclass(frozen=True)
class Choice:
    """What tempest shall run.

    :ivar everything: also what says nothing about a driver.
    """

    regex: str
    everything: bool
    seed: int


def chosen(options: argparse.Namespace) -> Choice:
    """Choose: a subset that means something, or everything.

    The seed is printed, so that the same choice can be made again.
    """
    seed = options.seed
    if seed is None:
        seed = random.SystemRandom().randrange(1 << 32)
    lucky = random.Random(seed).random() < options.all_probability
    whole = bool(options.regex) or options.all or lucky
    words = 'everything' if whole else 'what says something about a driver'
    if not options.regex:
        print(f'tempest runs {words}; again: --seed {seed}', flush=True)
    return Choice(options.regex or EVERYTHING, whole, seed)


def selected(
    choice: Choice, names: collections.abc.Iterable[str]
) -> list[str]:
    """The tests of a choice in their order: the plugin's come first.

    Of tempest's own only those are known to mean something that failed with
    a driver that does not work; ``control`` has found out.
    """
    wanted = list(names)
    if not choice.everything:
        known = meaningful()
        wanted = [
            name
            for name in wanted
            if name.startswith(OURS) or tempest.plain(name) in known
        ]
    return in_order(wanted, choice.seed)


def meaningful() -> frozenset[str]:
    """Tests of the include list."""
    file = lists.file_of('include')
    lines = file.read_text().splitlines() if file.exists() else []
    found = (re.match(r'\^(.*)\(\\\[\|\$\)', line) for line in lines)
    return frozenset(re.sub(r'\\(.)', r'\1', m[1]) for m in found if m)


def in_order(
    names: collections.abc.Iterable[str], seed: int | None = None
) -> list[str]:
    """The plugin's, then smoke, then the others; a seed mixes those."""
    groups: list[list[str]] = [[], [], []]
    for name in names:
        ours = name.startswith(OURS)
        groups[0 if ours else 1 if has_tag(name, 'smoke') else 2].append(name)
    first, smoke, others = groups
    if seed is not None:
        places = list(range(len(others)))
        order: dict[str, int] = {}
        random.Random(seed).shuffle(places)
        for name, place in zip(others, places, strict=True):
            order.setdefault(tempest.class_of(name), place)
        others.sort(key=lambda name: order[tempest.class_of(name)])
    return [*first, *smoke, *others]


def has_tag(name: str, tag: str) -> bool:
    tags = re.search(r'\[(.*)\]$', name)
    return bool(tags) and tag in tags[1].split(',')


def is_driver_test(name: str) -> bool:
    return has_tag(name, 'driver')


def run(box: cloud.Cloud, choice: Choice, minutes: float | None) -> int:
    """Run; print every outcome and stestr's totals."""
    until = None if minutes is None else time.monotonic() + 60 * minutes
    program = tempest.Tempest(box)
    names = selected(choice, program.names(choice.regex))
    if not names:
        raise errors.LabError(f'no test is like {choice.regex}')
    size = tempest.BATCH if until is None else tempest.SHORT
    batches = program.batches(names, until, size)
    results = [one for batch in batches for one in batch]
    heard = {one.name for one in results}
    left = [name for name in names if name not in heard]
    if left:
        print_left_out(left, minutes)
    results += [tempest.Result(name, 'skip') for name in left]
    print_totals(results)
    return int(any(one.outcome == 'fail' for one in results))


def print_left_out(
    left: collections.abc.Sequence[str], minutes: float | None
) -> None:
    rule = '!' * 72
    why = 'of which nothing was heard'
    if minutes is not None:
        why = f'that were not begun in {minutes:g} minutes'
    print(f'{rule}\n{len(left)} TESTS DID NOT RUN, {why}.\n{rule}')


def print_totals(results: collections.abc.Sequence[tempest.Result]) -> None:
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
