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
"""An accelerator is attached to a server that exists."""

import collections.abc
import itertools
import threading
import typing as ty
from unittest import mock
import uuid

from nova_accel.testing import cloud  # noqa: F401  (comes first)

from nova import exception as nova_exception
from nova import objects
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.virt.libvirt import guest as libvirt_guest

from nova_accel.core import attachment
from nova_accel.core import naming
from nova_accel import exception
from nova_accel.virt import records

from tests.functional import hotplug
from tests.functional import rules

VGPU, NVME = hotplug.VGPU, hotplug.NVME


class AttachTest(hotplug.HotplugTestCase):
    """What a user can do."""

    def setUp(self) -> None:
        super().setUp()
        self.server = self.boot(self.hot())

    def finish(self, *ids: str) -> None:
        """All is in order, and a detach leaves nothing behind."""
        self.assert_invariants()
        for id_ in ids:
            self.assertEqual('', self.detach(self.server, id_).state)
        self.assertEqual([], self.hostdevs('host1', self.server))
        self.assert_nothing_attached(self.server)

    def test_live(self) -> None:
        traits = {
            trait
            for rp in self.accel_providers('host1').values()
            for trait in self._get_provider_traits(rp)
        }
        self.assertIn(naming.HOTPLUG, traits)
        vgpu = self.attached(self.server)
        nvme = self.attached(self.server, NVME)
        held = self.domain(self.server).held()
        self.assertEqual({'mdev', 'pci'}, {kind for kind, *_ in held})
        self.assertEqual(2, len(self.hostdevs('host1', self.server)))
        self.assertEqual(
            vgpu.claims | nvme.claims, {*self.claims(self.server)}
        )
        self.assertEqual(
            {vgpu.id: vgpu, nvme.id: nvme}, self.records(self.server)
        )
        self.finish(vgpu.id, nvme.id)

    def test_what_others_see(self) -> None:
        first = self.attached(self.server)
        shown = self.api.get_server(self.server['id'])['flavor']['extra_specs']
        self.assertEqual('1', shown[f'resources_ACCEL_{first.id}:VGPU'])
        self.assertEqual('none', shown['group_policy'])
        second = self.attached(self.server, NVME)
        shown = self.api.get_server(self.server['id'])['flavor']['extra_specs']
        self.assertEqual('none', shown['group_policy'])
        self.finish(first.id, second.id)
        shown = self.api.get_server(self.server['id'])['flavor']['extra_specs']
        self.assertNotIn('group_policy', shown)

    def test_beside_what_the_flavor_asks_for(self) -> None:
        server = self.boot(self.hot(resources__VGPU=1))
        own = self.claims(server)
        record = self.attached(server)
        self.assertEqual(2, len(self.claims(server)))
        self.assert_invariants()
        self.detach(server, record.id)
        self.assertEqual(own, self.claims(server))
        self._delete_server(server)
        self.finish()

    def test_several_alike(self) -> None:
        record = self.attached(self.server, amount=2)
        self.assertEqual(2, len(record.units))
        self.assertEqual(2, len(self.domain(self.server).held()))
        self.assertEqual(1, len({c.provider for c in record.claims}))
        self.finish(record.id)

    def test_stopped_and_at_its_next_start(self) -> None:
        self._stop_server(self.server)
        record = self.attached(self.server)
        self.attached(self.server, NVME)
        self.assertEqual([], self.domain(self.server).held())
        self.assert_invariants()
        self._start_server(self.server)
        self.assertEqual(2, len(self.domain(self.server).held()))
        self._stop_server(self.server)
        self.assertEqual('', self.detach(self.server, record.id).state)
        self._start_server(self.server)
        (held,) = self.domain(self.server).held()
        self.assertEqual('pci', held[0])
        self.finish(self.record(self.server).id)

    def test_paused(self) -> None:
        self.api.post_server_action(self.server['id'], {'pause': {}})
        self._wait_for_state_change(self.server, 'PAUSED')
        record = self.attached(self.server)
        self.assertEqual(1, len(self.domain(self.server).held()))
        self.finish(record.id)

    def test_asked_for_again(self) -> None:
        record = self.attached(self.server)
        again = self.attach(self.server, id=record.id)
        self.assertEqual(record, again)
        self.assertEqual(1, len(self.claims(self.server)))
        reserved = self.reserve(self.server, NVME)
        self.assertEqual(attachment.ATTACHING, reserved.state)
        again = self.reserve(self.server, NVME, id=reserved.id)
        self.assertEqual(reserved, again)
        # Given up before it began.
        self.detach(self.server, reserved.id)
        self.finish(record.id)

    def test_deleted(self) -> None:
        self.attached(self.server)
        self.attached(self.server, NVME)
        self._delete_server(self.server)
        self.assert_nothing_held()


