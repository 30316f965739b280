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
"""What administrators do to an accelerator that does not go."""

import collections.abc

from nova_accel.api import calls
from nova_accel.api.handlers import accelerator
from nova_accel.api.policies import accelerator as policies
from nova_accel.api.schemas import accelerator as schemas
from nova_accel.api import servers
from nova_accel.api import view
from nova_accel.core import attachment
from nova_accel import exception

_Action = collections.abc.Callable[
    [calls.Call, servers.Server, attachment.Attachment], calls.Answer
]


def act(call: calls.Call) -> calls.Answer:
    (name,) = call.body
    rule, action = _ACTIONS[name]
    server = accelerator.find(call, rule)
    return action(call, server, accelerator.attached(call, server))


def _force_detach(
    call: calls.Call, server: servers.Server, record: attachment.Attachment
) -> calls.Answer:
    record = accelerator.detach(call, server, record, force=True)
    if record.state not in attachment.STATES:
        return calls.Answer(204)
    shown = view.Accelerator(record, record.claims)
    return accelerator.answer(call, server, shown, 202)


def _cancel_detach(
    call: calls.Call, server: servers.Server, record: attachment.Attachment
) -> calls.Answer:
    if record.state != attachment.DETACHING:
        raise exception.NotDetaching(
            server=server.uuid, attachment=record.id, state=record.state
        )
    with calls.asking_node(server.uuid):
        record = call.service.client.cancel(
            server.context, server.instance, record.id
        )
    shown = view.Accelerator(record, record.claims)
    return accelerator.answer(call, server, shown, 200)


_ACTIONS: dict[str, tuple[str, _Action]] = {
    schemas.FORCE_DETACH: (policies.FORCE_DETACH, _force_detach),
    schemas.CANCEL_DETACH: (policies.CANCEL_DETACH, _cancel_detach),
}
