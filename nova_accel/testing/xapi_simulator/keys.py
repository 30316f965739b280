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
"""The keys of a topology: a table for each mapping of the file."""

import ipaddress
import re
import typing as ty

from nova_accel.core import cursor
from nova_accel.testing.xapi_simulator import cards
from nova_accel.testing.xapi_simulator import facts
from nova_accel.testing.xapi_simulator import faults
from nova_accel.testing.xapi_simulator import parts
from nova_accel.testing.xapi_simulator import schema
from nova_accel.testing.xapi_simulator import world

_STAGES = ('before', 'reserved', 'built', 'stopping', 'half', 'read', 'after')
_STATES = ('Running', 'Halted')

_PCI_ADDRESS = re.compile(
    r'[0-9a-f]{4}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]', re.ASCII
)

Key = schema.Key


def _parse_ip(text: str) -> str:
    return str(ipaddress.ip_address(text))


def _parse_pci(text: str) -> str:
    if not _PCI_ADDRESS.fullmatch(text.lower()):
        raise ValueError(text)
    return text.lower()


_ip = schema.parsed(_parse_ip, 'IP address')
_pci = schema.parsed(_parse_pci, 'PCI address like 0000:3b:00.0')


_BOARD = {
    'card': Key(schema.text),
    'address': Key(_pci),
    'enabled': Key(schema.texts, ()),
}
_PCI = {
    'address': Key(_pci),
    'vendor_id': Key(cards.hex_id),
    'device_id': Key(cards.hex_id),
    'class_id': Key(cards.hex_id),
    'vendor': Key(schema.text, ''),
    'device': Key(schema.text, ''),
}
_USB = {
    'path': Key(schema.text),
    'vendor_id': Key(cards.hex_id),
    'product_id': Key(cards.hex_id),
    'serial': Key(schema.text, ''),
    'description': Key(schema.text, 'USB device'),
    'passthrough': Key(schema.flag, True),
}
_HOST = {
    'address': Key(_ip, ''),
    'memory': Key(schema.whole(1024, 2**27), 65536),
    'cpus': Key(schema.whole(1, 4096), 16),
    'iommu': Key(schema.flag, True),
    'cards': Key(schema.items(schema.mapping(_BOARD, parts.Board)), ()),
    'pci': Key(schema.items(schema.mapping(_PCI, parts.PciDevice)), ()),
    'usb': Key(schema.items(schema.mapping(_USB, parts.UsbDevice)), ()),
}
_NETWORK = {
    'bridge': Key(schema.text, ''),
    'device': Key(schema.text, ''),
    'vlan': Key(schema.whole(0, 4094), -1),
    'functions': Key(schema.whole(0, 256), 0),
    'hosts': Key(schema.texts, ()),
    'other_config': Key(schema.words, {}),
}
_STORAGE = {
    'type': Key(schema.text, 'ext'),
    'size': Key(schema.whole(1, 2**27), 1024),
    'hosts': Key(schema.texts, ()),
    'default': Key(schema.flag, False),
}
_LUN = {
    'number': Key(schema.whole(0, 16383)),
    'scsi_id': Key(schema.text),
    'size': Key(schema.whole(1, 2**20)),
}
_TARGET = {
    'portal': Key(schema.text),
    'iqn': Key(schema.text),
    'luns': Key(
        schema.items(
            schema.mapping(
                _LUN,
                lambda number, scsi_id, size: world.Lun(
                    number, scsi_id, size * 2**30
                ),
            )
        )
    ),
    'user': Key(schema.text, ''),
    'password': Key(schema.text, ''),
}
_VM = {
    'host': Key(schema.text),
    'memory': Key(schema.whole(64, 2**27), 2048),
    'vcpus': Key(schema.whole(1, 1024), 1),
    'state': Key(schema.word(*_STATES), 'Running'),
    'vgpus': Key(schema.items(schema.text), ()),
}


def _error(here: cursor.Cursor) -> tuple[str, ...]:
    words = tuple(one.string() or '' for one in here.items() or ())
    names = facts.load().errors.get(words[0]) if words else None
    if words and names is None:
        known = cursor.did_you_mean(words[0], facts.load().errors)
        here.fail(f'XAPI has no error {words[0]}; {known}'[:200])
    elif names is not None and len(names) != len(words) - 1:
        here.fail(f'{words[0]} has the parameters {", ".join(names)}')
    return words


def _message(here: cursor.Cursor) -> str | None:
    pattern = here.string()
    transfers = ('import_raw_vdi', 'export_raw_vdi')
    if pattern and '*' not in pattern and pattern not in transfers:
        if facts.load().message(pattern) is None:
            here.fail(f'XAPI has no message {pattern}')
    return pattern


def _fault(milliseconds: int, **values: ty.Any) -> faults.Fault:
    where = tuple(sorted(values.pop('where').items()))
    times = values.pop('times') or None
    return faults.Fault(
        delay=milliseconds / 1000, where=where, times=times, **values
    )


_FAULT = {
    'message': Key(_message),
    'stage': Key(schema.word(*_STAGES), 'before'),
    'error': Key(_error, ()),
    'milliseconds': Key(schema.whole(0, 600000), 0),
    'drop': Key(schema.flag, False),
    'skip': Key(schema.whole(0, 10**6), 0),
    'times': Key(schema.whole(0, 10**6), 1),
    'where': Key(schema.words, {}),
}
read_fault = schema.mapping(_FAULT, _fault)

_TOP = {
    'version': Key(schema.whole(1, 1)),
    'user': Key(schema.text, 'root'),
    'password': Key(schema.text, 'password'),
    'guest_tools': Key(schema.flag, True),
    'hosts': Key(schema.named(_HOST, parts.Host)),
    'networks': Key(schema.named(_NETWORK, parts.Network), {}),
    'storage': Key(schema.named(_STORAGE, parts.Storage), {}),
    'targets': Key(schema.items(schema.mapping(_TARGET, world.Target)), ()),
    'vms': Key(schema.named(_VM, parts.Vm), {}),
    'faults': Key(schema.items(read_fault), ()),
    'cards': Key(cards.read, {}),
}

read = schema.mapping(_TOP, parts.Topology)
