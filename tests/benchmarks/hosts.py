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

import abc
import collections
import collections.abc
import dataclasses
import pathlib
import tempfile
import typing as ty
from unittest import mock

from nova_accel.testing import cloud

from nova.compute import build_results
from nova.compute import provider_tree
from nova.compute import task_states
from nova.compute import vm_states
from nova import objects
from nova.scheduler.client import report
from nova.tests.fixtures import libvirt as fakelibvirt
from nova.virt.libvirt import driver as libvirt_driver
from nova.virt.libvirt import host as libvirt_host
from oslo_utils import uuidutils

from nova_accel.core import attachment
from nova_accel.core import inventory
from nova_accel.core import naming
from nova_accel import manager
from nova_accel.testing import machine
from nova_accel.testing import node_xml
from nova_accel.virt import tree

from tests.benchmarks import counting
from tests.benchmarks import placement
from tests.benchmarks import servers

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
_MDEV = f"""<device>
  <parent>{{parent}}</parent>
  <capability type='mdev'>
    <type id='{VGPU_TYPE}'/>
    <uuid>{{uuid}}</uuid>
  </capability>
</device>
"""

_FOR_GOOD = (
    fakelibvirt.VIR_DOMAIN_AFFECT_LIVE | fakelibvirt.VIR_DOMAIN_AFFECT_CONFIG
)

_list_pci_devices = libvirt_driver.LibvirtDriver._get_pci_passthrough_devices


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
    :ivar unit: what a server's claim on it says, '' where nothing does.
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


def connect(name: str, node_file: str) -> counting.CountingConnection:
    """Return the connection to a new host."""
    return counting.CountingConnection(
        node_file,
        hostname=name,
        host_info=fakelibvirt.HostInfo(
            cpu_nodes=2, cpu_sockets=1, cpu_cores=2, cpu_threads=2
        ),
    )


