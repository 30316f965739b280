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
"""From a flavor to devices in a guest, and back."""

from tempest import config
from tempest.lib import decorators

from nova_accel_tempest.tests import base
from nova_accel_tempest.tests import offers

CONF = config.CONF


class BootTest(base.AccelTestCase):
    @decorators.attr(type=['driver', 'smoke'])
    @decorators.idempotent_id('5c1d2a70-8f6b-4a3f-8d3e-0a1b2c3d4e01')
    def test_each_kind(self) -> None:
        for rc in self.offered():
            with self.subTest(resource_class=rc):
                before = self.free(rc)
                server = self.boot(self.flavor_of(**{rc: 1}))
                self.assert_has(server, **{rc: 1})
                self.assertEqual(before - 1, self.free(rc))
                self.remove(server['id'])
                self.wait_free(rc, before)

    @decorators.attr(type='driver')
    @decorators.idempotent_id('5c1d2a70-8f6b-4a3f-8d3e-0a1b2c3d4e02')
    def test_several_units_of_one_class(self) -> None:
        rc = self.class_with(
            'free twice in one provider',
            lambda rc, providers: any(
                p.free.get(rc, 0) > 1 for p in providers
            ),
        )
        server = self.boot(self.flavor_of(**{rc: 2}))
        seen = self.assert_has(server, **{rc: 2})
        self.assertEqual(1, len(self.allocated(server)))
        self.assertEqual(len(seen), len(set(seen)))

    @decorators.attr(type='driver')
    @decorators.idempotent_id('5c1d2a70-8f6b-4a3f-8d3e-0a1b2c3d4e03')
    def test_two_classes_in_one_server(self) -> None:
        offered = self.offered()
        pairs = (
            (one, other)
            for one in offered
            for other in offered
            if one < other
            and {p.root for p in offered[one]}
            & {p.root for p in offered[other]}
        )
        pair = next(pairs, None)
        if pair is None:
            raise self.skipException('no host offers two classes')
        wanted = dict.fromkeys(pair, 1)
        self.assert_has(self.boot(self.flavor_of(**wanted)), **wanted)

    @decorators.attr(type='driver')
    @decorators.idempotent_id('5c1d2a70-8f6b-4a3f-8d3e-0a1b2c3d4e04')
    def test_no_device_is_given_twice(self) -> None:
        rc = self.class_with('free twice', self._told_apart)
        flavor = self.flavor_of(**{rc: 1})
        seen = [
            self.assert_has(self.boot(flavor), **{rc: 1}) for _ in range(2)
        ]
        if CONF.accel.guest_reports:
            self.assertNotEqual(seen[0], seen[1])

    @staticmethod
    def _told_apart(rc: str, providers: list[offers.Provider]) -> bool:
        """vGPUs and whole devices; functions of one card look alike."""
        told = rc not in CONF.accel.silent_guests
        return (
            told
            and offers.free(providers, rc) > 1
            and all(
                '_accel_pool:' in p.name
                or any(t.startswith('CUSTOM_ACCEL_MODEL_') for t in p.traits)
                for p in providers
            )
        )

    @decorators.attr(type='driver')
    @decorators.idempotent_id('5c1d2a70-8f6b-4a3f-8d3e-0a1b2c3d4e05')
    def test_each_server_gets_the_card_that_it_was_allocated(self) -> None:
        """The serial that a guest sees is that of the provider's card."""
        if not CONF.accel.guest_reports:
            raise self.skipException('[accel]guest_reports: guests tell not')
        compared = 0
        for rc, providers in self.offered().items():
            single = [p for p in providers if '_accel_sn:' in p.name]
            if len(single) < 2 or rc in CONF.accel.silent_guests:
                continue
            flavor = self.flavor_of(**{rc: 1})
            for _ in range(2):
                server = self.boot(flavor)
                (device,) = self.assert_has(server, **{rc: 1})
                (uuid,) = self.allocated(server)
                (name,) = [p.name for p in providers if p.uuid == uuid]
                self.assertTrue(device.serial, rc)
                self.assertIn(f'_accel_sn:{device.serial}', name)
                compared += 1
        self.assertGreater(compared, 0, 'no two cards of a class to compare')


class FullTest(base.AccelTestCase):
    """They take all of a class."""

    @decorators.attr(type='driver')
    @decorators.idempotent_id('5c1d2a70-8f6b-4a3f-8d3e-0a1b2c3d4e06')
    def test_a_full_cloud_refuses_until_a_server_goes(self) -> None:
        rc = min(self.offered(), key=self.free)
        flavor = self.flavor_of(**{rc: 1})
        servers = [self.boot(flavor) for _ in range(self.free(rc))]
        self.assertNotEqual([], servers)
        self.assertEqual(0, self.free(rc))
        self.assertIn('No valid host', self.refused(flavor))
        self.remove(servers.pop()['id'])
        self.wait_free(rc, 1)
        self.assert_has(self.boot(flavor), **{rc: 1})

    @decorators.attr(type='driver')
    @decorators.idempotent_id('5c1d2a70-8f6b-4a3f-8d3e-0a1b2c3d4e07')
    def test_deleting_frees_every_unit(self) -> None:
        """More servers, one after the other, than there are units."""
        rc = min(self.offered(), key=self.free)
        total = self.free(rc)
        flavor = self.flavor_of(**{rc: 1})
        for _ in range(total + 1):
            server = self.boot(flavor)
            self.assert_has(server, **{rc: 1})
            self.remove(server['id'])
            self.wait_free(rc, total)
