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
"""The driver by itself: real calls to a simulated pool, no services.

What nova would decide (claims, flavors, ports) is said by the test.
"""

import collections.abc
import pathlib
import stat
import tempfile
import typing as ty
from unittest import mock
import uuid

from nova_accel.testing import harness  # noqa: F401  (must come first)

from nova import context as nova_context
from nova.network import model
from nova import objects
from nova import test
from nova.tests.fixtures import glance

from nova_accel.backends import base
from nova_accel.backends import xapi
from nova_accel.backends.xapi import marks
from nova_accel.testing import xapi_pool
from nova_accel.testing import xapi_records
from nova_accel.testing.xapi_simulator import server as simulator
from nova_accel.testing.xapi_simulator import topology
from nova_accel.virt.xapi import driver
from nova_accel.virt.xapi import machines

MIB = 1 << 20
GIB = 1 << 30

# Every message on the way, refused, and its answer lost.
STEPS = (
    'VM.create',
    'VDI.create',
    'task.create',
    'VBD.create',
    'VGPU.create',
    'VM.assert_can_boot_here',
    'VM.start_on',
)


class Driver(driver.XapiDriver):
    """Servers have what the test says."""

    def __init__(self) -> None:
        super().__init__(None)
        self.wanted: dict[str, list[base.Assignment]] = {}

    def plans(self, instance: objects.Instance) -> list[object]:
        assignments = self.wanted.get(instance.uuid, [])
        for each in assignments:
            self._backend.prepare(each)
        return list(map(self._backend.render, assignments))


class Glance(glance.GlanceFixture):  # type: ignore[misc]
    """Gives images piece by piece, and keeps what is uploaded.

    :ivar midway: called when half of an image is under way.
    """

    def __init__(self, owner: ty.Any) -> None:
        super().__init__(owner)
        self.contents: dict[str, bytes] = {}
        self.midway: collections.abc.Callable[[], object] = lambda: None

    def download(
        self,
        context: ty.Any,
        image_id: str,
        data: ty.Any = None,
        dst_path: ty.Any = None,
        trusted_certs: ty.Any = None,
    ) -> None:
        content = self.contents[image_id]
        half = len(content) // 2
        for piece in (content[:half], content[half:]):
            data.write(piece)
            if piece is not content[half:]:
                self.midway()

    def update(
        self,
        context: ty.Any,
        image_id: str,
        metadata: ty.Any,
        data: ty.Any = None,
        purge_props: bool = False,
    ) -> None:
        self.contents[image_id] = data.read()