class TellingTest(hotplug.HotplugTestCase):
    """Who hears of it."""

    def setUp(self) -> None:
        super().setUp()
        self.flags(notification_format='versioned', group='notifications')
        self.server = self.boot(self.hot())

    def events(self, action: str) -> dict[str, str | None]:
        """Event -> result, of the last action of that name."""
        found = self.api.get_instance_actions(self.server['id'])
        last = [a for a in found if a['action'] == action][0]
        details = self.api.api_get(
            f'/servers/{self.server["id"]}/os-instance-actions/'
            f'{last["request_id"]}'
        ).body['instanceAction']
        return {e['event']: e['result'] for e in details['events']}

    def notified(self, verb: str) -> list[tuple[str, dict[str, ty.Any]]]:
        found = []
        for each in self.notifier.versioned_notifications:
            kind = each['event_type']
            if verb in kind:
                data = each['payload']['nova_object.data']
                found.append((kind.rpartition('.')[2], data))
        return found

    def test_of_success(self) -> None:
        record = self.attached(self.server)
        self.assertEqual(
            {'accel_attach': 'Success'}, self.events('accel_attach')
        )
        self.detach(self.server, record.id)
        self.assertEqual(
            {'accel_detach': 'Success'}, self.events('accel_detach')
        )
        for verb in ('accel_attach', 'accel_detach'):
            phases = self.notified(verb)
            self.assertEqual(['start', 'end'], [phase for phase, _ in phases])
            for _phase, data in phases:
                self.assertEqual(record.id, data['attachment_id'])
                self.assertEqual(self.server['id'], data['uuid'])
                self.assertEqual(
                    (VGPU, 1), (data['resource_class'], data['amount'])
                )

    def test_of_failure(self) -> None:
        record = self.attach(self.server, amount=8)
        self.assertEqual(attachment.ERROR, record.state)
        self.assertIn('free', record.reason)
        self.assertEqual(
            {'accel_attach': 'Error'}, self.events('accel_attach')
        )
        phases = dict(self.notified('accel_attach'))
        self.assertEqual({'start', 'error'}, {*phases})
        self.assertEqual(record.reason, phases['error']['reason'])
        self.assertIsNotNone(phases['error']['fault'])

    def test_of_an_answer_that_is_late(self) -> None:
        record = self.attached(self.server)
        self.connection_of('host1').answering = False
        self.detach(self.server, record.id)
        self.assertEqual({'accel_detach': None}, self.events('accel_detach'))
        self.answer(self.server)
        self.wait_until(lambda: not self.records(self.server))
        self.wait_until(
            lambda: {'accel_detach': 'Success'} == self.events('accel_detach')
        )


