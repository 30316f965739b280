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

import testtools

from nova_accel.testing import cloud

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


class RenumberTest(cloud.CloudTestCase):
    def serials(self, server: dict[str, ty.Any]) -> set[str]:
        """Serial numbers of the devices in a server's guest."""
        view = self.computes['host1'].driver.accel.now.view
        found = {str(dev.address): dev.serial for dev in view.devices}
        return {found[at] for at in self.hostdevs('host1', server)}

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
        machine = conn.machine
        names = [name for name, kind in machine.names() if kind == 'pci']
        xmls = renumbered([machine.describe(name) for name in names])
        machine.unplug(*names)
        machine.plug(*xmls)
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
