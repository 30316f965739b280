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
"""A running server moves, and takes over devices of the other host."""

import collections.abc
import contextlib
import threading
import time
import types
import typing as ty
from unittest import mock

import fixtures
from nova import exception as nova_exception
from nova import objects
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.tests.functional.api import client
from nova.virt.libvirt import driver as libvirt_driver

from nova_accel.core import inventory
from nova_accel import exception
from nova_accel.testing import cloud
from nova_accel.testing import connection

from tests.functional import rules

MOVABLE = rules.MIXED + '    live_migratable: yes\n'
STOCK = libvirt_driver.LibvirtDriver


def quick_looks() -> fixtures.Fixture:
    """Let nova look at a migration more often than twice a second."""
    return fixtures.MockPatch(
        'nova.virt.libvirt.driver.time',
        types.SimpleNamespace(
            time=time.time,
            monotonic=time.monotonic,
            sleep=lambda _seconds: time.sleep(0.02),
        ),
    )


class LiveMigrationTest(cloud.CloudTestCase):
    """Two hosts of one kind, and a server on the first one."""

    VERSIONS: ty.ClassVar[dict[str, int]] = {
        'version': 10_000_000,
        'hv_version': 8_002_002,
    }
    NODE = 'mixed'
    RULES = MOVABLE
    EXTRA: ty.ClassVar[dict[str, int]] = {
        'resources__VGPU': 2,
        'resources__CUSTOM_NVME': 1,
    }

    def setUp(self) -> None:
        super().setUp()
        self.useFixture(quick_looks())
        self.start_host('host1', self.NODE, self.RULES)
        self.start_host('host2', self.NODE)
        self.server = self.boot(self.flavor(**self.EXTRA), host='host1')
        self.claimed = self.claims(self.server)
        self.before = self.hostdevs('host1', self.server)

    def driver(self, host: str) -> ty.Any:
        return self.computes[host].driver

    def held(self, host: str) -> frozenset[inventory.Claim]:
        held: frozenset[inventory.Claim] = self.driver(host).accel.held
        return held

    def migrate(self, expected: str = 'completed') -> None:
        self._live_migrate(self.server, expected, host='host2')

    def refuse(self) -> str:
        """Ask for a migration that no host takes; return what is said."""
        self.assertRaises(client.OpenStackApiException, self.migrate, 'error')
        self.assert_stayed()
        return str(self.stdlog.logger.output)

    def assert_moved(self) -> None:
        server = self.api.get_server(self.server['id'])
        self.assertEqual('host2', server['OS-EXT-SRV-ATTR:host'])
        claimed = set(self.claims(self.server))
        self.assertEqual(len(self.claimed), len(claimed))
        self.assertFalse(claimed & set(self.claimed))
        self.assertEqual(claimed, self.held('host2'))
        self.assertEqual(frozenset(), self.held('host1'))
        self.assertEqual({}, self.usages('host1'))
        self.assertEqual([], self.mdevs('host1'))
        self.assertEqual(
            len(self.before), len(self.hostdevs('host2', self.server))
        )
        self.assert_invariants()

    def assert_stayed(self) -> None:
        server = self.api.get_server(self.server['id'])
        self.assertEqual('host1', server['OS-EXT-SRV-ATTR:host'])
        self.assertEqual('ACTIVE', server['status'])
        self.assertEqual(self.claimed, self.claims(self.server))
        self.assertEqual(self.before, self.hostdevs('host1', self.server))
        self.assertEqual(frozenset(), self.held('host2'))
        self.assertEqual({}, self.usages('host2'))
        self.assertEqual([], self.mdevs('host2'))
        self.assert_invariants()

    @contextlib.contextmanager
    def meanwhile(
        self, do: collections.abc.Callable[[ty.Any], None]
    ) -> collections.abc.Iterator[None]:
        """Do something while the guest runs on both hosts."""
        done: list[Exception | None] = []
        over = threading.Event()

        def run(domain: connection.HybridDomain) -> None:
            try:
                do(domain)
                done.append(None)
            except Exception as error:
                done.append(error)
                raise
            finally:
                over.set()

        self.connection_of('host1').migrating = run
        yield
        # What waits for it here may see its outcome before it does.
        over.wait(30)
        for error in done:
            if error is not None and not isinstance(error, Failure):
                raise error
        self.assertEqual(1, len(done))


class Failure(fakelibvirt.libvirtError):  # type: ignore[misc]
    """What makes a migration fail."""


class Killed(BaseException):
    """A process that is no more does nothing else."""


def reset_state(test: cloud.CloudTestCase) -> None:
    """Tell nova that the server of a test is well."""
    server = test.server['id']
    test.api.post_server_action(server, {'os-resetState': {'state': 'active'}})


