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
"""A server is deleted, in whatever state it is."""

import pathlib
import threading
import typing as ty
from unittest import mock

from nova.compute import claims
from nova.compute import task_states
import nova.conf
from nova import objects

from tests.functional import moves
from tests.functional import rules


class DeleteTest(moves.MoveTestCase):
    """Nothing stays behind, on any host."""

    def setUp(self) -> None:
        super().setUp()
        self.write_rules(rules.MIXED)
        for host in ('host1', 'host2'):
            self.start_host(host, 'mixed')
        self.one = self.flavor(resources__VGPU=1, resources__CUSTOM_NVME=1)

    def start(self) -> dict[str, ty.Any]:
        return self.boot(self.one, host='host1')

    def delete(self, server: dict[str, ty.Any]) -> None:
        self._delete_server(server)
        self.assert_nothing_held()

    def act(
        self, server: dict[str, ty.Any], action: str, expected: str
    ) -> None:
        self.api.post_server_action(server['id'], {action: {}})
        self._wait_for_state_change(server, expected)

    def test_at_rest(self) -> None:
        for action, expected in [
            ('pause', 'PAUSED'),
            ('suspend', 'SUSPENDED'),
            ('os-stop', 'SHUTOFF'),
        ]:
            server = self.start()
            self.act(server, action, expected)
            self.delete(server)

    def test_active_and_rescued(self) -> None:
        self.delete(self.start())
        server = self.start()
        pathlib.Path(nova.conf.CONF.instances_path, server['id']).mkdir(
            exist_ok=True
        )
        self._rescue_server(server)
        self.delete(server)

    def test_shelved_and_offloaded(self) -> None:
        self.flags(shelved_offload_time=-1)
        server = self.start()
        self._shelve_server(server, expected_state='SHELVED')
        # It is off, and still on its host.
        self.assertEqual(2, len(self.held('host1')))
        self._shelve_offload_server(server)
        self.assert_nothing_held()
        self.delete(server)

    def test_resized(self) -> None:
        server = self.start()
        self._migrate_server(server, host='host2')
        # All hosts share it in nova's harness; the source asks for it.
        self.flags(host='host1')
        self._delete_server(server)
        self.assertEqual([], self.mdevs('host1'))
        # Nova's tracker of host2 does not know yet that it had arrived.
        self.run_periodic()
        self.run_periodic()
        self.assert_nothing_held()

    def test_in_error(self) -> None:
        server = self.start()
        self.api.post_server_action(
            server['id'], {'os-resetState': {'state': 'error'}}
        )
        self.delete(server)

    def test_softly(self) -> None:
        self.flags(reclaim_instance_interval=60)
        server = self.start()
        held = self.held('host1')
        self.api.delete_server(server['id'])
        self._wait_for_state_change(server, 'SOFT_DELETED')
        self.run_periodic()
        self.assertEqual(held, self.held('host1'))
        self.act(server, 'restore', 'ACTIVE')
        self.assertEqual(2, len(self.hostdevs('host1', server)))
        self.assert_invariants()
        self.api.delete_server(server['id'])
        self._wait_for_state_change(server, 'SOFT_DELETED')
        self.api.post_server_action(server['id'], {'forceDelete': {}})
        self._wait_until_deleted(server)
        self.assert_nothing_held()

    def test_while_it_is_built(self) -> None:
        driver, deleted = self.driver('host1'), []
        spawn = driver.spawn

        def late(
            context: ty.Any, instance: ty.Any, *args: ty.Any, **kwargs: ty.Any
        ) -> None:
            # It waits for the build, and nova's harness for its answer.
            thread = threading.Thread(
                target=self.api.delete_server, args=(instance.uuid,)
            )
            thread.start()
            deleted.append(thread)
            self.wait_for_task(instance.uuid, task_states.DELETING)
            spawn(context, instance, *args, **kwargs)

        with mock.patch.object(driver, 'spawn', late):
            server = self.api.post_server(
                {
                    'server': self._build_server(
                        flavor_id=self.one, networks='none', host='host1'
                    )
                }
            )
            self._wait_until_deleted(server)
        for thread in deleted:
            thread.join()
        self.assertEqual(1, len(deleted))
        self.assert_nothing_held()

    def wait_for_task(self, uuid: str, task: str) -> None:
        waiting = threading.Event()
        for _ in range(300):
            instance = objects.Instance.get_by_uuid(self.context, uuid)
            if instance.task_state == task:
                return
            waiting.wait(0.1)
        raise self.failureException(instance.task_state)


