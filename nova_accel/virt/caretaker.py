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
"""Cleans and prepares devices, each in a thread of its own.

What is due is read from Placement's traits, so a restart in between begins
anew: a unit that is marked CLEANING, without a reason why it was not, and a
device that an operator has enabled and that is not PREPARED. Nobody else can
get either of them meanwhile. What has failed waits for an operator.
"""

import collections.abc
import dataclasses
import logging
import threading
import typing as ty

from nova import context as nova_context

from nova_accel.backends import base
from nova_accel import command
from nova_accel.core import inventory
from nova_accel.core import states
from nova_accel.core import upkeep
from nova_accel import exception
from nova_accel import manager
from nova_accel.virt import wards
from nova_accel import watch

LOG = logging.getLogger(__name__)

Context: ty.TypeAlias = nova_context.RequestContext


class Driver(ty.Protocol):
    """The driver, as far as it is needed here."""

    accel: manager.Manager
    virtapi: ty.Any

    def accel_obey(
        self, context: Context, discover: bool = False
    ) -> dict[str, list[str]]:
        """Go by what Placement says now."""


@dataclasses.dataclass(frozen=True)
class Task:
    """Something to be done for one unit, or for one device.

    :ivar provider: uuid of the one that it is a part of.
    :ivar device: stable id.
    :ivar name: what the mark is about: the unit, or the device in a pool;
        '': the provider as a whole.
    :ivar unit: any of the device, where it is about all of it.
    """

    provider: str
    pool: inventory.Pool
    device: str
    name: str
    unit: str
    done: str
    failed: str

    @property
    def key(self) -> tuple[str, str]:
        """What it is, whatever its device looks like meanwhile."""
        return self.done, self.unit


class _Job(threading.Thread):
    """One task under way.

    :ivar failure: why it failed, once it is over; '' if it did not.
    """

    failure = ''

    def __init__(
        self, task: Task, do: collections.abc.Callable[['_Job'], None]
    ) -> None:
        super().__init__(name=f'{task.done} {task.unit}', daemon=True)
        self.task = task
        self._do = do

    def run(self) -> None:
        self._do(self)