class MoveTest(LiveMigrationTest):
    def test_there_and_back(self) -> None:
        with self.meanwhile(self.look):
            self.migrate()
        self.assert_moved()
        self._reboot_server(self.server, hard=True)
        self.assert_moved()
        self._live_migrate(self.server, 'completed', host='host1')
        self.assertEqual({}, self.usages('host2'))
        self.assertEqual([], self.mdevs('host2'))
        self.assert_invariants()

    def test_deleted_at_once(self) -> None:
        """No update passes: nova's tracker does not know it is there."""
        self.migrate()
        self._delete_server(self.server)
        self.wait_until(lambda: not self.held('host2'))
        self.assertEqual({}, self.usages('host2'))
        self.assertEqual([], self.mdevs('host2'))
        self.assert_invariants()

    def look(self, _domain: object) -> None:
        """Both hosts keep what the server holds there."""
        self.run_periodic()
        self.assertEqual(set(self.claimed), self.held('host1'))
        self.assertEqual(3, len(self.held('host2')))
        self.assertEqual(2, len(self.mdevs('host1')))
        self.assertEqual(2, len(self.mdevs('host2')))

    def test_the_destination_restarts_meanwhile(self) -> None:
        with self.meanwhile(lambda _: self.restart_compute_service('host2')):
            self.migrate()
        self.assert_moved()

    def test_a_source_of_an_older_version(self) -> None:
        """It tells stock nova's part: not which PCI function it is."""
        with mock.patch.object(
            type(self.driver('host1')),
            'check_can_live_migrate_source',
            STOCK.check_can_live_migrate_source,
        ):
            self.assertIn(
                'would get 1 of 144d:a80a here, and the host it runs on '
                'names 0',
                self.refuse(),
            )
            small = self.flavor(resources__VGPU=2)
            self._delete_server(self.server)
            self.server = self.boot(small, host='host1')
            self.claimed = self.claims(self.server)
            self.before = self.hostdevs('host1', self.server)
            self.migrate()
        self.assert_moved()


class NumaTest(LiveMigrationTest):
    EXTRA: ty.ClassVar[dict[str, int]] = {
        'resources__VGPU': 1,
        'hw__numa_nodes': 1,
    }

    def test_nova_has_claimed_already(self) -> None:
        rt = self.computes['host2'].manager.rt
        with mock.patch.object(
            rt, 'live_migration_claim', wraps=rt.live_migration_claim
        ) as claim:
            self.migrate()
        claim.assert_called_once()
        self.assert_moved()


class StayTest(LiveMigrationTest):
    def fail_to_migrate(self) -> None:
        self._live_migrate(
            self.server,
            'error',
            'ERROR',
            host='host2',
            wait_for_fault_key=False,
        )
        # Nova 34 says so of the server, too, which runs as before.
        reset_state(self)

    def test_it_fails(self) -> None:
        def fail(_domain: object) -> None:
            raise Failure('the network is gone')

        with self.meanwhile(fail):
            self.fail_to_migrate()
        self.assert_stayed()

    def test_it_is_aborted(self) -> None:
        def abort(_domain: object) -> None:
            (migration,) = self.api.api_get(
                f'/os-migrations?instance_uuid={self.server["id"]}'
            ).body['migrations']
            self.api.api_delete(
                f'/servers/{self.server["id"]}/migrations/{migration["id"]}'
            )

        with self.meanwhile(abort):
            self.fail_to_migrate()
        self.assert_stayed()

    def test_the_source_is_killed(self) -> None:
        """Nova gives the move up, and says so to nobody."""
        restarted, over = threading.Event(), threading.Event()

        def restart(_domain: object) -> None:
            self.restart_compute_service('host1')
            restarted.set()

        def killed(*_args: object, **_kwargs: object) -> None:
            over.set()
            raise Killed

        with (
            mock.patch.object(
                self.computes['host1'].manager,
                '_rollback_live_migration',
                killed,
            ),
            # Who is dead saves nothing any more, either.
            mock.patch('nova.virt.libvirt.migration.save_stats'),
            self.meanwhile(restart),
        ):
            self.migrate('error')
            # Either may be first.
            self.assertTrue(restarted.wait(60))
            self.assertTrue(over.wait(60))
        self.assertEqual(frozenset(), self.held('host2'))
        self.run_periodic('host2')
        self.assert_stayed()

    def test_it_is_deleted(self) -> None:
        def delete(_domain: object) -> None:
            self.api.delete_server(self.server['id'])
            self._wait_until_deleted(self.server)

        with self.meanwhile(delete):
            self.api.post_server_action(
                self.server['id'],
                {
                    'os-migrateLive': {
                        'host': 'host2',
                        'block_migration': 'auto',
                    }
                },
            )
            self._wait_until_deleted(self.server)
        for host in self.computes:
            self.assertEqual({}, self.usages(host))
        # Nova finds no server that the destination could be told about: an
        # update lets the units go, and the next one what stood for them.
        self.run_periodic('host2')
        self.run_periodic('host2')
        for host in self.computes:
            self.assertEqual(frozenset(), self.held(host))
            self.assertEqual([], self.mdevs(host))
        self.assert_invariants()

    def test_the_destination_cannot_make_a_device(self) -> None:
        conn = self.connection_of('host2')
        conn.fail['nodeDeviceCreateXML'] = conn.error('INTERNAL_ERROR', 'no')
        self.migrate('error')
        self.assert_stayed()

    def test_there_is_no_room_after_all(self) -> None:
        with mock.patch.object(
            self.driver('host2').accel,
            'claim',
            side_effect=exception.NotEnoughUnits(
                provider='p', amount=1, resource_class='VGPU', reason='full'
            ),
        ):
            self.assertIn('cannot give 1 of VGPU: full', self.refuse())

    def test_the_destination_refuses_once_it_has_claimed(self) -> None:
        with mock.patch.object(
            STOCK,
            'check_source_migrate_data_at_dest',
            side_effect=nova_exception.MigrationPreCheckError(reason='no'),
        ):
            self.refuse()
        instance = objects.Instance.get_by_uuid(
            self.context, self.server['id']
        )
        self.assertIsNone(instance.migration_context)

    def test_a_destination_with_stock_nova(self) -> None:
        with mock.patch.object(
            type(self.driver('host2')),
            'check_can_live_migrate_destination',
            STOCK.check_can_live_migrate_destination,
        ):
            self.assertIn('does not run this driver', self.refuse())


