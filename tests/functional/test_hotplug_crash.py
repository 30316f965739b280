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

import collections
import collections.abc
import contextlib
import re
import typing as ty
from unittest import mock
import uuid

from nova_accel.testing import cloud  # noqa: F401  (comes first)

from keystoneauth1 import exceptions as ks_exc
from nova import objects
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
# Of an attach that is claimed, and then not to be.
REFUSE = (
    Step('unmake', BACKEND, 'release'),
    Step('hold no more', records, 'hold'),
    Step('forget', RT, 'hotplug_release'),
    Step('give back', placing.Placing, 'settle'),
    Step('write error', records, 'save'),
)
# What changes nothing. All else that libvirt is asked for does.
READS = re.compile(r'lookup|Lookup|XMLDesc|isActive|info$|^get|^list|^num')


class StepTestCase(hotplug.HotplugTestCase):
    NODE, RULES = 't4', rules.T4_8Q

    def setUp(self) -> None:
        super().setUp()
        self.server = self.boot(self.hot())

    @contextlib.contextmanager
    def killed(
        self, step: Step, before: bool
    ) -> collections.abc.Iterator[None]:
        """Let nova-compute be killed at a step, then start it again."""
        owner = self.owner(step)
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

    def owner(self, step: Step) -> ty.Any:
        if not isinstance(step.owner, str):
            return step.owner
        owner: ty.Any = self.computes['host1'].manager
        for part in step.owner.split('.'):
            owner = getattr(owner, part)
        return owner

    def serve(self, verb: str, *args: ty.Any) -> None:
        getattr(self.served(), verb)(
            self.context, self.instance(self.server), *args
        )

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


class CrashTest(StepTestCase):
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

        hotplug.each([Step('write attaching', records, 'save')], check)

    def test_of_the_first_steps_of_an_attach(self) -> None:
        hotplug.each(ATTACH[:4], self.check_attach)

    def test_of_the_last_steps_of_an_attach(self) -> None:
        hotplug.each(ATTACH[4:], self.check_attach)

    def test_of_the_first_steps_of_a_detach(self) -> None:
        hotplug.each(DETACH[:4], self.check_detach)

    def test_of_the_last_steps_of_a_detach(self) -> None:
        hotplug.each(DETACH[4:], self.check_detach)

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

    def test_of_a_claim(self) -> None:
        """The API has not asked for the rest of an attach yet."""
        id_ = self.reserve(self.server).id
        self.serve('claim', id_)
        self.assertEqual(attachment.ATTACHING, self.record(self.server).state)
        # Nor while something else is done to the server.
        busy = self.instance(self.server)
        busy.task_state = 'rebuilding'
        busy.save()
        self.assertRaises(
            exception.HotplugWrongState,
            self.client.attach,
            self.context,
            self.instance(self.server),
            id_,
        )
        busy.task_state = None
        busy.save()
        # It is not nova-compute's to go on.
        self.run_periodic()
        self.assertEqual([], self.domain(self.server).held())
        self.restart_compute_service('host1')
        self.repair()
        self.assertEqual(
            (attachment.ATTACHED, ''), hotplug.state(self.record(self.server))
        )
        self.finish(id_)

    def test_of_a_refusal(self) -> None:
        hotplug.each(REFUSE, self.check_refusal)

    def check_refusal(self, step: Step, before: bool) -> None:
        id_ = self.reserve(self.server).id
        self.serve('claim', id_)
        with self.killed(step, before):
            self.serve('refuse', id_, 'too much')
        self.repair()
        names = [each.name for each in REFUSE]
        at, held = names.index(step.name), names.index('hold no more')
        record = self.record(self.server)
        if step is REFUSE[-1] and not before:
            self.assertEqual(
                (attachment.ERROR, 'too much'), hotplug.state(record)
            )
        elif at > held or (at == held and not before):
            self.assertEqual(
                (attachment.ERROR, attach.INTERRUPTED), hotplug.state(record)
            )
        else:
            # As if it had not been said.
            self.assertEqual((attachment.ATTACHED, ''), hotplug.state(record))
        self.finish(id_)

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


