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
"""What tests of attach and detach need."""

import collections.abc
import typing as ty
import uuid

from nova_accel.testing import cloud  # noqa: F401  (comes first)

import fixtures
from nova import objects
from nova.virt.libvirt import event as libvirt_event

from nova_accel.core import attachment
from nova_accel.core import invariant
from nova_accel import exception
from nova_accel import rpc
from nova_accel.virt import endpoint
from nova_accel.virt import repair

from tests.functional import moves
from tests.functional import rules

VGPU, NVME = 'VGPU', 'CUSTOM_NVME'
_SPEC = invariant.SPEC

_Step = ty.TypeVar('_Step')


def each(
    table: collections.abc.Iterable[_Step],
    check: collections.abc.Callable[[_Step, bool], None],
) -> None:
    """Check what follows if a process dies before and after each step."""
    for step in table:
        for before in (True, False):
            try:
                check(step, before)
            except Exception as e:
                when = 'before' if before else 'after'
                raise AssertionError(f'{when} {step!r}') from e


class HotplugTestCase(moves.MoveTestCase):
    """Asks nova-compute as the API does."""

    HOSTS = ('host1',)
    NODE = 'mixed'
    RULES = rules.MIXED

    def setUp(self) -> None:
        super().setUp()
        self.write_rules(self.RULES)
        for host in self.HOSTS:
            self.start_host(host, self.NODE)
        self.client = rpc.AccelAPI()
        self.useFixture(
            fixtures.MonkeyPatch('nova_accel.virt.placing.PAUSE', 0.001)
        )

    def hot(self, **extra: ty.Any) -> str:
        """Make a flavor that lets a few of all be attached."""
        limits = {f'accel_hotplug__max_{rc}': 8 for rc in (VGPU, NVME)}
        return self.flavor(**{**limits, **extra})

    def instance(self, server: dict[str, ty.Any]) -> objects.Instance:
        return objects.Instance.get_by_uuid(
            self.context,
            server['id'],
            expected_attrs=['flavor', 'resources', 'system_metadata'],
        )

    def act(self, server: dict[str, ty.Any], verb: str) -> None:
        """Begin an action, as the API does before it asks nova-compute."""
        objects.InstanceAction.action_start(
            self.context, server['id'], verb, want_result=False
        )

    def reserve(
        self,
        server: dict[str, ty.Any],
        rc: str = VGPU,
        amount: int = 1,
        id: str | None = None,
    ) -> attachment.Attachment:
        self.act(server, 'accel_attach')
        return self.client.reserve(
            self.context,
            self.instance(server),
            id or str(uuid.uuid4()),
            rc,
            amount,
        )

    def attach(
        self, server: dict[str, ty.Any], *wish: ty.Any, **more: ty.Any
    ) -> attachment.Attachment:
        """Attach as the API does, the request spec included."""
        record = self.reserve(server, *wish, **more)
        record = self.client.attach(
            self.context, self.instance(server), record.id
        )
        self.align(server)
        return record

    def attached(
        self, server: dict[str, ty.Any], rc: str = VGPU, amount: int = 1
    ) -> attachment.Attachment:
        record = self.attach(server, rc, amount)
        self.assertEqual((attachment.ATTACHED, ''), state(record))
        return record

    def try_attach(
        self, server: dict[str, ty.Any], record: attachment.Attachment
    ) -> None:
        """Attach what is reserved, which fails and is not undone."""
        self.assertRaises(
            exception.HotplugFailed,
            self.client.attach,
            self.context,
            self.instance(server),
            record.id,
        )

    def detach(
        self, server: dict[str, ty.Any], id: str, force: bool = False
    ) -> attachment.Attachment:
        self.act(server, 'accel_detach')
        record = self.client.detach(
            self.context, self.instance(server), id, force=force
        )
        self.align(server)
        return record

    def align(self, server: dict[str, ty.Any]) -> None:
        """Write the request spec, as the API does."""
        groups = attachment.groups(self.instance(server).flavor.extra_specs)
        spec = objects.RequestSpec.get_by_instance_uuid(
            self.context, server['id']
        )
        spec.flavor.extra_specs = attachment.aligned(
            spec.flavor.extra_specs, groups
        )
        spec.save()

    def repair(self) -> None:
        """Nothing is wrong but a request spec, and doctor puts it right.

        The API would, too, at its next request about the server.
        """
        for host in self.computes:
            found = invariant.check(self.evidence(host))
            self.assertLessEqual({each.kind for each in found}, {_SPEC}, found)
            surgeon = repair.Surgeon(
                self.context,
                self.driver(host).accel,
                self.computes[host].manager.reportclient,
            )
            for outcome in surgeon.treat(found):
                self.assertTrue(outcome.done, outcome)
        self.assert_invariants()

    def records(
        self, server: dict[str, ty.Any]
    ) -> dict[str, attachment.Attachment]:
        return attachment.read(self.instance(server).system_metadata)

    def record(self, server: dict[str, ty.Any]) -> attachment.Attachment:
        (found,) = self.records(server).values()
        return found

    def served(self, host: str = 'host1') -> endpoint.Endpoint:
        """What nova-compute of a host serves, without the message bus."""
        (found,) = [
            each
            for each in self.computes[host].manager.additional_endpoints
            if isinstance(each, endpoint.Endpoint)
        ]
        return found

    def domain(self, server: dict[str, ty.Any], host: str = 'host1') -> ty.Any:
        return self.connection_of(host).lookupByUUIDString(server['id'])

    def answer(self, server: dict[str, ty.Any], host: str = 'host1') -> None:
        """Let a guest let go of what it was asked for."""
        for alias in self.domain(server, host).answer():
            self.driver(host).emit_event(
                libvirt_event.DeviceRemovedEvent(server['id'], alias)
            )

    def assert_nothing_attached(self, server: dict[str, ty.Any]) -> None:
        """No trace is left of any attachment."""
        instance = self.instance(server)
        self.assertEqual({}, attachment.read(instance.system_metadata))
        self.assertEqual({}, attachment.groups(instance.flavor.extra_specs))
        self.assertEqual([], self.claims(server))
        for host in self.computes:
            self.assertEqual({}, self.usages(host))
            self.assertEqual([], self.mdevs(host))
        self.assert_invariants()


def state(record: attachment.Attachment) -> tuple[str, str]:
    """What a user reads."""
    return record.state, record.reason
