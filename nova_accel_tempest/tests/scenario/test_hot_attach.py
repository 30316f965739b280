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
"""Attach and detach accelerators of servers that exist."""

import time
import typing as ty

from tempest import config
from tempest.lib.common.utils import data_utils
from tempest.lib import decorators
from tempest.lib import exceptions

from nova_accel_tempest.tests import base
from nova_accel_tempest.tests import offers
from nova_accel_tempest.tests import tags

CONF = config.CONF
_HOTPLUG = 'CUSTOM_ACCEL_HOTPLUG'


class HotAttachTestCase(base.AccelTestCase):
    @classmethod
    def skip_checks(cls) -> None:
        super().skip_checks()
        if not CONF.accel.hot_attach:
            raise cls.skipException('[accel]hot_attach says no')

    @classmethod
    def setup_clients(cls) -> None:
        super().setup_clients()
        cls.attachments = cls.os_primary.accel.AttachmentsClient()

    def hot_class(self) -> str:
        """Return a class that can be attached; fails where none can."""
        return self.class_with(
            f'free twice on providers with {_HOTPLUG}',
            lambda rc, providers: (
                all(_HOTPLUG in p.traits for p in providers)
                and any(p.free.get(rc, 0) > 1 for p in providers)
            ),
        )

    def flavor_that_allows(self, rc: str, most: int, **amounts: int) -> str:
        return self.flavor(
            {
                f'accel_hotplug:max_{rc}': str(most),
                **{f'resources:{c}': str(n) for c, n in amounts.items()},
            }
        )

    def attach(self, server: base.Json, rc: str, amount: int = 1) -> str:
        made = self.attachments.create_attachment(server['id'], rc, amount)
        id_ = made['accelerator']['id']
        self.wait_attachment(server, id_, 'attached')
        return ty.cast(str, id_)

    def wait_attachment(
        self, server: base.Json, id_: str, status: str
    ) -> None:
        """Wait for a status; '' for that it is gone."""
        until = time.monotonic() + CONF.accel.build_timeout
        while True:
            listed = self.attachments.list_attachments(server['id'])
            found = {a['id']: a for a in listed['accelerators']}.get(id_, {})
            if found.get('status', '') == status:
                return
            if found.get('status') == 'error' or time.monotonic() > until:
                raise self.failureException(f'{found}, not {status}')
            time.sleep(CONF.accel.build_interval)

    def detach(self, server: base.Json, id_: str) -> None:
        self.attachments.delete_attachment(server['id'], id_)
        self.wait_attachment(server, id_, '')


