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
"""Set up the tox environments once, run the tiers, sum up.

Called by tools/demo and tools/test, which make the environment that this
runs in. ``tox -e TIER`` does the same for one tier, without the summary.
"""

import collections.abc
import contextlib
import dataclasses
import fcntl
import hashlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOX = ROOT / '.tox'
DEMO = 'nova_accel.cli.demo'


@dataclasses.dataclass(frozen=True)
class Tier:
    """One tox environment.

    :ivar folder: where tox keeps it; tiers that need nova share one.
    :ivar counts: it ends in stestr's totals, and must have run a test.
    :ivar minutes: after which it hangs, and is stopped.
    :ivar default: it runs although nobody has named it; one that does not
        runs where the time for all allows it.
    """

    name: str
    folder: str
    counts: bool
    minutes: int
    default: bool = True


# What fails soonest comes first.
TIERS = (
    Tier('lint', 'lint', counts=False, minutes=10),
    Tier('unit', 'unit', counts=True, minutes=10),
    Tier('docs', 'docs', counts=False, minutes=10),
    Tier('functional-core', 'nova', counts=True, minutes=40),
    Tier('functional-eventlet', 'nova', counts=True, minutes=15),
    Tier('install', 'nova', counts=True, minutes=15),
    Tier('lab-core', 'lab-core', counts=True, minutes=14),
    Tier('cloud-core', 'cloud-core', counts=True, minutes=15, default=False),
)
# Minutes that a run of all tiers may take.
BUDGET = 'NOVA_ACCEL_MINUTES'

# Whatever decides what an environment holds.
INPUTS = (
    'constraints.txt',
    'pyproject.toml',
    'requirements.txt',
    'setup.cfg',
    'setup.py',
    'test-requirements.txt',
    'tests/functional/requirements.txt',
    'tox.ini',
)


@dataclasses.dataclass
class Result:
    """How one tier ended. A check without tests of its own counts as one."""

    tier: str
    seconds: float = 0
    passed: int = 0
    failed: int = 0
    skipped: int = 0


class Problem(Exception):
    """Ends the run with a message and exit code 1."""


def say(text: str) -> None:
    print(f'==> {text}', file=sys.stderr, flush=True)


# Environments


def fingerprint() -> str:
    """Digest of everything an environment is made from."""
    digest = hashlib.sha256(f'{ROOT}\n{sys.version}\n'.encode())
    for name in INPUTS:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


@contextlib.contextmanager
def locked() -> collections.abc.Iterator[None]:
    """Keep other set-ups in this folder waiting."""
    with open(TOX / 'lock', 'w') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say('Another set-up is running here; waiting for it.')
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def set_up(tiers: collections.abc.Iterable[Tier]) -> None:
    """Make sure the tiers' environments are complete and up to date."""
    with locked():
        for folder, tier in {tier.folder: tier for tier in tiers}.items():
            _set_up(folder, tier)


def _set_up(folder: str, tier: Tier) -> None:
    wanted = fingerprint()
    state = TOX / f'{folder}.state'
    found = state.read_text() if state.exists() else ''
    if found == wanted and (TOX / folder).is_dir():
        return
    if found == 'unfinished':
        shutil.rmtree(TOX / folder, ignore_errors=True)
    say(f'Setting up .tox/{folder}')
    state.write_text('unfinished')
    log = TOX / 'log' / f'setup-{folder}.log'
    with open(log, 'w') as output:
        done = subprocess.run(
            _tox(tier, '--notest'),
            cwd=ROOT,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    if done.returncode:
        tail = ''.join(log.read_text().splitlines(keepends=True)[-30:])
        raise Problem(f'{tail}\nSetting up .tox/{folder} failed: {log}')
    state.write_text(wanted)


def _tox(tier: Tier, *options: str) -> list[str]:
    return [sys.executable, '-m', 'tox', 'run', '-e', tier.name, *options]


def _environment() -> dict[str, str]:
    # An unpacked archive has no history to take a version from.
    if (ROOT / '.git').exists() or (ROOT / 'PKG-INFO').exists():
        return dict(os.environ)
    return {'PBR_VERSION': '0.0.1', **os.environ}


# Running


def run(tier: Tier) -> Result:
    """Run one tier, showing and keeping what it says."""
    say(f'Running {tier.name}')
    started = time.monotonic()
    log = TOX / 'log' / f'{tier.name}.log'
    code = _stream(_tox(tier, '-q', '--skip-pkg-install'), log, tier.minutes)
    result = Result(tier.name, time.monotonic() - started)
    if tier.counts:
        totals(log.read_text(errors='replace'), result)
    if not tier.counts and code == 0:
        result.passed += 1
    ran = result.passed or result.skipped
    if result.failed == 0 and (code or not ran):
        say(f'{tier.name}: exit code {code}, {result.passed} tests passed')
        result.failed += 1
    return result


def _stream(command: list[str], log: pathlib.Path, minutes: int) -> int:
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        text=True,
        errors='replace',
    )
    assert process.stdout is not None
    timer = threading.Timer(minutes * 60, _stop, [process, minutes])
    timer.start()
    try:
        with open(log, 'w') as output:
            for line in process.stdout:
                sys.stdout.write(line)
                sys.stdout.flush()
                output.write(line)
        return process.wait()
    finally:
        timer.cancel()
        _stop(process)


