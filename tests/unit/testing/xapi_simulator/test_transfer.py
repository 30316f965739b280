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
"""Images over HTTP: answered first, judged later."""

import contextlib
import http.client
import os
import socket
import urllib.parse

import ddt

from nova_accel.testing.xapi_simulator import vhd
from tests.unit.testing.xapi_simulator import common

IMAGE = os.urandom(common.MIB) + bytes(5 * common.MIB) + os.urandom(4096)


class _TransferTestCase(common.PoolTestCase):
    def setUp(self):
        super().setUp()
        self.task = self.api.task.create('import', '')

    def path(self, verb, vdi, **changes):
        query = {
            'session_id': self.session.handle,
            'task_id': self.task,
            'vdi': vdi,
            'format': 'raw',
            **changes,
        }
        return f'/{verb}?{urllib.parse.urlencode(query)}'

    def connect(self, url=None):
        address = urllib.parse.urlsplit(url or self.simulator.url)
        connection = http.client.HTTPConnection(
            address.hostname, address.port, timeout=15
        )
        self.addCleanup(connection.close)
        return connection

    def put(self, vdi, body=IMAGE, url=None, **changes):
        """Return the response of an import."""
        connection = self.connect(url)
        connection.request(
            'PUT', self.path('import_raw_vdi', vdi, **changes), body
        )
        return connection.getresponse()

    def get(self, vdi, **changes):
        """Return the bytes of an export."""
        connection = self.connect()
        changes.setdefault('task_id', '')
        connection.request('GET', self.path('export_raw_vdi', vdi, **changes))
        response = connection.getresponse()
        self.assertEqual(200, response.status)
        return response.read()

    def same(self, expected, actual):
        """Assert that bytes are equal, without showing millions of them."""
        self.assertEqual(len(expected), len(actual))
        self.assertTrue(expected == actual, 'the bytes differ')

    def ends(self, status, *details):
        record = self.wait(self.task)
        self.assertEqual(status, record['status'], record['error_info'])
        if details:
            self.assertEqual(list(details), record['error_info'])


class ImportTest(_TransferTestCase):
    def test_raw(self):
        vdi = self.vdi()
        self.assertEqual(200, self.put(vdi).status)
        self.ends('success')
        size = 8 * common.MIB
        self.same(IMAGE.ljust(size, b'\0'), self.get(vdi))

    def test_uuid_does(self):
        vdi = self.vdi()
        self.put(self.api.VDI.get_uuid(vdi))
        self.ends('success')

    def test_again_replaces(self):
        vdi = self.vdi()
        self.put(vdi)
        self.ends('success')
        self.task = self.api.task.create('again', '')
        self.put(vdi, b'short')
        self.ends('success')
        self.assertEqual(b'short\0', self.get(vdi)[:6])

    def head(self, vdi, length):
        """Return a socket that has sent the head of an import; the answer."""
        address = urllib.parse.urlsplit(self.simulator.url)
        raw = socket.create_connection((address.hostname, address.port), 15)
        self.addCleanup(raw.close)
        raw.sendall(
            f'PUT {self.path("import_raw_vdi", vdi)} HTTP/1.1\r\n'
            f'Content-Length: {length}\r\n\r\n'.encode()
        )
        return raw, raw.recv(1000)

    def test_answer_comes_before_the_body(self):
        raw, answer = self.head(self.vdi(), 4)
        self.assertIn(b'200 OK', answer)
        self.assertEqual('pending', self.api.task.get_status(self.task))
        raw.sendall(b'body')
        self.ends('success')

    def test_broken_off(self):
        raw, answer = self.head(self.vdi(), 99999)
        self.assertIn(b'200 OK', answer)
        raw.sendall(b'not all')
        raw.close()
        self.ends('failure', 'IMPORT_ERROR_PREMATURE_EOF')

    def test_cancelled(self):
        self.fault('import_raw_vdi', stage='half', milliseconds=60000)
        raw, _ = self.head(self.vdi(), 4)
        raw.sendall(b'body')
        self.api.task.cancel(self.task)
        self.ends('cancelled', 'TASK_CANCELLED', self.task)

    def test_too_large(self):
        """Found out at the first byte too many; the rest is not read."""
        raw, answer = self.head(self.vdi(4 * common.MIB), len(IMAGE))
        self.assertIn(b'200 OK', answer)
        with contextlib.suppress(OSError):
            raw.sendall(IMAGE)
        record = self.wait(self.task)
        self.assertEqual('INTERNAL_ERROR', record['error_info'][0])

    def test_fails_late(self):
        """After 200, and after the whole body."""
        vdi = self.vdi()
        self.fault('import_raw_vdi', stage='read', error=['VDI_COPY_FAILED'])
        self.assertEqual(200, self.put(vdi).status)
        self.ends('failure', 'VDI_COPY_FAILED')

    def test_refused_at_once(self):
        vdi = self.vdi()
        self.assertEqual(401, self.put(vdi, b'x', session_id='x').status)
        self.assertEqual('pending', self.api.task.get_status(self.task))
        self.assertEqual(400, self.put('OpaqueRef:none', b'x').status)
        self.ends('failure', 'HANDLE_INVALID', 'VDI', 'OpaqueRef:none')

    def test_disk_in_use(self):
        vm, vdi = self.vm(), self.vdi()
        self.vbd(vm, vdi)
        self.start(vm)
        # All is well, says the answer.
        self.assertEqual(200, self.put(vdi, b'x').status)
        self.ends('failure', 'VDI_IN_USE', vdi, 'import')

    def test_chunked(self):
        connection = self.connect()
        path = self.path('import_raw_vdi', self.vdi())
        connection.putrequest('PUT', path)
        connection.putheader('Transfer-Encoding', 'chunked')
        # It answers before the first piece, and hangs up.
        connection.endheaders()
        self.assertEqual(404, connection.getresponse().status)
        self.ends(
            'failure', 'INTERNAL_ERROR', 'Cannot handle encoding: chunked'
        )

    def test_format(self):
        self.assertEqual(404, self.put(self.vdi(), b'x', format='vmdk').status)
        record = self.wait(self.task)
        self.assertEqual('INTERNAL_ERROR', record['error_info'][0])

    def test_other_path(self):
        connection = self.connect()
        connection.request('PUT', '/import_other', b'')
        self.assertEqual(404, connection.getresponse().status)


