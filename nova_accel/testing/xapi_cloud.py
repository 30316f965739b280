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
"""A whole cloud in one process, on hosts of a simulated XAPI pool.

Real nova-compute with our driver, real Placement; the pool is a process of
its own. Our functional tests and the demo stand on it.
"""

import collections
import collections.abc
import io
import typing as ty
from unittest import mock
import uuid

from nova_accel.testing import harness  # noqa: F401  (must come first)

from nova.tests.functional.api import client

from nova_accel.backends import xapi
from nova_accel.backends.xapi import marks
from nova_accel.testing import cloud
from nova_accel.testing import xapi_pool
from nova_accel.testing import xapi_records
from nova_accel.virt.xapi import driver  # noqa: F401  (its options)

MIB = 1 << 20


class XapiCloudTestCase(cloud.CloudTestCase):
    """Services up, no host yet: ``start_host`` adds them."""

    TOPOLOGY = 'two-hosts'

    def setUp(self) -> None:
        self.pool = self.make_pool()
        self.addCleanup(self.pool.stop)
        super().setUp()
        self.flags(
            connection_url=self.pool.url,
            connection_password='password',
            failover_timeout=5,
            group='accel_xapi',
        )
        self.glance.update = _keeping(self.glance)
        self.image = self.make_image()
        self.xapi = xapi.Session(
            xapi.Settings(self.pool.url, password='password')
        )
        self.addCleanup(self.xapi.close)

    def make_pool(self) -> xapi_pool.Pool:
        return xapi_pool.Pool(self.TOPOLOGY)

    def _setup_compute_service(self) -> None:
        self.flags(compute_driver='accel.XenAPIAccelDriver')

    # Hosts

    def start_host(
        self,
        name: str = 'xen1',
        node: str = '',
        rules: str | None = None,
        without: collections.abc.Iterable[str] = (),
    ) -> str:
        """Start nova-compute for a host of the pool.

        :returns: uuid of the compute node's root provider.
        """
        if rules is not None:
            self.write_rules(rules)
        self.flags(host=name, group='accel_xapi')
        node_uuid = str(uuid.uuid5(uuid.NAMESPACE_DNS, name))
        with mock.patch(
            'nova.virt.node.get_local_node_uuid', return_value=node_uuid
        ):
            self.computes[name] = self.start_service('compute', host=name)
        self.compute_rp_uuids[name] = node_uuid
        return node_uuid

    def restart_host(self, name: str = 'xen1') -> None:
        """Start nova-compute anew; all that it knew is gone."""
        self.computes.pop(name).stop()
        self.start_host(name)

    def flavor(self, **extra: ty.Any) -> str:
        # Disks are really copied when a server moves.
        specs = {
            key.replace('__', ':'): str(value) for key, value in extra.items()
        }
        return ty.cast(
            str,
            self._create_flavor(
                memory_mb=512, vcpu=1, disk=0, ephemeral=0, extra_spec=specs
            ),
        )

    # Images

    def make_image(
        self,
        content: bytes = b'\0' * MIB,
        form: str = 'raw',
        **fields: ty.Any,
    ) -> str:
        """Put an image into Glance; return its id."""
        record = xapi_records.image(form, len(content), **fields)
        self.glance.create(None, record, data=io.BytesIO(content))
        return str(record['id'])

    def boot(
        self, flavor: str, state: str = 'ACTIVE', **kwargs: ty.Any
    ) -> dict[str, ty.Any]:
        kwargs.setdefault('image_uuid', self.image)
        return super().boot(flavor, state, **kwargs)

    def fails(
        self, server: dict[str, ty.Any], action: dict[str, ty.Any]
    ) -> str:
        """Act on a server; the harness gives back what the host says."""
        error = self.assertRaises(
            client.OpenStackApiException,
            self.api.post_server_action,
            server['id'],
            action,
        )
        return str(error)

    def suspend_is_refused(self, server: dict[str, ty.Any]) -> None:
        """Before anything is asked of XAPI."""
        self.pool.forget_calls()
        self.fails(server, {'suspend': {}})
        self._wait_for_state_change(server, 'ACTIVE')
        self.assertNotIn('VM.suspend', self.pool.calls())
        self.assertEqual('Running', self.machine(server)['power_state'])

    def live_migration_is_refused(self, server: dict[str, ty.Any]) -> None:
        self.fails(
            server,
            {'os-migrateLive': {'host': None, 'block_migration': 'auto'}},
        )
        self._wait_for_state_change(server, 'ACTIVE')
        self.assertEqual('Running', self.machine(server)['power_state'])

    # What Placement has

    def used(self, host: str = 'xen1') -> collections.Counter[str]:
        """Class -> what servers of a host have of it, in all providers."""
        found: collections.Counter[str] = collections.Counter()
        for each in self.usages(host).values():
            found.update(each)
        return found

    # What XAPI has

    def machine(
        self, server: dict[str, ty.Any], host: str = ''
    ) -> dict[str, ty.Any]:
        """The record of the one machine that a server is, or is on a host.

        What waits for the end of a move is none.
        """
        hosts = self.xapi.call('host.get_all_records').values()
        names = {each['uuid']: each['name_label'] for each in hosts}
        found = [
            record
            for record in self.xapi.call('VM.get_all_records').values()
            if (config := record['other_config'])
            and config.get(marks.SERVER) == server['id']
            and marks.LEFT not in config
            and host in ('', names[config[marks.HOST]])
        ]
        self.assertEqual(1, len(found), found)
        return ty.cast(dict[str, ty.Any], found[0])

    def hostdevs(self, host: str, server: dict[str, ty.Any]) -> list[str]:
        """Marks of VGPUs, PCI addresses and USB ports of a server."""
        record = self.machine(server, host)
        pci = record['other_config'].get(marks.PCI, '')
        vgpus = [
            self.xapi.call('VGPU.get_other_config', ref)[marks.MDEV]
            for ref in record['VGPUs']
        ]
        addresses = [each.rpartition('/')[2] for each in pci.split(',')]
        usbs = [
            self.xapi.call('PUSB.get_path', pusb)
            for vusb in record['VUSBs']
            for pusb in self.xapi.call(
                'USB_group.get_PUSBs',
                self.xapi.call('VUSB.get_USB_group', vusb),
            )
        ]
        return sorted(
            [
                *vgpus,
                *filter(None, addresses),
                *(f'usb:{path}' for path in usbs),
            ]
        )

    def somebody(self, *functions: str, host: str = 'xen1') -> str:
        """Let a machine run that nova knows nothing of.

        :param functions: addresses of PCI functions that it has.
        :returns: its reference; without functions it is not started.
        """
        pci = ','.join(f'0/{address}' for address in functions)
        config = {marks.PCI: pci} if pci else {}
        made = self.xapi.call(
            'VM.create', xapi_records.vm('theirs', other_config=config)
        )
        if functions:
            self.start_somebody(made, host)
        return str(made)

    def start_somebody(self, vm: str, host: str = 'xen1') -> None:
        (on,) = self.xapi.call('host.get_by_name_label', host)
        self.xapi.call('VM.start_on', vm, on, False, False)

    def assert_nothing_left(self) -> None:
        """Nothing is in the pool but what was there at its start."""
        self.assertEqual({}, self.pool.leftovers())


def _keeping(glance: ty.Any) -> collections.abc.Callable[..., ty.Any]:
    """Return an update that keeps what is uploaded: nova's drops it."""
    update = glance.update

    def keep(
        context: ty.Any,
        image: str,
        metadata: dict[str, ty.Any],
        data: ty.Any = None,
        **how: ty.Any,
    ) -> ty.Any:
        metadata = dict(metadata)
        if data is not None:
            content = data.read()
            glance._imagedata[image] = content
            metadata['size'] = len(content)
        return update(context, image, metadata, **how)

    return keep


def enabled_only(session: xapi.Session, host: str, model: str) -> None:
    """Leave the GPUs of a host that offer a model this one alone."""
    types = {
        ref
        for ref, record in session.call('VGPU_type.get_all_records').items()
        if record['model_name'] == model
    }
    hosts = session.call('host.get_by_name_label', host)
    for ref, record in session.call('PGPU.get_all_records').items():
        wanted = types.intersection(record['supported_VGPU_types'])
        if record['host'] in hosts and wanted:
            session.call('PGPU.set_enabled_VGPU_types', ref, sorted(wanted))
