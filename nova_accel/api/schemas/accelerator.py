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
"""What says, and what is said about, one accelerator of a server."""

import typing as ty

from nova_accel.api.schemas import common

STATUSES = ('attaching', 'attached', 'detaching', 'error')
FLAVOR = 'flavor'
ATTACHED = 'attached'
SOURCES = (FLAVOR, ATTACHED)

CREATE: common.Schema = common.closed(
    {
        'accelerator': common.closed(
            {
                'resource_class': common.RESOURCE_CLASS,
                'amount': {
                    'type': 'integer',
                    'minimum': 1,
                    'maximum': 4096,
                    'default': 1,
                    'description': 'How many units of the class; all of '
                    'them come from one provider.',
                },
                'id': {
                    **common.ID,
                    'description': 'Chosen by the client, so that it can '
                    'safely send the same request again. Without it the '
                    'service chooses one.',
                },
            },
            optional=('amount', 'id'),
        )
    }
)

_HOST_DETAILS: common.Schema = common.closed(
    {
        'host': common.nullable({'type': 'string'}),
        'resource_provider_ids': {'type': 'array', 'items': common.ID},
        'units': {
            'type': 'array',
            'items': {'type': 'string'},
            'description': 'Identifiers of the units on that host.',
        },
    },
    description='Where the devices are. For administrators.',
)

ACCELERATOR: common.Schema = common.closed(
    {
        'id': common.ID,
        'server_id': common.ID,
        'source': {
            'type': 'string',
            'enum': list(SOURCES),
            'description': 'Whether the flavor brought it or a request to '
            'this API. Only the latter can be detached.',
        },
        'resource_class': common.RESOURCE_CLASS,
        'amount': {'type': 'integer', 'minimum': 1},
        'status': {'type': 'string', 'enum': list(STATUSES)},
        'reason': {
            **common.nullable({'type': 'string'}),
            'description': 'Why it is in this status, where that is not '
            'plain: what failed, or what a detach waits for.',
        },
        'request_id': {
            **common.nullable({'type': 'string'}),
            'description': 'The request that asked for it; the actions of '
            'the server bear it, too.',
        },
        'created_at': common.nullable({'type': 'string'}),
        'updated_at': common.nullable({'type': 'string'}),
        'host_details': _HOST_DETAILS,
    },
    optional=('host_details',),
)

SHOW: common.Schema = common.closed({'accelerator': ACCELERATOR})
LIST: common.Schema = common.closed(
    {'accelerators': {'type': 'array', 'items': ACCELERATOR}}
)

FORCE_DETACH = 'force_detach'
CANCEL_DETACH = 'cancel_detach'
ACTION: common.Schema = {
    'type': 'object',
    'properties': {
        FORCE_DETACH: {
            'type': 'null',
            'description': 'Take it from the server without asking the guest.',
        },
        CANCEL_DETACH: {
            'type': 'null',
            'description': 'Give up a detach that the guest does not answer.',
        },
    },
    'additionalProperties': False,
    'minProperties': 1,
    'maxProperties': 1,
}

# Nothing but the path says what is wanted.
NO_QUERY: dict[str, ty.Any] = common.closed({})
