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
"""A server keeps its devices through everything nova does to it."""

import collections.abc
import typing as ty

from tempest import config
from tempest.lib.common.utils import data_utils
from tempest.lib import decorators

from nova_accel_tempest.tests import base

CONF = config.CONF
FEATURES = CONF.compute_feature_enabled


class LifecycleTest(base.AccelTestCase):
    """One server, one unit: the same before and after."""

    def setUp(self) -> None:
        super().setUp()
        self.rc = self.any_class()
        self.before = self.free(self.rc)
        self.flavor_id = self.flavor_of(**{self.rc: 1})
        self.server = self.boot(self.flavor_id)
        self.seen = self.assert_has(self.server, **{self.rc: 1})
        self.home = self.allocated(self.server)

    def needs(self, feature: str) -> None:
        if not getattr(FEATURES, feature):
            raise self.skipException(
                f'[compute-feature-enabled]{feature} says no'
            )

    def act(
        self,
        action: collections.abc.Callable[..., ty.Any],
        status: str,
        *about: ty.Any,
        **named: ty.Any,
    ) -> None:
        action(self.server['id'], *about, **named)
        self.wait(self.server['id'], status)

    def assert_kept(self) -> None:
        """The very same units, and the guest sees the very same devices."""
        self.assertEqual(self.home, self.allocated(self.server))
        self.assertEqual(
            self.seen, self.assert_has(self.server, **{self.rc: 1})
        )

    def assert_freed_at_the_end(self) -> None:
        self.remove(self.server['id'])
        self.wait_free(self.rc, self.before)

    @decorators.attr(type=['driver', 'smoke'])
    @decorators.idempotent_id('c0ffee10-3e4f-4a5b-9c8d-e1f2a3b4c501')
    def test_stop_and_start(self) -> None:
        self.act(self.servers.stop_server, 'SHUTOFF')
        self.assertEqual(self.home, self.allocated(self.server))
        self.act(self.servers.start_server, 'ACTIVE')
        self.assert_kept()
        self.assert_freed_at_the_end()

    @decorators.attr(type='driver')
    @decorators.idempotent_id('c0ffee10-3e4f-4a5b-9c8d-e1f2a3b4c502')
    def test_reboot(self) -> None:
        for kind in ('SOFT', 'HARD'):
            self.act(self.servers.reboot_server, 'ACTIVE', type=kind)
            self.assert_kept()

    @decorators.attr(type='driver')
    @decorators.idempotent_id('c0ffee10-3e4f-4a5b-9c8d-e1f2a3b4c503')
    def test_pause_and_unpause(self) -> None:
        self.needs('pause')
        self.act(self.servers.pause_server, 'PAUSED')
        self.act(self.servers.unpause_server, 'ACTIVE')
        self.assert_kept()

    @decorators.attr(type='driver')
    @decorators.idempotent_id('c0ffee10-3e4f-4a5b-9c8d-e1f2a3b4c504')
    def test_suspend_and_resume(self) -> None:
        self.needs('suspend')
        self.act(self.servers.suspend_server, 'SUSPENDED')
        self.assertEqual(self.home, self.allocated(self.server))
        self.act(self.servers.resume_server, 'ACTIVE')
        self.assert_kept()

    @decorators.attr(type='driver')
    @decorators.idempotent_id('c0ffee10-3e4f-4a5b-9c8d-e1f2a3b4c505')
    def test_rescue_and_unrescue(self) -> None:
        self.needs('rescue')
        self.act(self.servers.rescue_server, 'RESCUE')
        self.assertEqual(self.home, self.allocated(self.server))
        self.act(self.servers.unrescue_server, 'ACTIVE')
        self.assert_kept()

    @decorators.attr(type='driver')
    @decorators.idempotent_id('c0ffee10-3e4f-4a5b-9c8d-e1f2a3b4c506')
    def test_rebuild(self) -> None:
        self.act(self.servers.rebuild_server, 'ACTIVE', CONF.compute.image_ref)
        self.assert_kept()

    @decorators.attr(type='driver')
    @decorators.idempotent_id('c0ffee10-3e4f-4a5b-9c8d-e1f2a3b4c507')
    def test_shelve_and_unshelve(self) -> None:
        self.needs('shelve')
        if CONF.compute.shelved_offload_time < 0:
            self.act(self.servers.shelve_server, 'SHELVED')
            self.admin_servers.shelve_offload_server(self.server['id'])
        else:
            self.servers.shelve_server(self.server['id'])
        self.wait(self.server['id'], 'SHELVED_OFFLOADED')
        self.assertEqual({}, self.allocated(self.server))
        self.wait_free(self.rc, self.before)
        self.act(self.servers.unshelve_server, 'ACTIVE')
        self.assert_has(self.server, **{self.rc: 1})

    @decorators.attr(type='driver')
    @decorators.idempotent_id('c0ffee10-3e4f-4a5b-9c8d-e1f2a3b4c508')
    def test_snapshot(self) -> None:
        self.needs('snapshot')
        snapshots = self.os_primary.compute_images_client
        image = snapshots.create_image(
            self.server['id'], name=data_utils.rand_name('accel')
        )['image_id']
        self.addCleanup(self.images.delete_image, image)
        self.wait(self.server['id'], 'ACTIVE')
        self.assert_kept()

    @decorators.attr(type='driver')
    @decorators.idempotent_id('c0ffee10-3e4f-4a5b-9c8d-e1f2a3b4c509')
    def test_resize_to_less_and_back(self) -> None:
        """Confirmed, then reverted: each end holds what it should."""
        self.needs('resize')
        without = self.flavor({})
        self.act(self.servers.resize_server, 'VERIFY_RESIZE', without)
        self.act(self.servers.confirm_resize_server, 'ACTIVE')
        self.assert_has(self.server)
        self.wait_free(self.rc, self.before)
        self.act(self.servers.resize_server, 'VERIFY_RESIZE', self.flavor_id)
        self.assert_has(self.server, **{self.rc: 1})
        self.act(self.servers.revert_resize_server, 'ACTIVE')
        self.assert_has(self.server)
        self.wait_free(self.rc, self.before)


