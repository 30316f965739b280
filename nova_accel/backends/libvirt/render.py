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
"""From an assignment to nova's guest configuration.

nova's own classes are used, so that nova compares and merges our devices
like its own. They are imported when first needed: ``nova-accel check``
works without nova.
"""

import typing as ty

from lxml import etree

from nova_accel.backends import base
from nova_accel.backends.libvirt import assemble
from nova_accel.backends.libvirt import guest

if ty.TYPE_CHECKING:
    from nova.virt.libvirt import config as vconfig


def render(
    assignment: base.Assignment,
) -> 'vconfig.LibvirtConfigGuestHostdev':
    """Return the ``<hostdev>`` of one assignment."""
    if assignment.mdev_uuid is not None:
        return _mdev(assignment.mdev_uuid)
    return _pci(assignment)


def _mdev(uuid: str) -> 'vconfig.LibvirtConfigGuestHostdevMDEV':
    from nova.virt.libvirt import config as vconfig

    hostdev = vconfig.LibvirtConfigGuestHostdevMDEV()
    hostdev.uuid = uuid
    return hostdev


def _pci(
    assignment: base.Assignment,
) -> 'vconfig.LibvirtConfigGuestHostdevPCI':
    from nova.virt.libvirt import config as vconfig

    address = assignment.function.pci
    hostdev = _drive(assignment) or vconfig.LibvirtConfigGuestHostdevPCI()
    hostdev.domain = f'{address.domain:04x}'
    hostdev.bus = f'{address.bus:02x}'
    hostdev.slot = f'{address.slot:02x}'
    hostdev.function = f'{address.function:x}'
    hostdev.managed = 'yes' if assignment.managed else 'no'
    return hostdev


def _drive(
    assignment: base.Assignment,
) -> 'vconfig.LibvirtConfigGuestHostdevPCI | None':
    """Return a device that says which drive it is, None for anything else.

    While the guest has it nobody can ask the drive itself.
    """
    drive = assignment.function
    # A live migration takes aliases along, to a host with another drive.
    if not assemble.tells_as_drive(drive) or assignment.live_migratable:
        return None
    from nova.virt.libvirt import config as vconfig

    class Drive(vconfig.LibvirtConfigGuestHostdevPCI):  # type: ignore[misc]
        def format_dom(self) -> etree._Element:
            element = super().format_dom()
            element.append(self._new_node('alias', name=self.alias))
            return element

    hostdev = Drive()
    hostdev.alias = guest.named(drive.serial, drive.pci.function)
    return hostdev
