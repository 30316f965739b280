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
"""Who may do what with the accelerators of a server."""

from oslo_policy import policy

from nova_accel.api.policies import base

_NOUN = f'{base.PREFIX}:accelerators'
LIST = f'{_NOUN}:list'
SHOW = f'{_NOUN}:show'
SHOW_HOST_DETAILS = f'{_NOUN}:show:host_details'
CREATE = f'{_NOUN}:create'
DELETE = f'{_NOUN}:delete'
FORCE_DETACH = f'{_NOUN}:force_detach'
CANCEL_DETACH = f'{_NOUN}:cancel_detach'
OVERRIDE_LOCK = f'{_NOUN}:override_lock'

COLLECTION = '/v1/servers/{server_id}/accelerators'
MEMBER = f'{COLLECTION}/{{accelerator_id}}'
ACTION = f'{MEMBER}/action'


def _rule(
    name: str, check: str, description: str, *operations: tuple[str, str]
) -> policy.DocumentedRuleDefault:
    return policy.DocumentedRuleDefault(
        name=name,
        check_str=check,
        description=description,
        operations=[
            {'method': method, 'path': path} for method, path in operations
        ],
        scope_types=list(base.SCOPES),
    )


RULES = (
    _rule(
        LIST,
        base.READER_OR_ADMIN,
        'List the accelerators of a server.',
        ('GET', COLLECTION),
    ),
    _rule(
        SHOW,
        base.READER_OR_ADMIN,
        'Show one accelerator of a server.',
        ('GET', MEMBER),
    ),
    _rule(
        SHOW_HOST_DETAILS,
        base.ADMIN,
        'Show the host, the resource provider and the units of an '
        'accelerator. Their names hold serial numbers and slots.',
        ('GET', COLLECTION),
        ('GET', MEMBER),
        ('POST', COLLECTION),
    ),
    _rule(
        CREATE,
        base.MEMBER_OR_ADMIN,
        'Attach an accelerator to a server.',
        ('POST', COLLECTION),
    ),
    _rule(
        DELETE,
        base.MEMBER_OR_ADMIN,
        'Detach an accelerator from a server, which asks the guest.',
        ('DELETE', MEMBER),
    ),
    _rule(
        FORCE_DETACH,
        base.ADMIN,
        'Detach an accelerator without the consent of the guest, which may '
        'crash it.',
        ('POST', f'{ACTION} (force_detach)'),
    ),
    _rule(
        CANCEL_DETACH,
        base.ADMIN,
        'Give up a detach that the guest does not answer.',
        ('POST', f'{ACTION} (cancel_detach)'),
    ),
    _rule(
        OVERRIDE_LOCK,
        base.ADMIN,
        'Attach to and detach from a server that is locked.',
        ('POST', COLLECTION),
        ('DELETE', MEMBER),
        ('POST', ACTION),
    ),
)
