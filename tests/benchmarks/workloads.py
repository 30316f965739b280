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
"""The workloads: what is done to both hosts, and what is counted."""

import collections.abc
import dataclasses
import itertools
import re
import sys
import time

from tests.benchmarks import hosts

from tests.benchmarks import counting
from tests.benchmarks import hypervisor
from tests.benchmarks import targets
from tests.benchmarks import timing

ROUNDS = 7
REPEATS = 3
STARTS = 3
ATTEMPTS = 3

FEW, LARGE, MANY = (hosts.Size(16, virtual) for virtual in (8, 32, 64))

Pair = tuple[hosts.Host, hosts.Host]
Rows = list[targets.Row]
Action = collections.abc.Callable[[hosts.Host], object]
Counts = tuple[counting.Count, counting.Count]


@dataclasses.dataclass(frozen=True)
class Step:
    """Something that happens to a server.

    :ivar limit: calls that ours may make.
    """

    name: str
    what: str
    limit: int
    action: Action


class Benchmark(hosts.Bench):
    """A test, so that nova's harness serves it."""

    @property
    def rows(self) -> Rows:
        """What was measured."""
        return self._rows

    def measure(self) -> None:
        _say('starting six hosts')
        few, large, many = (
            (self.host(hosts.Ours, size), self.host(hosts.Stock, size))
            for size in (FEW, LARGE, MANY)
        )
        _say('growth')
        growth = _until_met(lambda: _growth(few, many))
        growth += _until_met(lambda: _growth_of_start(few, many))
        _say('steady-cpu, dirty-1')
        _settle(large, 256)
        cpu = _until_met(lambda: _steady_cpu(large)) + _whole_cpu(large)
        cpu += _dirty_rpc(large)
        cpu += _until_met(lambda: _dirty_cpu(large)) + _stranger_cpu(large)
        _say('cold, steady-rpc')
        _occupy(few, 100, 20)
        _occupy(large, 500, 100)
        rpc = _cold(large) + _steady_rpc(large)
        _say('spawn-rpc, reboot-rpc, resize-rpc, delete-rpc')
        # Nova's harness forgets what has no underscore.
        self._rows = [*rpc, *cpu, *growth, *_life(few, large)]


def _say(what: str) -> None:
    now = time.strftime('%H:%M:%S')
    print(f'{now} benchmark: {what}', file=sys.stderr, flush=True)


def _until_met(measure: collections.abc.Callable[[], Rows]) -> Rows:
    """Measure CPU times; a busy machine spoils some, so they get chances."""
    for _ in range(ATTEMPTS):
        rows = measure()
        if all(row.met for row in rows):
            break
    return rows


# How to measure


def _least(
    pair: Pair,
    action: Action,
    prepare: Action = lambda host: None,
    repeats: int = REPEATS,
    rounds: int = ROUNDS,
) -> tuple[float, float]:
    """Return the least milliseconds of several runs, taken in turns.

    Whatever disturbs a run can only add to it.

    :param repeats: runs a turn.
    """
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for host, found in zip(pair, times, strict=True):
            for _ in range(repeats):
                prepare(host)
                found.append(timing.milliseconds(action, host))
    return min(times[0]), min(times[1])


def _counts(
    pair: Pair, action: Action, prepare: Action = lambda host: None
) -> Counts:
    counts = []
    for host in pair:
        prepare(host)
        with host.connection.counted() as count:
            action(host)
        counts.append(count)
    return counts[0], counts[1]


# Setting up


def _settle(pair: Pair, mdevs: int) -> None:
    """Make mediated devices that no server holds, and let it sink in."""
    for host in pair:
        host.make([slot.foreign for slot in host.take(mdevs)])
        for _ in range(3):
            host.update()


def _occupy(pair: Pair, mdevs: int, servers: int) -> None:
    """Let servers hold all mediated devices, and let it sink in."""
    for host in pair:
        host.empty()
        host.fill(host.take(mdevs), servers)
        for _ in range(3):
            host.update()


# What to measure


def _growth(few: Pair, many: Pair) -> Rows:
    return _grown('growth', 'nothing changed', 0.1, few, many, _look)


def _growth_of_start(few: Pair, many: Pair) -> Rows:
    turns = {'repeats': 1, 'rounds': STARTS}
    return _grown(
        'growth-cold', 'all is new', 1.05, few, many, _discover, **turns
    )


