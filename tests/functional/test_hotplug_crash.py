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
"""Nova-compute is killed at each step, and all is in order nonetheless."""

import collections.abc
import contextlib
import typing as ty
from unittest import mock
import uuid

from nova_accel.testing import cloud  # noqa: F401  (comes first)

from keystoneauth1 import exceptions as ks_exc
from nova.virt.libvirt import guest as libvirt_guest

from nova_accel.core import attachment
from nova_accel import exception
from nova_accel.virt import attach
from nova_accel.virt import placing
from nova_accel.virt import records

from tests.functional import hotplug
from tests.functional import rules


class Crash(BaseException):
    """Nova-compute is killed: nothing is cleaned up."""


class Step(ty.NamedTuple):
    """One thing that an attach or a detach does.

    :ivar owner: what has the verb: a module, a class, or of nova-compute's
        manager a part, by name.
    :ivar number: which call of it.
    """

    name: str
    owner: object
    verb: str
    number: int = 1


RT = 'rt'
BACKEND = 'driver.accel._backend'

ATTACH = (
    Step('allocate', placing.Placing, 'settle'),
    Step('claim', RT, 'hotplug_claim'),
    Step('name the units', records, 'save'),
    Step('hold', records, 'hold'),
    Step('make', BACKEND, 'prepare'),
    Step('plug', libvirt_guest.Guest, 'attach_device'),
    Step('write attached', records, 'save', 2),
)
DETACH = (
    Step('write detaching', records, 'save'),
    Step('redefine', libvirt_guest.Guest, 'detach_device'),
    Step('ask', libvirt_guest.Guest, 'detach_device', 2),
    Step('unmake', BACKEND, 'release'),
    Step('hold no more', records, 'hold'),
    Step('forget', RT, 'hotplug_release'),
    Step('give back', placing.Placing, 'settle'),
    Step('erase', records, 'erase'),
)


