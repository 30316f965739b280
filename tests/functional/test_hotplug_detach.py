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
"""An accelerator is detached from a server, which may take its time."""

from unittest import mock

from nova_accel.testing import cloud  # noqa: F401  (comes first)

from nova import exception as nova_exception
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.virt.libvirt import guest as libvirt_guest

from nova_accel.core import attachment
from nova_accel import exception
from nova_accel.virt import detach
from nova_accel.virt import records

from tests.functional import hotplug

VGPU, NVME = hotplug.VGPU, hotplug.NVME


class SilentTest(hotplug.HotplugTestCase):
    """The guest does not answer."""

    def setUp(self) -> None:
        super().setUp()
        self.server = self.boot(self.hot())
        self.vgpu = self.attached(self.server)
        self.nvme = self.attached(self.server, NVME)
        self.connection_of('host1').answering = False
        for each in (self.vgpu, self.nvme):
            record = self.detach(self.server, each.id)
            self.assertEqual(
                (attachment.DETACHING, detach.WAITING), hotplug.state(record)
            )
        self.assert_waiting()

    def assert_waiting(self) -> None:
        """What is in a guest is nobody else's."""
        records = self.records(self.server)
        self.assertEqual(
            {(attachment.DETACHING, detach.WAITING)},
            {hotplug.state(record) for record in records.values()},
        )
        self.assertEqual(2, len(self.domain(self.server).held()))
        self.assertEqual(2, len(self.claims(self.server)))
        self.assertEqual(2, len(self.usages('host1')))
        self.assertEqual(
            self.vgpu.claims | self.nvme.claims, self.held('host1')
        )
        self.assert_invariants()

    def finish(self) -> None:
        self.wait_until(lambda: not self.records(self.server))
        self.align(self.server)
        self.assertEqual([], self.domain(self.server).held())
        self.assertEqual([], self.hostdevs('host1', self.server))
        self.assert_nothing_attached(self.server)

    def test_for_ever(self) -> None:
        for _ in range(3):
            self.run_periodic()
        self.assert_waiting()
        # The same request again changes nothing.
        self.detach(self.server, self.vgpu.id)
        self.assert_waiting()
        self._delete_server(self.server)
        self.assert_nothing_held()

    def test_until_late(self) -> None:
        self.answer(self.server)
        self.finish()

    def test_late_and_the_event_got_lost(self) -> None:
        self.domain(self.server).answer()
        self.run_periodic()
        self.finish()

    def test_across_a_restart(self) -> None:
        self.restart_compute_service('host1')
        self.assert_waiting()
        self.answer(self.server)
        self.finish()

    def test_late_while_nova_compute_was_down(self) -> None:
        self.domain(self.server).answer()
        self.restart_compute_service('host1')
        self.finish()

    def test_until_it_is_rebooted(self) -> None:
        self._reboot_server(self.server, hard=True)
        self.run_periodic()
        self.finish()

    def test_until_it_is_stopped(self) -> None:
        self._stop_server(self.server)
        self.run_periodic()
        self.finish()
        self._start_server(self.server)
        self.assertEqual([], self.domain(self.server).held())

    def test_until_the_host_is_rebooted(self) -> None:
        connection = self.connection_of('host1')
        self.domain(self.server).destroy()
        connection.machine.reboot()
        self.restart_compute_service('host1')
        self._reboot_server(self.server, hard=True)
        self.run_periodic()
        self.finish()

    def test_by_force(self) -> None:
        boots = self.connection_of('host1').calls['virDomain.createWithFlags']
        record = self.detach(self.server, self.vgpu.id, force=True)
        self.assertEqual('', record.state)
        self.assertEqual(
            boots + 1,
            self.connection_of('host1').calls['virDomain.createWithFlags'],
        )
        server = self.api.get_server(self.server['id'])
        self.assertEqual('ACTIVE', server['status'])
        # The other one went with the old guest.
        self.run_periodic()
        self.finish()

    def test_by_force_while_something_else_is_done(self) -> None:
        instance = self.instance(self.server)
        instance.task_state = 'rebooting'
        instance.save()
        self.assertRaises(
            exception.HotplugWrongState,
            self.detach,
            self.server,
            self.vgpu.id,
            force=True,
        )
        instance.task_state = None
        instance.save()
        self.assert_waiting()

    def test_cancelled(self) -> None:
        for each in (self.vgpu, self.nvme):
            record = self.client.cancel(
                self.context, self.instance(self.server), each.id
            )
            self.assertEqual((attachment.ATTACHED, ''), hotplug.state(record))
        self.run_periodic()
        self.assertEqual(2, len(self.domain(self.server).held()))
        self.assert_invariants()
        # They are the server's for good.
        self._reboot_server(self.server, hard=True)
        self.assertEqual(2, len(self.domain(self.server).held()))
        self.connection_of('host1').answering = True
        for each in (self.vgpu, self.nvme):
            self.detach(self.server, each.id)
        self.finish()

    def test_cancelled_and_the_guest_lets_go_after_all(self) -> None:
        self.client.cancel(
            self.context, self.instance(self.server), self.vgpu.id
        )
        self.answer(self.server)
        # It is given what it is to keep, and rid of the other.
        self.wait_until(lambda: len(self.records(self.server)) == 1)
        self.wait_until(lambda: len(self.domain(self.server).held()) == 1)
        ((kind, *_),) = self.domain(self.server).held()
        self.assertEqual('mdev', kind)
        self.align(self.server)
        self.assert_invariants()
        self.connection_of('host1').answering = True
        self.detach(self.server, self.vgpu.id)
        self.finish()

    def test_cancelled_too_late(self) -> None:
        self.answer(self.server)
        self.wait_until(lambda: not self.records(self.server))
        self.assertRaises(
            exception.AttachmentNotFound,
            self.client.cancel,
            self.context,
            self.instance(self.server),
            self.vgpu.id,
        )
        self.finish()

    def test_nothing_to_cancel(self) -> None:
        self._reboot_server(self.server, hard=True)
        self.run_periodic()
        self.connection_of('host1').answering = True
        record = self.attached(self.server)
        self.assertRaises(
            exception.NotDetaching,
            self.client.cancel,
            self.context,
            self.instance(self.server),
            record.id,
        )
        self.detach(self.server, record.id)
        self.finish()


