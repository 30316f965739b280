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
"""Records of attachments."""

import dataclasses

from nova_accel.core import attachment
from nova_accel.core import facts
from nova_accel.core import invariant
from tests.unit.core.invariant import agreement


class AttachmentTest(agreement.InvariantCase):
    """A server with an attachment, of which all say the same at first."""

    ID = '11111111-1111-1111-1111-111111111111'

    def record(self, state=attachment.ATTACHED, claims=None):
        record = attachment.Attachment(self.ID, 'VGPU', 1, state)
        return record.holding(
            [agreement.slot(0)] if claims is None else claims
        )

    def asked(self, **changes):
        group = {self.ID: ('VGPU', 1)}
        asked = facts.Asked(
            (self.record(),), frozenset(), {'VGPU': 1}, group, group
        )
        return dataclasses.replace(asked, **changes)

    def found(self, asked, **changes):
        return agreement.host(
            agreement.server(
                agreement.ONE, agreement.slot(0), asked=asked, **changes
            )
        )

    def test_all_agree(self):
        self.assert_found(self.found(self.asked()))
        self.assert_found(self.found(self.asked(spec=None)))

    def test_a_record_without_its_claim(self):
        for claims in ([], [agreement.slot(1)]):
            asked = self.asked(records=(self.record(claims=claims),))
            expected = (invariant.UNCLAIMED, '', agreement.ONE, '')
            self.assert_found(self.found(asked), expected)

    def test_a_failed_one_needs_none(self):
        record = self.record(attachment.ERROR, claims=[])
        asked = self.asked(records=(record,), flavor={'VGPU': 1}, groups={})
        self.assert_found(
            self.found(asked), (invariant.SPEC, '', agreement.ONE, '')
        )

    def test_a_flavor_that_does_not_ask_for_it(self):
        asked = self.asked(groups={}, spec={})
        self.assert_found(
            self.found(asked), (invariant.NO_GROUP, '', agreement.ONE, '')
        )

    def test_a_record_that_got_lost(self):
        asked = self.asked(records=())
        self.assert_found(
            self.found(asked), (invariant.NO_RECORD, '', agreement.ONE, '')
        )

    def test_a_record_that_cannot_be_read(self):
        asked = self.asked(records=(), unreadable=frozenset({self.ID}))
        self.assert_found(
            self.found(asked), (invariant.UNREADABLE, '', agreement.ONE, '')
        )

    def test_a_request_spec_that_is_not_told(self):
        asked = self.asked(spec={})
        found = self.found(asked)
        self.assert_found(found, (invariant.SPEC, '', agreement.ONE, ''))
        (finding,) = invariant.check(found)
        self.assertIn('1 of VGPU', finding.text)

    def test_a_claim_that_nobody_asked_for(self):
        asked = self.asked(flavor={})
        self.assert_found(
            self.found(asked), (invariant.NOT_ASKED, '', agreement.ONE, '')
        )

    def test_a_server_at_work(self):
        asked = self.asked(groups={}, spec={}, flavor={})
        self.assert_found(self.found(asked, state=facts.BUSY))