class DriverTestCase(test.NoDBTestCase):  # type: ignore[misc]
    TOPOLOGY = 'grid-k2'

    def setUp(self) -> None:
        super().setUp()
        self.context = nova_context.get_admin_context()
        self.simulator = simulator.Simulator(topology.load(self.TOPOLOGY))
        self.simulator.start()
        self.addCleanup(self.simulator.stop)
        self.flags(
            connection_url=self.simulator.url,
            connection_password='password',
            request_timeout=5.0,
            failover_timeout=3.0,
            group='accel_xapi',
        )
        self.glance = self.useFixture(Glance(self))
        self.xapi = xapi.Session(
            xapi.Settings(self.simulator.url, password='password')
        )
        self.addCleanup(self.xapi.close)
        # What a config drive would take from a database and from Neutron.
        self.stub_out(
            'nova.network.security_group_api.get_instance_security_groups',
            lambda *args, **kwargs: [],
        )
        self.stub_out(
            'nova.objects.Instance.get_bdms',
            lambda server: objects.BlockDeviceMappingList(objects=[]),
        )
        self.driver = self.start()
        self.image = self.make_image(b'root' + bytes(MIB - 4))

    def start(self, host: str = 'xen1') -> Driver:
        """Make a driver as nova-compute does at its start."""
        self.flags(host=host, group='accel_xapi')
        made = Driver()
        with mock.patch(
            'nova.virt.node.get_local_node_uuid',
            return_value=str(uuid.uuid5(uuid.NAMESPACE_DNS, host)),
        ):
            made.init_host(host)
        self.addCleanup(made.cleanup_host, host)
        return made

    # The pool

    def control(self, method: str, what: str, **body: ty.Any) -> ty.Any:
        return xapi_pool.tell(self.simulator.url, method, what, **body)

    def fault(self, message: str, **how: ty.Any) -> None:
        self.control('POST', 'faults', message=message, **how)

    def assert_nothing_left(self) -> None:
        self.assertEqual({}, self.control('GET', 'leftovers'))

    # What nova would say

    def make_image(
        self, content: bytes, form: str = 'raw', **fields: ty.Any
    ) -> objects.ImageMeta:
        size = fields.pop('size', len(content))
        record = xapi_records.image(form, size, **fields)
        self.glance.contents[record['id']] = content
        return objects.ImageMeta.from_dict(record)

    def flavor(self, **fields: ty.Any) -> objects.Flavor:
        return objects.Flavor(
            **{
                'name': 'small',
                'flavorid': '1',
                'memory_mb': 512,
                'vcpus': 1,
                'root_gb': 0,
                'ephemeral_gb': 0,
                'swap': 0,
                'extra_specs': {},
                **fields,
            }
        )

    def server(self, **fields: ty.Any) -> objects.Instance:
        number = str(uuid.uuid4())
        values = {
            'uuid': number,
            'id': 1,
            'display_name': 'one',
            'hostname': 'one',
            'flavor': self.flavor(),
            'image_ref': self.image.id,
            'config_drive': '',
            'launched_at': None,
            'trusted_certs': None,
            'system_metadata': {},
            'metadata': {},
            'project_id': 'p',
            'user_id': 'u',
            'host': 'xen1',
            'key_name': None,
            'key_data': None,
            'user_data': None,
            'keypairs': objects.KeyPairList(objects=[]),
            'availability_zone': None,
            'launch_index': 0,
            'reservation_id': 'r',
            'vcpu_model': None,
            'device_metadata': None,
            'ec2_ids': objects.EC2Ids(
                instance_id='i-1',
                ami_id='ami-1',
                kernel_id=None,
                ramdisk_id=None,
            ),
            'root_device_name': '/dev/xvda',
            'default_ephemeral_device': None,
            'default_swap_device': None,
            'numa_topology': None,
            'info_cache': objects.InstanceInfoCache(
                network_info=model.NetworkInfo([])
            ),
            **fields,
        }
        return objects.Instance(self.context, **values)

    def spawn(
        self,
        server: objects.Instance,
        image: objects.ImageMeta | None = None,
        on: Driver | None = None,
        **more: ty.Any,
    ) -> None:
        (on or self.driver).spawn(
            self.context, server, image or self.image, [], None, {}, **more
        )

    def destroy(
        self,
        server: objects.Instance,
        on: Driver | None = None,
        **more: ty.Any,
    ) -> None:
        (on or self.driver).destroy(self.context, server, [], **more)

    def vgpu(self, model: str, on: Driver | None = None) -> base.Assignment:
        """Claim one more vGPU of a model, wherever it is."""
        view = (on or self.driver)._backend.discover()
        for dev in view.devices:
            for each in dev.models:
                if each.name == model:
                    return base.Assignment(
                        f'unit-{uuid.uuid4()}',
                        dev,
                        str(uuid.uuid4()),
                        each.type_id,
                    )
        raise LookupError(model)

    def function(self, address: str) -> base.Assignment:
        """Claim a PCI function."""
        for dev in self.driver._backend.discover().devices:
            if str(dev.address) == address and not dev.members:
                return base.Assignment(f'unit-{address}', dev)
        raise LookupError(address)

    def usb(self, path: str, **changes: ty.Any) -> base.Assignment:
        """Claim a USB device."""
        for dev in self.driver._backend.discover().devices:
            if dev.is_usb and dev.path == path:
                return base.Assignment(f'unit-{path}', dev, **changes)
        raise LookupError(path)

    def give(
        self,
        server: objects.Instance,
        *assignments: base.Assignment,
        on: Driver | None = None,
    ) -> None:
        (on or self.driver).wanted[server.uuid] = list(assignments)

    # What XAPI has

    def machine(
        self, server: objects.Instance, on: Driver | None = None
    ) -> machines.Machine:
        return (on or self.driver)._machines.get(server.uuid)

    def record(self, server: objects.Instance) -> dict[str, ty.Any]:
        return ty.cast(
            dict[str, ty.Any],
            self.xapi.call('VM.get_record', self.machine(server).ref),
        )

    def disks(
        self, server: objects.Instance, on: Driver | None = None
    ) -> dict[str, ty.Any]:
        """Device -> disk."""
        machine = self.machine(server, on)
        found = self.driver._disks.of(machine.ref)
        return {disk.device: disk for disk in found}

    def content(self, vdi: str, length: int) -> bytes:
        from nova_accel.backends.xapi import transfer

        with transfer.download(self.xapi, vdi, 'raw') as pieces:
            found = b''
            for piece in pieces:
                if len(found) < length:
                    found += piece
        return found[:length]

    def somebody(self, *models: str, pci: str = '') -> str:
        """Let somebody else's machine run with devices."""
        record = xapi_records.vm(
            'thief', 64, other_config={marks.PCI: pci} if pci else {}
        )
        vm = self.xapi.call('VM.create', record)
        for wanted in models:
            assignment = self.vgpu(wanted)
            plan: ty.Any = self.driver._backend.render(assignment)
            self.xapi.call(
                'VGPU.create', vm, plan.group, '0', {}, plan.vgpu_type
            )
        host = self.driver._machines.host
        self.xapi.call('VM.start_on', vm, host, False, False)
        return str(vm)

    def remove(self, vm: str) -> None:
        self.xapi.call('VM.hard_shutdown', vm)
        self.xapi.call('VM.destroy', vm)

    def make_mkisofs(self) -> None:
        """Put a program in its place that writes the names of the files."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = pathlib.Path(folder.name, 'mkisofs')
        path.write_text(
            '#!/bin/sh\nwhile [ "$1" != -o ]; do shift; done\n'
            'echo config-2 > "$2"\n'
        )
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        self.flags(mkisofs_cmd=str(path))


def vhd(content: bytes) -> bytes:
    """Return a dynamic VHD of a disk."""
    from nova_accel.testing.xapi_simulator import vhd as images

    _length, pieces = images.encode(lambda: iter([content]), len(content))
    return b''.join(pieces)