def _grown(
    name: str,
    what: str,
    limit: float,
    few: Pair,
    many: Pair,
    action: Action,
    **turns: int,
) -> Rows:
    with timing.alone():
        before, after = (_least(pair, action, **turns) for pair in (few, many))
    times = MANY.devices / FEW.devices
    ours, stock = (
        round(targets.exponent(small, large, times), 3)
        for small, large in zip(before, after, strict=True)
    )
    load = f'{what}, {FEW} -> {MANY}'
    target = targets.at_most(limit)
    return [targets.Row(name, load, 'exponent', ours, stock, target)]


def _steady_cpu(pair: Pair) -> Rows:
    load = f'nothing changed, {LARGE}, M=256'
    return _times('steady-cpu', load, pair, targets.times_less(50))


def _dirty_rpc(pair: Pair) -> Rows:
    load = f'one function changed, {LARGE}, M=256'
    counts = _counts(pair, _refresh, _change_a_link)
    return [_devices('dirty-1', load, counts, targets.at_most(3))]


def _dirty_cpu(pair: Pair) -> Rows:
    load = f'one function changed, {LARGE}, M=256'
    target = targets.times_less(300)
    return _times('dirty-1-cpu', load, pair, target, _change_a_link)


def _stranger_cpu(pair: Pair) -> Rows:
    load = f'one mdev appeared, {LARGE}, M=256'
    return _times('dirty-1-cpu', load, pair, None, _add_a_stranger)


def _whole_cpu(pair: Pair) -> Rows:
    """Nova's whole update, with its database, and without any Placement."""
    load = f'nothing changed, {LARGE}, M=256, all of nova'
    ours, stock = _least(pair, _update, repeats=1)
    return [
        targets.Row('steady-cpu', load, 'ms', round(ours, 1), round(stock, 1))
    ]


def _cold(pair: Pair) -> Rows:
    load = f'start, D={LARGE.devices}, M=500, I=100'
    counts = _counts(pair, _restart)
    apart = [counting.TO_BE_TOLD, counting.LIST_INACTIVE]
    return [
        _devices('cold', load, counts, targets.at_most(1030), apart),
        *(_only('cold', verb, load, counts) for verb in apart),
        *_rest('cold', load, counts),
    ]


def _steady_rpc(pair: Pair) -> Rows:
    load = f'nothing changed, D={LARGE.devices}, M=500, I=100'
    for host in pair:
        host.refresh()
    counts = _counts(pair, _refresh)
    return [
        _devices('steady-rpc', load, counts, targets.at_most(1)),
        *_rest('steady-rpc', load, counts),
    ]


def _life(few: Pair, large: Pair) -> Rows:
    """The life of one server, a step after the other."""
    rows: Rows = []
    for step in LIFE:
        if step.name == 'resize':
            rows += _until_met(lambda: _attach_cpu(large))
            rows += _attach_placement(large)
            _say('attach-time')
            rows += _until_met(lambda: hypervisor.rows(large[0]))
        small, counts = (_counts(pair, step.action) for pair in (few, large))
        rows += _step(step, small, counts)
    return rows


def _attach_cpu(pair: Pair) -> Rows:
    """What attach costs beside the two calls that any would make."""
    load = f'1 vGPU, claimed, made and plugged, {LARGE}'
    ours, stock = _least(pair, _plug, _unplug)
    for host in pair:
        _unplug(host)
    target = targets.at_most_more(20)
    return [
        targets.Row(
            'attach-cpu', load, 'ms', round(ours, 2), round(stock, 2), target
        )
    ]


def _attach_placement(pair: Pair) -> Rows:
    """Requests to Placement of an attach and of a detach."""
    ours = pair[0]
    rows = []
    for name, action, limit in (
        ('attach', _attach, 3),
        ('detach', _detach, 2),
    ):
        before = ours.placement.requests
        action(ours)
        rows.append(
            targets.Row(
                f'{name}-placement',
                f'1 vGPU, {LARGE}',
                'requests',
                ours.placement.requests - before,
                0,
                targets.at_most(limit),
            )
        )
    return rows