class CrashTest(hotplug.HotplugTestCase):
    NODE, RULES = 't4', rules.T4_8Q

    def setUp(self) -> None:
        super().setUp()
        self.server = self.boot(self.hot())

    @contextlib.contextmanager
    def killed(
        self, step: Step, before: bool
    ) -> collections.abc.Iterator[None]:
        """Let nova-compute be killed at a step, then start it again."""
        owner: ty.Any = step.owner
        if isinstance(owner, str):
            owner = self.computes['host1'].manager
            for part in str(step.owner).split('.'):
                owner = getattr(owner, part)
        original, calls = getattr(owner, step.verb), []

        def call(*args: ty.Any, **kwargs: ty.Any) -> ty.Any:
            calls.append(args)
            if len(calls) == step.number and before:
                raise Crash
            result = original(*args, **kwargs)
            if len(calls) == step.number:
                raise Crash
            return result

        with mock.patch.object(owner, step.verb, call):
            try:
                yield
            except Crash:
                pass
            else:
                raise self.failureException(f'{step.name} is no step')
        self.restart_compute_service('host1')

    def each(
        self,
        table: collections.abc.Iterable[Step],
        check: collections.abc.Callable[[Step, bool], None],
    ) -> None:
        for step in table:
            for before in (True, False):
                try:
                    check(step, before)
                except Exception as e:
                    when = 'before' if before else 'after'
                    raise AssertionError(f'{when} {step.name!r}') from e

    def serve(self, verb: str, *args: ty.Any) -> None:
        getattr(self.served(), verb)(
            self.context, self.instance(self.server), *args
        )

    def test_of_a_reservation(self) -> None:
        def check(step: Step, before: bool) -> None:
            id_ = str(uuid.uuid4())
            with self.killed(step, before):
                self.serve('reserve', id_, hotplug.VGPU, 1)
            self.assert_invariants()
            found = self.records(self.server)
            self.assertEqual([] if before else [id_], [*found])
            if found:
                self.assertEqual(
                    (attachment.ERROR, attach.INTERRUPTED),
                    hotplug.state(found[id_]),
                )
            self.finish(id_)

        self.each([Step('write attaching', records, 'save')], check)

    def test_of_the_first_steps_of_an_attach(self) -> None:
        self.each(ATTACH[:4], self.check_attach)

    def test_of_the_last_steps_of_an_attach(self) -> None:
        self.each(ATTACH[4:], self.check_attach)

    def test_of_the_first_steps_of_a_detach(self) -> None:
        self.each(DETACH[:4], self.check_detach)

    def test_of_the_last_steps_of_a_detach(self) -> None:
        self.each(DETACH[4:], self.check_detach)

    def check_attach(self, step: Step, before: bool) -> None:
        # From there on the server has it.
        names = [step.name for step in ATTACH]
        held = names.index('hold')

        id_ = self.reserve(self.server).id
        with self.killed(step, before):
            self.serve('attach', id_)
        self.repair()
        at = names.index(step.name)
        expected = (attachment.ERROR, attach.INTERRUPTED)
        if at > held or (at == held and not before):
            expected = (attachment.ATTACHED, '')
        self.assertEqual(expected, hotplug.state(self.record(self.server)))
        self.finish(id_)

    def check_detach(self, step: Step, before: bool) -> None:
        record = self.attached(self.server)
        with self.killed(step, before):
            self.serve('detach', record.id)
        self.repair()
        begun = step is not DETACH[0] or not before
        # A start ends what was begun.
        self.assertEqual(
            [] if begun else [record],
            [*self.records(self.server).values()],
        )
        if not begun:
            self.detach(self.server, record.id)
        self.align(self.server)
        self.assert_nothing_attached(self.server)

    def test_of_a_start_in_the_middle(self) -> None:
        """It is killed again, while it takes up what was left."""
        id_ = self.reserve(self.server).id
        with self.killed(ATTACH[3], before=False):
            self.serve('attach', id_)
        record = self.record(self.server)
        self.assertEqual(attachment.ATTACHED, record.state)
        self.connection_of('host1').answering = False
        self.detach(self.server, id_)
        self.domain(self.server).answer()
        desk = self.driver('host1').accel_desk
        with self.killed(DETACH[4], before=False):
            desk.tend(self.context)
        self.align(self.server)
        self.assert_nothing_attached(self.server)

    def finish(self, id_: str) -> None:
        """The same request again ends in the same place."""
        record = self.attach(self.server, id=id_)
        self.assertEqual((attachment.ATTACHED, ''), hotplug.state(record))
        self.assertEqual(1, len(self.claims(self.server)))
        self.assertEqual(1, len(self.domain(self.server).held()))
        self.assertEqual(record.claims, self.held('host1'))
        self.assert_invariants()
        self.detach(self.server, id_)
        self.assert_nothing_attached(self.server)


