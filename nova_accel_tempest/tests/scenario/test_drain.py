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
"""An operator takes a card out of service, and back."""

import collections.abc
import time

from tempest import config
from tempest.lib import decorators
from tempest.lib import exceptions

from nova_accel_tempest.tests import base

CONF = config.CONF
_TRAIT = 'CUSTOM_ACCEL_DRAINING'
# Others write to a provider, too: then it has to be read again.
_TRIES = 10


class DrainTest(base.AccelTestCase):
    """With the trait alone, as any client of Placement can set it."""

    @classmethod
    def skip_checks(cls) -> None:
        super().skip_checks()
        if not CONF.accel.drain:
            raise cls.skipException('[accel]drain says no')

    def setUp(self) -> None:
        super().setUp()
        self.placement.create_trait(_TRAIT)
        offered = self.offered()
        self.rc = min(offered, key=lambda rc: (len(offered[rc]), rc))
        self.cards = [p.uuid for p in offered[self.rc]]
        self.before = self.free(self.rc)
        self.flavor_id = self.flavor_of(**{self.rc: 1})

    def drain(self) -> None:
        """Take every card of the class out of service; wait for that."""
        for uuid in self.cards:
            self.addCleanup(self.mark, uuid, frozenset.difference)
            self.mark(uuid, frozenset.union)
        self.wait_offer(lambda free: free == 0)

    def mark(
        self,
        uuid: str,
        change: collections.abc.Callable[
            [frozenset[str], frozenset[str]], frozenset[str]
        ],
    ) -> None:
        """Set the trait of a provider, or take it back."""
        for _ in range(_TRIES):
            known = self.providers.list_resource_provider_traits(uuid)
            traits = change(frozenset(known['traits']), frozenset({_TRAIT}))
            try:
                self.providers.update_resource_provider_traits(
                    uuid,
                    resource_provider_generation=known[
                        'resource_provider_generation'
                    ],
                    traits=sorted(traits),
                )
            except exceptions.Conflict:
                continue
            return
        raise self.failureException(f'{uuid} is written to all the time')

    def enable(self) -> None:
        for uuid in self.cards:
            self.mark(uuid, frozenset.difference)

    def wait_offer(self, holds: collections.abc.Callable[[int], bool]) -> None:
        """Wait until the hosts have noticed what was said."""
        until = time.monotonic() + CONF.accel.drain_timeout
        while not holds(free := self.free(self.rc)):
            if time.monotonic() > until:
                raise self.failureException(
                    f'{free} of {self.rc} are free; {_TRAIT} changed '
                    f'{CONF.accel.drain_timeout} s ago'
                )
            time.sleep(CONF.compute.build_interval)

    @decorators.attr(type='driver')
    @decorators.idempotent_id('d7a1b2c0-6f5e-4d3c-8b2a-1f0e9d8c7b01')
    def test_nobody_gets_a_draining_card(self) -> None:
        """Who has a unit keeps it; the others are for nobody."""
        server = self.boot(self.flavor_id)
        self.drain()
        self.assertIn('No valid host', self.refused(self.flavor_id))
        self.assert_has(server, **{self.rc: 1})
        self.enable()
        self.wait_offer(lambda free: free == self.before - 1)

    @decorators.attr(type='driver')
    @decorators.idempotent_id('d7a1b2c0-6f5e-4d3c-8b2a-1f0e9d8c7b02')
    def test_a_server_on_a_draining_card_lives_on(self) -> None:
        server = self.boot(self.flavor_id)
        seen = self.assert_has(server, **{self.rc: 1})
        home = self.allocated(server)
        self.drain()
        self.servers.reboot_server(server['id'], type='HARD')
        self.wait(server['id'], 'ACTIVE')
        self.assertEqual(seen, self.assert_has(server, **{self.rc: 1}))
        self.assertEqual(home, self.allocated(server))
        self.remove(server['id'])
        # What it gives back is for nobody, either.
        self.assertIn('No valid host', self.refused(self.flavor_id))
        self.enable()
        self.wait_offer(lambda free: free == self.before)
        self.assert_has(self.boot(self.flavor_id), **{self.rc: 1})
