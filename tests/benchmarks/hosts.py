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
"""Hosts to measure: real nova-compute with either driver on one node file."""

import collections.abc
import dataclasses
import pathlib
import tempfile
import typing as ty
from unittest import mock

from nova_accel.testing import cloud

import nova.compute.build_results
from nova.compute import vm_states
from nova.network import model as network_model
from nova import objects
from nova.scheduler.client import report
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.virt.libvirt import host as libvirt_host
from oslo_utils import uuidutils

from nova_accel.core import naming
from nova_accel.testing import node_xml
from nova_accel.virt import tree

from tests.benchmarks import counting
from tests.benchmarks import placement

OURS = 'accel.LibvirtAccelDriver'
STOCK = 'libvirt.LibvirtDriver'

# What a card of node_xml.vgpu_host() holds most of.
VGPU_TYPE = 'nvidia-230'
RULES = f"""
version: 1
devices:
  gpu:
    kind: vgpu
    match: {{vendor_id: "10de", product_id: "1eb8"}}
    models: [{VGPU_TYPE}]
"""

_DOMAIN = """<domain type='kvm'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <memory>524288</memory>
  <vcpu>1</vcpu>
  <os><type>hvm</type></os>
  <devices>{devices}</devices>
</domain>
"""
_HOSTDEV = """
    <hostdev mode='subsystem' type='mdev' model='vfio-pci'>
      <source><address uuid='{}'/></source>
    </hostdev>"""
_MDEV = """<device>
  <parent>{parent}</parent>
  <capability type='mdev'>
    <type id='{type_id}'/>
    <uuid>{uuid}</uuid>
  </capability>
</device>
"""


@dataclasses.dataclass(frozen=True)
class Size:
    """How much there is on a host.

    :ivar virtual: virtual functions a card; they carry the vGPUs.
    """

    cards: int
    virtual: int
    types: int = 8

    @property
    def devices(self) -> int:
        """Mediated-device parents."""
        return self.cards * self.virtual

    def __str__(self) -> str:
        return f'{self.cards} x {self.virtual} x {self.types}'


@dataclasses.dataclass(frozen=True, order=True)
class Slot:
    """Where one vGPU goes.

    :ivar function: libvirt's name of the virtual function.
    :ivar unit: what a server's claim on it says, '' with stock nova.
    """

    function: str
    provider: str
    unit: str = ''

    @property
    def foreign(self) -> 'Slot':
        """The same for a mediated device that nova knows nothing of."""
        return dataclasses.replace(self, unit='')

    @property
    def mdev_uuid(self) -> str:
        if self.unit:
            return naming.mdev_uuid(self.provider, self.unit)
        return uuidutils.generate_uuid()