class PlacementTest(hotplug.HotplugTestCase):
    """Placement answers late, wrongly or not at all."""

    NODE, RULES = 't4', rules.T4_8Q

    def setUp(self) -> None:
        super().setUp()
        self.server = self.boot(self.hot())

    @property
    def reports(self) -> ty.Any:
        return self.computes['host1'].manager.reportclient

    @contextlib.contextmanager
    def answering(
        self, verb: str, *answers: collections.abc.Callable[..., ty.Any]
    ) -> collections.abc.Iterator[list[str]]:
        """Let the first answers about allocations be these."""
        original = getattr(self.reports, verb)
        left, calls = list(answers), []

        def call(url: str, *args: ty.Any, **kwargs: ty.Any) -> ty.Any:
            def real() -> ty.Any:
                return original(url, *args, **kwargs)

            if '/allocation' not in url:
                return real()
            calls.append(url)
            return left.pop(0)(real) if left else real()

        with mock.patch.object(self.reports, verb, call):
            yield calls

    def attach_and_detach(
        self, verb: str, *answers: collections.abc.Callable[..., ty.Any]
    ) -> None:
        with self.answering(verb, *answers):
            record = self.attached(self.server)
        self.assertEqual(
            1, sum(used['VGPU'] for used in self.usages('host1').values())
        )
        self.assert_invariants()
        with self.answering(verb, *answers):
            self.assertEqual('', self.detach(self.server, record.id).state)
        self.assert_nothing_attached(self.server)

    def test_conflicts_in_a_row(self) -> None:
        self.attach_and_detach('put', conflict, conflict, conflict, conflict)

    def test_a_consumer_that_somebody_else_changes(self) -> None:
        def meanwhile(real: collections.abc.Callable[[], ty.Any]) -> ty.Any:
            url = f'/allocations/{self.server["id"]}'
            body = self.placement.get(url, version='1.28').body
            answer = self.placement.put(url, body, version='1.28')
            self.assertEqual(204, answer.status)
            answer = real()
            self.assertEqual(409, answer.status_code)
            return answer

        self.attach_and_detach('put', meanwhile, meanwhile)

    def test_an_error_after_it_was_done(self) -> None:
        self.attach_and_detach('put', broken_after, broken_after)

    def test_no_answer_after_it_was_done(self) -> None:
        self.attach_and_detach('put', lost_after)

    def test_errors_and_no_answers_when_asked(self) -> None:
        self.attach_and_detach('get', broken, lost, broken)

    def test_no_answer_at_all(self) -> None:
        reserved = self.reserve(self.server)
        with (
            self.answering('put', *[lost] * 100),
            mock.patch.object(self.reports, 'get', side_effect=lost),
        ):
            self.assertRaises(
                exception.HotplugFailed,
                self.client.attach,
                self.context,
                self.instance(self.server),
                reserved.id,
            )
            self.assertEqual(
                attachment.ATTACHING, self.record(self.server).state
            )
        # It is taken back once that is possible.
        self.run_periodic()
        record = self.record(self.server)
        self.assertEqual(attachment.ERROR, record.state)
        self.assert_invariants()
        record = self.attach(self.server, id=record.id)
        self.assertEqual((attachment.ATTACHED, ''), hotplug.state(record))
        with self.answering('put', *[lost] * 100):
            record = self.detach(self.server, record.id)
            self.assertEqual(attachment.DETACHING, record.state)
        self.run_periodic()
        self.align(self.server)
        self.assert_nothing_attached(self.server)

    def test_done_and_never_an_answer(self) -> None:
        """It commits, says nothing, and nothing it says later is heard."""
        reserved = self.reserve(self.server)
        with (
            self.answering('put', lost_after, *[lost] * 100),
            self.answering('get', passed, passed, *[lost] * 100),
        ):
            self.assertRaises(
                exception.HotplugFailed,
                self.client.attach,
                self.context,
                self.instance(self.server),
                reserved.id,
            )
        self.assertEqual(1, len(self.usages('host1')))
        self.restart_compute_service('host1')
        self.assertEqual({}, self.usages('host1'))
        self.assertEqual(attachment.ERROR, self.record(self.server).state)
        self.assert_invariants()

    def test_somebody_else_is_faster(self) -> None:
        """The first card is taken in between; the other one serves."""
        ready, calls = placing.Placing.candidates, []

        def stale(*args: ty.Any) -> list[str]:
            found = ready(*args)
            if not calls:
                calls.append(found)
                self.boot(self.hot(resources__VGPU=2))
            return found

        self.boot(self.hot(resources__VGPU=1))
        with mock.patch.object(placing.Placing, 'candidates', stale):
            record = self.attached(self.server)
        self.assertEqual(1, len(record.units))
        self.assert_invariants()


def _answer(status: int, code: str = '') -> ty.Any:
    found = mock.Mock(status_code=status)
    found.json.return_value = {
        'errors': [{'code': code, 'detail': 'somebody was faster'}]
    }
    return found


_Real = collections.abc.Callable[[], ty.Any]


def passed(real: _Real) -> ty.Any:
    return real()


def conflict(_real: _Real) -> ty.Any:
    return _answer(409, 'placement.concurrent_update')


def broken(_real: _Real) -> ty.Any:
    return _answer(500)


def broken_after(real: _Real) -> ty.Any:
    real()
    return _answer(500)


def lost(*_args: ty.Any, **_kwargs: ty.Any) -> ty.Any:
    raise ks_exc.RequestTimeout('no answer')


def lost_after(real: _Real) -> ty.Any:
    real()
    raise ks_exc.ConnectTimeout('no answer')