class TroubleTest(hotplug.HotplugTestCase):
    """What goes wrong on the way is tried again."""

    def setUp(self) -> None:
        super().setUp()
        self.server = self.boot(self.hot())
        self.vgpu = self.attached(self.server)

    def waits(self, where: object, verb: str, error: Exception) -> None:
        with mock.patch.object(where, verb, side_effect=error):
            record = self.detach(self.server, self.vgpu.id)
            self.assertEqual(attachment.DETACHING, record.state)
            self.assertIn(str(error), record.reason)
            self.assertEqual(record.reason, self.record(self.server).reason)
            self.run_periodic()
            self.assertEqual(1, len(self.records(self.server)))
        self.run_periodic()
        self.align(self.server)
        self.assert_nothing_attached(self.server)

    def test_of_the_hypervisor(self) -> None:
        self.waits(
            libvirt_guest.Guest,
            'detach_device',
            fakelibvirt.libvirtError('no answer'),
        )

    def test_of_what_the_hypervisor_tells(self) -> None:
        """Who cannot look does not take it for gone."""
        self.waits(
            libvirt_guest.Guest,
            'get_xml_desc',
            fakelibvirt.libvirtError('no answer'),
        )

    def test_of_placement(self) -> None:
        client = self.computes['host1'].manager.reportclient
        answer = mock.Mock(status_code=400)
        answer.json.return_value = {'errors': [{'detail': 'not so'}]}
        with mock.patch.object(client, 'put', return_value=answer):
            record = self.detach(self.server, self.vgpu.id)
        self.assertEqual(attachment.DETACHING, record.state)
        self.assertIn('not so', record.reason)
        self.run_periodic()
        self.assert_nothing_attached(self.server)

    def test_of_the_database(self) -> None:
        self.waits(
            records, 'hold', nova_exception.InvalidInput(reason='locked')
        )


class WrongStateTest(hotplug.HotplugTestCase):
    def test_servers_that_are_busy(self) -> None:
        server = self.boot(self.hot())
        record = self.attached(server)
        self.api.post_server_action(server['id'], {'suspend': {}})
        self._wait_for_state_change(server, 'SUSPENDED')
        self.assertRaises(
            exception.HotplugWrongState, self.detach, server, record.id
        )
        self._resume_server(server)
        self.assertEqual(1, len(self.domain(server).held()))
        self.detach(server, record.id)
        self.assert_nothing_attached(server)

    def test_suspended_while_detaching(self) -> None:
        server = self.boot(self.hot())
        record = self.attached(server, NVME)
        self.connection_of('host1').answering = False
        self.detach(server, record.id)
        self.connection_of('host1').answering = True
        self.api.post_server_action(server['id'], {'suspend': {}})
        self._wait_for_state_change(server, 'SUSPENDED')
        self._resume_server(server)
        self.assertEqual([], self.domain(server).held())
        self.run_periodic()
        self.align(server)
        self.assert_nothing_attached(server)
