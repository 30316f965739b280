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
"""Accelerators of a server: list, show, attach, detach."""

import uuid

from oslo_log import log as logging

from nova_accel.api import calls
from nova_accel.api import permission
from nova_accel.api.policies import accelerator as policies
from nova_accel.api import policy
from nova_accel.api import room
from nova_accel.api.schemas import accelerator as schemas
from nova_accel.api import servers
from nova_accel.api import spec
from nova_accel.api import view
from nova_accel.api import worker
from nova_accel.core import attachment
from nova_accel import exception

LOG = logging.getLogger(__name__)


def index(call: calls.Call) -> calls.Answer:
    server = find(call, policies.LIST)
    details = _shows_host(call, server)
    return calls.Answer(
        200,
        {
            'accelerators': [
                view.shown(server, each, details)
                for each in accelerators(server).values()
            ]
        },
    )


def show(call: calls.Call) -> calls.Answer:
    server = find(call, policies.SHOW)
    return answer(call, server, chosen(call, server), 200)


def create(call: calls.Call) -> calls.Answer:
    server = find(call, policies.CREATE)
    asked = call.body['accelerator']
    record = attachment.Attachment(
        id=asked.get('id') or str(uuid.uuid4()),
        resource_class=asked['resource_class'],
        amount=asked.get('amount', 1),
    )
    stands = _standing(server, record)
    if stands is None:
        _check_attach(call, server, record)
        with calls.asking_node(server.uuid):
            stands = call.service.client.reserve(
                server.context,
                server.instance,
                record.id,
                record.resource_class,
                record.amount,
            )
    if stands.state == attachment.ATTACHING:
        call.service.worker.attach(server, stands)
    shown = view.Accelerator(stands, stands.claims)
    return answer(call, server, shown, 202)


def delete(call: calls.Call) -> calls.Answer:
    server = find(call, policies.DELETE)
    record = attached(call, server)
    detach(call, server, record)
    return calls.Answer(202)


# Parts of handlers, of actions too


def find(call: calls.Call, rule: str) -> servers.Server:
    """Return the server of a request, with everything in order.

    What a process that died has left undone is done on the way.
    """
    server = servers.visible(call.user, call.parameters['server_id'], rule)
    try:
        if not spec.is_aligned(server):
            spec.align(server.context, server.uuid)
    except exception.HotplugError:
        raise
    except Exception:
        LOG.exception(
            'The RequestSpec of server %s cannot be compared', server.uuid
        )
    call.service.worker.resume(server)
    return server


def accelerators(server: servers.Server) -> dict[str, view.Accelerator]:
    """Return all accelerators of a server, by id."""
    return view.accelerators(server, server.claims)


def chosen(call: calls.Call, server: servers.Server) -> view.Accelerator:
    """Return the accelerator that the path names.

    :raises AttachmentNotFound: there is none.
    """
    id_ = call.parameters['accelerator_id']
    found = accelerators(server).get(id_)
    if found is None:
        raise exception.AttachmentNotFound(server=server.uuid, attachment=id_)
    return found


def attached(
    call: calls.Call, server: servers.Server
) -> attachment.Attachment:
    """Return the attachment that the path names, if it may be changed.

    :raises NotDetachable: it came with the flavor.
    :raises ServerLocked: and others of that kind.
    """
    found = chosen(call, server)
    if found.source == schemas.FLAVOR:
        raise exception.NotDetachable(
            server=server.uuid, attachment=found.record.id
        )
    servers.check_lock(call.user, server)
    servers.check_host(server)
    return found.record


def detach(
    call: calls.Call,
    server: servers.Server,
    record: attachment.Attachment,
    force: bool = False,
) -> attachment.Attachment:
    """Have an attachment detached.

    :returns: it; its state is '' if it is gone already.
    """
    if record.state != attachment.ERROR and not force:
        servers.check_state(server)
    worker.note(server, worker.DETACH)
    with calls.asking_node(server.uuid):
        record = call.service.client.detach(
            server.context, server.instance, record.id, force=force
        )
    # Even of one that is gone: the next look finds that.
    call.service.worker.watch(server, record.id)
    return record


def answer(
    call: calls.Call,
    server: servers.Server,
    found: view.Accelerator,
    status: int,
) -> calls.Answer:
    """Answer with one accelerator."""
    shown = view.shown(server, found, _shows_host(call, server))
    path = policies.MEMBER.format(
        server_id=server.uuid, accelerator_id=found.record.id
    )
    return calls.Answer(
        status,
        {'accelerator': shown},
        location=f'{call.base}{path}' if status == 202 else None,
    )


def _standing(
    server: servers.Server, asked: attachment.Attachment
) -> attachment.Attachment | None:
    """Return what stands under the id of a request already.

    :returns: None where it has to be asked for, for the first time or
        again.
    :raises AttachmentConflict: it is something else.
    :raises AttachmentBusy: it is on its way out.
    """
    found = accelerators(server).get(asked.id)
    if found is None:
        return None
    record = found.record
    same = record.matches(asked.resource_class, asked.amount)
    if not same or found.source == schemas.FLAVOR:
        raise exception.AttachmentConflict(
            attachment=record.id,
            amount=record.amount,
            resource_class=record.resource_class,
        )
    if record.state == attachment.DETACHING:
        raise exception.AttachmentBusy(
            attachment=record.id, state=record.state
        )
    return None if record.state == attachment.ERROR else record


def _check_attach(
    call: calls.Call, server: servers.Server, asked: attachment.Attachment
) -> None:
    servers.check_lock(call.user, server)
    permission.check_flavor(server, asked.resource_class, asked.amount)
    servers.check_state(server)
    servers.check_host(server)
    room.check(server, asked.resource_class, asked.amount)
    permission.check_limits(server, asked.resource_class, asked.amount)


def _shows_host(call: calls.Call, server: servers.Server) -> bool:
    return policy.allows(
        call.user, policies.SHOW_HOST_DETAILS, policy.target(server.instance)
    )
