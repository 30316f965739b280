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
"""A whole cloud in one process: real nova services and real Placement.

A host here is real nova-compute with our driver. Its node devices are read
by the real libvirt library from a node file; its guests are nova's
fakelibvirt. Our functional tests and the demo stand on it.
"""

import collections.abc
import pathlib
import tempfile
import threading
import time
import typing as ty

from nova_accel.testing import harness  # noqa: F401  (must come first)

from nova import context as nova_context
from nova import objects
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.tests.functional.libvirt import base

from nova_accel.backends.libvirt import guest
from nova_accel.core import facts
from nova_accel.core import invariant
from nova_accel.core import inventory
from nova_accel.core import naming
from nova_accel.objects import publication
from nova_accel.objects import vgpu_capabilities
from nova_accel.testing import connection
from nova_accel.testing import nodes
from nova_accel.virt import audit
from nova_accel.virt import mixin  # noqa: F401  (registers [accel])
from nova_accel.virt import tracker


class CloudTestCase(base.ServersTestBase):  # type: ignore[misc]
    """Services up, no host yet: ``start_host`` adds them."""

    ADMIN_API = True
    microversion = 'latest'
    ADDITIONAL_FILTERS: ty.ClassVar[list[str]] = ['AccelFilter']
    # Of libvirt and QEMU, as nova's fixture takes them.
    VERSIONS: ty.ClassVar[dict[str, int]] = {}

    def setUp(self) -> None:
        self.network: dict[str, connection.HybridConnection] = {}
        self.flags(
            available_filters=[
                'nova.scheduler.filters.all_filters',
                'nova_accel.scheduler.filters.AccelFilter',
            ],
            group='filter_scheduler',
        )
        # Nova's harness would not wait, and a manager that ends after its
        # test has ended keeps this process from ever making threads again.
        self.flags(manager_shutdown_timeout=10)
        super().setUp()
        self.context = nova_context.get_admin_context()

    def _setup_compute_service(self) -> None:
        self.flags(compute_driver='accel.LibvirtAccelDriver')

    # Hosts

    def write_rules(self, text: str) -> None:
        """Set the whitelist that hosts started from now on will read."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = pathlib.Path(folder.name, 'accel.yaml')
        path.write_text(text)
        self.flags(config=str(path), config_dir=folder.name, group='accel')

    def start_host(
        self,
        name: str = 'host1',
        node: str = 't4',
        rules: str | None = None,
        without: collections.abc.Iterable[str] = (),
    ) -> str:
        """Start nova-compute on a host with the devices of a node file.

        :param node: name of a file of nova_accel/testing/nodes.
        :param without: node devices of the file that this host lacks.
        :returns: uuid of the compute node's root provider.
        """
        if rules is not None:
            self.write_rules(rules)
        conn = self.connect(name, node)
        conn.machine.unplug(*without)
        self.start_compute(name, connection=conn)
        return ty.cast(str, self.compute_rp_uuids[name])

    def connect(self, name: str, node: str) -> connection.HybridConnection:
        conn = connection.HybridConnection(
            nodes.path(node),
            hostname=name,
            host_info=fakelibvirt.HostInfo(
                cpu_nodes=2, cpu_sockets=1, cpu_cores=2, cpu_threads=2
            ),
            **self.VERSIONS,
        )
        conn.join(self.network)
        return conn

    def connection_of(self, host: str) -> connection.HybridConnection:
        return ty.cast(
            connection.HybridConnection,
            self.computes[host].driver._host.get_connection(),
        )

    def mdevs(self, host: str) -> list[str]:
        """Names of the mediated devices that exist on a host."""
        names = self.connection_of(host).machine.names()
        return sorted(name for name, kind in names if kind == 'mdev')

    def run_periodic(self, host: str | None = None) -> None:
        for name in [host] if host else list(self.computes):
            self.computes[name].manager.update_available_resource(self.context)

    # Servers

    def flavor(self, **extra: ty.Any) -> str:
        """Make a flavor. ``__`` stands for ':' in a key, ``_`` stays."""
        specs = {
            key.replace('__', ':'): str(value) for key, value in extra.items()
        }
        return ty.cast(str, self._create_flavor(extra_spec=specs))

    def boot(
        self, flavor: str, state: str = 'ACTIVE', **kwargs: ty.Any
    ) -> dict[str, ty.Any]:
        return ty.cast(
            dict[str, ty.Any],
            self._create_server(
                flavor_id=flavor,
                networks='none',
                expected_state=state,
                **kwargs,
            ),
        )

    def _wait_for_server_parameter(
        self,
        server: dict[str, ty.Any],
        expected_params: dict[str, ty.Any],
        max_retries: int = 120,
        **kwargs: ty.Any,
    ) -> dict[str, ty.Any]:
        # A busy machine does not keep the five seconds that nova allows.
        return ty.cast(
            dict[str, ty.Any],
            super()._wait_for_server_parameter(
                server, expected_params, max(max_retries, 120), **kwargs
            ),
        )

    def _wait_for_migration_status(
        self,
        server: dict[str, ty.Any],
        expected_statuses: collections.abc.Container[str],
    ) -> dict[str, ty.Any]:
        """Wait for the last migration of a server, longer than nova does."""
        path = f'/os-migrations?instance_uuid={server["id"]}'
        for _ in range(600):
            found = self.api.api_get(path).body['migrations']
            last: dict[str, ty.Any] = max(found, key=lambda each: each['id'])
            if last['status'] in expected_statuses:
                return last
            time.sleep(0.1)
        raise self.failureException(
            f'{last["status"]} is none of {expected_statuses}'
        )

    def refused(self, flavor: str, **kwargs: ty.Any) -> str:
        """Boot a server that no host takes; return the fault's message."""
        server = self.boot(flavor, state='ERROR', **kwargs)
        message = self.api.get_server(server['id'])['fault']['message']
        self._delete_server(server)
        return ty.cast(str, message)

    def host_of(self, server: dict[str, ty.Any]) -> str:
        found = self.api.get_server(server['id'])
        return ty.cast(str, found['OS-EXT-SRV-ATTR:host'])

    def claims(self, server: dict[str, ty.Any]) -> list[inventory.Claim]:
        """The units that nova's database says a server holds."""
        instance = objects.Instance.get_by_uuid(
            self.context, server['id'], expected_attrs=['resources']
        )
        return sorted(tracker.claims_of(instance.resources))

    def wait_until(self, happened: collections.abc.Callable[[], bool]) -> None:
        """Wait for what nova does after its API has answered."""
        waiting = threading.Event()
        for _ in range(300):
            if happened():
                return
            waiting.wait(0.1)
        raise self.failureException('it did not happen')

    def hostdevs(self, host: str, server: dict[str, ty.Any]) -> list[str]:
        """Mdev uuids and PCI addresses in a server's domain."""
        domain = self.connection_of(host).lookupByUUIDString(server['id'])
        return sorted(_hostdevs(domain.XMLDesc(0)))

    # Providers

    def accel_providers(self, host: str) -> dict[str, str]:
        """Stable id -> uuid of each provider of ours."""
        root = self.compute_rp_uuids[host]
        found = {}
        for rp in self._get_all_rps_in_a_tree(root):
            stable_id = naming.stable_id_of(host, root, rp['name'], rp['uuid'])
            if stable_id is not None:
                found[stable_id] = rp['uuid']
        return found

    def inventories(self, host: str) -> dict[str, dict[str, tuple[int, int]]]:
        """Stable id -> class -> (total, reserved)."""
        return {
            stable_id: {
                rc: (record['total'], record['reserved'])
                for rc, record in self._get_provider_inventory(uuid).items()
            }
            for stable_id, uuid in self.accel_providers(host).items()
        }

    def usages(self, host: str) -> dict[str, dict[str, int]]:
        """Stable id -> class -> used, where anything is."""
        return {
            stable_id: used
            for stable_id, uuid in self.accel_providers(host).items()
            if (
                used := {
                    rc: amount
                    for rc, amount in self._get_provider_usages(uuid).items()
                    if amount
                }
            )
        }

    # What must always hold

    def assert_invariants(self) -> None:
        """Nova, Placement, guests and devices say the same, one to one.

        All but what waits for the next update does so at once.
        """
        self.assertEqual([], self.findings(invariant.AT_ONCE))
        self.run_periodic()
        for host in self.computes:
            found = self.evidence(host)
            self.assertEqual([], _said(host, found))
            self._assert_published(host, found)

    def findings(
        self, kinds: collections.abc.Container[str] = invariant.ADVICE
    ) -> list[str]:
        """What an audit says about all hosts."""
        return [
            text
            for host in self.computes
            for text in _said(host, self.evidence(host), kinds)
        ]

    def evidence(self, host: str) -> facts.Facts:
        """What an audit of a host goes by."""
        service = self.computes[host].manager
        return audit.look(
            self.context, host, service.driver.accel, service.reportclient
        )

    def _assert_published(self, host: str, found: facts.Facts) -> None:
        """The scheduler is told what nova's records leave free."""
        if self.computes[host].driver.accel.idle:
            return
        held = {claim for each in found.servers for claim in each.claims}
        wanted = vgpu_capabilities.from_offer(
            found.node, found.offer, held | found.strangers
        )
        record = objects.ComputeNode.get_by_host_and_nodename(
            self.context, host, found.node.name
        )
        published = publication.load(record.stats)
        assert published is not None, host
        self.assertEqual(_free(wanted), _free(published), host)


def _said(
    host: str,
    found: facts.Facts,
    kinds: collections.abc.Container[str] = invariant.ADVICE,
) -> list[str]:
    return [
        f'{host}: {finding}'
        for finding in invariant.check(found)
        if finding.kind in kinds
    ]


def _free(
    capabilities: vgpu_capabilities.VGPUCapabilities,
) -> dict[str, dict[str, int]]:
    found = {card.provider: dict(card.free) for card in capabilities.cards}
    found[''] = {
        f'{model.resource_class} {model.type_id}': model.free
        for model in capabilities.models
    }
    return found


def _hostdevs(xml: str) -> frozenset[str]:
    return guest.parse('', True, xml).devices
