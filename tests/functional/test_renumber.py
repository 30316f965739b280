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
"""Servers run, the host goes down, all its buses get other numbers."""

import re
import typing as ty

import fixtures
import testtools

from nova_accel.testing import cloud

from nova import objects

from nova_accel.core import naming
from nova_accel.virt import healing

from tests.functional import rules


def renumbered(xmls: list[str]) -> list[str]:
    """Give each bus but the roots the number of another one."""
    text = '\0'.join(xmls)
    roots = set(re.findall(r'pci0000:([0-9a-f]{2})', text))
    buses = sorted(set(re.findall(r'0000:([0-9a-f]{2}):', text)) - roots)
    other = dict(zip(buses, reversed(buses), strict=True))

    def moved(match: re.Match[str]) -> str:
        return f'{match[1]}{other.get(match[2], match[2])}{match[3]}'

    def decimal(match: re.Match[str]) -> str:
        bus = f'{int(match[1]):02x}'
        return f'<bus>{int(other.get(bus, bus), 16)}</bus>'

    text = re.sub(r'(0000:)([0-9a-f]{2})(:)', moved, text)
    text = re.sub(r'(pci_0000_)([0-9a-f]{2})(_)', moved, text)
    text = re.sub(r"(bus='0x)([0-9a-f]{2})(')", moved, text)
    return re.sub(r'<bus>(\d+)</bus>', decimal, text).split('\0')


class RenumberCase(cloud.CloudTestCase):
    def serials(self, server: dict[str, ty.Any]) -> set[str]:
        """Serial numbers of the devices in a server's guest."""
        view = self.computes['host1'].driver.accel.now.view
        found = {str(dev.address): dev.serial for dev in view.devices}
        return {found[at] for at in self.hostdevs('host1', server)}

    def renumber(self) -> None:
        """Let every card have another address."""
        machine = self.connection_of('host1').machine
        names = [name for name, kind in machine.names() if kind == 'pci']
        xmls = renumbered([machine.describe(name) for name in names])
        machine.unplug(*names)
        machine.plug(*xmls)


class RestartTest(RenumberCase):
    def test_each_server_keeps_its_cards(self) -> None:
        self.start_host('host1', 'a100', rules.A100)
        flavor = self.flavor(resources__CUSTOM_A100=1)
        servers = [self.boot(flavor) for _ in range(3)]
        serials = [self.serials(server) for server in servers]
        addresses = [self.hostdevs('host1', server) for server in servers]
        providers = self.accel_providers('host1')

        conn = self.connection_of('host1')
        for server in servers:
            conn.lookupByUUIDString(server['id']).destroy()
        self.renumber()
        self.restart_compute_service('host1')

        # Before anybody starts them.
        self.assertEqual(serials, [self.serials(each) for each in servers])
        self.assertNotEqual(
            addresses, [self.hostdevs('host1', each) for each in servers]
        )
        self.assertEqual(providers, self.accel_providers('host1'))
        for server in servers:
            self._reboot_server(server, hard=True)
        self.assertEqual(serials, [self.serials(each) for each in servers])
        self.assert_invariants()


