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
"""The YAML file that says what the pool is made of.

``topologies`` holds those that ship. Keys that are not listed are errors; a
message names file, line and key.
"""

import collections.abc
import dataclasses
import pathlib
import typing as ty

from nova_accel.core import cursor
from nova_accel.testing.xapi_simulator import cards
from nova_accel.testing.xapi_simulator import keys
from nova_accel.testing.xapi_simulator import parts
from nova_accel.testing.xapi_simulator import schema

FOLDER = pathlib.Path(__file__).with_name('topologies')
_SUFFIX = '.yaml'
_MAX_BUS = 255


def shipped() -> list[str]:
    """Return the names of the topologies that ship."""
    return sorted(path.stem for path in FOLDER.glob(f'*{_SUFFIX}'))


def load(name: str) -> parts.Topology:
    """Read a topology.

    :param name: a file, or one that ships: ``two-hosts``.
    :raises InvalidTopology: with every problem of it.
    """
    path = FOLDER / f'{name}{_SUFFIX}' if name in shipped() else None
    found = schema.load(
        path or pathlib.Path(name), lambda here: _check(here, keys.read(here))
    )
    return ty.cast(parts.Topology, found)


def _check(
    here: cursor.Cursor, found: parts.Topology | None
) -> parts.Topology | None:
    """Note names that lead nowhere, where they stand."""
    if found is None:
        return None
    top = here.fields() or {}
    hosts = top['hosts'].fields() or {}
    if not found.hosts:
        top['hosts'].fail('a pool has one host at least; add one')
    _check_distinct(hosts, found)
    for name, host in found.hosts.items():
        _check_devices(hosts[name], host, found)
    for section in ('networks', 'storage'):
        for name, one in getattr(found, section).items():
            place = (top[section].fields() or {})[name]
            for wanted in one.hosts:
                _check_name(place, 'hosts', wanted, found.hosts)
    return _check_vms(top, found)


def _check_vms(
    top: collections.abc.Mapping[str, cursor.Cursor], found: parts.Topology
) -> parts.Topology:
    places = {}
    for name, vm in found.vms.items():
        here = (top['vms'].fields() or {})[name]
        places[name] = here.place
        _check_name(here, 'host', vm.host, found.hosts)
        for model in vm.vgpus if vm.host in found.hosts else ():
            _check_name(here, 'vgpus', model, _models(found, vm.host))
    return dataclasses.replace(found, places=places)


def _check_distinct(
    hosts: collections.abc.Mapping[str, cursor.Cursor], found: parts.Topology
) -> None:
    seen: set[str] = set()
    for name, host in found.hosts.items():
        if host.address and host.address in seen:
            place = (hosts[name].fields() or {})['address']
            place.fail(f'{host.address} is the address of another host')
        seen.add(host.address)


def _check_devices(
    here: cursor.Cursor, host: parts.Host, found: parts.Topology
) -> None:
    known = {**cards.shipped(), **found.cards}
    addresses = [device.address for device in host.pci]
    for board in host.cards:
        _check_name(here, 'cards', board.card, known)
        if board.card not in known:
            continue
        card = known[board.card]
        for model in board.enabled:
            models = [one.model for one in card.types]
            _check_name(here, 'cards', model, models)
        addresses += [
            parts.nth_address(board.address, number)
            for number in range(card.gpus)
        ]
    for address in sorted({a for a in addresses if addresses.count(a) > 1}):
        here.fail(f'two devices have the address {address}')
    if any(int(a.split(':')[1], 16) > _MAX_BUS for a in addresses):
        here.fail('a board has more GPUs than there are buses after its own')


def _models(found: parts.Topology, host: str) -> list[str]:
    known = {**cards.shipped(), **found.cards}
    return [
        'passthrough',
        *(
            one.model
            for board in found.hosts[host].cards
            if board.card in known
            for one in known[board.card].types
        ),
    ]


def _check_name(
    here: cursor.Cursor,
    key: str,
    name: str,
    known: collections.abc.Collection[str],
) -> None:
    if name not in known:
        place = (here.fields() or {}).get(key, here)
        place.fail(
            f'{cursor.shorten(name)} is not known here; '
            f'{cursor.did_you_mean(name, known)}'
        )
