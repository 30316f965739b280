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
"""The driver that nova loads: servers on XAPI, with the mixin in front."""

from nova import objects

from nova_accel.backends import base
from nova_accel.core import inventory
from nova_accel.virt import mixin
from nova_accel.virt.xapi import devices
from nova_accel.virt.xapi import driver


class XenAPIAccelDriver(mixin.AccelDriverMixin, driver.XapiDriver):
    """``compute_driver = accel.XenAPIAccelDriver``"""

    accel_no_hotplug = (
        'XAPI attaches devices when a server starts, and at no other time'
    )

    def accel_backend(self) -> base.Backend:
        return self._backend

    def accel_node(self) -> inventory.Node:
        return inventory.Node(self._info.name, self._node_uuid)

    def plans(self, instance: objects.Instance) -> devices.Plans:
        claims = self.accel_claims(instance)
        return self.accel.attach(instance.uuid, claims)
