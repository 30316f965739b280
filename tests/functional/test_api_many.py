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
import typing as ty
import uuid

from nova_accel.testing import cloud  # noqa: F401  (comes first)

import webob

from tests.functional import api
from tests.functional import mariadb
from tests.functional import rest
from tests.functional import rules

SLOTS = 20
ASKED = 50
T4_1Q = (
    f'{rules.T4_8Q.replace("8Q", "1Q").replace("8q", "1q")}    max_slots: 10\n'
)


class ManyTestCase(api.ApiTestCase):
    SERVERS = 5
    AT_ONCE = 10

    def set_up_servers(self) -> None:
        self.start_host('host1', 't4', T4_1Q)
        flavor = self._create_flavor(
            vcpu=1,
            memory_mb=128,
            disk=1,
            ephemeral=0,
            extra_spec={'accel_hotplug:max_VGPU': str(ASKED)},
        )
        self.servers = [self.boot(flavor) for _ in range(self.SERVERS)]

    def ask_for_more_than_there_is(self) -> int:
        """Check all that must hold; return how many were refused at once."""
        processes = [self.rest, self.process(), self.process()]
        ids = [str(uuid.uuid4()) for _ in range(ASKED)]

        def ask(number: int) -> webob.Response:
            process = processes[number % len(processes)]
            server = self.servers[number % len(self.servers)]
            return process.attach(server['id'], id=ids[number])

        with concurrent.futures.ThreadPoolExecutor(self.AT_ONCE) as pool:
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
        return ASKED - accepted

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


class ManyTest(ManyTestCase):
    def test_fifty_at_once_for_twenty_slots(self) -> None:
        self.set_up_servers()
        self.ask_for_more_than_there_is()


class MariaDBTest(ManyTestCase):
    """The same over Placement as clouds have it, set up as we recommend.

    The requests for a server wait for each other; those for several servers
    meet in Placement.
    """

    SERVERS = 10
    AT_ONCE = ASKED
    OPTIONS: ty.ClassVar[mariadb.Options] = {
        'allocation_conflict_retry_count': 1
    }

    def setUp(self) -> None:
        lacking = mariadb.lacking()
        if lacking:
            self.skipTest(
                'NOT TESTED: 50 attaches for 20 slots over MariaDB; install '
                f'mariadb-server, which has {", ".join(lacking)}'
            )
        self.over = self.useFixture(mariadb.Placement(self.OPTIONS))
        super().setUp()

    def test_fifty_at_once_for_twenty_slots(self) -> None:
        self.set_up_servers()
        self.ask_for_more_than_there_is()
        self.assertEqual(
            ['0'],
            self.over.database.sql(
                'select count(*) from placement.allocations'
            ).split()[1:],
        )


class DefaultsTest(MariaDBTest):
    """Over-booked by Placement: the node decides, and Placement is told."""

    OPTIONS: ty.ClassVar[mariadb.Options] = {}