class Host:
    """One nova-compute, and the machine it runs on."""

    def __init__(self, bench: 'Bench', driver: str, node_file: str) -> None:
        self._bench = bench
        self._context = bench.context
        self._driver = driver
        self.root = uuidutils.generate_uuid()
        self.name = f'{driver.split(".")[0]}-{self.root[:8]}'
        self.placement = placement.Placement()
        self.connection = counting.CountingConnection(
            node_file,
            hostname=self.name,
            host_info=fakelibvirt.HostInfo(
                cpu_nodes=2, cpu_sockets=1, cpu_cores=2, cpu_threads=2
            ),
        )
        self.start()

    @property
    def manager(self) -> ty.Any:
        return self._service.manager

    @property
    def driver(self) -> ty.Any:
        return self._service.manager.driver

    def start(self) -> None:
        """Start nova-compute, or start it anew."""
        stock = self._driver == STOCK
        self._bench.flags(compute_driver=self._driver)
        self._bench.flags(
            enabled_mdev_types=[VGPU_TYPE] if stock else [], group='devices'
        )
        self._bench.mock_conn.return_value = self.connection
        with (
            mock.patch.object(
                report, 'SchedulerReportClient', return_value=self.placement
            ),
            mock.patch(
                'nova.virt.node.get_local_node_uuid', return_value=self.root
            ),
        ):
            self._service = self._bench.start_service('compute', self.name)
            self.driver._host.get_node_uuid()
        connection = self.connection
        self.driver._host.get_connection = lambda: connection

    def restart(self) -> None:
        self._service.stop()
        self.start()

    def refresh(self) -> None:
        """Nova's periodic update_available_resource, all of it."""
        self.manager.update_available_resource(self._context)

    def update(self) -> None:
        """The same without its thread, for a look at the CPU time."""
        self.manager.rt.update_available_resource(self._context, self.name)

    def look(self) -> None:
        """What the driver does in it."""
        tree = self.placement.get_provider_subtree_and_ensure_root(
            self._context, self.root, name=self.name
        )
        self.driver.get_available_resource(self.name)
        self.driver.update_provider_tree(tree, self.name)

    def slots(self) -> list[Slot]:
        """All slots, by their function."""
        return sorted(self._ours() if self._driver == OURS else self._stock())

    def _ours(self) -> collections.abc.Iterator[Slot]:
        for rp, pool in self.driver.accel.now.index.pools.items():
            for unit in pool.stocks[0].units:
                yield Slot(unit.function.name, rp, str(unit.id))

    def _stock(self) -> collections.abc.Iterator[Slot]:
        for rp in self.placement.tree.get_provider_uuids(self.root):
            function = self.placement.tree.data(rp).name
            if rp != self.root:
                yield Slot(function.removeprefix(f'{self.name}_'), rp)

    def take(self, number: int) -> list[Slot]:
        """Return the first slots; all others become ``spare``."""
        slots = self.slots()
        self.spare = slots[number:]
        return slots[:number]

    def make(self, slots: list[Slot]) -> list[str]:
        """Create mediated devices; return their uuids."""
        uuids = [slot.mdev_uuid for slot in slots]
        for slot, uuid in zip(slots, uuids, strict=True):
            self.connection.machine.create(
                _MDEV.format(
                    parent=slot.function, type_id=VGPU_TYPE, uuid=uuid
                )
            )
        return uuids

    def empty(self) -> None:
        """Destroy all mediated devices."""
        machine = self.connection.machine
        for name, kind in machine.names():
            if kind == 'mdev':
                machine.destroy(name)

    def fill(self, slots: list[Slot], servers: int) -> None:
        """Make mediated devices, and servers that hold them all."""
        made = list(zip(slots, self.make(slots), strict=True))
        for number in range(servers):
            self._server(made[number::servers])

    def _server(self, held: list[tuple[Slot, str]]) -> None:
        instance = self._instance(
            [slot for slot, _uuid in held],
            host=self.name,
            node=self.name,
            compute_id=self.manager.rt.compute_nodes[self.name].id,
            vm_state=vm_states.ACTIVE,
            power_state=1,
        )
        xml = _DOMAIN.format(
            name=instance.name,
            uuid=instance.uuid,
            devices=''.join(_HOSTDEV.format(uuid) for _slot, uuid in held),
        )
        self.connection.defineXML(xml).create()

    def _instance(
        self, slots: list[Slot], **facts: ty.Any
    ) -> objects.Instance:
        """Write a server into nova's database and into Placement."""
        flavor = objects.Flavor(
            name='bench',
            flavorid='bench',
            memory_mb=512,
            vcpus=1,
            root_gb=1,
            ephemeral_gb=0,
            swap=0,
            extra_specs={},
        )
        instance = objects.Instance(
            self._context,
            uuid=uuidutils.generate_uuid(),
            project_id=self._context.project_id,
            user_id=self._context.user_id,
            memory_mb=512,
            vcpus=1,
            root_gb=1,
            ephemeral_gb=0,
            flavor=flavor,
            old_flavor=None,
            new_flavor=None,
            system_metadata={},
            image_ref='155d900f-4e14-4e4c-a73d-069cbf4541e6',
            pci_requests=objects.InstancePCIRequests(requests=[]),
            resources=objects.ResourceList(
                objects=[
                    tree.resource(slot.provider, 'VGPU', slot.unit)
                    for slot in slots
                    if slot.unit and 'host' in facts
                ]
            ),
            **facts,
        )
        instance.create()
        cache = objects.InstanceInfoCache.new(self._context, instance.uuid)
        cache.network_info = network_model.NetworkInfo()
        cache.save()
        amounts: dict[str, dict[str, int]] = {
            self.root: {'VCPU': 1, 'MEMORY_MB': 512, 'DISK_GB': 1}
        }
        for slot in slots:
            taken = amounts.setdefault(slot.provider, {'VGPU': 0})
            taken['VGPU'] += 1
        self.placement.allocate(instance.uuid, amounts)
        return instance

    def spawn(self, slots: list[Slot]) -> None:
        """Build a server on these slots, from the claim to the running guest.

        :raises RuntimeError: it was not built.
        """
        instance = self._instance(slots, vm_state=vm_states.BUILDING)
        objects.InstanceAction.action_start(
            self._context, instance.uuid, 'create'
        )
        result = self.manager._do_build_and_run_instance(
            self._context,
            instance,
            {'properties': {}},
            None,
            {},
            'password',
            [],
            objects.NetworkRequestList(
                objects=[objects.NetworkRequest(network_id='none')]
            ),
            [],
            objects.BlockDeviceMappingList(objects=[]),
            node=self.name,
        )
        if result != nova.compute.build_results.ACTIVE:
            raise RuntimeError(f'The server was not built: {result}')


class Bench(cloud.CloudTestCase):
    """The services that hosts need."""

    def setUp(self) -> None:
        online_cpus = libvirt_host.Host.get_online_cpus
        super().setUp()
        # Nova's own fixture answers it without asking libvirt.
        self._patch(libvirt_host.Host, 'get_online_cpus', online_cpus)
        watch = counting.watched_locks()
        watch.start()
        self.addCleanup(watch.stop)
        self.write_rules(RULES)

    def _patch(self, *args: ty.Any) -> None:
        patch = mock.patch.object(*args)
        patch.start()
        self.addCleanup(patch.stop)

    def host(self, driver: str, size: Size) -> Host:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = pathlib.Path(folder.name, 'node.xml')
        path.write_text(
            node_xml.vgpu_host(size.cards, size.virtual, size.types)
        )
        return Host(self, driver, str(path))