class CardsTest(hotplug.HotplugTestCase):
    """Which card it is, and what groups of the flavor have to say."""

    NODE, RULES = 't4', rules.T4_8Q

    def test_the_fullest_card_that_fits(self) -> None:
        server = self.boot(self.hot())
        neighbour = self.boot(self.hot(resources__VGPU=1))
        (taken,) = self.claims(neighbour)
        first = self.attached(server)
        self.assertEqual(taken.provider, first.provider)
        # Two more only the other card has.
        second = self.attached(server, amount=2)
        self.assertNotEqual(taken.provider, second.provider)
        self.assert_invariants()

    def test_isolate(self) -> None:
        flavor = self.hot(resources1__VGPU=1, group_policy='isolate')
        server = self.boot(flavor)
        (own,) = self.claims(server)
        record = self.attached(server)
        self.assertNotEqual(own.provider, record.provider)
        # Both cards serve a group now, though both have room.
        refused = self.attach(server)
        self.assertEqual(attachment.ERROR, refused.state)
        self.assertIn('isolate', refused.reason)
        self.detach(server, refused.id)
        self.assert_invariants()
        extra_specs = self.instance(server).flavor.extra_specs
        self.assertEqual('isolate', extra_specs['group_policy'])
        self.detach(server, record.id)
        extra_specs = self.instance(server).flavor.extra_specs
        self.assertEqual('isolate', extra_specs['group_policy'])
        self.assertEqual([own], self.claims(server))

    def test_isolate_beside_what_has_no_group(self) -> None:
        """Placement would count it twice when the server moves."""
        flavor = self.hot(resources__VGPU=1, group_policy='isolate')
        server = self.boot(flavor)
        self.assertRaises(exception.GroupsMixed, self.reserve, server)
        self.assertEqual({}, self.records(server))

    def test_without_a_policy(self) -> None:
        server = self.boot(self.hot(resources1__VGPU=1))
        before = self.instance(server).flavor.extra_specs
        record = self.attached(server)
        extra_specs = self.instance(server).flavor.extra_specs
        self.assertEqual('none', extra_specs['group_policy'])
        self.detach(server, record.id)
        self.assertEqual(before, self.instance(server).flavor.extra_specs)


