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
import testtools

from tests.lab.harness import guests

_UUID = 'b0a1c2d3-1111-2222-3333-444455556666'
_CAPABILITY = '09001400' + 'd3c2a1b0111122223333444455556666'
_VPD = (
    '820e004e5649444941206c616220475055902400504e0e3930302d32313030312d'
    '30303230534e0c54342d53455249414c2d3031525601f878'
)
_BRIDGE = 'DEV PCI 8086:29c0 1af4:1100 060000 0000:00:00.0 - -'
_CARD = f'DEV PCI 10de:1eb8 10de:12a2 030200 0000:03:00.0 {"00" * 20} {_VPD}'
_VGPU = f'DEV PCI 10de:1eb8 10de:00e9 030000 0000:04:00.0 {_CAPABILITY} -'
_KEY = 'DEV USB 46f4:0001 2-1 USB KEY 1'
_MOUSE = 'DEV USB 0627:0001 1-1 -'


def _console(*lines: str) -> str:
    # as a serial port ends lines
    return ''.join(f'{line}\r\n' for line in lines)


class LinuxReportTest(testtools.TestCase):
    def test_every_kind(self):
        console = _console(_BRIDGE, _CARD, _VGPU, _KEY, _MOUSE, 'GUEST-UP')
        self.assertEqual(
            [
                guests.Seen(
                    id='8086:29c0',
                    subsystem='1af4:1100',
                    address='0000:00:00.0',
                    klass='060000',
                ),
                guests.Seen(
                    id='10de:1eb8',
                    subsystem='10de:12a2',
                    serial='T4-SERIAL-01',
                    address='0000:03:00.0',
                    klass='030200',
                ),
                guests.Seen(
                    id='10de:1eb8',
                    subsystem=f'10de:{233:04x}',
                    mdev_uuid=_UUID,
                    address='0000:04:00.0',
                    klass='030000',
                ),
                guests.Seen(id='46f4:0001', serial='USB KEY 1', address='2-1'),
                guests.Seen(id='0627:0001', address='1-1'),
            ],
            guests.read_linux_report(console),
        )

    def test_last_complete_report_counts(self):
        console = _console(
            *(_BRIDGE, _CARD, 'GUEST-UP'),
            *('EJECT 0000:03:00.0', 'PLUG 1-1', _BRIDGE, _MOUSE, 'GUEST-UP'),
            *('PLUG 0000:04:00.0', _BRIDGE, _VGPU),
        )
        self.assertEqual(
            ['8086:29c0', '0627:0001'],
            [seen.id for seen in guests.read_linux_report(console)],
        )

    def test_no_report_yet(self):
        self.assertEqual([], guests.read_linux_report(_console(_CARD)))

    def test_other_lines_are_passed_over(self):
        console = _console(
            *('SeaBIOS', 'DEV PCI 10de', 'DEV USB', '', _CARD, 'GUEST-UP')
        )
        self.assertEqual(1, len(guests.read_linux_report(console)))


class TinyReportTest(testtools.TestCase):
    def test_serial_and_uuid(self):
        console = _console(
            'PCI 80001800 1eb810de 12a210de 00000000 00000000 00000000 '
            '00000000 00000000',
            'VPD 4e000e82 49444956 616c2041 50472062 00249055 390e4e50 '
            '322d3030 31303031 3230302d 0c4e5330 532d3454 41495245 31302d4c',
            'PCI 80002000 1eb810de 00e910de 00140009 b0a1c2d3 22221111 '
            '44443333 66665555',
            'GUEST-UP',
        )
        card, vgpu = guests.read_report(console)
        self.assertEqual('10de:12a2', card.subsystem)
        self.assertEqual('T4-SERIAL-01', card.serial)
        self.assertEqual('', card.mdev_uuid)
        self.assertEqual(_UUID, vgpu.mdev_uuid)
