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

import collections
import collections.abc
import pathlib
import tempfile
import typing as ty

from nova_accel.testing import harness  # noqa: F401  (must come first)

from lxml import etree
from nova import context as nova_context
from nova import objects
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.tests.functional.libvirt import base

from nova_accel.core import inventory
from nova_accel.core import naming
from nova_accel.testing import connection
from nova_accel.testing import nodes
from nova_accel.virt import mixin  # noqa: F401  (registers [accel])
from nova_accel.virt import tracker


class CloudTestCase(base.ServersTestBase):  # type: ignore[misc]
    """Services up, no host yet: ``start_host`` adds them."""

    ADMIN_API = True
    microversion = 'latest'
    ADDITIONAL_FILTERS: ty.ClassVar[list[str]] = ['AccelFilter']

    def setUp(self) -> None:
        self.flags(
            available_filters=[
                'nova.scheduler.filters.all_filters',
                'nova_accel.scheduler.filters.AccelFilter',
            ],
            group='filter_scheduler',
        )
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
        return connection.HybridConnection(
            nodes.path(node),
            hostname=name,
            host_info=fakelibvirt.HostInfo(
                cpu_nodes=2, cpu_sockets=1, cpu_cores=2, cpu_threads=2
            ),
        )

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

    def refused(self, flavor: str, **kwargs: ty.Any) -> str:
        """Boot a server that no host takes; return the fault's message."""
        server = self.boot(flavor, state='ERROR', **kwargs)
        message = self.api.get_server(server['id'])['fault']['message']
        self._delete_server(server)
        return ty.cast(str, message)

    def claims(self, server: dict[str, ty.Any]) -> list[inventory.Claim]:
        """The units that nova's database says a server holds."""
        instance = objects.Instance.get_by_uuid(
            self.context, server['id'], expected_attrs=['resources']
        )
        return sorted(tracker.claims_of(instance.resources))

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
        """Allocations, claims and devices say the same, one to one."""
        for host in self.computes:
            claimed = self._claims_of_host(host)
            self.assertEqual(
                collections.Counter(
                    (c.provider, c.resource_class)
                    for claims in claimed.values()
                    for c in claims
                ),
                self._allocated(host),
                f'claims and allocations differ on {host}',
            )
            units = [c for claims in claimed.values() for c in claims]
            self.assertEqual(
                len(units), len(set(units)), f'a unit is held twice on {host}'
            )
            self._assert_devices(host, claimed)

    def _claims_of_host(self, host: str) -> dict[str, list[inventory.Claim]]:
        ours = set(self.accel_providers(host).values())
        instances = objects.InstanceList.get_by_host(
            self.context, host, expected_attrs=['resources']
        )
        return {
            instance.uuid: [
                claim
                for claim in tracker.claims_of(instance.resources)
                if claim.provider in ours
            ]
            for instance in instances
        }

    def _allocated(self, host: str) -> collections.Counter[tuple[str, str]]:
        found: collections.Counter[tuple[str, str]] = collections.Counter()
        for uuid in self.accel_providers(host).values():
            allocations = self._get_allocations_by_provider_uuid(uuid)
            for allocation in allocations.values():
                for rc, amount in allocation['resources'].items():
                    found[uuid, rc] += amount
        return found

    def _assert_devices(
        self,
        host: str,
        claimed: collections.abc.Mapping[str, list[inventory.Claim]],
    ) -> None:
        conn = self.connection_of(host)
        attached: list[str] = []
        for domain in conn.listAllDomains(0):
            devices = _hostdevs(domain.XMLDesc(0))
            attached += devices
            self.assertEqual(
                len(claimed.get(domain.UUIDString(), ())),
                len(devices),
                f'{host}: server {domain.UUIDString()} has {devices}',
            )
        self.assertEqual(
            len(attached), len(set(attached)), f'{host}: a device twice'
        )
        for device in attached:
            if len(device) == len(domain.UUIDString()):
                self.assertTrue(conn.machine.has_mdev(device), device)


def _hostdevs(xml: str) -> list[str]:
    found = []
    for source in etree.fromstring(xml).iterfind('devices/hostdev/source'):
        address = source.find('address')
        if address.get('uuid'):
            found.append(address.get('uuid'))
        else:
            domain, bus, slot, function = (
                int(address.get(key), 16)
                for key in ('domain', 'bus', 'slot', 'function')
            )
            found.append(f'{domain:04x}:{bus:02x}:{slot:02x}.{function}')
    return found
