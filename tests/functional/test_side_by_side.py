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
"""What nova does with devices, and we, on one host at the same time."""

import collections
import collections.abc
import itertools
import json
import re
import typing as ty

import fixtures
from lxml import etree
import nova.conf
from nova.conf import devices as nova_devices
from nova import objects
from nova.tests import fixtures as nova_fixtures
from nova.tests.functional.libvirt import base
from nova.virt.libvirt import guest

from nova_accel.testing import cloud

from tests.functional import rules

OURS = 'pci_0000_18_00_0'
THEIRS = 'pci_0000_af_00_0'
RULES = rules.T4_8Q.replace('"1eb8"', '"1eb8", address: "0000:18:00.0"')


class Cloud(cloud.CloudTestCase):
    """A cloud in which nova gives away mediated devices of a card, too."""

    def give_away(self, mdev_type: str, address: str) -> None:
        """Have nova itself make mediated devices of a type on a card."""
        self.flags(enabled_mdev_types=[mdev_type], group='devices')
        # Else nova registers the group when the driver is made.
        nova_devices.register_dynamic_opts(nova.conf.CONF)
        self.flags(device_addresses=[address], group=f'mdev_{mdev_type}')

    def parents(self, host: str) -> dict[str, str | None]:
        """Mediated device -> the card it was made on."""
        machine = self.connection_of(host).machine
        return {
            name.removeprefix('mdev_')[:36].replace('_', '-'): (
                machine.parent(name)
            )
            for name in self.mdevs(host)
        }


class SideBySideTest(Cloud):
    """Stock nova's vGPUs and ours, each with a card of its own.

    Both are of class VGPU and of one type, so that nothing but the card tells
    them apart.
    """

    def setUp(self) -> None:
        super().setUp()
        self.give_away('nvidia-233', '0000:af:00.0')
        self.start_host('host1', 't4', RULES)
        self.one = self.flavor(resources__VGPU=1)

    def tearDown(self) -> None:
        self.assert_invariants()
        super().tearDown()

    def test_each_reports_its_card_only(self) -> None:
        self._assert_reported(0, 0)

    def test_servers_fill_both_cards(self) -> None:
        servers = self._fill()
        self.assertIn('No valid host', self.refused(self.one))
        self.run_periodic()
        self._assert_reported(2, 2)
        held = self._held(servers)
        self.assertEqual(
            [OURS, OURS, THEIRS, THEIRS],
            sorted(self.parents('host1')[uuid] for uuid in held),
        )

    def test_reboots_keep_what_each_server_has(self) -> None:
        servers = self._fill()
        held = self._held(servers)
        for server in servers:
            self._reboot_server(server, hard=True)
        self.assertEqual(held, self._held(servers))
        self.restart_compute_service('host1')
        for server in servers:
            self._reboot_server(server, hard=True)
        self.assertEqual(held, self._held(servers))
        self._assert_reported(2, 2)

    def test_a_card_that_is_free_again_serves_again(self) -> None:
        for server in self._fill():
            self._delete_server(server)
        self.run_periodic()
        # Stock nova keeps its mediated devices for the next server.
        self.assertEqual(
            [THEIRS, THEIRS], sorted(self.parents('host1').values())
        )
        self._assert_reported(0, 0)
        self._held(self._fill())
        self._assert_reported(2, 2)

    def _fill(self) -> list[dict[str, ty.Any]]:
        return [self.boot(self.one) for _ in range(4)]

    def _held(self, servers: list[dict[str, ty.Any]]) -> dict[str, str]:
        """Mediated device -> the one server that has it."""
        pairs = [
            (uuid, server['id'])
            for server in servers
            for uuid in self.hostdevs('host1', server)
        ]
        self.assertEqual(len(servers), len(dict(pairs)), pairs)
        return dict(pairs)

    def _assert_reported(self, ours: int, theirs: int) -> None:
        root = self.compute_rp_uuids['host1']
        found = {}
        for rp in self._get_all_rps_in_a_tree(root):
            if rp['uuid'] != root:
                inventory = self._get_provider_inventory(rp['uuid'])
                used = self._get_provider_usages(rp['uuid'])
                found[rp['name']] = (
                    {rc: record['total'] for rc, record in inventory.items()},
                    used,
                )
        self.assertEqual(
            {
                'host1_accel_sn:1324419052501': ({'VGPU': 2}, {'VGPU': ours}),
                f'host1_{THEIRS}': ({'VGPU': 2}, {'VGPU': theirs}),
            },
            found,
        )


