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
"""What the tests of the libvirt backend share."""

import os
import tempfile
import uuid

import fixtures
import testtools

from nova_accel.backends import base
from nova_accel.backends.libvirt import backend
from nova_accel.testing import machine
from nova_accel.testing import node_xml
from nova_accel.testing import nodedevs
from nova_accel.testing import nodes

T4_8Q = 'nvidia-233'
T4_16Q = 'nvidia-234'


class Clock:
    """Monotonic seconds that pass when a test says so."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class TestCase(testtools.TestCase):
    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger(level=20))
        self.clock = Clock()

    def write(self, text):
        handle, path = tempfile.mkstemp(suffix='.xml')
        self.addCleanup(os.unlink, path)
        with os.fdopen(handle, 'w') as file:
            file.write(text)
        return path

    def shipped(self, name, **options):
        """A connection to a host whose node file ships."""
        host = machine.Machine(nodes.path(name), **options)
        return nodedevs.NodeDevices(host)

    def synthetic(self, *args, **options):
        """A connection to a host of any size; see node_xml.vgpu_host."""
        text = node_xml.vgpu_host(*args, **options)
        return nodedevs.NodeDevices(machine.Machine(self.write(text)))

    def without_events(self, connection):
        error = connection.error('NO_SUPPORT', 'no such function')
        connection.fail['nodeDeviceEventRegisterAny'] = error
        return connection

    def backend(self, connection, **options):
        options = {'clock': self.clock, **options}
        return backend.LibvirtBackend(lambda: connection, **options)

    def calls(self, connection):
        """Return what was called since last time, and forget it."""
        found = dict(connection.calls)
        connection.calls.clear()
        return found


def by_address(view, address):
    return next(d for d in view.devices if str(d.address) == address)


def vgpu(parent, type_id=T4_8Q, number=0):
    return base.Assignment(
        unit=f'{parent.ids[0]}/{type_id}/{number}',
        function=parent,
        mdev_uuid=str(uuid.uuid5(uuid.NAMESPACE_DNS, f'mdev-{number}')),
        mdev_type=type_id,
    )
