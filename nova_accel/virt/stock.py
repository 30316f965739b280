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
"""What nova's own options claim, so that no device has two masters."""

import collections.abc
import typing as ty

from nova import objects
from nova.pci import whitelist as pci_whitelist

from nova_accel.core import device
from nova_accel.core import inventory
from nova_accel import exception

TypeOf = collections.abc.Callable[[str], str | None]


def elsewhere(
    device_spec: collections.abc.Sequence[str], type_of: TypeOf
) -> inventory.Elsewhere:
    """Return what tells which option of nova's claims a device.

    :param device_spec: ``[pci]device_spec``.
    :param type_of: libvirt's name of a device -> the vGPU type that
        ``[devices]enabled_mdev_types`` gives it, if any.
    """
    pci = pci_whitelist.Whitelist(device_spec)
    return lambda dev: _spec(pci, dev) or _mdev(dev, type_of)


def check(offer: inventory.Offer, elsewhere: inventory.Elsewhere) -> None:
    """Refuse a device that our file and an option of nova's both claim.

    For the start only: it is a mistake of the configuration then. A card
    that comes while the service runs is withheld, and stops nothing.

    :raises ClaimedTwice: names both.
    """
    for entry in offer.withheld:
        option = elsewhere(entry.device)
        if option is not None:
            raise exception.ClaimedTwice(
                device=entry.device.address,
                label=entry.device.label,
                rules=', '.join(
                    f'{rule.name} ({rule.place})' for rule in entry.rules
                ),
                option=option,
            )


def check_held(
    offer: inventory.Offer,
    devices: collections.abc.Iterable[objects.PciDevice],
) -> None:
    """Refuse a device that a server got through a PCI request of nova.

    The request stands in records of nova's that no compute service may
    write: every move of the server would ask for the device once more.

    :param devices: nova's records of the PCI devices of this host.
    :raises NotTakenOver: names all of them.
    """
    given = {
        unit.function.address: (pool, stock)
        for pool in offer.pools
        for stock in pool.stocks
        for unit in stock.units
    }
    above: dict[device.Address, _Part] = {
        unit.function.parent: (pool, stock)
        for pool, stock in given.values()
        for unit in stock.units
        if unit.function.parent is not None
    }
    found = [
        f'server {record.instance_uuid} holds {record.address} through a '
        f'PCI request (an alias of its flavor, or a port), and rule '
        f'{pool.rule.name!r} ({pool.rule.place}) offers it as '
        f'{stock.resource_class}: give it back to [pci]device_spec, and '
        f'resize the server to a flavor with resources:'
        f'{stock.resource_class} first'
        for record in devices
        if record.instance_uuid is not None
        for pool, stock in _taken(record, given, above)
    ]
    if found:
        raise exception.NotTakenOver(reasons='; '.join(found))


_Part = tuple[inventory.Pool, inventory.Stock]
_Parts = collections.abc.Mapping[device.Address, _Part]


def _taken(
    record: objects.PciDevice, given: _Parts, above: _Parts
) -> collections.abc.Iterator[_Part]:
    """Yield what a device is a part of, or what of ours is a part of it."""
    address = device.PciAddress.parse(record.address)
    parts = [given.get(address), above.get(address)]
    if record.parent_addr:
        parts.append(given.get(device.PciAddress.parse(record.parent_addr)))
    yield from [part for part in parts if part is not None][:1]


def _spec(pci: ty.Any, dev: device.Device) -> str | None:
    spec = pci.device_assignable(
        {
            'vendor_id': dev.vendor_id,
            'product_id': dev.product_id,
            'address': str(dev.address),
            'parent_addr': str(dev.parent) if dev.parent else None,
            'capabilities': {'vpd': {'card_serial_number': dev.serial}},
        }
    )
    return f'[pci]device_spec = {spec.dev_spec_conf}' if spec else None


def _mdev(dev: device.Device, type_of: TypeOf) -> str | None:
    wanted = type_of(dev.name) if dev.models else None
    if wanted in {model.type_id for model in dev.models}:
        return f'[devices]enabled_mdev_types, by [mdev_{wanted}]'
    return None
