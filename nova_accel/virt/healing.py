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
"""Definitions of guests that name devices by addresses of yesterday.

Whoever starts such a guest (libvirt itself, an operator, nova from a file
that it has kept) would give it whatever is at that address now. So a guest
that does not run is defined anew with the addresses of what its server
holds. What is not here is left out: the guest does not get another one.
"""

import collections.abc
import logging
import typing as ty

from lxml import etree
from nova import context as nova_context
from nova import exception as nova_exception
from nova import objects

from nova_accel.backends.libvirt import guest
from nova_accel.core import attachment
from nova_accel.core import device
from nova_accel.core import inventory
from nova_accel import exception
from nova_accel import manager
from nova_accel.virt import records
from nova_accel.virt import tracker

LOG = logging.getLogger(__name__)

_PARSER = etree.XMLParser(
    resolve_entities=False, no_network=True, load_dtd=False
)
_PARTS = ('domain', 'bus', 'slot', 'function')


def heal(
    context: nova_context.RequestContext,
    host: str,
    accel: manager.Manager,
    hypervisor: ty.Any,
    starting: bool = False,
) -> bool:
    """Bring the definitions of all guests up to date.

    One that cannot be is left with a word in the log.

    :param host: as nova names it.
    :param hypervisor: nova's ``libvirt.host.Host``.
    :param starting: nova is at work on no server yet, whatever it says.
    :returns: False: nova is at work on one that is to be defined anew.
    """
    done = True
    instances = objects.InstanceList.get_by_host(
        context,
        host,
        expected_attrs=['resources', 'pci_devices', 'system_metadata'],
    )
    for instance in instances:
        try:
            done &= _heal(instance, accel, hypervisor, starting)
        except nova_exception.InstanceNotFound:
            continue
        except Exception:
            LOG.exception(
                'Server %s: its guest could not be compared with what it '
                'holds; hard-reboot it rather than start it',
                instance.uuid,
            )
    return done


def _heal(
    instance: objects.Instance,
    accel: manager.Manager,
    hypervisor: ty.Any,
    starting: bool,
) -> bool:
    # What is being detached is not in it any more.
    leaving = attachment.leaving(records.of(instance).values())
    claims = [
        claim
        for claim in sorted(tracker.claims_of(instance.resources) - leaving)
        if (unit := inventory.read_unit(claim.unit)) is not None
        and not unit.is_vgpu
    ]
    if not claims:
        return True
    guest = hypervisor.get_guest(instance)
    if guest.is_active():
        return True
    wanted = [_address(instance.uuid, claim, accel) for claim in claims]
    theirs = {record.address for record in instance.pci_devices or ()}
    xml = readdressed(guest.get_xml_desc(dump_inactive=True), wanted, theirs)
    if xml is None:
        return True
    if not starting:
        # What nova defines meanwhile must not be overwritten.
        instance.refresh()
        if instance.task_state:
            return False
    LOG.info(
        'Server %s: its devices have other addresses now (%s); its guest is '
        'defined anew',
        instance.uuid,
        ', '.join(each or 'not here' for each in wanted),
    )
    hypervisor.write_instance_config(xml)
    return True


def _address(
    server: str, claim: inventory.Claim, accel: manager.Manager
) -> str | None:
    try:
        (found,) = accel.assignments(server, [claim]).values()
    except exception.DeviceUnavailable:
        return None
    return str(found.function.address)


def readdressed(
    xml: str,
    wanted: collections.abc.Iterable[str | None],
    theirs: collections.abc.Container[str] = (),
) -> str | None:
    """Return a guest's definition with other addresses of host devices.

    :param wanted: where its devices are, in the order in which they were
        defined; None for one that is not here.
    :param theirs: addresses of devices that are no concern of ours.
    :returns: None if nothing is to be changed.
    """
    root = etree.fromstring(xml, _PARSER)
    mine = {
        source: address
        for source in root.iterfind(
            "./devices/hostdev[@type='pci']/source/address"
        )
        if (address := _read(source)) not in theirs
    }
    here = [address for address in wanted if address is not None]
    stale = [source for source, at in mine.items() if at not in here]
    if not stale:
        return None
    new = [address for address in here if address not in mine.values()]
    for source in stale:
        if new:
            _write(source, new.pop(0))
        else:
            hostdev = source.getparent().getparent()
            hostdev.getparent().remove(hostdev)
    return str(etree.tostring(root, encoding='unicode'))


def _read(source: etree._Element) -> str:
    numbers = [int(source.get(part, '0'), 16) for part in _PARTS]
    return str(device.PciAddress(*numbers))


def _write(source: etree._Element, address: str) -> None:
    at = device.PciAddress.parse(address)
    for part, digits in zip(_PARTS, (4, 2, 2, 1), strict=True):
        source.set(part, f'0x{getattr(at, part):0{digits}x}')
    # Which of its drives this is now, the start says by itself.
    hostdev = source.getparent().getparent()
    alias = hostdev.find('alias')
    if alias is not None and guest.is_named(alias.get('name', '')):
        hostdev.remove(alias)
