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
"""The way to a pool that is encrypted: who is trusted, and for how long."""

import datetime
import ipaddress
import pathlib
import socket
import time

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization
from cryptography import x509
from cryptography.x509 import oid
import fixtures
import testtools

from nova_accel.backends import xapi
from nova_accel.backends.xapi import transfer
from nova_accel import exception
from nova_accel.testing.xapi_simulator import server
from nova_accel.testing.xapi_simulator import topology

MIB = 1 << 20
PEM = serialization.Encoding.PEM


class Authority:
    """Signs certificates; its own one is signed by itself."""

    def __init__(self, folder, name):
        self.folder = pathlib.Path(folder)
        self.name = x509.Name(
            [x509.NameAttribute(oid.NameOID.COMMON_NAME, name)]
        )
        self.key = ec.generate_private_key(ec.SECP256R1())
        made = self._signed(self.name, self.key, authority=True)
        self.file = self.folder / f'{name}.pem'
        self.file.write_bytes(made.public_bytes(PEM))

    def host(self, address):
        """Return a file with key and certificate of a host."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([])
        made = self._signed(name, key, address=ipaddress.ip_address(address))
        secret = key.private_bytes(
            PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        path = self.folder / f'{address}.pem'
        path.write_bytes(secret + made.public_bytes(PEM))
        return str(path)

    def _signed(self, name, key, authority=False, address=None):
        now = datetime.datetime.now(datetime.UTC)
        day = datetime.timedelta(days=1)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - day)
            .not_valid_after(now + day)
            .add_extension(x509.BasicConstraints(authority, None), True)
        )
        if address is not None:
            names = x509.SubjectAlternativeName([x509.IPAddress(address)])
            builder = builder.add_extension(names, False)
        return builder.sign(self.key, hashes.SHA256())


class TlsTest(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = self.useFixture(fixtures.TempDir()).path
        self.ca = Authority(self.folder, 'ours')

    def pool(self, address='127.0.0.1'):
        found = topology.load('t4')
        made = server.Simulator(found, certificate=self.ca.host(address))
        made.start()
        self.addCleanup(made.stop)
        return made

    def session(self, url, **changes):
        options = {
            'url': url,
            'password': 'password',
            'timeout': 5.0,
            'patience': 30.0,
            'ca_file': str(self.ca.file),
            **changes,
        }
        made = xapi.Session(xapi.Settings(**options))
        self.addCleanup(made.close)
        return made

    def refused(self, url, **changes):
        began = time.monotonic()
        error = self.assertRaises(
            exception.XapiUnavailable,
            self.session(url, **changes).call,
            'pool.get_all',
        )
        # It does not ask the same stranger for half a minute.
        self.assertLess(time.monotonic() - began, 5)
        return str(error)

    def test_an_authority_that_is_given(self):
        pool = self.pool()
        session = self.session(pool.url)
        self.assertTrue(pool.url.startswith('https://'))
        view = xapi.XapiBackend(session).discover()
        self.assertTrue([dev for dev in view.devices if dev.models])

    def test_images_go_the_same_way(self):
        session = self.session(self.pool().url)
        record = {
            'name_label': 'disk',
            'name_description': '',
            'SR': session.call('SR.get_all')[0],
            'virtual_size': MIB,
            'type': 'user',
            'sharable': False,
            'read_only': False,
            'other_config': {},
        }
        vdi = session.call('VDI.create', record)
        content = b'over TLS' + bytes(MIB - 8)
        with transfer.Upload(session, vdi, 'raw', MIB) as upload:
            upload.write(content)
            upload.finish()
        with transfer.download(session, vdi, 'raw') as pieces:
            self.assertEqual(b'over TLS', b''.join(pieces)[:8])

    def test_another_authority(self):
        pool = self.pool()
        other = Authority(self.folder, 'other')
        for ca_file in (str(other.file), ''):
            said = self.refused(pool.url, ca_file=ca_file)
            self.assertIn('certificate verify failed', said)
            self.assertIn('[accel_xapi]ca_file', said)
        # The password has not left.
        self.assertEqual({}, dict(pool.world.counts))

    def test_a_certificate_of_another_host(self):
        pool = self.pool('192.0.2.1')
        said = self.refused(pool.url)
        self.assertIn('127.0.0.1', said)
        self.assertEqual({}, dict(pool.world.counts))

    def test_who_says_so_trusts_anybody(self):
        pool = self.pool('192.0.2.1')
        session = self.session(pool.url, ca_file='', insecure=True)
        self.assertEqual(1, len(session.call('pool.get_all')))

    def test_a_file_that_is_not_there_or_has_none(self):
        empty = pathlib.Path(self.folder, 'empty.pem')
        empty.write_text('no certificate')
        for path in ('/nonexistent/ca.pem', str(empty)):
            said = self.refused('https://127.0.0.1:9', ca_file=path)
            self.assertIn('ca_file', said)
            self.assertIn(path, said)

    def test_a_host_that_never_greets(self):
        silent = socket.create_server(('127.0.0.1', 0))
        self.addCleanup(silent.close)
        url = f'https://127.0.0.1:{silent.getsockname()[1]}'
        said = self.refused(url, timeout=0.1, patience=0.0)
        self.assertIn('timed out', said)

    def test_a_host_that_does_not_answer_in_time(self):
        pool = self.pool()
        session = self.session(pool.url, timeout=0.5, patience=0.0)
        session.call('pool.get_all')
        gate = pool.world.store.lock
        with gate:
            self.assertRaises(
                exception.XapiUnavailable, session.call, 'VM.get_all'
            )
        self.assertEqual([], [t for t in session.call('task.get_all') if t])

    def test_not_encrypted_where_it_was_asked_for(self):
        found = topology.load('t4')
        plain = server.Simulator(found)
        plain.start()
        self.addCleanup(plain.stop)
        url = plain.url.replace('http:', 'https:')
        self.refused(url, patience=0.0)
        self.assertEqual({}, dict(plain.world.counts))