class Host(abc.ABC):
    """One nova-compute, and the machine it runs on.

    :ivar spare: slots that nothing has been put into.
    :ivar server: what was built last.
    """

    compute_driver: str
    mdev_types: collections.abc.Sequence[str] = ()
    server: objects.Instance

    def __init__(self, bench: 'Bench', node_file: str) -> None:
        self._bench = bench
        self._context = bench.context
        self.root = uuidutils.generate_uuid()
        self.name = f'{type(self).__name__.lower()}-{self.root[:8]}'
        self.placement = placement.Placement()
        self.connection = connect(self.name, node_file)
        self.start()
        self.spare = self.slots()

    @property
    def manager(self) -> ty.Any:
        return self._service.manager

    @property
    def driver(self) -> ty.Any:
        return self._service.manager.driver

    @abc.abstractmethod
    def slots(self) -> list[Slot]:
        """Return all slots, by their function."""

    @abc.abstractmethod
    def discover(self) -> None:
        """Do what the driver does about its devices when it starts."""

    @abc.abstractmethod
    def attach(self) -> None:
        """Give the server, which runs, one more vGPU.

        Stock nova cannot: there it is what libvirt is asked for at least.
        """

    @abc.abstractmethod
    def detach(self) -> None:
        """Take it away again."""

    @abc.abstractmethod
    def plug(self) -> None:
        """Do of ``attach`` what is neither nova's records nor Placement."""

    @abc.abstractmethod
    def unplug(self) -> None:
        """Undo ``plug``, if it was done."""

    # What nova-compute does

    def start(self) -> None:
        """Start nova-compute, or start it anew."""
        self._bench.flags(compute_driver=self.compute_driver)
        self._bench.flags(enabled_mdev_types=self.mdev_types, group='devices')
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
        # Hosts that are started later have another.
        connection = self.connection
        self.driver._host.get_connection = lambda: connection

    def restart(self) -> None:
        self._service.stop()
        self.start()

    def refresh(self) -> None:
        """Run nova's periodic update_available_resource, all of it."""
        self.manager.update_available_resource(self._context)

    def update(self) -> None:
        """Do the same in this very thread."""
        self.manager.rt.update_available_resource(self._context, self.name)

    def look(self) -> None:
        """Do what the driver does in it, on the tree of the last update."""
        self.driver.get_available_resource(self.name)
        self.driver.update_provider_tree(
            self.manager.rt.provider_tree, self.name
        )

    def spawn(self, slots: list[Slot]) -> None:
        """Build a server on these slots, from the claim to the running guest.

        :raises RuntimeError: it was not built.
        """
        instance = servers.requested(self._context)
        self._allocate(instance, slots)
        result = self.manager._do_build_and_run_instance(
            self._context,
            instance,
            image={'properties': {}},
            request_spec=None,
            filter_properties={},
            admin_password='password',
            injected_files=[],
            requested_networks=objects.NetworkRequestList(
                objects=[objects.NetworkRequest(network_id='none')]
            ),
            security_groups=[],
            block_device_mapping=servers.no_volumes(),
            node=self.name,
        )
        if result != build_results.ACTIVE:
            raise RuntimeError(f'The server was not built: {result}')
        self.server = instance

    def reboot(self) -> None:
        """Reboot the server, hard.

        :raises RuntimeError: it does not run.
        """
        server = servers.asked(self.server, task_states.REBOOT_PENDING_HARD)
        self.manager.reboot_instance(
            self._context,
            server,
            block_device_info=None,
            reboot_type='HARD',
        )
        self._expect(vm_states.ACTIVE)

    def resize(self, slots: list[Slot]) -> None:
        """Resize the server to these slots of the same host, and confirm.

        :raises RuntimeError: it did not get that far.
        """
        server = servers.asked(self.server, task_states.RESIZE_PREP)
        migration = servers.resizing(server)
        self.placement.hand_on(server.uuid, migration.uuid)
        self._allocate(server, slots)
        self.manager.prep_resize(
            self._context,
            image={'properties': {}},
            instance=server,
            flavor=servers.RESIZED,
            request_spec=objects.RequestSpec(self._context),
            filter_properties={},
            node=self.name,
            clean_shutdown=False,
            migration=migration,
            host_list=None,
        )
        self._expect(vm_states.RESIZED)
        self.manager.confirm_resize(
            self._context,
            server,
            objects.Migration.get_by_uuid(self._context, migration.uuid),
        )
        self._expect(vm_states.ACTIVE)

    def delete(self) -> None:
        server = servers.asked(self.server, task_states.DELETING)
        self.manager.terminate_instance(
            self._context, server, servers.no_volumes()
        )

    def _expect(self, state: str) -> None:
        server = objects.Instance.get_by_uuid(self._context, self.server.uuid)
        found = (server.vm_state, server.task_state)
        if found != (state, None):
            raise RuntimeError(f'The server is {found}, not {state}')

    # What is done to it

    def take(self, number: int) -> list[Slot]:
        """Return some slots; they are spare no more."""
        taken, self.spare = self.spare[:number], self.spare[number:]
        return taken

    def make(self, slots: list[Slot]) -> list[str]:
        """Create mediated devices; return their uuids."""
        uuids = [slot.mdev_uuid for slot in slots]
        for slot, uuid in zip(slots, uuids, strict=True):
            self.connection.machine.create(
                _MDEV.format(parent=slot.function, uuid=uuid)
            )
        return uuids

    def fill(self, slots: list[Slot], number: int) -> None:
        """Make mediated devices, and so many servers that hold them all."""
        made = list(zip(slots, self.make(slots), strict=True))
        for first in range(number):
            self._add_server(dict(made[first::number]))

    def _add_server(self, mdevs: dict[Slot, str]) -> None:
        instance = servers.running(
            self._context,
            self.manager.rt.compute_nodes[self.name],
            [
                tree.resource(slot.provider, 'VGPU', slot.unit)
                for slot in mdevs
                if slot.unit
            ],
        )
        self._allocate(instance, mdevs)
        xml = servers.domain(instance, mdevs.values())
        self.connection.defineXML(xml).create()

    def _allocate(
        self,
        instance: objects.Instance,
        slots: collections.abc.Iterable[Slot],
    ) -> None:
        vgpus = collections.Counter(slot.provider for slot in slots)
        amounts = {rp: {'VGPU': number} for rp, number in vgpus.items()}
        self.placement.allocate(
            instance.uuid, {self.root: servers.AMOUNTS, **amounts}
        )

    def empty(self) -> None:
        """Destroy all mediated devices."""
        for name, kind in self.connection.machine.names():
            if kind == 'mdev':
                self.connection.machine.destroy(name)
        self.spare = self.slots()

    def change(self, name: str, xml: str) -> None:
        """Let libvirt say that a device has changed, and to what."""
        self.connection.machine._rendered[name] = xml
        self.connection.machine._tell(machine.UPDATED, name)

    def _new_tree(self) -> provider_tree.ProviderTree:
        new = provider_tree.ProviderTree()
        new.new_root(self.name, self.root, generation=0)
        return new