def _step(step: Step, small: Counts, counts: Counts) -> Rows:
    name = f'{step.name}-rpc'
    load = f'{step.what}, D={LARGE.devices}, M=500, I=100'
    smaller = f'D={FEW.devices}, M=100, I=20'
    return [
        targets.Row(
            name,
            load,
            'RPC',
            *(count.total for count in counts),
            target=targets.at_most(step.limit),
        ),
        targets.Row(
            f'{name}-locked',
            f'{load}, under a lock of all',
            'RPC',
            *(count.locked.total() for count in counts),
            target=targets.at_most(0),
        ),
        targets.Row(
            f'{name}-flat',
            f'{load}, more than with {smaller}',
            'RPC',
            *(b.total - a.total for a, b in zip(small, counts, strict=True)),
            target=targets.at_most(0),
        ),
        *_rest(name, load, counts),
    ]


# What is done to a host


def _look(host: hosts.Host) -> None:
    host.look()


def _discover(host: hosts.Host) -> None:
    host.discover()


def _update(host: hosts.Host) -> None:
    host.update()


def _refresh(host: hosts.Host) -> None:
    host.refresh()


def _restart(host: hosts.Host) -> None:
    host.restart()


def _spawn_four(host: hosts.Host) -> None:
    host.spawn(host.take(4))


def _reboot(host: hosts.Host) -> None:
    host.reboot()


def _resize_to_two(host: hosts.Host) -> None:
    host.resize(host.take(2))


def _attach(host: hosts.Host) -> None:
    host.attach()


def _detach(host: hosts.Host) -> None:
    host.detach()


def _plug(host: hosts.Host) -> None:
    host.plug()


def _unplug(host: hosts.Host) -> None:
    host.unplug()


def _delete(host: hosts.Host) -> None:
    host.delete()


LIFE = (
    Step('spawn', '4 vGPUs', 16, _spawn_four),
    Step('reboot', 'hard, 4 vGPUs', 24, _reboot),
    # Of stock, the two calls without which it cannot be done.
    Step('attach', '1 vGPU to a guest that runs', 6, _attach),
    Step('detach', 'of it', 11, _detach),
    # Each mediated device of before is looked up and destroyed.
    Step('resize', '4 to 2 vGPUs, same host, confirmed', 32, _resize_to_two),
    Step('delete', '2 vGPUs', 12, _delete),
)
"""Each goes on with the server of the one before."""


def _add_a_stranger(host: hosts.Host) -> None:
    host.make([slot.foreign for slot in host.take(1)])


def _change_a_link(host: hosts.Host) -> None:
    """Let libvirt say that a PCIe link has another speed now."""
    name = host.spare[0].function
    xml = _LINK.sub('', host.connection.machine.describe(name))
    link = _LINK_XML.format(speed=next(_SPEEDS))
    host.change(name, xml.replace(_END, f'{link}{_END}'))


_LINK = re.compile(r'\s*<pci-express>.*?</pci-express>', re.DOTALL)
_LINK_XML = """\
    <pci-express>
      <link validity='sta' speed='{speed}' width='16'/>
    </pci-express>
"""
_END = '  </capability>\n</device>'
_SPEEDS = itertools.cycle(('2.5', '8', '16'))


# Rows


def _devices(
    name: str,
    load: str,
    counts: Counts,
    target: targets.Target,
    apart: collections.abc.Collection[str] = (),
) -> targets.Row:
    """What is sent about node devices.

    :param apart: verbs that have a row of their own.
    """
    ours, stock = (
        count.about(counting.DEVICES) - sum(count.verbs[v] for v in apart)
        for count in counts
    )
    return targets.Row(name, load, 'RPC', ours, stock, target)


def _only(name: str, verb: str, load: str, counts: Counts) -> targets.Row:
    ours, stock = (count.verbs[verb] for count in counts)
    return targets.Row(f'{name}, {verb}', load, 'RPC', ours, stock)


def _rest(name: str, load: str, counts: Counts) -> Rows:
    """What nova's own code sends for other purposes, on both sides."""
    return [
        targets.Row(
            f'{name}, {kind}', load, 'RPC', *(c.about(kind) for c in counts)
        )
        for kind in (counting.GUESTS, counting.HOST)
    ]


def _times(
    name: str,
    load: str,
    pair: Pair,
    target: targets.Target | None,
    prepare: Action = lambda host: None,
) -> Rows:
    with timing.alone():
        ours, stock = _least(pair, _look, prepare)
    return [
        targets.Row(name, load, 'ms', round(ours, 3), round(stock, 3), target)
    ]
