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
"""The GPUs of a topology: PCI devices, PGPUs, groups and types."""

import collections.abc
import typing as ty

from nova_accel.testing.xapi_simulator import cards
from nova_accel.testing.xapi_simulator import gpu
from nova_accel.testing.xapi_simulator import gpu_group
from nova_accel.testing.xapi_simulator import parts
from nova_accel.testing.xapi_simulator import store as stores
from nova_accel.testing.xapi_simulator import world

MIB = 2**20

shipped = cards.shipped


def add(
    one: world.World,
    hosts: collections.abc.Iterable[parts.Host],
    refs: dict[str, str],
    known: dict[str, cards.Card],
) -> None:
    """Put the boards of all hosts into them."""
    store = one.store
    store.create(
        'VGPU_type',
        identifier=gpu.PASSTHROUGH,
        model_name=gpu.PASSTHROUGH,
        implementation=gpu.PASSTHROUGH,
    )
    for host in hosts:
        for board in host.cards:
            _board(store, refs[host.name], board, known[board.card])
    for group in store.refs('GPU_group'):
        gpu_group.update(store, group)


def _board(
    store: stores.Store, host: str, board: parts.Board, card: cards.Card
) -> None:
    types = _types(store, card)
    names = {one.model for one in card.types}
    models = set(board.enabled) or names | {gpu.PASSTHROUGH}
    for number in range(card.gpus):
        pci = add_pci(
            store,
            host,
            parts.nth_address(board.address, number),
            class_id=card.class_id,
            vendor_id=card.vendor_id,
            device_id=card.device_id,
            vendor_name=card.vendor,
            device_name=card.device,
            driver_name='nvidia' if card.vendor_id == '10de' else '',
        )
        store.create(
            'PGPU',
            PCI=pci,
            host=host,
            GPU_group=_group(store, card),
            supported_VGPU_types=list(types),
            enabled_VGPU_types=[
                one
                for one in types
                if store.get('VGPU_type', one, 'model_name') in models
            ],
            supported_VGPU_max_capacities=types,
            compatibility_metadata=_metadata(card),
        )


def _metadata(card: cards.Card) -> dict[str, str]:
    """What a driver that can suspend its vGPUs says; content is opaque."""
    return {'nvidia': f'simulated {card.name}'} if card.suspend else {}


def _types(store: stores.Store, card: cards.Card) -> dict[str, int]:
    """Return the card's types, and how many of each fit on a GPU."""
    found = {}
    if card.passthrough:
        found[gpu.passthrough_type(store)] = 1
    for number, one in enumerate(card.types):
        found[_type(store, card, one, number)] = one.per_gpu
    return found


def _type(
    store: stores.Store, card: cards.Card, one: cards.VgpuType, number: int
) -> str:
    # Of XAPI's shape; the numbers after the device's id are made up.
    identifier = f'0001:{card.implementation},{card.device_id},{number:04x}'
    existing = store.find('VGPU_type', identifier=identifier)
    if existing:
        return existing[0]
    width, _, height = one.resolution.partition('x')
    ref = store.create(
        'VGPU_type',
        identifier=identifier,
        vendor_name=card.vendor,
        model_name=one.model,
        framebuffer_size=one.framebuffer * MIB,
        max_heads=one.heads,
        max_resolution_x=int(width),
        max_resolution_y=int(height),
        implementation=card.implementation,
    )
    if card.several:
        store.set('VGPU_type', ref, compatible_types_in_vm=[ref])
    return ref


def _group(store: stores.Store, card: cards.Card) -> str:
    name = f'Group of {card.vendor} {card.device} GPUs'
    existing = store.find('GPU_group', name_label=name)
    return (
        existing[0] if existing else store.create('GPU_group', name_label=name)
    )


def add_pci(
    store: stores.Store, host: str, address: str, **values: ty.Any
) -> str:
    """Make a PCI device; functions of one slot depend on each other."""
    slot = address.rpartition('.')[0]
    siblings = [
        pci
        for pci in store.get('host', host, 'PCIs')
        if store.get('PCI', pci, 'pci_id').rpartition('.')[0] == slot
    ]
    pci = store.create(
        'PCI', host=host, pci_id=address, dependencies=siblings, **values
    )
    for sibling in siblings:
        others = store.get('PCI', sibling, 'dependencies')
        store.set('PCI', sibling, dependencies=[*others, pci])
    return pci


def find(store: stores.Store, host: str, model: str) -> tuple[str, str]:
    """Return the group and type of a model that a host has."""
    vgpu_type = store.find('VGPU_type', model_name=model)[0]
    for pgpu in store.get('host', host, 'PGPUs'):
        if vgpu_type in store.get('PGPU', pgpu, 'supported_VGPU_types'):
            return store.get('PGPU', pgpu, 'GPU_group'), vgpu_type
    raise AssertionError(f'{model} is not on the host')