class RefusalTest(hotplug.HotplugTestCase):
    """What cannot be, and what remains as it was."""

    def setUp(self) -> None:
        super().setUp()
        self.server = self.boot(self.hot())

    def tearDown(self) -> None:
        self.assertEqual([], self.claims(self.server))
        self.assert_invariants()
        super().tearDown()

    def refused(self, error: type[Exception], *args: ty.Any) -> str:  # type: ignore[override]
        raised = self.assertRaises(error, self.attach, self.server, *args)
        self.assertEqual({}, self.records(self.server))
        return str(raised)

    def test_a_flavor_that_says_nothing(self) -> None:
        self._delete_server(self.server)
        self.server = self.boot(self.flavor())
        said = self.refused(exception.HotplugNotPermitted)
        self.assertIn('accel_hotplug:max_VGPU', said)

    def test_a_flavor_that_says_less(self) -> None:
        self._delete_server(self.server)
        self.server = self.boot(self.hot(accel_hotplug__max_VGPU=1))
        self.refused(exception.HotplugNotAllowed, VGPU, 2)
        record = self.attached(self.server)
        error = self.assertRaises(
            exception.HotplugNotAllowed, self.attach, self.server
        )
        self.assertEqual(403, error.code)
        self.detach(self.server, record.id)
        # What failed does not count.
        backend = self.driver('host1').accel._backend
        broken = exception.DeviceRefused(device='d', reason='it is broken')
        with mock.patch.object(backend, 'prepare', side_effect=broken):
            failed = self.attach(self.server)
        self.assertEqual(attachment.ERROR, failed.state)
        record = self.attach(self.server)
        self.assertEqual(attachment.ATTACHED, record.state)
        self.detach(self.server, failed.id)
        self.detach(self.server, record.id)

    def test_what_is_not_there(self) -> None:
        self._delete_server(self.server)
        self.server = self.boot(self.hot(accel_hotplug__max_CUSTOM_X=1))
        said = self.refused(exception.HotplugUnsupported, 'CUSTOM_X')
        self.assertIn('offers none', said)

    def test_a_driver_that_cannot(self) -> None:
        with mock.patch.object(self.driver('host1'), 'accel_hotplug', False):
            self.refused(exception.HotplugUnsupported)

    def test_nothing_free(self) -> None:
        record = self.attach(self.server, amount=3)
        self.assertEqual(attachment.ERROR, record.state)
        self.assertIn('3 of VGPU', record.reason)
        self.assertEqual({}, self.usages('host1'))
        # It is there to be read until it is taken away.
        self.assertEqual(record, self.record(self.server))
        self.assertEqual('', self.detach(self.server, record.id).state)

    def test_states_of_the_server(self) -> None:
        self.api.post_server_action(self.server['id'], {'suspend': {}})
        self._wait_for_state_change(self.server, 'SUSPENDED')
        self.assertIn('suspended', self.refused(exception.HotplugWrongState))
        self._resume_server(self.server)
        instance = self.instance(self.server)
        instance.task_state = 'rebooting'
        instance.save()
        self.assertIn('rebooting', self.refused(exception.HotplugWrongState))
        instance.task_state = None
        instance.save()

    def test_another_id_another_content(self) -> None:
        record = self.attached(self.server)
        for rc, amount in ((VGPU, 2), (NVME, 1)):
            error = self.assertRaises(
                exception.AttachmentConflict,
                self.attach,
                self.server,
                rc,
                amount,
                record.id,
            )
            self.assertIn(record.id, str(error))
        self.detach(self.server, record.id)

    def test_ids_and_amounts_that_are_none(self) -> None:
        for amount, id_ in ((0, str(uuid.uuid4())), (1, 'x')):
            self.assertRaises(
                exception.InvalidInput,
                self.reserve,
                self.server,
                VGPU,
                amount,
                id_,
            )

    def test_what_is_unknown(self) -> None:
        id_ = str(uuid.uuid4())
        for verb in ('attach', 'detach', 'cancel'):
            self.assertRaises(
                exception.AttachmentNotFound,
                getattr(self.client, verb),
                self.context,
                self.instance(self.server),
                id_,
            )

    def test_a_server_of_another_host(self) -> None:
        instance = self.instance(self.server)
        elsewhere = self.instance(self.server)
        elsewhere.host = 'elsewhere'
        with mock.patch.object(
            objects.Instance, 'get_by_uuid', return_value=elsewhere
        ):
            self.assertRaises(
                exception.HotplugWrongState,
                self.client.reserve,
                self.context,
                instance,
                str(uuid.uuid4()),
                VGPU,
                1,
            )

    def test_a_server_that_starts_to_change(self) -> None:
        """The API has begun something else since it was looked at."""
        record = self.reserve(self.server)
        take = self.computes['host1'].manager.rt.hotplug_claim

        def meanwhile(*args: ty.Any) -> ty.Any:
            instance = self.instance(self.server)
            instance.task_state = 'shelving'
            instance.save()
            return take(*args)

        with mock.patch.object(
            self.computes['host1'].manager.rt, 'hotplug_claim', meanwhile
        ):
            failed = self.client.attach(
                self.context, self.instance(self.server), record.id
            )
        self.assertEqual(attachment.ERROR, failed.state)
        self.assertEqual((), failed.units)
        self.assertEqual({}, self.usages('host1'))
        self.assertEqual(frozenset(), self.held('host1'))
        instance = self.instance(self.server)
        instance.task_state = None
        instance.save()

    def test_errors_cross_the_bus_as_themselves(self) -> None:
        for error in (
            exception.HotplugNotAllowed(
                server='s', limit=1, resource_class='VGPU', used=1
            ),
            exception.NoFreeSlot(
                server='s', amount=1, resource_class='VGPU', reason='r'
            ),
        ):
            found = _crossed(error)
            self.assertIsInstance(found, type(error))
            self.assertEqual(error.code, found.code)
            self.assertIn(str(error), str(found))


def _crossed(error: Exception) -> ty.Any:
    from oslo_messaging._drivers import common

    from nova import rpc as nova_rpc

    # Nova's harness forgets those of others between two tests.
    nova_rpc.add_extra_exmods(exception.__name__)
    data = common.serialize_remote_exception((type(error), error, None))
    return common.deserialize_remote_exception(
        data, nova_rpc.get_allowed_exmods()
    )