class Ours(Host):
    compute_driver = 'accel.LibvirtAccelDriver'

    def slots(self) -> list[Slot]:
        pools = self.driver.accel.now.index.pools
        return sorted(
            Slot(unit.function.name, rp, str(unit.id))
            for rp, pool in pools.items()
            for unit in pool.stocks[0].units
        )

    def discover(self) -> None:
        before = self.driver.accel
        new = manager.Manager(self.driver.accel_backend())
        self.driver.accel = new
        new.start(before.now.node, before.now.rules)
        self.driver.get_available_resource(self.name)
        self.driver.update_provider_tree(self._new_tree(), self.name)
        self.driver.accel = before

    def attach(self) -> None:
        self.attached = uuidutils.generate_uuid()
        desk, server = self.driver.accel_desk, self.server.uuid
        desk.reserve(self._context, server, self.attached, 'VGPU', 1)
        record = desk.attach(self._context, server, self.attached)
        if record.state != attachment.ATTACHED:
            raise RuntimeError(record.reason)

    def detach(self) -> None:
        record = self.driver.accel_desk.detach(
            self._context, self.server.uuid, self.attached
        )
        if record.state:
            raise RuntimeError(record.reason)

    def plug(self) -> None:
        wants = {self.spare[0].provider: {'VGPU': 1}}
        self.plugged = self.manager.rt.hotplug_claim(self.server, wants)
        self.driver.accel_insert(self.server, self.plugged)

    def unplug(self) -> None:
        if self.plugged:
            self.driver.accel_withdraw(self.server, self.plugged)
            self.driver.accel.detach(self.server.uuid, self.plugged)
            self.manager.rt.hotplug_release(self.plugged)
        self.plugged = frozenset()

    plugged: frozenset[inventory.Claim] = frozenset()


class Stock(Host):
    compute_driver = 'libvirt.LibvirtDriver'
    mdev_types = (VGPU_TYPE,)

    def attach(self) -> None:
        slot = self.spare[0]
        self.attached = slot.mdev_uuid
        self.connection.nodeDeviceCreateXML(
            _MDEV.format(parent=slot.function, uuid=self.attached), 0
        )
        self._domain().attachDeviceFlags(
            servers.HOSTDEV.format(self.attached).strip(), _FOR_GOOD
        )

    def detach(self) -> None:
        self._domain().detachDeviceFlags(
            servers.HOSTDEV.format(self.attached).strip(), _FOR_GOOD
        )
        name = f'mdev_{self.attached.replace("-", "_")}'
        for device, kind in self.connection.machine.names():
            if kind == 'mdev' and device.startswith(name):
                self.connection.nodeDeviceLookupByName(device).destroy()
        self.attached = ''

    def plug(self) -> None:
        self.attach()

    def unplug(self) -> None:
        if self.attached:
            self.detach()

    def _domain(self) -> ty.Any:
        return self.connection.lookupByUUIDString(self.server.uuid)

    attached = ''

    def slots(self) -> list[Slot]:
        names = {
            rp: self.placement.tree.data(rp).name
            for rp in self.placement.tree.get_provider_uuids(self.root)
        }
        return sorted(
            Slot(name.removeprefix(f'{self.name}_'), rp)
            for rp, name in names.items()
            if rp != self.root
        )

    def discover(self) -> None:
        _list_pci_devices.cache_clear()
        self.driver._get_pci_passthrough_devices()
        self.driver.update_provider_tree(self._new_tree(), self.name)


class Bench(cloud.CloudTestCase):
    """The services that hosts need."""

    def setUp(self) -> None:
        online_cpus = libvirt_host.Host.get_online_cpus
        super().setUp()
        # Nova's own fixture answers it without asking libvirt.
        self._patch(
            mock.patch.object(
                libvirt_host.Host, 'get_online_cpus', online_cpus
            )
        )
        # There are no disks to be moved.
        self._patch(
            mock.patch.object(
                libvirt_driver.LibvirtDriver,
                '_get_instance_disk_info_from_config',
                return_value=[],
            )
        )
        self._patch(counting.watched_locks())
        self.write_rules(RULES)

    def _patch(self, patch: ty.Any) -> None:
        patch.start()
        self.addCleanup(patch.stop)

    def node_file(self, size: Size, mdevs: int = 0) -> str:
        """Return the path of a file with that many devices.

        :param mdevs: mediated devices that are there before nova is.
        """
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = pathlib.Path(folder.name, 'node.xml')
        path.write_text(
            node_xml.vgpu_host(size.cards, size.virtual, size.types, mdevs)
        )
        return str(path)

    def host(self, kind: type[Host], size: Size) -> Host:
        return kind(self, self.node_file(size))