class DiscoveryTest(RenumberCase):
    """Cards move while nova-compute runs."""

    def setUp(self) -> None:
        super().setUp()
        self.start_host('host1', 'a100', rules.A100)
        flavor = self.flavor(resources__CUSTOM_A100=1)
        self.servers = [self.boot(flavor) for _ in range(3)]
        for server in self.servers:
            self._stop_server(server)
        # No update passes before the cards move.
        self.before = self.found()

    def found(self) -> list[set[str]]:
        return [self.serials(each) for each in self.servers]

    def addresses(self) -> list[list[str]]:
        return [self.hostdevs('host1', each) for each in self.servers]

    def heals(self) -> ty.Any:
        return self.useFixture(
            fixtures.MockPatchObject(healing, 'heal', side_effect=healing.heal)
        ).mock

    def test_a_periodic_defines_guests_anew(self) -> None:
        providers = self.accel_providers('host1')
        claims = [self.claims(each) for each in self.servers]
        usages = self.usages('host1')
        addresses = self.addresses()
        heals = self.heals()
        self.run_periodic()
        heals.assert_not_called()
        self.renumber()
        self.run_periodic()
        self.assertEqual(1, heals.call_count)
        self.assertEqual(self.before, self.found())
        self.assertNotEqual(addresses, self.addresses())
        self.assertEqual(providers, self.accel_providers('host1'))
        self.assertEqual(claims, [self.claims(e) for e in self.servers])
        self.assertEqual(usages, self.usages('host1'))
        self.assert_addresses_are_told()
        # And then it is quiet again.
        self.run_periodic()
        self.assertEqual(1, heals.call_count)
        for server in self.servers:
            self._start_server(server)
        self.assertEqual(self.before, self.found())
        self.assert_invariants()

    def assert_addresses_are_told(self) -> None:
        """Placement knows where the cards are now."""
        found = {
            naming.read_at(trait)[1]
            for rp in self.accel_providers('host1').values()
            for trait in self._get_provider_traits(rp)
            if naming.read_at(trait)
        }
        view = self.computes['host1'].driver.accel.now.view
        self.assertEqual(
            {str(d.address) for d in view.devices if d.product_id == '20b0'},
            found,
        )

    def test_a_rescan_does_so_too(self) -> None:
        driver = self.computes['host1'].driver
        self.renumber()
        driver.accel_obey(self.context, discover=True)
        self.assertEqual(self.before, self.found())
        self.assert_addresses_are_told()

    def test_what_nova_is_at_work_on_comes_later(self) -> None:
        busy = objects.Instance.get_by_uuid(
            self.context, self.servers[0]['id']
        )
        busy.task_state = 'powering-on'
        busy.save()
        addresses = self.addresses()
        self.renumber()
        self.run_periodic()
        self.assertEqual(addresses[0], self.addresses()[0])
        self.assertEqual(self.before[1:], self.found()[1:])
        busy.task_state = None
        busy.save()
        self.run_periodic()
        self.assertEqual(self.before, self.found())


class VgpuTest(RenumberCase):
    """Mediated devices are made again, on the card that was claimed."""

    def parents(self, servers: list[ty.Any]) -> list[str]:
        """Serial number of the card that each server's vGPU is on."""
        accel = self.computes['host1'].driver.accel
        serials = {dev.name: dev.serial for dev in accel.now.view.devices}
        on = {m.uuid: serials[m.parent] for m in accel.now.view.mdevs}
        return [
            on[uuid]
            for server in servers
            for uuid in self.hostdevs('host1', server)
        ]

    def test_after_a_reboot(self) -> None:
        self.start_host('host1', 't4', rules.T4_8Q)
        flavor = self.flavor(resources__VGPU=1)
        servers = [self.boot(flavor) for _ in range(3)]
        self.run_periodic()
        before = self.parents(servers)
        self.assertEqual(3, len(before))
        providers = self.accel_providers('host1')
        conn = self.connection_of('host1')
        for server in servers:
            conn.lookupByUUIDString(server['id']).destroy()
        conn.machine.reboot()
        self.renumber()
        self.restart_compute_service('host1')
        for server in servers:
            self._reboot_server(server, hard=True)
        self.run_periodic()
        self.assertEqual(before, self.parents(servers))
        self.assertEqual(providers, self.accel_providers('host1'))
        self.assert_invariants()


GUEST = """<domain><devices>
<hostdev mode='subsystem' type='mdev'><source><address uuid='x'/></source>
</hostdev>
<hostdev mode='subsystem' type='pci'><source>
<address domain='0x0000' bus='0x3b' slot='0x00' function='0x0'/></source>
<address type='pci' domain='0x0000' bus='0x05' slot='0x00' function='0x0'/>
</hostdev>
<hostdev mode='subsystem' type='pci'><source>
<address domain='0x0000' bus='0x5e' slot='0x00' function='0x0'/></source>
</hostdev></devices></domain>"""


class ReaddressTest(testtools.TestCase):
    ONE, OTHER, NEW = '0000:3b:00.0', '0000:5e:00.0', '0000:af:00.0'

    def sources(self, *wanted: str | None, theirs: str = '') -> list[str]:
        xml = healing.readdressed(GUEST, wanted, {theirs}) or GUEST
        return sorted(cloud._hostdevs(xml))

    def test_nothing_to_do(self) -> None:
        self.assertIsNone(healing.readdressed(GUEST, [self.OTHER, self.ONE]))

    def test_what_moved_and_what_is_gone(self) -> None:
        for wanted, theirs, expected in (
            ([self.ONE, self.NEW], '', {self.ONE, self.NEW}),
            ([self.ONE, None], '', {self.ONE}),
            ([None, None], '', set()),
            # A device that nova itself gave away stays.
            ([self.NEW], self.OTHER, {self.NEW, self.OTHER}),
        ):
            found = set(self.sources(*wanted, theirs=theirs)) - {'x'}
            self.assertEqual(expected, found)