class TroubleTest(hotplug.HotplugTestCase):
    """What goes wrong on the way is undone, and may be tried again."""

    def setUp(self) -> None:
        super().setUp()
        self.server = self.boot(self.hot())

    def tearDown(self) -> None:
        self.assert_invariants()
        super().tearDown()

    def fails(
        self,
        where: object,
        verb: str,
        error: Exception | collections.abc.Iterable[Exception | None],
    ) -> str:
        with mock.patch.object(where, verb, side_effect=error):
            record = self.attach(self.server, amount=2)
        self.assertEqual(attachment.ERROR, record.state, record)
        self.assertEqual((), record.units)
        self.assertEqual([], self.claims(self.server))
        self.assertEqual({}, self.usages('host1'))
        self.assertEqual([], self.mdevs('host1'))
        self.assertEqual([], self.domain(self.server).held())
        self.assertEqual(frozenset(), self.held('host1'))
        # The same request again succeeds.
        again = self.attach(self.server, amount=2, id=record.id)
        self.assertEqual((attachment.ATTACHED, ''), hotplug.state(again))
        self.detach(self.server, again.id)
        return record.reason

    def test_of_the_device(self) -> None:
        backend = self.driver('host1').accel._backend
        error = exception.DeviceRefused(device='d', reason='it is broken')
        self.assertIn('it is broken', self.fails(backend, 'prepare', error))

    def test_of_the_guest(self) -> None:
        attach, calls = libvirt_guest.Guest.attach_device, []

        def second(guest: ty.Any, *args: ty.Any, **kwargs: ty.Any) -> None:
            calls.append(args)
            if len(calls) > 1:
                raise fakelibvirt.libvirtError('no more PCI slots')
            attach(guest, *args, **kwargs)

        with mock.patch.object(libvirt_guest.Guest, 'attach_device', second):
            record = self.attach(self.server, amount=2)
        self.assertEqual(attachment.ERROR, record.state)
        self.assertIn('no more PCI slots', record.reason)
        self.assertEqual([], self.claims(self.server))
        self.assertEqual([], self.domain(self.server).held())

    def test_of_a_guest_that_keeps_what_it_got(self) -> None:
        attach, calls = libvirt_guest.Guest.attach_device, []
        self.connection_of('host1').answering = False

        def second(guest: ty.Any, *args: ty.Any, **kwargs: ty.Any) -> None:
            calls.append(args)
            if len(calls) == 2:
                raise fakelibvirt.libvirtError('no more PCI slots')
            attach(guest, *args, **kwargs)

        with mock.patch.object(libvirt_guest.Guest, 'attach_device', second):
            record = self.attach(self.server, amount=2)
        # What is still in a guest is not free.
        self.assertEqual(attachment.ERROR, record.state)
        self.assertEqual(2, len(self.claims(self.server)))
        self.assertEqual(
            2, sum(u[VGPU] for u in self.usages('host1').values())
        )
        waiting = self.detach(self.server, record.id)
        self.assertEqual(attachment.DETACHING, waiting.state)
        self.answer(self.server)
        self.wait_until(lambda: not self.records(self.server))
        self.assertEqual([], self.claims(self.server))

    def test_of_the_database(self) -> None:
        error = nova_exception.InstanceNotFound(instance_id='x')
        # What is undone afterwards is written again.
        self.fails(
            records, 'hold', itertools.chain([error], itertools.repeat(None))
        )

    def test_of_the_tracker(self) -> None:
        rt = self.computes['host1'].manager.rt
        error = nova_exception.ComputeResourcesUnavailable(reason='too late')
        self.assertIn('too late', self.fails(rt, 'hotplug_claim', error))

    def test_of_an_answer_of_the_database_that_gets_lost(self) -> None:
        hold, calls = records.hold, []

        def lost(*args: ty.Any, **kwargs: ty.Any) -> None:
            hold(*args, **kwargs)
            calls.append(args)
            if len(calls) == 1:
                raise TimeoutError('no answer from the conductor')

        with mock.patch.object(records, 'hold', lost):
            record = self.attach(self.server)
        self.assertEqual(attachment.ERROR, record.state)
        self.assertEqual([], self.claims(self.server))
        self.detach(self.server, record.id)
        self.assert_nothing_attached(self.server)

    def test_of_a_database_that_stays_away(self) -> None:
        away = TimeoutError('no answer from the conductor')
        reserved = self.reserve(self.server)
        with mock.patch.object(records, 'hold', side_effect=away):
            self.try_attach(self.server, reserved)
        self.run_periodic()
        record = self.record(self.server)
        self.assertEqual(attachment.ERROR, record.state)
        self.detach(self.server, record.id)
        self.assert_nothing_attached(self.server)

    def test_one_at_a_time(self) -> None:
        """Two units, four requests at once: two are attached."""
        servers = [self.boot(self.hot()) for _ in range(2)]
        pairs = [
            (server, self.reserve(server).id)
            for server in servers
            for _ in range(2)
        ]
        threads = [
            threading.Thread(
                target=self.served().attach,
                args=(self.context, self.instance(server), id_),
            )
            for server, id_ in pairs
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found = [r for s in servers for r in self.records(s).values()]
        states = sorted(record.state for record in found)
        total = sum(
            record[VGPU][0]
            for record in self.inventories('host1').values()
            if VGPU in record
        )
        self.assertEqual(
            ['attached'] * total + ['error'] * (4 - total), states
        )
        for server in servers:
            self.align(server)


ATTACH_CALLS = {
    'lookupByUUIDString': 1,
    'nodeDeviceCreateXML': 1,
    'virDomain.XMLDesc': 2,
    'virDomain.attachDeviceFlags': 1,
    'virDomain.isActive': 1,
}
DETACH_CALLS = {
    'lookupByUUIDString': 2,
    'nodeDeviceLookupByName': 1,
    'virDomain.XMLDesc': 3,
    'virDomain.detachDeviceFlags': 2,
    'virDomain.isActive': 2,
    'virNodeDevice.destroy': 1,
}


class CostTest(hotplug.HotplugTestCase):
    """What it takes does not depend on what else there is."""

    NODE, RULES = 't4', rules.T4_8Q

    def setUp(self) -> None:
        super().setUp()
        self.server = self.boot(self.hot())

    def cost(
        self, do: collections.abc.Callable[[], object]
    ) -> tuple[dict[str, int], list[str]]:
        """Round trips to libvirt, and requests to Placement."""
        connection = self.connection_of('host1')
        client = self.computes['host1'].manager.reportclient
        before, asked = connection.calls.copy(), []

        def spy(verb: str) -> ty.Any:
            original = getattr(client, verb)

            def call(url: str, *args: ty.Any, **kwargs: ty.Any) -> ty.Any:
                asked.append(f'{verb} {url.split("/")[1].split("?")[0]}')
                return original(url, *args, **kwargs)

            return mock.patch.object(client, verb, call)

        with spy('get'), spy('put'), spy('post'), spy('delete'):
            do()
        return dict(connection.calls - before), asked

    def both(self) -> list[tuple[dict[str, int], list[str]]]:
        id_ = str(uuid.uuid4())
        return [
            self.cost(lambda: self.attach(self.server, id=id_)),
            self.cost(lambda: self.detach(self.server, id_)),
        ]

    def test_fixed(self) -> None:
        alone = self.both()
        self.boot(self.hot(resources__VGPU=1))
        self.attached(self.server)
        self.assertEqual(alone, self.both())
        (attach, asked), (detach, asked_then) = alone
        self.assertEqual(
            [
                'get allocation_candidates',
                'get allocations',
                'put allocations',
            ],
            asked,
        )
        self.assertEqual(['get allocations', 'put allocations'], asked_then)
        self.assertEqual(ATTACH_CALLS, attach)
        self.assertEqual(DETACH_CALLS, detach)
