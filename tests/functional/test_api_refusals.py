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
"""Everything the API refuses, each with its status and what to do."""

from unittest import mock

from keystoneauth1 import exceptions as ks_exc
from nova.limit import local as local_limit
from nova import objects
from oslo_limit import fixture as limit_fixture
import oslo_messaging as messaging
from oslo_utils.fixture import uuidsentinel as uuids

from nova_accel.api import calls
from nova_accel.core import naming
from nova_accel import exception
from nova_accel import rpc

from tests.functional import api
from tests.functional import rest
from tests.functional import rules


class RefusalTest(api.ApiTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.start_host('host1', 't4', rules.T4_8Q)
        self.server = self.boot(
            self.flavor(
                accel_hotplug__max_VGPU=2,
                accel_hotplug__max_FPGA=9,
                accel_hotplug__max_CUSTOM_NEVER_HEARD_OF=1,
            )
        )

    def tearDown(self) -> None:
        self.assertEqual([], self.rest.list(self.server['id'], rest.admin()))
        self.assert_invariants()
        super().tearDown()

    # A start of all services for each of these would take long.

    def test_who(self) -> None:
        self.a_reader_may_only_look()
        self.without_a_role_nothing()
        self.a_token_for_the_system_has_no_servers()
        self.a_server_of_another_project_is_not_there()
        self.an_administrator_sees_all()
        self.no_such_server()
        self.no_such_accelerator()

    def test_what(self) -> None:
        self.a_flavor_that_says_nothing()
        self.more_than_the_flavor_says()
        self.more_than_the_flavor_says_in_parts()
        self.a_flavor_beside_which_it_cannot_be_counted()
        self.a_class_that_the_host_does_not_have()

    def test_no_room(self) -> None:
        self.no_single_device_has_as_much()
        self.no_free_slot()

    def test_when(self) -> None:
        self.the_host_refuses()
        self.a_locked_server()
        self.a_server_with_something_under_way()
        self.a_host_that_is_down()
        self.a_host_that_does_not_answer()
        self.placement_does_not_answer()
        self.a_suspended_server()

    # Who

    def a_reader_may_only_look(self) -> None:
        server = self.server['id']
        self.assertEqual([], self.rest.list(server, rest.reader()))
        for response in (
            self.rest.attach(server, who=rest.reader()),
            self.rest.detach(server, uuids.a, rest.reader()),
        ):
            self.refusal(response, 403, 'policy_refusal')

    def without_a_role_nothing(self) -> None:
        response = self.rest.send(
            'GET', rest.place(self.server['id']), rest.user('other')
        )
        self.refusal(response, 403, 'policy_refusal')

    def a_token_for_the_system_has_no_servers(self) -> None:
        who = rest.user('admin', project=None, system_scope='all')
        for server in (self.server['id'], uuids.none):
            response = self.rest.send('GET', rest.place(server), who)
            self.refusal(response, 403, 'policy_refusal')

    def a_server_of_another_project_is_not_there(self) -> None:
        """Not even by how it is refused."""
        who = rest.member('another-project')
        told = []
        for server in (self.server['id'], uuids.none):
            id_ = rest.place(server, uuids.a)
            asked = {'accelerator': {'resource_class': 'VGPU'}}
            answers = [
                self.rest.send('GET', rest.place(server), who),
                self.rest.send('POST', rest.place(server), who, asked),
                self.rest.send('GET', id_, who),
                self.rest.send('DELETE', id_, who),
            ]
            for answer in answers:
                text = self.refusal(answer, 404, 'server_not_found')
                told.append(text.replace(server, 'SERVER'))
        self.assertEqual(1, len(set(told)), told)

    def an_administrator_sees_all(self) -> None:
        self.assertEqual([], self.rest.list(self.server['id'], rest.admin()))

    def no_such_server(self) -> None:
        for server in (uuids.none, 'web1', "'; --", '%00', '%F0%9F%98%80'):
            response = self.rest.send('GET', rest.place(server), rest.member())
            self.refusal(response, 404, 'server_not_found')

    def no_such_accelerator(self) -> None:
        for response in (
            self.rest.show(self.server['id'], uuids.none),
            self.rest.detach(self.server['id'], uuids.none),
            self.rest.act(self.server['id'], uuids.none, 'force_detach'),
        ):
            self.refusal(response, 404, 'attachment_not_found')

    # What

    def a_flavor_that_says_nothing(self) -> None:
        response = self.rest.attach(self.server['id'], 'CUSTOM_A100')
        text = self.refusal(response, 403, 'hotplug_not_permitted')
        self.assertIn('accel_hotplug:max_CUSTOM_A100', text)

    def more_than_the_flavor_says(self) -> None:
        response = self.rest.attach(self.server['id'], amount=3)
        text = self.refusal(response, 403, 'hotplug_not_allowed')
        self.assertIn('allows 2 of VGPU', text)

    def more_than_the_flavor_says_in_parts(self) -> None:
        id_ = self.attach(self.server)
        response = self.rest.attach(self.server['id'], amount=2)
        self.refusal(response, 403, 'hotplug_not_allowed')
        self.detach(self.server, id_)

    def a_flavor_beside_which_it_cannot_be_counted(self) -> None:
        server = self.boot(
            self.flavor(
                resources__VGPU=1,
                group_policy='isolate',
                accel_hotplug__max_VGPU=1,
            )
        )
        response = self.rest.attach(server['id'])
        text = self.refusal(response, 409, 'groups_mixed')
        self.assertIn('resources1:VGPU', text)
        self._delete_server(server)

    def a_class_that_the_host_does_not_have(self) -> None:
        for resource_class in ('FPGA', 'CUSTOM_NEVER_HEARD_OF'):
            response = self.rest.attach(self.server['id'], resource_class)
            text = self.refusal(response, 409, 'hotplug_unsupported')
            self.assertIn('nothing there offers it', text)

    def no_free_slot(self) -> None:
        others = [self.boot(self.flavor(resources__VGPU=2)) for _ in range(2)]
        response = self.rest.attach(self.server['id'])
        text = self.refusal(response, 409, 'no_free_slot')
        self.assertIn('try again later', text)
        for other in others:
            self._delete_server(other)
        id_ = self.attach(self.server)
        self.detach(self.server, id_)

    def no_single_device_has_as_much(self) -> None:
        one = self.flavor(
            resources1__VGPU=1, resources2__VGPU=1, group_policy='isolate'
        )
        other = self.boot(one)
        response = self.rest.attach(self.server['id'], amount=2)
        self.refusal(response, 409, 'no_free_slot')
        self._delete_server(other)

    def test_a_host_without_the_trait(self) -> None:
        for provider in self.accel_providers('host1').values():
            traits = set(self._get_provider_traits(provider))
            self._set_provider_traits(
                provider, list(traits - {naming.HOTPLUG})
            )
        response = self.rest.attach(self.server['id'])
        text = self.refusal(response, 409, 'hotplug_unsupported')
        self.assertIn('CUSTOM_ACCEL_HOTPLUG', text)
        # It is nova-compute's to say, and it does so once it looks again.
        self.restart_compute_service('host1')

    # When

    def a_locked_server(self) -> None:
        self.api.post_server_action(self.server['id'], {'lock': None})
        response = self.rest.attach(self.server['id'])
        text = self.refusal(response, 409, 'server_locked')
        self.assertIn('unlock', text)
        # The lock binds those who may not override it.
        who = rest.admin()
        response = self.rest.attach(self.server['id'], who=who, id=uuids.a)
        self.assertEqual(202, response.status_int)
        self.wait_for(self.server, uuids.a, 'attached')
        response = self.rest.detach(self.server['id'], uuids.a)
        self.refusal(response, 409, 'server_locked')
        self.api.post_server_action(self.server['id'], {'unlock': None})
        self.detach(self.server, uuids.a)

    def a_suspended_server(self) -> None:
        self._suspend_server(self.server)
        response = self.rest.attach(self.server['id'])
        text = self.refusal(response, 409, 'hotplug_wrong_state')
        self.assertIn('suspended', text)

    def a_server_with_something_under_way(self) -> None:
        instance = self.instance(self.server)
        instance.task_state = 'rebuilding'
        instance.save()
        response = self.rest.attach(self.server['id'])
        text = self.refusal(response, 409, 'hotplug_wrong_state')
        self.assertIn('rebuilding', text)
        instance.task_state = None
        instance.save()

    def test_a_server_on_no_host(self) -> None:
        self._shelve_server(self.server)
        response = self.rest.attach(self.server['id'])
        self.refusal(response, 409, 'hotplug_wrong_state')
        self.assertEqual([], self.rest.list(self.server['id']))

    def a_host_that_is_down(self) -> None:
        (service,) = self.api.get_services(host='host1', binary='nova-compute')
        self.api.put_service(service['id'], {'forced_down': True})
        response = self.rest.attach(self.server['id'])
        self.refusal(response, 409, 'host_unavailable')
        self.api.put_service(service['id'], {'forced_down': False})

    def a_host_that_does_not_answer(self) -> None:
        with mock.patch.object(
            rpc.AccelAPI, 'reserve', side_effect=messaging.MessagingTimeout
        ):
            response = self.rest.attach(self.server['id'], id=uuids.a)
        text = self.refusal(response, 503, 'service_silent')
        self.assertIn('same id', text)

    def the_host_refuses(self) -> None:
        """What it refuses at once is no action without an end."""
        error = exception.HotplugWrongState(server='x', state='busy')
        with mock.patch.object(rpc.AccelAPI, 'reserve', side_effect=error):
            response = self.rest.attach(self.server['id'], id=uuids.b)
        self.refusal(response, 409, 'hotplug_wrong_state')
        actions = self.api.get_instance_actions(self.server['id'])
        begun = [each['action'] for each in actions]
        self.assertNotIn('accel_attach', begun)

    def placement_does_not_answer(self) -> None:
        with mock.patch(
            'nova_accel.api.room.report.report_client_singleton'
        ) as client:
            client().get.side_effect = ks_exc.ConnectFailure
            response = self.rest.attach(self.server['id'])
        self.refusal(response, 503, 'service_silent')


class LimitTest(api.ApiTestCase):
    """Unified limits of Keystone, where the cloud uses them."""

    def setUp(self) -> None:
        super().setUp()
        self.start_host('host1', 't4', rules.T4_8Q)
        self.flags(driver='nova.quota.UnifiedLimitsDriver', group='quota')
        registered = {
            local_limit.SERVER_METADATA_ITEMS: 128,
            local_limit.INJECTED_FILES: 5,
            local_limit.INJECTED_FILES_CONTENT: 10 * 1024,
            local_limit.INJECTED_FILES_PATH: 255,
            local_limit.KEY_PAIRS: 100,
            local_limit.SERVER_GROUPS: 10,
            local_limit.SERVER_GROUP_MEMBERS: 1,
            'servers': 1,
            'class:VCPU': 8,
            'class:MEMORY_MB': 32768,
            'class:DISK_GB': 250,
            'class:VGPU': 9,
        }
        limits = {rest.PROJECT: {'class:VGPU': 2}}
        self.useFixture(limit_fixture.LimitFixture(registered, limits))

    def test_the_limit_of_the_project(self) -> None:
        # What the flavor brought counts.
        server = self.boot(
            self.flavor(resources__VGPU=1, accel_hotplug__max_VGPU=3)
        )
        id_ = self.attach(server)
        response = self.rest.attach(server['id'])
        text = self.refusal(response, 403, 'over_limit')
        self.assertIn('class:VGPU', text)
        # For administrators, too: it is the project of the server.
        response = self.rest.attach(server['id'], who=rest.admin())
        self.refusal(response, 403, 'over_limit')
        self.detach(server, id_)
        self.attach(server)

    def attach_both_at_once(self) -> tuple[api.Server, list[str]]:
        """Have two accepted before Placement counts any of them."""
        server = self.boot(
            self.flavor(resources__VGPU=1, accel_hotplug__max_VGPU=3)
        )
        late = self.process()
        waiting: list[tuple[object, ...]] = []
        service: calls.Service = late._application.service
        with mock.patch.object(
            service.worker, 'attach', lambda *args: waiting.append(args)
        ):
            ids = [
                late.attach(server['id']).json['accelerator']['id']
                for _ in range(2)
            ]
        for each in waiting:
            service.worker.attach(*each)
            self.wait_until(lambda: not service.worker._busy)
        return server, ids

    def test_two_at_once(self) -> None:
        server, (first, second) = self.attach_both_at_once()
        self.assertEqual('attached', self.status(server, first))
        refused = self.wait_for(server, second, 'error')
        self.assertIn('A limit of the project', refused['reason'])
        self.assertIn('class:VGPU', refused['reason'])
        # No guest has seen it.
        self.assertEqual(2, len(self.hostdevs('host1', server)))
        self.assertEqual(2, len(self.claims(server)))
        actions = self.api.get_instance_actions(server['id'])
        self.assertEqual(
            ['Error', None],
            [a['message'] for a in actions if a['action'] == 'accel_attach'],
        )
        self.assert_invariants()

    def test_two_at_once_in_a_cloud_that_looks_once(self) -> None:
        self.flags(recheck_quota=False, group='quota')
        server, ids = self.attach_both_at_once()
        for each in ids:
            self.assertEqual('attached', self.status(server, each))

    def test_a_class_without_a_limit_of_its_own(self) -> None:
        server = self.boot(self.flavor(accel_hotplug__max_VGPU=3))
        spec = objects.RequestSpec.get_by_instance_uuid(
            self.context, server['id']
        )
        self.assertEqual(rest.PROJECT, spec.project_id)
        self.attach(server, amount=2)
        response = self.rest.attach(server['id'])
        self.refusal(response, 403, 'over_limit')
