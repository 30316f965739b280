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
"""What all tests share: the offer, flavors, servers, what a guest has."""

import collections.abc
import time
import typing as ty

from tempest.common import waiters
from tempest import config
from tempest.lib.common import api_microversion_fixture
from tempest.lib.common.utils import data_utils
from tempest.lib.common.utils import test_utils
from tempest.lib import decorators
from tempest import test

from nova_accel_tempest.tests import guest
from nova_accel_tempest.tests import offers

CONF = config.CONF

# networks=none; the description of servers in a fault
_COMPUTE = '2.79'
_PLACEMENT = '1.18'

Json = dict[str, ty.Any]


@decorators.serial
class AccelTestCase(test.BaseTestCase):  # type: ignore[misc]
    """Servers of a user, on hosts that an administrator looks at.

    Tests count what is free, so one at a time has accelerators.
    """

    credentials: ty.ClassVar[list[str]] = ['primary', 'admin']

    @classmethod
    def skip_checks(cls) -> None:
        super().skip_checks()
        if not CONF.service_available.accel:
            raise cls.skipException('[service_available]accel says no')

    @classmethod
    def setup_credentials(cls) -> None:
        cls.set_network_resources()
        super().setup_credentials()

    @classmethod
    def setup_clients(cls) -> None:
        super().setup_clients()
        cls.servers = cls.os_primary.servers_client
        cls.admin_servers = cls.os_admin.servers_client
        cls.flavors = cls.os_admin.flavors_client
        cls.images = cls.os_admin.image_client_v2
        cls.placement = cls.os_admin.placement_client
        cls.providers = cls.os_admin.resource_providers_client
        cls.offers = offers.Offers(cls.providers)

    def setUp(self) -> None:
        super().setUp()
        # Flavor -> the image that its hosts can boot, if not the usual one
        self.images_of: dict[str, str] = {}
        self.useFixture(
            api_microversion_fixture.APIMicroversionFixture(
                compute_microversion=_COMPUTE,
                placement_microversion=_PLACEMENT,
            )
        )

    # The offer

    def offered(self) -> dict[str, list[offers.Provider]]:
        """Resource class -> providers; fails where nothing is offered."""
        found = offers.by_class(self.offers.read())
        wanted = set(CONF.accel.resource_classes)
        self.assertTrue(found, 'no host offers any accelerator')
        self.assertEqual(set(), wanted - set(found), 'classes not on offer')
        return {rc: found[rc] for rc in sorted(wanted or found)}

    def free(self, resource_class: str) -> int:
        """Units of a class that can be claimed now, in the whole cloud."""
        return offers.free(self.offers.read(resource_class), resource_class)

    def class_with(
        self,
        what: str,
        holds: collections.abc.Callable[[str, list[offers.Provider]], bool],
    ) -> str:
        """Return a class whose providers are as a test needs them."""
        for rc, providers in self.offered().items():
            if holds(rc, providers):
                return rc
        raise self.failureException(f'no class is {what}')

    def any_class(self) -> str:
        """Return one of which a unit is free."""
        return self.class_with('free', lambda rc, p: offers.free(p, rc) > 0)

    # Flavors and servers

    def flavor(self, extra_specs: collections.abc.Mapping[str, str]) -> str:
        """Make a flavor for the time of the test."""
        like = self.flavors.show_flavor(CONF.compute.flavor_ref)['flavor']
        made = self.flavors.create_flavor(
            name=data_utils.rand_name('accel'),
            ram=like['ram'],
            vcpus=like['vcpus'],
            disk=like['disk'],
        )['flavor']
        self.addCleanup(self.flavors.delete_flavor, made['id'])
        specs = {**CONF.accel.flavor_extra_specs, **extra_specs}
        if specs:
            self.flavors.set_flavor_extra_spec(made['id'], **specs)
        return ty.cast(str, made['id'])

    def flavor_of(self, **amounts: int) -> str:
        """Make a flavor of so many units of classes."""
        made = self.flavor(
            {f'resources:{rc}': str(n) for rc, n in amounts.items()}
        )
        for rc in sorted(amounts):
            if rc in CONF.accel.images:
                self.images_of[made] = CONF.accel.images[rc]
        return made

    def boot(
        self, flavor: str, status: str = 'ACTIVE', **about: ty.Any
    ) -> Json:
        """Create a server and wait for its status."""
        made = self.servers.create_server(
            **{
                'name': data_utils.rand_name('accel'),
                'imageRef': self.images_of.get(flavor, CONF.compute.image_ref),
                'flavorRef': flavor,
                'networks': 'none',
                **about,
            }
        )['server']
        self.addCleanup(self.remove, made['id'])
        self.wait(made['id'], status)
        return self.show(made['id'])

    def wait(self, server: str, status: str) -> None:
        waiters.wait_for_server_status(
            self.servers, server, status, raise_on_error=status != 'ERROR'
        )

    def show(self, server: str) -> Json:
        """What the administrator sees of a server."""
        return ty.cast(Json, self.admin_servers.show_server(server)['server'])

    def host_of(self, server: Json) -> str:
        return ty.cast(
            str, self.show(server['id'])['OS-EXT-SRV-ATTR:hypervisor_hostname']
        )

    def remove(self, server: str) -> None:
        test_utils.call_and_ignore_notfound_exc(
            self.servers.delete_server, server
        )
        waiters.wait_for_server_termination(
            self.servers, server, ignore_error=True
        )

    def refused(self, flavor: str, **about: ty.Any) -> str:
        """Create a server that no host takes; return the reason."""
        server = self.boot(flavor, status='ERROR', **about)
        said = server['fault']['message']
        self.assertNotIn('OS-EXT-SRV-ATTR:host', _given(server), said)
        self.remove(server['id'])
        return ty.cast(str, said)

    # What a server has

    def allocated(self, server: Json) -> dict[str, dict[str, int]]:
        """Provider of ours -> class -> units."""
        ours = self.offers.uuids()
        found = self.placement.list_allocations(server['id'])['allocations']
        return {
            uuid: record['resources']
            for uuid, record in found.items()
            if uuid in ours
        }

    def devices(self, server: Json, count: int) -> tuple[guest.Device, ...]:
        """What the guest sees, once it sees so many; () if it tells not.

        :raises AssertionError: it sees another number for too long.
        """
        if not CONF.accel.guest_reports:
            return ()
        until = time.monotonic() + CONF.accel.guest_timeout
        while True:
            console = self.servers.get_console_output(server['id'])
            found = guest.last_report(console['output'])
            if found is not None and len(found) == count:
                return found
            if time.monotonic() > until or found is not None:
                break
            time.sleep(CONF.compute.build_interval)
        raise self.failureException(
            f'the guest sees {found}, not {count} devices'
        )

    def assert_has(
        self, server: Json, **amounts: int
    ) -> tuple[guest.Device, ...]:
        """Placement says that a server has so many units; so does the guest.

        :returns: what the guest sees; () where guests report nothing.
        """
        found: dict[str, int] = {}
        for classes in self.allocated(server).values():
            for rc, amount in classes.items():
                found[rc] = found.get(rc, 0) + amount
        self.assertEqual(amounts, found)
        if set(amounts) & set(CONF.accel.silent_guests):
            return ()
        return self.devices(server, sum(amounts.values()))

    def wait_free(self, resource_class: str, amount: int) -> None:
        """Wait until so many units of a class are free again."""
        until = time.monotonic() + CONF.compute.build_timeout
        while (free := self.free(resource_class)) != amount:
            if time.monotonic() > until:
                raise self.failureException(
                    f'{free} of {resource_class} are free, not {amount}'
                )
            time.sleep(CONF.compute.build_interval)


def _given(about: Json) -> set[str]:
    return {key for key, value in about.items() if value is not None}
