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
"""Repairs what an audit has found, where that cannot do harm."""

import collections.abc
import typing as ty

from nova import context as nova_context
from nova import exception as nova_exception
from nova import objects

from nova_accel.core import attachment
from nova_accel.core import invariant
from nova_accel import exception
from nova_accel import manager
from nova_accel.virt import audit

_UPDATE = 'nova-compute does it by itself'
_RUNS = 'a server is affected, and to move or reboot it is for its owner'

# Why a finding is not repaired from outside.
LEFT = {
    invariant.OF_MOVED: 'only a deleted server proves that nothing uses it',
    invariant.OF_ELSEWHERE: 'the server exists and may come back for it',
    invariant.OF_UNKNOWN: 'no record is no proof: the server may be about '
    'to be created',
    invariant.NO_SERVER: _UPDATE,
    invariant.FORGOTTEN: 'only a restart makes nova-compute read it again',
    invariant.ABSENT: _UPDATE,
    invariant.ORPHAN: _UPDATE,
    invariant.NOT_OURS: 'somebody else may need it',
    invariant.AMOUNTS: _UPDATE,
    invariant.TRAITS: _UPDATE,
}


class Surgeon:
    """Repairs one host.

    :param accel: what has looked at its devices.
    :param client: nova's report client.
    """

    def __init__(
        self,
        context: nova_context.RequestContext,
        accel: manager.Manager,
        client: ty.Any,
    ) -> None:
        self._context = context
        self._accel = accel
        self._client = client
        self._repairs: dict[
            str, collections.abc.Callable[[invariant.Finding], str]
        ] = {
            invariant.LOOSE: self._sweep,
            invariant.OF_DELETED: self._deallocate,
            invariant.SPEC: self._align,
        }

    def treat(
        self, findings: collections.abc.Iterable[invariant.Finding]
    ) -> tuple[invariant.Outcome, ...]:
        """Repair what is safe; say of the rest why it is left."""
        return tuple(map(self._treat, findings))

    def _treat(self, finding: invariant.Finding) -> invariant.Outcome:
        repair = self._repairs.get(finding.kind)
        if repair is None:
            return invariant.Outcome(
                finding, False, LEFT.get(finding.kind, _RUNS)
            )
        try:
            return invariant.Outcome(finding, True, repair(finding))
        except (exception.AccelError, nova_exception.NovaException) as e:
            return invariant.Outcome(finding, False, str(e))

    def _sweep(self, finding: invariant.Finding) -> str:
        self._accel.sweep(finding.device)
        return 'the mediated device was destroyed'

    def _align(self, finding: invariant.Finding) -> str:
        """Let the request spec ask for what the flavor of the server does."""
        with audit.asking('the database of nova-api'):
            server = objects.Instance.get_by_uuid(
                self._context, finding.server, expected_attrs=['flavor']
            )
            spec = objects.RequestSpec.get_by_instance_uuid(
                self._context, finding.server
            )
            spec.flavor.extra_specs = attachment.aligned(
                spec.flavor.extra_specs,
                attachment.groups(server.flavor.extra_specs),
            )
            spec.save()
        return 'the request spec asks for what is attached'

    def _deallocate(self, finding: invariant.Finding) -> str:
        # Guarded by the consumer's generation. A server with several
        # providers comes here once for each.
        self._client.delete_allocation_for_instance(
            self._context, finding.server
        )
        return 'all that it had allocated was deleted'
