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
"""Records of attachments, and what else is said of them."""

import collections
import collections.abc

from nova_accel.core import attachment
from nova_accel.core import facts as evidence
from nova_accel.core.invariant import case as cases
from nova_accel.core.invariant import finding


def agree(case: cases.Case) -> finding.Findings:
    """Records of attachments, claims, flavor and request spec agree."""
    for server in case.facts.servers:
        asked = server.asked
        if asked is None:
            continue
        for id_ in asked.unreadable:
            yield _of(
                finding.UNREADABLE, server, id_, 'its record cannot be read'
            )
        for record in asked.records:
            yield from _recorded(server, asked, record)
        known = {record.id for record in asked.records} | asked.unreadable
        for id_ in asked.groups.keys() - known:
            yield _of(
                finding.NO_RECORD, server, id_, 'only the flavor knows it'
            )
        if asked.spec is not None and asked.spec != asked.groups:
            yield finding.Finding(
                finding.SPEC,
                f'the request spec of server {server.uuid} asks for '
                f'{_groups(asked.spec)}, and its flavor for '
                f'{_groups(asked.groups)}',
                server=server.uuid,
            )
        yield from _asked(case, server, asked)


def _recorded(
    server: evidence.Server,
    asked: evidence.Asked,
    record: attachment.Attachment,
) -> finding.Findings:
    attached = record.state == attachment.ATTACHED
    if not record.claims <= server.claims or (attached and not record.units):
        text = f'it is {record.state}, and the server does not hold its units'
        yield _of(finding.UNCLAIMED, server, record.id, text)
    group = asked.groups.get(record.id)
    if attached and group != (record.resource_class, record.amount):
        text = 'the flavor does not ask for it'
        yield _of(finding.NO_GROUP, server, record.id, text)


def _asked(
    case: cases.Case, server: evidence.Server, asked: evidence.Asked
) -> finding.Findings:
    held = collections.Counter(c.resource_class for c in server.attached)
    for rc, amount in sorted(held.items()):
        if amount > asked.flavor.get(rc, 0):
            yield finding.Finding(
                finding.NOT_ASKED,
                f'server {server.uuid} holds {amount} of {rc}, and its '
                f'flavor asks for {asked.flavor.get(rc, 0)}',
                server=server.uuid,
            )


def _of(
    kind: str, server: evidence.Server, id_: str, text: str
) -> finding.Finding:
    return finding.Finding(
        kind,
        f'attachment {id_} of server {server.uuid}: {text}',
        server=server.uuid,
    )


def _groups(
    groups: collections.abc.Mapping[str, attachment.Group],
) -> str:
    if not groups:
        return 'no attachment'
    return ', '.join(
        f'{amount} of {rc} ({id_})'
        for id_, (rc, amount) in sorted(groups.items())
    )
