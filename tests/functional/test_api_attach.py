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
"""Attach and detach through the API, with everything behind it real."""

import collections.abc
import contextlib
import threading
import typing as ty
from unittest import mock

from nova import objects
from oslo_utils.fixture import uuidsentinel as uuids

from nova_accel.api import spec
from nova_accel.api import worker
from nova_accel.core import attachment
from nova_accel import rpc

from tests.functional import api
from tests.functional import hotplug
from tests.functional import rest
from tests.functional import rules


class AttachTest(api.ApiTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.start_host('host1', 't4', rules.T4_8Q)
        self.server = self.boot(self.flavor(accel_hotplug__max_VGPU=2))

    def tearDown(self) -> None:
        self.assert_invariants()
        super().tearDown()

    def test_attach_and_detach(self) -> None:
        response = self.rest.attach(self.server['id'])
        self.assertEqual(202, response.status_int)
        accepted = response.json['accelerator']
        place = rest.place(self.server['id'], accepted['id'])
        self.assertEqual(f'http://localhost{place}', response.location)
        self.assertEqual('attaching', accepted['status'])
        self.assertNotIn('host_details', accepted)

        found = self.wait_for(self.server, accepted['id'], 'attached')
        self.assertEqual(('VGPU', 1), (found['resource_class'], 1))
        self.assertEqual('attached', found['source'])
        self.assertEqual('host1', found['host_details']['host'])
        (unit,) = found['host_details']['units']
        self.assertEqual(
            [unit], [claim.unit for claim in self.claims(self.server)]
        )
        self.assertEqual(1, len(self.hostdevs('host1', self.server)))
        self.assertEqual(
            {accepted['id']: ('VGPU', 1)}, self.groups(self.server)
        )

        group = f'resources_ACCEL_{accepted["id"]}:VGPU'
        server = self.api.get_server(self.server['id'])
        self.assertEqual('1', server['flavor']['extra_specs'][group])

        self.detach(self.server, accepted['id'])
        self.assertEqual([], self.hostdevs('host1', self.server))
        self.assertEqual([], self.claims(self.server))
        self.assertEqual({}, self.groups(self.server))
        self.assertEqual({}, self.usages('host1'))
        self.assertEqual([], self.rest.list(self.server['id']))
        self.the_actions_of_the_server_name_both()

    def test_a_stopped_server_gets_several_units_at_its_start(self) -> None:
        self._stop_server(self.server)
        id_ = self.attach(self.server, amount=2)
        self._start_server(self.server)
        self.assertEqual(2, len(self.hostdevs('host1', self.server)))
        self.detach(self.server, id_)
        self.assertEqual([], self.hostdevs('host1', self.server))

    def the_actions_of_the_server_name_both(self) -> None:
        actions = self.api.get_instance_actions(self.server['id'])
        found = {action['action']: action for action in actions}
        for name in ('accel_attach', 'accel_detach'):
            request_id = found[name]['request_id']
            action = self.api.api_get(
                f'/servers/{self.server["id"]}/os-instance-actions/'
                f'{request_id}'
            ).body['instanceAction']
            (event,) = action['events']
            self.assertEqual(
                (name, 'Success'), (event['event'], event['result'])
            )

    def test_ids(self) -> None:
        self.the_client_chooses_the_id()
        self.the_same_request_again_does_nothing()
        self.the_same_request_again_is_not_refused_for_what_is_now()
        self.the_same_id_for_something_else()

    def test_detaching(self) -> None:
        self.detach_of_what_is_gone()
        self.actions_are_for_administrators()
        self.there_must_be_a_detach_to_cancel()
        self.force_detach()

    def the_client_chooses_the_id(self) -> None:
        self.assertEqual(uuids.first, self.attach(self.server, id=uuids.first))

    def the_same_request_again_does_nothing(self) -> None:
        self.attach(self.server, id=uuids.first)
        other = self.process()
        response = other.attach(self.server['id'], id=uuids.first)
        self.assertEqual('attached', response.json['accelerator']['status'])
        self.assertEqual(1, len(self.claims(self.server)))

    def the_same_request_again_is_not_refused_for_what_is_now(self) -> None:
        self.api.post_server_action(self.server['id'], {'lock': None})
        response = self.rest.attach(self.server['id'], id=uuids.first)
        self.assertEqual(202, response.status_int)
        self.api.post_server_action(self.server['id'], {'unlock': None})

    def the_same_id_for_something_else(self) -> None:
        text = self.refusal(
            self.rest.attach(self.server['id'], id=uuids.first, amount=2),
            409,
            'attachment_conflict',
        )
        self.assertIn(uuids.first, text)

    def detach_of_what_is_gone(self) -> None:
        id_ = self.attach(self.server)
        self.detach(self.server, id_)
        self.refusal(
            self.rest.detach(self.server['id'], id_),
            404,
            'attachment_not_found',
        )

    def actions_are_for_administrators(self) -> None:
        id_ = self.attach(self.server)
        for action in ('force_detach', 'cancel_detach'):
            self.refusal(
                self.rest.act(self.server['id'], id_, action, rest.member()),
                403,
                'policy_refusal',
            )
        self.detach(self.server, id_)

    def force_detach(self) -> None:
        (id_,) = self.groups(self.server)
        response = self.rest.act(self.server['id'], id_, 'force_detach')
        self.assertIn(response.status_int, (202, 204))
        self.wait_until(lambda: self.status(self.server, id_) is None)

    def there_must_be_a_detach_to_cancel(self) -> None:
        id_ = self.attach(self.server)
        self.refusal(
            self.rest.act(self.server['id'], id_, 'cancel_detach'),
            409,
            'not_detaching',
        )


class FlavorTest(api.ApiTestCase):
    """What the flavor brought is shown, and stays."""

    def setUp(self) -> None:
        super().setUp()
        self.start_host('host1', 't4', rules.T4_8Q)
        self.server = self.boot(
            self.flavor(resources__VGPU=1, accel_hotplug__max_VGPU=1)
        )

    def test_list_tells_where_each_came_from(self) -> None:
        self.attach(self.server)
        found = self.rest.list(self.server['id'])
        self.assertEqual(
            ['flavor', 'attached'], [each['source'] for each in found]
        )
        self.assertEqual(
            ['attached', 'attached'], [each['status'] for each in found]
        )
        for each in found:
            shown = self.rest.show(self.server['id'], each['id'])
            self.assertEqual(each, shown.json['accelerator'])

    def test_it_cannot_be_detached(self) -> None:
        (found,) = self.rest.list(self.server['id'])
        text = self.refusal(
            self.rest.detach(self.server['id'], found['id']),
            409,
            'not_detachable',
        )
        self.assertIn('resize', text)

    def test_its_id_is_taken(self) -> None:
        (found,) = self.rest.list(self.server['id'])
        self.refusal(
            self.rest.attach(self.server['id'], id=found['id']),
            409,
            'attachment_conflict',
        )


class ProcessesTest(api.ApiTestCase):
    """API processes that come and go."""

    def setUp(self) -> None:
        super().setUp()
        self.start_host('host1', 't4', rules.T4_8Q)
        self.server = self.boot(self.flavor(accel_hotplug__max_VGPU=2))

    def test_one_that_died_after_the_reservation(self) -> None:
        dying = self.process()
        dying._application.service.worker.attach = lambda *_args: True
        response = dying.attach(self.server['id'], id=uuids.first)
        self.assertEqual('attaching', response.json['accelerator']['status'])
        # Asked again, by whom it does not matter.
        self.assertEqual(uuids.first, self.attach(self.server, id=uuids.first))
        self.assert_invariants()

    def test_one_that_died_and_nobody_asks_again(self) -> None:
        self.flags(resume_after=1, group='accel_api')
        dying = self.process()
        dying._application.service.worker.attach = lambda *_args: True
        dying.attach(self.server['id'], id=uuids.first)
        self.wait_for(self.server, uuids.first, attachment.ATTACHED)
        self.assert_invariants()

    def test_one_that_died_before_the_request_spec(self) -> None:
        id_ = self.attach(self.server)
        spec = self.spec(self.server)
        before = dict(spec.flavor.extra_specs)
        flavor = spec.flavor.obj_clone()
        flavor.extra_specs = attachment.aligned(before, {})
        spec.flavor = flavor
        spec.save()
        self.assertEqual({}, self.groups(self.server))
        self.rest.list(self.server['id'], rest.reader())
        self.assertEqual({id_: ('VGPU', 1)}, self.groups(self.server))
        self.assertEqual(before, self.spec(self.server).flavor.extra_specs)

    def test_a_late_end_of_a_detach_is_noticed(self) -> None:
        id_ = self.attach(self.server)
        self.assertEqual(
            202, self.rest.detach(self.server['id'], id_).status_int
        )
        # Nobody asks the API.
        self.wait_until(lambda: not self.groups(self.server))


class Dead(BaseException):
    """The process is killed: nothing that follows is done."""


Step = tuple[ty.Any, str]

ATTACH: tuple[Step, ...] = (
    (rpc.AccelAPI, 'reserve'),
    (worker, 'note'),
    (rpc.AccelAPI, 'attach'),
    (spec, 'align'),
    (objects.RequestSpec, 'save'),
)
DETACH: tuple[Step, ...] = (
    (worker, 'note'),
    (rpc.AccelAPI, 'detach'),
    (spec, 'align'),
    (objects.RequestSpec, 'save'),
)


class KilledTest(api.ApiTestCase):
    """An API process dies at each step; another one ends what was begun."""

    def setUp(self) -> None:
        super().setUp()
        self.start_host('host1', 't4', rules.T4_8Q)
        self.server = self.boot(self.flavor(accel_hotplug__max_VGPU=1))

    @contextlib.contextmanager
    def killed(
        self, table: tuple[Step, ...], at: Step, before: bool
    ) -> collections.abc.Iterator[None]:
        dead = threading.Event()

        def mortal(step: Step) -> ty.Any:
            original = getattr(*step)

            def call(*args: ty.Any, **kwargs: ty.Any) -> ty.Any:
                if dead.is_set() or (step == at and before):
                    dead.set()
                    raise Dead
                result = original(*args, **kwargs)
                if step == at:
                    dead.set()
                    raise Dead
                return result

            return mock.patch.object(*step, call)

        with contextlib.ExitStack() as stack:
            for step in table:
                stack.enter_context(mortal(step))
            with contextlib.suppress(Dead):
                yield
            self.wait_until(dead.is_set)

    def test_of_an_attach(self) -> None:
        hotplug.each(ATTACH, self.check_attach)

    def test_of_a_detach(self) -> None:
        hotplug.each(DETACH, self.check_detach)

    def check_attach(self, step: Step, before: bool) -> None:
        with self.killed(ATTACH, step, before):
            self.process().attach(self.server['id'], id=uuids.first)
        # The same request again, whoever hears it.
        self.assertEqual(uuids.first, self.attach(self.server, id=uuids.first))
        self.assertEqual({uuids.first: ('VGPU', 1)}, self.groups(self.server))
        self.assertEqual(1, len(self.claims(self.server)))
        self.assertEqual(1, len(self.hostdevs('host1', self.server)))
        self.assert_invariants()
        self.detach(self.server, uuids.first)
        self.wait_until(lambda: self.is_aligned(self.server))

    def check_detach(self, step: Step, before: bool) -> None:
        id_ = self.attach(self.server)
        with self.killed(DETACH, step, before):
            self.process().detach(self.server['id'], id_)
        # Any request puts right what can be.
        if self.status(self.server, id_) is not None:
            self.detach(self.server, id_)
        self.wait_until(lambda: self.is_aligned(self.server))
        self.assertEqual({}, self.groups(self.server))
        self.assertEqual([], self.claims(self.server))
        self.assertEqual([], self.hostdevs('host1', self.server))
        self.assert_invariants()