class ImmovableTest(LiveMigrationTest):
    """No word in the whitelist: a vGPU may move, a PCI function may not."""

    RULES = rules.MIXED

    def test_device_and_server_are_named(self) -> None:
        said = self.refuse()
        (address,) = (d for d in self.before if len(d) == len('0000:00:00.0'))
        self.assertRegex(
            said,
            rf'Device {address} \(\S+\) of server {self.server["id"]} cannot '
            'be live-migrated: live_migratable is not set',
        )


class OldTest(LiveMigrationTest):
    VERSIONS: ty.ClassVar[dict[str, int]] = {
        'version': 9_000_000,
        'hv_version': 8_001_000,
    }

    def test_libvirt_is_too_old_for_pci_functions(self) -> None:
        self.assertIn('at least 10.0.0 and 8.2.2 are needed', self.refuse())


class WholeCardTest(LiveMigrationTest):
    NODE = 't4'
    RULES = rules.T4_8Q
    EXTRA: ty.ClassVar[dict[str, int]] = {'resources__VGPU': 2}

    def test_it_gets_a_whole_card_again(self) -> None:
        half = self.boot(self.flavor(resources__VGPU=1), host='host2')
        self.migrate()
        claims = self.claims(self.server)
        (provider,) = {claim.provider for claim in claims}
        self.assertNotIn(
            provider, {claim.provider for claim in self.claims(half)}
        )
        self._delete_server(half)
        self.assert_moved()


class StockSourceTest(cloud.CloudTestCase):
    """A server that stock nova gave a vGPU comes to a host of ours."""

    VERSIONS: ty.ClassVar[dict[str, int]] = LiveMigrationTest.VERSIONS

    def setUp(self) -> None:
        super().setUp()
        self.useFixture(quick_looks())
        self.write_rules(rules.T4_8Q)
        self.flags(compute_driver='libvirt.LibvirtDriver')
        self.flags(enabled_mdev_types=['nvidia-233'], group='devices')
        self.start_host('stock', 't4')
        self.flags(enabled_mdev_types=[], group='devices')
        self.flags(compute_driver='accel.LibvirtAccelDriver')
        self.start_host('host2', 't4')
        self.server = self.boot(self.flavor(resources__VGPU=1), host='stock')
        self.assertEqual([], self.claims(self.server))
        self.before = self.hostdevs('stock', self.server)
        self.assertEqual(1, len(self.before))

    def test_it_fails_and_then_succeeds(self) -> None:
        source = self.connection_of('stock')
        driver = self.computes['host2'].driver

        def fail(_domain: object) -> None:
            self.assertEqual(1, len(driver.accel.held))
            raise Failure('the network is gone')

        source.migrating = fail
        self._live_migrate(
            self.server,
            'error',
            'ERROR',
            host='host2',
            wait_for_fault_key=False,
        )
        reset_state(self)
        self.assertEqual(frozenset(), driver.accel.held)
        self.assertEqual({}, self.usages('host2'))
        self.assertEqual([], self.mdevs('host2'))
        self.assertEqual(self.before, self.hostdevs('stock', self.server))
        source.migrating = lambda _domain: None
        self._live_migrate(self.server, 'completed', host='host2')
        self.assertEqual({*self.claims(self.server)}, driver.accel.held)
        self.computes.pop('stock').stop()
        self.assert_invariants()
        self._reboot_server(self.server, hard=True)
        self.assertEqual(1, len(self.mdevs('host2')))
        self.assertEqual(1, len(self.hostdevs('host2', self.server)))
        self.assert_invariants()


class PlainTest(LiveMigrationTest):
    """Servers without devices of ours see stock nova."""

    EXTRA: ty.ClassVar[dict[str, int]] = {}

    def test_it_moves_as_ever(self) -> None:
        rt = self.computes['host2'].manager.rt
        with mock.patch.object(rt, 'live_migration_claim') as claim:
            self.migrate()
        claim.assert_not_called()
        self.assert_moved()