# Ours of a host that has a bit of everything.
OUR_PART = """
version: 1
devices:
  t4:
    kind: vgpu
    match: {vendor_id: "10de", product_id: "1eb8"}
    models: [GRID T4-8Q]
    resource_class: CUSTOM_T4_8Q
  nvme:
    kind: pci
    match: {address: "0000:65:00.0"}
    resource_class: CUSTOM_NVME
"""
# What nova gives away there: a card by alias, functions of a NIC by port.
SPECS = (
    {'vendor_id': '10de', 'product_id': '20b0'},
    {'address': '0000:3b:02.*', 'physical_network': 'physnet4'},
)
ALIAS = {
    'name': 'a100',
    'vendor_id': '10de',
    'product_id': '20b0',
    'device_type': 'type-PF',
}
T4, M60, CYBORGS_M60 = (f'pci_0000_{bus}_00_0' for bus in ('18', '05', '06'))
# What Cyborg gives away there.
PCI_HANDLE = {'domain': '0000', 'bus': '66', 'device': '00', 'function': '0'}
MDEV_HANDLE = {
    'domain': '0000',
    'bus': '06',
    'device': '00',
    'function': '0',
    'asked_type': 'nvidia-18',
}
HANDLES = (('PCI', PCI_HANDLE), ('MDEV', MDEV_HANDLE))

HOSTS = ('ours', 'stock')

Servers = collections.abc.Collection[dict[str, ty.Any]]

_VOLATILE = re.compile(
    '[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}'
    '|([0-9a-f]{2}:){5}[0-9a-f]{2}'
    '|instance-[0-9a-f]{8}|tap[0-9a-f-]{11}'
    # Nova takes any of the functions.
    '|(?<=bus="0x3b" slot="0x02" function="0x)[0-3]'
)


