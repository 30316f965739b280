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
"""Attach and detach, as nova's API process asks for it.

Run in the environment of the control plane, with nova's options first:
``--config-file FILE attach|detach|force|cancel|list SERVER [ID [CLASS N]]``.
Prints all attachments of the server as JSON, as the last line.
"""

import json
import os
import sys

from nova import config
from nova import context as nova_context
from nova import objects

from nova_accel.core import attachment
from nova_accel import exception
from nova_accel import rpc

_ACTIONS = {
    'attach': 'accel_attach',
    'detach': 'accel_detach',
    'force': 'accel_detach',
}


def _ask(
    context: nova_context.RequestContext,
    server: objects.Instance,
    verb: str,
    words: list[str],
) -> None:
    client = rpc.AccelAPI()
    if verb in _ACTIONS:
        objects.InstanceAction.action_start(
            context, server.uuid, _ACTIONS[verb], want_result=False
        )
    if verb == 'attach':
        id_, resource_class, amount = words
        client.reserve(context, server, id_, resource_class, int(amount))
        client.attach(context, server, id_)
    elif verb == 'cancel':
        client.cancel(context, server, *words)
    elif verb != 'list':
        (id_,) = words
        client.detach(context, server, id_, force=verb == 'force')


def _align(
    context: nova_context.RequestContext, server: objects.Instance
) -> None:
    spec = objects.RequestSpec.get_by_instance_uuid(context, server.uuid)
    spec.flavor.extra_specs = attachment.aligned(
        spec.flavor.extra_specs, attachment.groups(server.flavor.extra_specs)
    )
    spec.save()


def _read(context: nova_context.RequestContext, uuid: str) -> objects.Instance:
    return objects.Instance.get_by_uuid(
        context, uuid, expected_attrs=['flavor', 'system_metadata']
    )


def main() -> None:
    at = sys.argv.index('--config-file') + 2
    verb, uuid, *words = sys.argv[at:]
    config.parse_args(sys.argv[:at])
    objects.register_all()
    context = nova_context.get_admin_context()
    mapping = objects.InstanceMapping.get_by_instance_uuid(context, uuid)
    with nova_context.target_cell(context, mapping.cell_mapping) as cell:
        failed = None
        try:
            _ask(cell, _read(cell, uuid), verb, words)
        except exception.HotplugError as e:
            failed = f'{type(e).__name__}: {e}'
        server = _read(cell, uuid)
        _align(context, server)
    found = attachment.read(server.system_metadata).values()
    answer = {
        'failed': failed,
        'attachments': [record.primitive() for record in found],
    }
    print(f'{os.linesep}{json.dumps(answer)}')


if __name__ == '__main__':
    main()
