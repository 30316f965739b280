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
"""RequestSpec: what the scheduler goes by when it moves a server.

It lies in the API's database, which nova-compute cannot reach, and has no
generation. So an API process copies the groups of a server's attachments
there from the server's own flavor, reads both again, and goes on until they
agree: whoever writes last has then also been the last to compare.
"""

from nova.compute import task_states
from nova.compute import vm_states
from nova import context as nova_context
from nova import exception as nova_exception
from nova import objects
from oslo_log import log as logging

from nova_accel.api import servers
from nova_accel.core import attachment

LOG = logging.getLogger(__name__)

_TRIES = 10


def align(context: nova_context.RequestContext, server: str) -> bool:
    """Let the RequestSpec of a server name its attachments, and no others.

    :returns: False where it was not possible; the next request on the
        server tries again.
    """
    for _ in range(_TRIES):
        now = servers.find(context, server)
        if is_aligned(now):
            return True
    LOG.warning('The RequestSpec of server %s does not hold still', server)
    return False


def is_aligned(server: servers.Server) -> bool:
    """Compare, and write where they differ.

    :returns: True where there was nothing to do.
    """
    if _is_moving(server.instance):
        # Nova is about to write it; then it has the groups.
        return True
    try:
        spec = objects.RequestSpec.get_by_instance_uuid(
            server.context, server.uuid
        )
    except nova_exception.RequestSpecNotFound:
        return True
    if spec.flavor.flavorid != server.instance.flavor.flavorid:
        return True
    said = dict(spec.flavor.extra_specs)
    wanted = attachment.aligned(said, attachment.groups(server.extra_specs))
    if said == wanted:
        return True
    flavor = spec.flavor.obj_clone()
    flavor.extra_specs = wanted
    spec.flavor = flavor
    spec.save()
    LOG.info(
        'The RequestSpec of server %s names what is attached now: %s',
        server.uuid,
        ', '.join(attachment.groups(wanted)) or 'nothing',
    )
    return False


def _is_moving(instance: objects.Instance) -> bool:
    return (
        instance.vm_state == vm_states.RESIZED
        or instance.task_state in _MOVING
    )


_MOVING = frozenset(
    {
        task_states.RESIZE_PREP,
        task_states.RESIZE_MIGRATING,
        task_states.RESIZE_MIGRATED,
        task_states.RESIZE_FINISH,
        task_states.RESIZE_REVERTING,
        task_states.RESIZE_CONFIRMING,
    }
)