def _stop(process: subprocess.Popen[str], minutes: int = 0) -> None:
    if minutes:
        say(f'No end after {minutes} minutes: stopped.')
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


TOTALS = re.compile(
    r'^ - (Passed|Skipped|Expected Fail|Unexpected Success|Failed): (\d+)$',
    re.MULTILINE,
)


def totals(text: str, result: Result) -> None:
    """Add what stestr counted."""
    field = {
        'Passed': 'passed',
        'Expected Fail': 'passed',
        'Skipped': 'skipped',
        'Unexpected Success': 'failed',
        'Failed': 'failed',
    }
    for word, number in TOTALS.findall(text):
        name = field[word]
        setattr(result, name, getattr(result, name) + int(number))


def report(results: collections.abc.Sequence[Result]) -> int:
    """Print the summary and the closing line; the exit code."""
    print(f'\n{"tier":22}{"time":>7}{"passed":>8}{"failed":>8}{"skipped":>9}')
    for result in results:
        minutes, seconds = divmod(round(result.seconds), 60)
        print(
            f'{result.tier:22}{minutes:4}:{seconds:02}{result.passed:8}'
            f'{result.failed:8}{result.skipped:9}'
        )
    passed = sum(result.passed for result in results)
    failed = sum(result.failed for result in results)
    skipped = sum(result.skipped for result in results)
    tail = f', {skipped} skipped' if skipped else ''
    print(f'\n{passed} passed, {failed} failed{tail}', flush=True)
    return int(failed > 0)


# The two commands


def test(names: list[str]) -> int:
    """Run the named tiers, or all that fit."""
    known = {tier.name: tier for tier in TIERS}
    unknown = [name for name in names if name not in known]
    if unknown:
        print(
            f'Unknown tier {", ".join(unknown)}; '
            f'there are {", ".join(known)}.',
            file=sys.stderr,
        )
        return 2
    if names:
        tiers = [known[name] for name in names]
        set_up(tiers)
        return report([run(tier) for tier in tiers])
    return run_all(float(os.environ.get(BUDGET) or 0))


def run_all(budget: float) -> int:
    """Run each tier that is run by default, and others while there is time.

    :param budget: minutes for all.
    """
    began = time.monotonic()
    set_up(tier for tier in TIERS if tier.default)
    results = [run(tier) for tier in TIERS if tier.default]
    left_out = []
    for tier in TIERS:
        if tier.default:
            continue
        passed = (time.monotonic() - began) / 60
        if passed + tier.minutes > budget:
            left_out.append(tier.name)
            continue
        set_up([tier])
        results.append(run(tier))
    code = report(results)
    for name in left_out:
        not_run(name)
    return code


def not_run(name: str) -> None:
    rule = '!' * 72
    print(
        f'{rule}\n{name.upper()} WAS NOT RUN: tools/test {name} runs it, and '
        f'{BUDGET}=60\ntools/test runs it after the others if it fits into '
        f'so many minutes.\n{rule}',
        flush=True,
    )


def demo(arguments: list[str]) -> int:
    """Become the demo, in the environment of the functional tests."""
    set_up([next(tier for tier in TIERS if tier.folder == 'nova')])
    python = str(TOX / 'nova' / 'bin' / 'python')
    sys.stderr.flush()
    os.execv(python, [python, '-P', '-m', DEMO, *arguments])


COMMANDS = {'demo': demo, 'test': test}


def main(arguments: list[str]) -> int:
    # The tiers run in sessions of their own: end them with us.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return COMMANDS[arguments[0]](arguments[1:])
    except Problem as problem:
        print(problem, file=sys.stderr)
    except KeyboardInterrupt:
        say('Interrupted.')
    return 1


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
