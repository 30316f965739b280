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
"""Against the layout of the PCI Express specification, and lspci.

What lspci prints of a card with these bytes at 0x150 is
``Device Serial Number 48-b0-2d-ff-fe-12-34-56``.
"""

import struct

import ddt
import testtools

from nova_accel.backends.libvirt import config_space

NUMBER = bytes.fromhex('563412feff2db048')
TEXT = '48-b0-2d-ff-fe-12-34-56'


def space(*capabilities, size=4096):
    """Make up a configuration space.

    :param capabilities: (offset, id, offset of the next, data) of each.
    """
    made = bytearray(size)
    struct.pack_into('<HH', made, 0, 0x10DE, 0x1EB8)
    for offset, number, following, data in capabilities:
        header = number | 1 << 16 | following << 20
        struct.pack_into('<I', made, offset, header)
        made[offset + 4 : offset + 4 + len(data)] = data
    return bytes(made)


@ddt.ddt
class SerialTest(testtools.TestCase):
    def test_the_first_capability(self):
        found = config_space.serial(space((0x100, 3, 0, NUMBER)))
        self.assertEqual(TEXT, found)

    def test_after_others(self):
        chain = (
            (0x100, 0x01, 0x158, b''),
            (0x158, 0x10, 0x128, b''),
            (0x128, 0x03, 0, NUMBER),
        )
        self.assertEqual(TEXT, config_space.serial(space(*chain)))

    @ddt.data(
        b'',
        bytes(64),
        # A conventional device.
        bytes(256),
        # None at all; a device that does not answer.
        bytes(4096),
        b'\xff' * 4096,
        space((0x100, 0x01, 0, b'')),
        # They go round, leave the space, or hit the middle of a dword.
        space((0x100, 0x01, 0x100, b'')),
        space((0x100, 0x01, 0x200, b''), (0x200, 0x02, 0x100, b'')),
        space((0x100, 0x01, 0xFFF, b'')),
        space((0x100, 0x01, 0x40, b'')),
        space((0x100, 0x01, 0x202, b'')),
        # It is cut off.
        space((0x100, 0x03, 0, NUMBER))[:0x108],
        space((0xFFC, 0x03, 0, b''), (0x100, 0x01, 0xFFC, b'')),
        # Numbers that say nothing.
        space((0x100, 0x03, 0, bytes(8))),
        space((0x100, 0x03, 0, b'\xff' * 8)),
        space((0x100, 0x03, 0, bytes.fromhex('00e04c6800000001'))),
    )
    def test_none(self, config):
        self.assertEqual('', config_space.serial(config))

    def test_any_bytes_are_read_to_an_end(self):
        for seed in range(256):
            config = bytes((seed * 31 + i * 7) % 256 for i in range(4096))
            config_space.serial(config)