class ExportTest(_TransferTestCase):
    def test_empty(self):
        vdi = self.vdi(2 * common.MIB)
        self.same(bytes(2 * common.MIB), self.get(vdi))

    def test_task(self):
        self.get(self.vdi(), task_id=self.task)
        self.ends('success')

    def test_breaks_off(self):
        vdi = self.vdi()
        self.fault('export_raw_vdi', stage='half', error=['VDI_COPY_FAILED'])
        self.assertRaises(
            (http.client.IncompleteRead, ConnectionError),
            self.get,
            vdi,
            task_id=self.task,
        )
        self.ends('failure', 'VDI_COPY_FAILED')

    def test_copies_have_the_bytes(self):
        vdi = self.vdi()
        self.put(vdi)
        self.ends('success')
        for copy in (
            self.api.VDI.snapshot(vdi),
            self.api.VDI.clone(vdi),
            self.api.VDI.copy(vdi, self.one('SR')),
        ):
            self.same(IMAGE, self.get(copy)[: len(IMAGE)])


@ddt.ddt
class VhdTest(_TransferTestCase):
    def test_round(self):
        source, target = self.vdi(), self.vdi()
        self.put(source)
        self.ends('success')
        image = self.get(source, format='vhd')
        self.assertEqual(b'conectix', image[:8])
        self.assertLess(len(image), 5 * common.MIB)
        task = self.api.task.create('import', '')
        self.put(target, image, format='vhd', task_id=task)
        self.assertEqual('success', self.wait(task)['status'])
        self.same(self.get(source), self.get(target))

    @ddt.data(b'', b'no VHD', bytes(4096), bytes(512))
    def test_damaged(self, image):
        self.put(self.vdi(), image, format='vhd')
        record = self.wait(self.task)
        self.assertEqual('INTERNAL_ERROR', record['error_info'][0])

    def test_cut_short(self):
        source = self.vdi()
        self.put(source)
        self.ends('success')
        image = self.get(source, format='vhd')
        task = self.api.task.create('import', '')
        self.put(self.vdi(), image[:100000], format='vhd', task_id=task)
        self.assertEqual('INTERNAL_ERROR', self.wait(task)['error_info'][0])

    def test_larger_than_the_disk(self):
        image = self.get(self.vdi(16 * common.MIB), format='vhd')
        self.put(self.vdi(), image, format='vhd')
        record = self.wait(self.task)
        self.assertEqual('INTERNAL_ERROR', record['error_info'][0])

    def test_checksum(self):
        """Both copies of the footer, and the header, sum up."""
        length, pieces = vhd.encode(lambda: iter([b'x' * 512]), 512)
        image = b''.join(pieces)
        self.assertEqual(length, len(image))
        self.assertTrue(image[:512] == image[-512:])
        for start, size, place in ((0, 512, 64), (512, 1024, 36)):
            part = bytearray(image[start : start + size])
            said = int.from_bytes(part[place : place + 4], 'big')
            part[place : place + 4] = bytes(4)
            self.assertEqual(~sum(part) & 0xFFFFFFFF, said)


class RedirectTest(_TransferTestCase):
    TOPOLOGY = 'two-hosts'

    def test_disk_of_another_host(self):
        vdi = self.vdi(sr=self.one('SR', name_label='local2'))
        response = self.put(vdi, b'data')
        self.assertEqual(302, response.status)
        place = response.headers['Location']
        url = self.simulator.urls['xen2']
        self.assertTrue(place.startswith(f'{url}/import_raw_vdi?'))
        connection = self.connect(url)
        connection.request('PUT', place.removeprefix(url), b'data')
        self.assertEqual(200, connection.getresponse().status)
        self.ends('success')

    def test_nobody_sees_it(self):
        sr = self.one('SR', name_label='local2')
        vdi = self.vdi(sr=sr)
        (pbd,) = self.api.SR.get_PBDs(sr)
        self.api.PBD.unplug(pbd)
        self.assertEqual(400, self.put(vdi, b'data').status)
        self.ends('failure', 'SR_NOT_ATTACHED', sr)