class MoveTest(base.AccelTestCase):
    """Between two hosts that offer the same class."""

    @classmethod
    def skip_checks(cls) -> None:
        super().skip_checks()
        if not CONF.accel.two_hosts:
            raise cls.skipException('[accel]two_hosts says no')
        if not FEATURES.cold_migration:
            raise cls.skipException('no cold migration here')

    def setUp(self) -> None:
        super().setUp()
        self.rc = self.class_with(
            'free on two hosts',
            lambda rc, p: len({one.root for one in p if one.free.get(rc)}) > 1,
        )
        self.before = self.free(self.rc)
        self.server = self.boot(self.flavor_of(**{self.rc: 1}))
        self.seen = self.assert_has(self.server, **{self.rc: 1})
        self.home = self.allocated(self.server)
        self.host = self.host_of(self.server)

    def migrate(self) -> None:
        self.admin_servers.migrate_server(self.server['id'])
        self.wait(self.server['id'], 'VERIFY_RESIZE')
        self.assertNotEqual(self.host, self.host_of(self.server))
        self.assert_has(self.server, **{self.rc: 1})
        # One at each end until it is decided.
        self.assertEqual(self.before - 2, self.free(self.rc))

    @decorators.attr(type='driver')
    @decorators.idempotent_id('c0ffee10-3e4f-4a5b-9c8d-e1f2a3b4c510')
    def test_migrate_and_confirm(self) -> None:
        self.migrate()
        self.servers.confirm_resize_server(self.server['id'])
        self.wait(self.server['id'], 'ACTIVE')
        self.assert_has(self.server, **{self.rc: 1})
        self.wait_free(self.rc, self.before - 1)

    @decorators.attr(type='driver')
    @decorators.idempotent_id('c0ffee10-3e4f-4a5b-9c8d-e1f2a3b4c511')
    def test_migrate_and_revert(self) -> None:
        self.migrate()
        self.servers.revert_resize_server(self.server['id'])
        self.wait(self.server['id'], 'ACTIVE')
        self.assertEqual(self.host, self.host_of(self.server))
        self.assertEqual(self.home, self.allocated(self.server))
        self.assertEqual(
            self.seen, self.assert_has(self.server, **{self.rc: 1})
        )
        self.wait_free(self.rc, self.before - 1)
