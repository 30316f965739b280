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
"""Many requests at once, from several API processes, for fewer slots."""

import collections
import concurrent.futures
import uuid

import webob

from tests.functional import api
from tests.functional import rest

SLOTS = 20
ASKED = 50

# Ten slots on each of the two cards.
RULES = """
version: 1
devices:
  t4-1q:
    kind: vgpu
    match: {vendor_id: "10de", product_id: "1eb8"}
    models: [GRID T4-1Q]
    max_slots: 10
"""


class ManyTest(api.ApiTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.start_host('host1', 't4', RULES)
        flavor = self.flavor(accel_hotplug__max_VGPU=ASKED)
        self.servers = [self.boot(flavor) for _ in range(5)]

    def test_fifty_at_once_for_twenty_slots(self) -> None:
        processes = [self.rest, self.process(), self.process()]
        ids = [str(uuid.uuid4()) for _ in range(ASKED)]

        def ask(number: int) -> webob.Response:
            process = processes[number % len(processes)]
            server = self.servers[number % len(self.servers)]
            return process.attach(server['id'], id=ids[number])

        with concurrent.futures.ThreadPoolExecutor(10) as pool:
            answers = list(pool.map(ask, range(ASKED)))
        for answer in answers:
            if answer.status_int != 202:
                self.refusal(answer, 409, 'no_free_slot')
        for process in processes:
            process.close()

        # Refused at once, or in the background with a reason.
        found = self.statuses()
        self.assertEqual(SLOTS, found.pop('attached'))
        accepted = sum(answer.status_int == 202 for answer in answers)
        self.assertEqual(accepted - SLOTS, found.pop('error', 0))
        self.assertEqual({}, found)
        self.assertEqual(SLOTS, self.used())
        self.assertEqual(
            SLOTS, len({c for s in self.servers for c in self.claims(s)})
        )
        self.assertEqual(
            SLOTS, sum(len(self.hostdevs('host1', s)) for s in self.servers)
        )
        for server in self.servers:
            self.assertTrue(self.is_aligned(server))
        self.assert_invariants()
        for server in self.servers:
            self._delete_server(server)
        self.assert_nothing_held()

    def statuses(self) -> collections.Counter[str]:
        return collections.Counter(
            each['status']
            for server in self.servers
            for each in self.rest.list(server['id'], rest.reader())
        )

    def used(self) -> int:
        return sum(
            amount
            for classes in self.usages('host1').values()
            for amount in classes.values()
        )