class Cyborg(nova_fixtures.CyborgFixture):
    """Cyborg with requests that libvirt can serve.

    :param number: for how many servers each handle is.
    :ivar bound: the requests once they are bound.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        drafts, _ = nova_fixtures.cyborg.get_arqs(self.dp_name)
        self.bound = [
            {
                **draft,
                'state': 'Bound',
                'attach_handle_type': kind,
                'attach_handle_info': handle,
                'attach_handle_uuid': draft['uuid'],
            }
            for draft, (kind, handle) in zip(
                drafts,
                (h for h in HANDLES for _ in range(number)),
                strict=True,
            )
        ]

    def setUp(self) -> None:
        super().setUp()
        lists = {
            'bound_arq_list': self.bound,
            'arq_list': [dict(arq, state='Initial') for arq in self.bound],
            'arq_uuids': [arq['uuid'] for arq in self.bound],
        }
        for name, value in lists.items():
            self.useFixture(
                fixtures.MockPatchObject(
                    nova_fixtures.CyborgFixture, name, value
                )
            )


class CrowdedHostTest(Cloud):
    """Two hosts with all that nova offers; one offers ours as well.

    What servers without our devices get must be the same on both.
    """

    ADDITIONAL_FILTERS: ty.ClassVar[list[str]] = [
        *cloud.CloudTestCase.ADDITIONAL_FILTERS,
        'PciPassthroughFilter',
    ]

    def setUp(self) -> None:
        super().setUp()
        self.neutron = self.useFixture(base.LibvirtNeutronFixture(self))
        self.cyborg = self.useFixture(Cyborg(len(HOSTS)))
        self.flags(
            group='pci',
            device_spec=[json.dumps(spec) for spec in SPECS],
            alias=[json.dumps(ALIAS)],
        )
        self.give_away('nvidia-20', '0000:05:00.0')
        self.flags(compute_driver='libvirt.LibvirtDriver')
        self.start_host('stock', 'mixed')
        self.flags(compute_driver='accel.LibvirtAccelDriver')
        self.start_host('ours', 'mixed', OUR_PART)
        self._create_trait(self.cyborg.trait)
        for host in HOSTS:
            self._add_cyborgs_provider(host)
        self.created = self.useFixture(
            fixtures.MockPatchObject(
                guest.Guest, 'create', side_effect=guest.Guest.create
            )
        ).mock

    def tearDown(self) -> None:
        # There is nothing of ours to be audited.
        del self.computes['stock']
        self.assert_invariants()
        super().tearDown()

    def _add_cyborgs_provider(self, host: str) -> None:
        uuid = self.placement.post(
            '/resource_providers',
            version='1.20',
            body={
                'name': f'{host}_cyborg',
                'parent_provider_uuid': self.compute_rp_uuids[host],
            },
        ).body['uuid']
        self._update_inventory(
            uuid,
            {
                'resource_provider_generation': 0,
                'inventories': {'FPGA': {'total': len(HANDLES)}},
            },
        )
        self._set_provider_traits(uuid, [self.cyborg.trait])

    def test_nova_does_what_it_does_without_us(self) -> None:
        pairs = list(self._boot_pairs())
        theirs = list(itertools.chain.from_iterable(pairs))
        mixed = self._boot_with_ours()
        before = self._held(mixed)
        self._assert_alike(pairs)
        for act in (self._reboot, self._suspend, self._restart):
            act([mixed, *theirs])
            self._assert_alike(pairs)
            self.assertEqual(before, self._held(mixed))
        for server in theirs:
            self._delete_server(server)
        self.run_periodic()
        self.assertEqual(before, self._held(mixed))
        self._assert_given_back()

    # Servers

    def _boot_with_ours(self) -> dict[str, ty.Any]:
        """Boot a server that has some of ours and some of nova's."""
        flavor = self.flavor(
            resources1__CUSTOM_T4_8Q=1,
            resources2__CUSTOM_NVME=1,
            resources3__VGPU=1,
            group_policy='none',
        )
        server = self._boot('ours', flavor, self._port(3))
        parents = self.parents('ours')
        mine = self.hostdevs('ours', server)
        self.assertEqual(
            sorted(['0000:3b:02', '0000:65:00', T4, M60]),
            sorted(parents.get(dev) or dev.split('.')[0] for dev in mine),
        )
        return server

    def _boot_pairs(
        self,
    ) -> collections.abc.Iterator[tuple[dict[str, ty.Any], ...]]:
        """Boot each kind of server on both hosts."""
        plain = self.flavor()
        accelerated = self.flavor(accel__device_profile=self.cyborg.dp_name)
        full = self.flavor(
            resources__VGPU=1,
            pci_passthrough__alias='a100:1',
            accel__device_profile=self.cyborg.dp_name,
        )
        yield tuple(self._boot(host, plain) for host in HOSTS)
        yield tuple(
            self._boot(host, full, self._port(number))
            for number, host in enumerate(HOSTS, 1)
        )
        yield tuple(self._boot(host, accelerated) for host in HOSTS)

    def _boot(
        self, host: str, flavor: str, networks: ty.Any = 'none'
    ) -> dict[str, ty.Any]:
        return ty.cast(
            dict[str, ty.Any],
            self._create_server(
                flavor_id=flavor, networks=networks, host=host
            ),
        )

    def _port(self, number: int) -> list[dict[str, str]]:
        port = getattr(self.neutron, f'network_4_port_{number}')
        self.neutron.create_port({'port': port})
        return [{'port': port['id']}]

    def _held(self, server: dict[str, ty.Any]) -> list[str]:
        """Devices of a server, but for that of its port.

        Nova's fixture does not know it any more after a resume.
        """
        return [
            device
            for device in self.hostdevs('ours', server)
            if not device.startswith('0000:3b:02')
        ]

    # What is done to them

    def _reboot(self, servers: Servers) -> None:
        for server in servers:
            self._reboot_server(server, hard=True)

    def _suspend(self, servers: Servers) -> None:
        for server in servers:
            # Nova refuses it where Cyborg takes part.
            if 'accel:device_profile' not in server['flavor']['extra_specs']:
                self._suspend_server(server)
                self._resume_server(server)

    def _restart(self, servers: Servers) -> None:
        """Restart nova-compute, which remembers a little, and all servers."""
        for server in servers:
            self._stop_server(server)
        self.restart_compute_service('ours')
        for server in servers:
            self._start_server(server)

    # What must hold

    def _assert_alike(
        self, pairs: list[tuple[dict[str, ty.Any], ...]]
    ) -> None:
        for pair in pairs:
            ours, stock = (
                (self._asked_for(server), self._running(host, server))
                for host, server in zip(HOSTS, pair, strict=True)
            )
            self.assertEqual(stock, ours)
        self.assertEqual(
            {T4: 1, M60: 2, CYBORGS_M60: 1},
            collections.Counter(self.parents('ours').values()),
        )

    def _asked_for(self, server: dict[str, ty.Any]) -> str:
        """The last definition of a guest that nova gave to libvirt."""
        return [
            _anonymous(call.args[0])
            for call in self.created.call_args_list
            if server['id'] in call.args[0]
        ][-1]

    def _running(self, host: str, server: dict[str, ty.Any]) -> str:
        domain = self.connection_of(host).lookupByUUIDString(server['id'])
        return _anonymous(domain.XMLDesc(0))

    def _assert_given_back(self) -> None:
        for host in HOSTS:
            node = objects.ComputeNode.get_by_nodename(self.context, host)
            held = [
                dev.address
                for dev in objects.PciDeviceList.get_by_compute_node(
                    self.context, node.id
                )
                if not dev.is_available()
            ]
            # The one with a port of the server with devices of ours.
            self.assertEqual(1 if host == 'ours' else 0, len(held), held)
        self.assertEqual(
            [None] * 4, [arq['instance_uuid'] for arq in self.cyborg.bound]
        )


def _anonymous(xml: str) -> str:
    """Leave out of a definition what differs from server to server."""
    tree = etree.fromstring(xml)
    for metadata in tree.findall('metadata'):
        tree.remove(metadata)
    return _VOLATILE.sub('...', etree.tostring(tree, encoding='unicode'))
