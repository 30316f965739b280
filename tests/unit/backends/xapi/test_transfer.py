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
import os
import socket
import struct

from nova_accel.backends import xapi
from nova_accel.backends.xapi import transfer
from nova_accel import exception
from tests.unit.backends.xapi import common

MIB = 1 << 20


class TransferTest(common.PoolTestCase):
    def vdi(self, size=4 * MIB, sr='shared'):
        return self.xapi.call(
            'VDI.create',
            {
                'name_label': 'disk',
                'name_description': '',
                'SR': self.one('SR', name_label=sr),
                'virtual_size': size,
                'type': 'user',
                'sharable': False,
                'read_only': False,
                'other_config': {},
            },
        )

    def put(self, vdi, content, length=None, form='raw'):
        length = len(content) if length is None else length
        with transfer.Upload(self.xapi, vdi, form, length) as upload:
            for start in range(0, len(content), 64 << 10):
                upload.write(content[start : start + (64 << 10)])
            upload.finish()

    def get(self, vdi):
        with transfer.download(self.xapi, vdi, 'raw') as pieces:
            return b''.join(pieces)

    def test_there_and_back(self):
        content = os.urandom(MIB) + bytes(MIB)
        vdi = self.vdi(2 * MIB)
        self.put(vdi, content)
        self.assertEqual(content, self.get(vdi))
        self.assertEqual([], self.xapi.call('task.get_all'))

    def test_a_session_that_ended_before(self):
        self.xapi.call('pool.get_all')
        vdi = self.vdi()
        self.control('POST', 'sessions/expire')
        self.put(vdi, b'x' * MIB)
        self.assertEqual(b'x', self.get(vdi)[:1])

    def test_it_fails_after_200(self):
        vdi = self.vdi()
        self.fault(
            'import_raw_vdi', stage='after', error=['IMPORT_ERROR', 'full']
        )
        error = self.assertRaises(
            exception.XapiFailure, self.put, vdi, bytes(MIB)
        )
        self.assertEqual('IMPORT_ERROR', error.code)
        self.assertEqual([], self.xapi.call('task.get_all'))

    def test_less_than_was_said(self):
        self.assertRaises(
            exception.ImageWrong, self.put, self.vdi(), b'x', length=2
        )
        self.assertEqual([], self.xapi.call('task.get_all'))

    def test_more_than_was_said(self):
        self.assertRaises(
            exception.ImageWrong, self.put, self.vdi(), b'xx', length=1
        )

    def test_a_host_that_does_not_see_the_storage(self):
        # The master sends us to the host that does.
        vdi = self.vdi(sr='local2')
        content = os.urandom(4 * MIB)
        self.put(vdi, content)
        self.assertEqual(content, self.get(vdi))

    def test_a_new_master_in_between(self):
        vdi = self.vdi()
        self.control('POST', 'master', host='xen2')
        self.put(vdi, b'y' * MIB)
        self.assertEqual(b'y', self.get(vdi)[:1])

    def test_nobody_redirects_us_to_less_protection(self):
        self.assertRaises(
            exception.XapiUnavailable,
            transfer._elsewhere,
            'https://host1',
            'http://host2/import_raw_vdi',
        )

    def test_what_is_no_http(self):
        server = socket.create_server(('127.0.0.1', 0))
        self.addCleanup(server.close)
        port = server.getsockname()[1]
        here, there = socket.socketpair()
        self.addCleanup(here.close)
        there.sendall(struct.pack('>I', port) + b'\r\n\r\n')
        there.close()
        self.assertRaises(
            exception.XapiUnavailable,
            transfer._answer,
            here,
            here.makefile('rb'),
            None,
        )


class SettingsTest(common.PoolTestCase):
    def test_addresses_of_members(self):
        for url, address, wanted in (
            ('https://a', '127.0.0.2', 'https://127.0.0.2'),
            ('http://a:8080', '127.0.0.2', 'http://127.0.0.2:8080'),
            ('https://a', 'fd00::2', 'https://[fd00::2]'),
            ('https://a:1', '[fd00::2]', 'https://[fd00::2]:1'),
            ('https://a:1', '127.0.0.2:9', 'https://127.0.0.2:9'),
        ):
            self.assertEqual(wanted, xapi.Settings(url).at(address))