class Crash(BaseException):
    """nova-compute is killed: nothing is cleaned up."""


class CrashTest(moves.MoveTestCase):
    """nova-compute stops in the middle, starts again, and all is in order."""

    def setUp(self) -> None:
        super().setUp()
        self.write_rules(rules.MIXED)
        for host in ('host1', 'host2'):
            self.start_host(host, 'mixed')
        self.one = self.flavor(resources__VGPU=1, resources__CUSTOM_NVME=1)

    def crash(self, where: object, verb: str) -> dict[str, ty.Any]:
        """Let nova-compute of host1 be killed while it builds a server."""
        crashed = threading.Event()

        def killed(*args: ty.Any, **kwargs: ty.Any) -> None:
            crashed.set()
            raise Crash

        with (
            mock.patch.object(where, verb, killed),
            mock.patch.object(claims.Claim, 'abort'),
        ):
            body = self._build_server(
                flavor_id=self.one, networks='none', host='host1'
            )
            server = self.api.post_server({'server': body})
            self.assertTrue(crashed.wait(60))
        self.restart_compute_service('host1')
        self._wait_for_state_change(server, 'ERROR', wait_for_fault_key=False)
        return ty.cast(dict[str, ty.Any], server)

    def test_before_the_claim_is_saved(self) -> None:
        server = self.crash(
            self.computes['host1'].manager, '_validate_instance_group_policy'
        )
        self.assertEqual([], self.claims(server))
        self._delete_server(server)
        self.assert_nothing_held()

    def test_before_the_guest_is_made(self) -> None:
        server = self.crash(self.driver('host1'), 'spawn')
        self.assertEqual({*self.claims(server)}, self.held('host1'))
        self.assertEqual(2, len(self.held('host1')))
        self.run_periodic()
        self.assertEqual({*self.claims(server)}, self.held('host1'))
        self._delete_server(server)
        self.assert_nothing_held()

    def test_before_the_source_lets_go(self) -> None:
        # Nova gives the move up when the source starts.
        self.lose('host2', 'resize_instance', kept=0)

    def test_before_the_destination_takes_over(self) -> None:
        self.lose('host1', 'finish_resize', kept=2)

    def lose(self, host: str, verb: str, kept: int) -> None:
        """Let hosts be restarted in the middle of a cold migration.

        :param host: whose next message, a verb, is lost.
        :param kept: how much of its claim the destination keeps.
        """
        server = self.boot(self.one, host='host1')
        before = {*self.claims(server)}
        rpc, sent = self.computes[host].manager.compute_rpcapi, []
        with mock.patch.object(
            rpc, verb, lambda *args, **kwargs: sent.append(verb)
        ):
            self.api.post_server_action(
                server['id'], {'migrate': {'host': 'host2'}}
            )
            self.wait_until(lambda: bool(sent))
        after = self.held('host2')
        self.assertEqual(2, len(after))
        for each in ('host1', 'host2'):
            self.restart_compute_service(each)
            self.run_periodic()
        self.assertEqual(before, self.held('host1'))
        # While it is on its way, its record names what it had, too.
        self.assertEqual(kept, len(after & self.held('host2')))
        self._delete_server(server)
        # The other host is told by the database, and then destroys.
        self.run_periodic()
        self.run_periodic()
        for each in ('host1', 'host2'):
            self.assertEqual(frozenset(), self.held(each))
            self.assertEqual([], self.mdevs(each))
