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
"""How the accelerators of a server are shown."""

import collections
import collections.abc
import dataclasses
import typing as ty
import uuid

from nova_accel.api.schemas import accelerator
from nova_accel.api import servers
from nova_accel.core import attachment
from nova_accel.core.inventory import values

View = dict[str, ty.Any]


@dataclasses.dataclass(frozen=True)
class Accelerator:
    """One accelerator of a server, wherever it came from.

    :ivar source: a word of the schema.
    """

    record: attachment.Attachment
    claims: frozenset[values.Claim]
    source: str = accelerator.ATTACHED


def accelerators(
    server: servers.Server, claims: collections.abc.Iterable[values.Claim]
) -> dict[str, Accelerator]:
    """Return all that a server has, by id; those of its flavor first.

    :param claims: units that the server holds.
    """
    records = server.attachments
    attached = {c for record in records.values() for c in record.claims}
    found = of_flavor(server.uuid, frozenset(claims) - attached)
    found += [
        Accelerator(record, record.claims) for record in records.values()
    ]
    return {each.record.id: each for each in found}


def of_flavor(
    server: str, claims: collections.abc.Iterable[values.Claim]
) -> list[Accelerator]:
    """Return one accelerator for each class that the flavor brought.

    Its id follows from the server and the class, so it stays when the
    server moves.
    """
    by_class: dict[str, set[values.Claim]] = collections.defaultdict(set)
    for claim in claims:
        by_class[claim.resource_class].add(claim)
    return [
        Accelerator(
            attachment.Attachment(
                id=flavor_id(server, resource_class),
                resource_class=resource_class,
                amount=len(held),
                state=attachment.ATTACHED,
            ),
            frozenset(held),
            accelerator.FLAVOR,
        )
        for resource_class, held in sorted(by_class.items())
    ]


def flavor_id(server: str, resource_class: str) -> str:
    """Return the id of what the flavor of a server brought of a class."""
    return str(uuid.uuid5(uuid.UUID(server), resource_class))


def shown(
    server: servers.Server, found: Accelerator, host_details: bool = False
) -> View:
    """Return an accelerator as the schema has it.

    :param host_details: show where it is, too.
    """
    record = found.record
    view = {
        'id': record.id,
        'server_id': server.uuid,
        'source': found.source,
        'resource_class': record.resource_class,
        'amount': record.amount,
        'status': record.state,
        'reason': record.reason or None,
        'request_id': record.request_id or None,
        'created_at': record.created or None,
        'updated_at': record.updated or None,
    }
    if host_details:
        view['host_details'] = {
            'host': server.instance.host,
            'resource_provider_ids': sorted(
                {c.provider for c in found.claims}
            ),
            'units': sorted(claim.unit for claim in found.claims),
        }
    return view
