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
"""Sessions, the wire and what every message has in common."""

import urllib.error
import urllib.request
import xmlrpc.client

import ddt
import testtools
import XenAPI

from nova_accel.testing.xapi_simulator import server
from nova_accel.testing.xapi_simulator import topology
from tests.unit.testing.xapi_simulator import common


class SessionTest(common.PoolTestCase):
    def test_wrong_password(self):
        session = XenAPI.Session(self.simulator.url)
        self.addCleanup(session('close'))
        for name, password in (('root', 'x'), ('other', 'password')):
            self.refused(
                'SESSION_AUTHENTICATION_FAILED',
                session.xenapi.login_with_password,
                name,
                password,
            )

    def test_expired(self):
        """The binding logs in again by itself; a bare client is told."""
        before = self.session.handle
        self.control('POST', 'sessions/expire')
        answer = self.session.VM.get_all(before)
        self.assertEqual(
            ['SESSION_INVALID', before], answer['ErrorDescription']
        )
        self.api.VM.get_all()
        self.assertNotEqual(before, self.session.handle)

    def test_logout(self):
        handle = self.session.handle
        self.api.session.logout()
        answer = self.session.VM.get_all(handle)
        self.assertEqual('SESSION_INVALID', answer['ErrorDescription'][0])

    def test_this_host(self):
        self.assertEqual(
            self.host(), self.api.session.get_this_host(self.session.handle)
        )

    def test_without_session(self):
        for arguments in ((), ('x',), (['x'],), ({},), (1,)):
            answer = self.session.VM.get_all(*arguments)
            self.assertEqual('SESSION_INVALID', answer['ErrorDescription'][0])

    def test_version(self):
        self.assertEqual('2.21', self.session.API_version)