class TableTest(StepTestCase):
    """Nothing is done but in the steps above, so each is one to be killed at.

    A step that is added to nova_accel without being added here fails.
    """

    def test_of_a_reservation(self) -> None:
        table = [Step('write attaching', records, 'save')]
        with self.watched(table):
            self.reserve(self.server)

    def test_of_an_attach(self) -> None:
        id_ = self.reserve(self.server).id
        with self.watched(ATTACH):
            self.serve('attach', id_)

    def test_of_a_detach(self) -> None:
        id_ = self.attached(self.server).id
        with self.watched(DETACH):
            self.serve('detach', id_)

    def test_of_a_claim_and_a_refusal(self) -> None:
        id_ = self.reserve(self.server).id
        with self.watched(ATTACH[:4]):
            self.serve('claim', id_)
        with self.watched(REFUSE):
            self.serve('refuse', id_, 'too much')

    def test_it_notices(self) -> None:
        id_ = self.reserve(self.server).id
        without = (*ATTACH[:3], *ATTACH[4:])
        error = self.assertRaises(
            AssertionError, self.watch_and_serve, without, 'attach', id_
        )
        self.assertIn('save', str(error))

    def watch_and_serve(
        self, table: collections.abc.Iterable[Step], verb: str, *args: ty.Any
    ) -> None:
        with self.watched(table):
            self.serve(verb, *args)

    @contextlib.contextmanager
    def watched(
        self, table: collections.abc.Iterable[Step]
    ) -> collections.abc.Iterator[None]:
        """See each step taken, in order, and nothing changed outside."""
        table = list(table)
        names = {(id(s.owner), s.verb, s.number): s.name for s in table}
        counts: collections.Counter[tuple[int, str]] = collections.Counter()
        now: list[str] = []
        seen: list[str] = []
        outside: list[str] = []

        def within(step: Step, original: ty.Any) -> ty.Any:
            key = id(step.owner), step.verb

            def call(*args: ty.Any, **kwargs: ty.Any) -> ty.Any:
                counts[key] += 1
                name = names.get((*key, counts[key]), f'more {step.verb}')
                seen.append(name)
                now.append(name)
                try:
                    return original(*args, **kwargs)
                finally:
                    now.pop()

            return call

        def change(name: str, original: ty.Any) -> ty.Any:
            def call(*args: ty.Any, **kwargs: ty.Any) -> ty.Any:
                if not now and not READS.search(_verb(name, args)):
                    outside.append(_verb(name, args))
                return original(*args, **kwargs)

            return call

        manager = self.computes['host1'].manager
        with contextlib.ExitStack() as stack:

            def patch(owner: ty.Any, verb: str, new: ty.Any) -> None:
                stack.enter_context(mock.patch.object(owner, verb, new))

            for step in {(id(s.owner), s.verb): s for s in table}.values():
                owner = self.owner(step)
                original = getattr(owner, step.verb)
                patch(owner, step.verb, within(step, original))
            for owner, verb in (
                (objects.Instance, 'save'),
                (manager.reportclient, 'put'),
                (manager.reportclient, 'post'),
                (manager.reportclient, 'delete'),
                (self.connection_of('host1'), 'answer'),
            ):
                patch(owner, verb, change(verb, getattr(owner, verb)))
            yield
        self.assertEqual([], outside)
        self.assertEqual([step.name for step in table], seen)


def _verb(name: str, args: tuple[ty.Any, ...]) -> str:
    return str(args[0]) if name == 'answer' else name


class TransitionTest(hotplug.HotplugTestCase):
    """Each step of the table of states is taken, and no other."""

    NODE, RULES = 't4', rules.T4_8Q

    def test_all(self) -> None:
        server = self.boot(self.hot())
        seen: set[tuple[str, str]] = set()
        original = attachment.Attachment.to

        def to(
            record: attachment.Attachment, state: str, *more: str
        ) -> ty.Any:
            found = original(record, state, *more)
            seen.add((record.state, state))
            return found

        with mock.patch.object(attachment.Attachment, 'to', to):
            # Given up before it began.
            record = self.reserve(server)
            self.assertEqual(attachment.ATTACHING, record.state)
            self.detach(server, record.id)
            # It fails, is asked for again, and fails again.
            with mock.patch.object(
                placing.Placing, 'candidates', return_value=[]
            ):
                failed = self.attach(server)
                self.attach(server, id=failed.id)
            self.detach(server, failed.id)
            # It works; the guest is to keep it, and then not.
            id_ = self.attached(server).id
            self.connection_of('host1').answering = False
            self.detach(server, id_)
            self.client.cancel(self.context, self.instance(server), id_)
            self.connection_of('host1').answering = True
            self.detach(server, id_)
        declared = {
            (before, after)
            for before, states in attachment.TRANSITIONS.items()
            for after in states
            # A record begins as it is reserved.
            if before
        }
        self.assertEqual(declared, seen)
        self.assert_nothing_attached(server)


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
        self,
        verb: str,
        *answers: collections.abc.Callable[..., ty.Any],
        again: bool = True,
    ) -> None:
        """Do both in spite of the answers.

        :param again: whether an attach asks again after all of them.
        """
        with self.answering(verb, *answers) as calls:
            record = self.attached(self.server)
        # All of that was heard.
        compare = self.assertGreater if again else self.assertEqual
        compare(len(calls), len(answers))
        self.assertEqual(
            1, sum(used['VGPU'] for used in self.usages('host1').values())
        )
        self.assert_invariants()
        with self.answering(verb, *answers) as calls:
            self.assertEqual('', self.detach(self.server, record.id).state)
        self.assertGreaterEqual(len(calls), len(answers))
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
        # It looks, and sees that it was.
        self.attach_and_detach('put', broken_after, again=False)

    def test_no_answer_after_it_was_done(self) -> None:
        self.attach_and_detach('put', lost_after, again=False)

    def test_errors_and_no_answers_when_asked(self) -> None:
        self.attach_and_detach('get', broken, lost, broken)

    def test_no_answer_at_all(self) -> None:
        reserved = self.reserve(self.server)
        with (
            self.answering('put', *[lost] * 100),
            mock.patch.object(self.reports, 'get', side_effect=lost),
        ):
            self.try_attach(self.server, reserved)
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
            self.try_attach(self.server, reserved)
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