class HotAttachTest(HotAttachTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.rc = self.hot_class()
        self.before = self.free(self.rc)

    @decorators.attr(type='driver')
    @decorators.idempotent_id('a77ac4e0-4f5a-4b6c-8d7e-f1a2b3c4d501')
    def test_attach_and_detach(self) -> None:
        server = self.boot(self.flavor_that_allows(self.rc, 1))
        id_ = self.attach(server, self.rc)
        self.assert_has(server, **{self.rc: 1})
        self.assertEqual(self.before - 1, self.free(self.rc))
        self.detach(server, id_)
        self.assert_has(server)
        self.wait_free(self.rc, self.before)

    @decorators.attr(type='driver')
    @decorators.idempotent_id('a77ac4e0-4f5a-4b6c-8d7e-f1a2b3c4d502')
    def test_it_stays_through_a_hard_reboot(self) -> None:
        server = self.boot(self.flavor_that_allows(self.rc, 1))
        self.attach(server, self.rc)
        seen = self.assert_has(server, **{self.rc: 1})
        self.servers.reboot_server(server['id'], type='HARD')
        self.wait(server['id'], 'ACTIVE')
        self.assertEqual(seen, self.assert_has(server, **{self.rc: 1}))

    @decorators.attr(type='driver')
    @decorators.idempotent_id('a77ac4e0-4f5a-4b6c-8d7e-f1a2b3c4d503')
    def test_a_stopped_server_gets_it_at_its_start(self) -> None:
        server = self.boot(self.flavor_that_allows(self.rc, 1))
        self.servers.stop_server(server['id'])
        self.wait(server['id'], 'SHUTOFF')
        self.attach(server, self.rc)
        self.servers.start_server(server['id'])
        self.wait(server['id'], 'ACTIVE')
        self.assert_has(server, **{self.rc: 1})

    @decorators.attr(type='driver')
    @decorators.idempotent_id('a77ac4e0-4f5a-4b6c-8d7e-f1a2b3c4d504')
    def test_the_same_request_again_changes_nothing(self) -> None:
        server = self.boot(self.flavor_that_allows(self.rc, 2))
        id_ = data_utils.rand_uuid()
        for _ in range(2):
            self.attachments.create_attachment(
                server['id'], self.rc, 1, id=id_
            )
            self.wait_attachment(server, id_, 'attached')
        self.assert_has(server, **{self.rc: 1})

    @decorators.attr(type='driver')
    @decorators.idempotent_id('a77ac4e0-4f5a-4b6c-8d7e-f1a2b3c4d505')
    def test_more_than_the_flavor_allows_is_refused(self) -> None:
        server = self.boot(self.flavor_that_allows(self.rc, 1))
        self.attach(server, self.rc)
        self.assertRaises(
            exceptions.Forbidden,
            self.attachments.create_attachment,
            *(server['id'], self.rc),
        )
        self.assert_has(server, **{self.rc: 1})

    @decorators.attr(type='driver')
    @decorators.idempotent_id('a77ac4e0-4f5a-4b6c-8d7e-f1a2b3c4d506')
    def test_what_the_flavor_brought_is_not_detached(self) -> None:
        server = self.boot(self.flavor_that_allows(self.rc, 2, **{self.rc: 1}))
        (mine,) = self.attachments.list_attachments(server['id'])[
            'accelerators'
        ]
        self.assertEqual('flavor', mine['source'])
        self.assertRaises(
            (exceptions.Conflict, exceptions.Forbidden),
            self.attachments.delete_attachment,
            *(server['id'], mine['id']),
        )
        self.assert_has(server, **{self.rc: 1})

    @decorators.attr(type='driver')
    @decorators.idempotent_id('a77ac4e0-4f5a-4b6c-8d7e-f1a2b3c4d507')
    def test_a_locked_server_is_left_alone(self) -> None:
        server = self.boot(self.flavor_that_allows(self.rc, 1))
        self.admin_servers.lock_server(server['id'])
        self.addCleanup(self.admin_servers.unlock_server, server['id'])
        self.assertRaises(
            exceptions.Conflict,
            self.attachments.create_attachment,
            *(server['id'], self.rc),
        )
        self.assert_has(server)

    @decorators.attr(type='driver')
    @decorators.idempotent_id('a77ac4e0-4f5a-4b6c-8d7e-f1a2b3c4d508')
    def test_deleting_the_server_frees_it(self) -> None:
        server = self.boot(self.flavor_that_allows(self.rc, 1))
        self.attach(server, self.rc)
        self.remove(server['id'])
        self.wait_free(self.rc, self.before)


class HotAttachFullTest(HotAttachTestCase):
    @decorators.attr(type='driver')
    @decorators.idempotent_id('a77ac4e0-4f5a-4b6c-8d7e-f1a2b3c4d509')
    def test_a_full_host_refuses_and_nothing_changes(self) -> None:
        rc = self.hot_class()
        server = self.boot(self.flavor_that_allows(rc, 1000, **{rc: 1}))
        (uuid,) = self.allocated(server)
        (root,) = {p.root for p in self.offers.read() if p.uuid == uuid}
        here = [p for p in self.offers.read() if p.root == root]
        amount = offers.free(here, rc) + 1
        try:
            made = self.attachments.create_attachment(server['id'], rc, amount)
        except exceptions.Conflict:
            pass
        else:
            self.assertRaises(
                self.failureException,
                self.wait_attachment,
                *(server, made['accelerator']['id'], 'attached'),
            )
        self.assert_has(server, **{rc: 1})


class HotAttachRefusalsTest(HotAttachTestCase):
    @tags.passes_without_a_driver('refused before any host hears of it')
    @decorators.idempotent_id('a77ac4e0-4f5a-4b6c-8d7e-f1a2b3c4d510')
    def test_an_unknown_server_is_not_found(self) -> None:
        self.assertRaises(
            exceptions.NotFound,
            self.attachments.list_attachments,
            data_utils.rand_uuid(),
        )

    @decorators.attr(type='driver')
    @decorators.idempotent_id('a77ac4e0-4f5a-4b6c-8d7e-f1a2b3c4d511')
    def test_a_flavor_that_says_nothing_allows_nothing(self) -> None:
        server = self.boot(self.flavor({}))
        self.assertRaises(
            exceptions.Forbidden,
            self.attachments.create_attachment,
            *(server['id'], self.hot_class()),
        )