@ddt.ddt
class WireTest(common.PoolTestCase):
    def test_eight_gibibytes(self):
        """Sizes are decimal strings, both ways."""
        size = 8 * common.GIB
        vm = self.vm(memory=size)
        self.assertEqual(str(size), self.api.VM.get_memory_static_max(vm))
        record = self.api.VM.get_record(vm)
        self.assertEqual(str(size), record['memory_dynamic_max'])
        vdi = self.vdi(size)
        self.assertEqual(str(size), self.api.VDI.get_virtual_size(vdi))
        self.assertRaises(OverflowError, self.api.VDI.resize, vdi, 2 * size)
        self.api.VDI.resize(vdi, str(2 * size))
        self.assertEqual(str(2 * size), self.api.VDI.get_virtual_size(vdi))

    @ddt.data(1024, 1024.0, True, 'many', '', None, [], {})
    def test_int(self, value):
        details = self.refused(
            'FIELD_TYPE_ERROR', self.api.VM.set_memory, self.vm(), value
        )
        self.assertEqual(['value'], details)

    @ddt.data(None, 1, True, [], {})
    def test_string(self, value):
        self.refused(
            'FIELD_TYPE_ERROR', self.api.VM.set_name_label, self.vm(), value
        )

    @ddt.data(None, 1, 'true', [])
    def test_bool(self, value):
        self.refused(
            'FIELD_TYPE_ERROR', self.api.VM.set_is_a_template, self.vm(), value
        )

    @ddt.data(None, {'key': 1}, {'key': None}, [], 'key')
    def test_map(self, value):
        self.refused(
            'FIELD_TYPE_ERROR', self.api.VM.set_other_config, self.vm(), value
        )

    @ddt.data(None, [1], [None], {}, 'tag')
    def test_set(self, value):
        self.refused(
            'FIELD_TYPE_ERROR', self.api.VM.set_tags, self.vm(), value
        )

    def test_empty_reference_is_null(self):
        vm = self.vm(affinity='')
        self.assertEqual(common.NULL, self.api.VM.get_affinity(vm))

    def test_record(self):
        self.refused('INTERNAL_ERROR', self.vm, name_labell='typo')
        self.refused('FIELD_TYPE_ERROR', self.vm, VCPUs_max=2)
        self.refused('FIELD_TYPE_ERROR', self.vm, actions_after_crash='no')
        record = common.vm_record()
        del record['platform']
        details = self.refused('INTERNAL_ERROR', self.api.VM.create, record)
        self.assertIn('platform', details[0])

    def test_arity(self):
        for arguments in ((), ('a', 'b')):
            details = self.refused(
                'MESSAGE_PARAMETER_COUNT_MISMATCH',
                self.api.VM.get_record,
                *arguments,
            )
            expected = ['VM.get_record', '2', str(len(arguments) + 1)]
            self.assertEqual(expected, details)

    def test_unknown(self):
        for function in (
            self.api.VM.fly,
            self.api.VM.get_all_records_where,
            self.api.plane.start,
            self.api.nothing,
        ):
            self.refused('MESSAGE_METHOD_UNKNOWN', function)

    def test_not_simulated(self):
        details = self.refused(
            'NOT_IMPLEMENTED', self.api.host.dmesg, self.host()
        )
        self.assertEqual(['host.dmesg'], details)

    def test_no_such_object(self):
        for function, cls in (
            (self.api.VM.get_record, 'VM'),
            (self.api.VDI.destroy, 'VDI'),
            (self.api.VM.get_uuid, 'VM'),
        ):
            details = self.refused('HANDLE_INVALID', function, 'OpaqueRef:x')
            self.assertEqual([cls, 'OpaqueRef:x'], details)
        details = self.refused('UUID_INVALID', self.api.VM.get_by_uuid, 'x')
        self.assertEqual(['VM', 'x'], details)

    def test_names(self):
        vm = self.vm(name_label='one')
        self.assertEqual([vm], self.api.VM.get_by_name_label('one'))
        self.assertEqual([], self.api.VM.get_by_name_label('two'))
        self.assertEqual(vm, self.api.VM.get_by_uuid(self.api.VM.get_uuid(vm)))

    def test_maps(self):
        vm = self.vm()
        self.api.VM.add_to_other_config(vm, 'key', 'value')
        details = self.refused(
            'MAP_DUPLICATE_KEY',
            self.api.VM.add_to_other_config,
            vm,
            'key',
            'other',
        )
        uuid = self.api.VM.get_uuid(vm)
        self.assertEqual(['VM', 'other_config', uuid, 'key'], details)
        self.api.VM.remove_from_other_config(vm, 'key')
        self.api.VM.remove_from_other_config(vm, 'key')
        # XAPI's own: a seed for MAC addresses.
        self.assertEqual({'mac_seed'}, set(self.api.VM.get_other_config(vm)))

    def test_sets(self):
        vm = self.vm()
        for tag in ('a', 'a', 'b'):
            self.api.VM.add_tags(vm, tag)
        self.api.VM.remove_tags(vm, 'b')
        self.api.VM.remove_tags(vm, 'c')
        self.assertEqual(['a'], self.api.VM.get_tags(vm))

    def test_void(self):
        answer = self.session.VM.set_name_label(
            self.session.handle, self.vm(), 'x'
        )
        self.assertEqual({'Status': 'Success', 'Value': ''}, answer)

    @ddt.data(b'', b'<a/>', b'not xml', b'<methodResponse/>')
    def test_no_xmlrpc(self, body):
        request = urllib.request.Request(self.simulator.url, body)
        error = self.assertRaises(
            urllib.error.HTTPError, urllib.request.urlopen, request
        )
        self.addCleanup(error.close)
        self.assertEqual(400, error.code)


class ServerTest(testtools.TestCase):
    def test_port_that_is_taken(self):
        """Nothing is half bound."""
        found = topology.load('two-hosts')
        with server.Simulator(found) as first:
            self.assertRaises(
                OSError, server.Simulator, found, port=first.port
            )
            client = xmlrpc.client.ServerProxy(first.url)
            self.addCleanup(client('close'))
            answer = client.session.login_with_password('root', 'password')
            self.assertEqual('Success', answer['Status'])