class Caretaker:
    """All cleaning and preparing on one host.

    :param user: whose name commands are run under, see ``command.user``.
    :param interval: seconds between two looks at the health of devices.
    """

    def __init__(
        self, driver: Driver, user: str = '', interval: float = 60
    ) -> None:
        self._driver = driver
        self._user = user
        self._watch = watch.Watch(driver.accel, interval)
        self._lock = threading.Lock()
        self._busy: dict[tuple[str, str], _Job] = {}

    @property
    def _accel(self) -> manager.Manager:
        return self._driver.accel

    def tend(self) -> None:
        """Begin what is due; does not wait for it. Never raises."""
        try:
            for task in self._due():
                self._begin(task)
        except Exception:
            LOG.exception('Devices could not be looked after')

    def watch(self, context: Context) -> None:
        """Look at the health of devices, if that is due. Never raises.

        Not under the lock that all claims share: it may ask for it.
        """
        try:
            fallen, risen = self._watch.look()
            for stable_id in sorted(risen):
                self._recover(context, stable_id)
            if fallen or risen:
                self._driver.accel_obey(context)
        except Exception:
            LOG.exception('The health of devices could not be looked after')

    def tell(self, context: Context) -> None:
        """Tell Placement of devices that failed just now. Never raises."""
        try:
            if self._accel.suspects:
                self._driver.accel_obey(context.elevated())
        except Exception as e:
            LOG.warning('Placement hears of it with the next update: %s', e)

    def _recover(self, context: Context, stable_id: str) -> None:
        LOG.info('Device %s has recovered, and is in service', stable_id)
        client = self._driver.virtapi._compute.reportclient
        self._accel.absolve(stable_id)
        for rp, pool in self._accel.now.index.pools.items():
            if stable_id in pool.cards:
                part = wards.part_of(pool, stable_id)
                wards.note(context, client, rp, 'recovered', part)

    def wait(self, seconds: float) -> bool:
        """Wait for what is under way; tell whether it is over."""
        for job in tuple(self._busy.values()):
            job.join(seconds)
        return not self._busy

    def attend(self, device: str, again: bool = False) -> list[str]:
        """Do what is due for one device, to its end.

        :param again: also what has failed before.
        :returns: why some of it failed.
        """
        jobs = [
            self._begin(task)
            for task in self._due(again)
            if task.device == device
        ]
        for job in jobs:
            job.join()
        return [job.failure for job in jobs if job.failure]

    def declare_clean(self, device: str) -> int:
        """Take an operator's word for it; return how many units it is about.

        :raises NotWritten: Placement did not take it.
        """
        waiting = [
            task for task in self._uncleaned(True) if task.device == device
        ]
        for task in waiting:
            self._say(nova_context.get_admin_context(), task, task.done)
        if waiting:
            self._driver.accel_obey(nova_context.get_admin_context())
        return len(waiting)

    # What is due

    def _due(self, again: bool = False) -> list[Task]:
        found = [
            task
            for task in self._uncleaned(again)
            if task.pool.rule.clean is not None
        ]
        return found + list(self._unprepared(again))

    def _uncleaned(self, again: bool) -> collections.abc.Iterator[Task]:
        accel = self._accel
        cleaning = accel.service.cleaning
        if not cleaning:
            return
        held = {claim.unit for claim in accel.held}
        for rp, pool in accel.now.index.pools.items():
            for stock in pool.stocks:
                for name in sorted(cleaning.keys() & stock.ids - held):
                    if again or not cleaning[name]:
                        device = stock.by_id[name].id.device
                        yield Task(rp, pool, device, name, name, *_CLEANING)

    def _unprepared(self, again: bool) -> collections.abc.Iterator[Task]:
        accel = self._accel
        pools = [
            (rp, pool)
            for rp, pool in accel.now.index.pools.items()
            if pool.rule.prepare is not None
        ]
        if not pools:
            return
        held = {
            read.device
            for claim in accel.held
            if (read := inventory.read_unit(claim.unit)) is not None
        }
        for rp, pool in pools:
            for stock in pool.stocks[:1]:
                for unit in stock.units:
                    device = unit.id.device
                    marks = accel.service.marks[device]
                    if again:
                        marks -= {states.PREPARE_FAILED}
                    if states.is_due(marks) and device not in held:
                        held.add(device)
                        name = wards.part_of(pool, device)
                        yield Task(
                            *(rp, pool, device, name, str(unit.id)),
                            *_PREPARING,
                        )

    # Doing it

    def _begin(self, task: Task) -> _Job:
        with self._lock:
            job = self._busy.get(task.key)
            if job is not None:
                return job
            job = self._busy[task.key] = _Job(task, self._run)
            job.start()
            return job

    def _run(self, job: _Job) -> None:
        try:
            job.failure = self._outcome(job.task)
        except exception.AccelError as e:
            LOG.warning('%s is looked after later: %s', job.task.unit, e)
            job.failure = str(e)
        except Exception as e:
            LOG.exception('%s: nobody was told that', job.name)
            job.failure = str(e)
        finally:
            with self._lock:
                del self._busy[job.task.key]

    def _outcome(self, task: Task) -> str:
        """Do it and write down how it went; return why it failed."""
        context = nova_context.get_admin_context()
        reason, verb = '', task.done
        try:
            said = _DOING[task.done](self, task)
        except exception.BackendUnavailable as e:
            LOG.warning('%s is looked after later: %s', task.unit, e)
            return str(e)
        except _InUse as e:
            LOG.info('%s is looked after later: %s', task.unit, e)
            return str(e)
        except exception.AccelError as e:
            reason, verb = str(e), task.failed
            LOG.error(
                'Device %s is not in service: %s; see to it, then: '
                'nova-accel device %s %s',
                *(task.unit, reason, _COMMAND[task.done], task.device),
            )
        else:
            LOG.info('%s: %s; %s', task.unit, task.done, said or 'all is well')
        self._say(context, task, verb)
        self._driver.accel_obey(context)
        return reason

    def _clean(self, task: Task) -> str:
        how = task.pool.rule.clean
        assignment = self._found(task)
        if isinstance(how, upkeep.Command):
            return self._execute(how, task, assignment, 'clean')
        if how == upkeep.FLR:
            self._accel.reset(assignment)
        elif how == upkeep.MDEV:
            self._accel.remake(assignment)
        return ''

    def _prepare(self, task: Task) -> str:
        wanted = task.pool.rule.prepare
        assignment = self._found(task)
        said = ''
        if wanted is not None and wanted.command is not None:
            said = self._execute(wanted.command, task, assignment, 'prepare')
            self._accel.rescan()
            assignment = self._found(task)
        drivers = wanted.drivers if wanted is not None else ()
        card = self._accel.now.offer.cards[task.device].device
        bound = {card.driver, assignment.function.driver}
        if drivers and bound.isdisjoint(drivers):
            raise exception.NotPrepared(
                device=task.device,
                reason=f'it is bound to {card.driver or "no driver"}, and '
                f'should be to {" or ".join(drivers)}',
            )
        return said

    def _found(self, task: Task) -> base.Assignment:
        """Find what a task is about; nobody uses it."""
        assignment = self._accel.locate(task.unit)
        mine = {str(assignment.function.address), assignment.mdev_uuid}
        for guest in self._accel.guests():
            if guest.running and guest.devices & mine:
                raise _InUse(f'guest {guest.server} has it still')
        return assignment

    def _execute(
        self,
        wanted: upkeep.Command,
        task: Task,
        assignment: base.Assignment,
        action: str,
    ) -> str:
        return command.run(
            wanted,
            {
                'ACCEL_ACTION': action,
                'ACCEL_ADDRESS': str(assignment.function.address),
                'ACCEL_DEVICE': task.device,
                'ACCEL_UNIT': task.unit,
            },
            command.user(self._user),
        )

    def _say(self, context: Context, task: Task, verb: str) -> None:
        """Write a mark where it is, and take it back wherever it is."""
        client = self._driver.virtapi._compute.reportclient
        wards.note(context, client, task.provider, verb, task.name)
        trait = states.trait(states.CLEANING, task.name)
        for rp, one in self._accel.known.items():
            if rp != task.provider and trait in one.traits:
                wards.note(context, client, rp, verb, task.name)


class _InUse(Exception):
    """It cannot be done yet."""


_CLEANING = ('cleaned', 'uncleaned')
_PREPARING = ('prepared', 'unprepared')
_DOING: collections.abc.Mapping[
    str, collections.abc.Callable[[Caretaker, Task], str]
] = {
    'cleaned': Caretaker._clean,
    'prepared': Caretaker._prepare,
}
_COMMAND = {'cleaned': 'clean', 'prepared': 'enable'}
