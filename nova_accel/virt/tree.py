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
"""Between nova's ProviderTree and our values. No decisions are made here."""

import collections.abc
import copy
import dataclasses
import operator
import typing as ty

from nova.compute import provider_tree as nova_tree
from nova import objects

from nova_accel.core import inventory
from nova_accel.core import naming

# Traits that we generate. Whatever else an operator put on a provider of
# ours stays there.
_GENERATED = (
    naming.HOTPLUG,
    naming.MANAGED,
    naming.MISSING,
    'CUSTOM_ACCEL_MISMATCH',
    'CUSTOM_ACCEL_NOT_READY',
    'CUSTOM_ACCEL_VENDOR_',
    'CUSTOM_ACCEL_PRODUCT_',
    'CUSTOM_ACCEL_WHO_',
    'CUSTOM_ACCEL_AT_',
    'CUSTOM_ACCEL_MODEL_',
    'HW_GPU_MAX_DISPLAY_HEADS_',
    'HW_GPU_RESOLUTION_',
)


class Units(frozenset[objects.Resource]):
    """Resources of one class. Immutable, hence its own deep copy.

    Nova copies every provider's resources several times per update.
    """

    def __deepcopy__(self, memo: object) -> 'Units':
        return self


class UnitsCache:
    """Turns unit ids into ``Units``, once per distinct set."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, str], tuple[frozenset[str], Units]] = {}

    def get(self, rp_uuid: str, rc: str, ids: frozenset[str]) -> Units:
        known, units = self._made.get((rp_uuid, rc), (None, Units()))
        if known != ids:
            units = Units(resource(rp_uuid, rc, unit) for unit in ids)
            self._made[rp_uuid, rc] = (ids, units)
        return units


def resource(rp_uuid: str, rc: str, unit: str) -> objects.Resource:
    """One unit the way nova's ResourceTracker persists it."""
    return objects.Resource(
        provider_uuid=rp_uuid, resource_class=rc, identifier=unit
    )


def node(
    tree: nova_tree.ProviderTree, nodename: str, hotplug: bool = False
) -> inventory.Node:
    """The compute node's root provider."""
    return inventory.Node(nodename, _root(tree, nodename).uuid, hotplug)


def _root(tree: nova_tree.ProviderTree, nodename: str) -> ty.Any:
    # What nova offers to all copies a provider to tell its uuid.
    return tree._find_with_lock(nodename)


def children(tree: nova_tree.ProviderTree, nodename: str) -> dict[str, str]:
    """Return the uuid of each child of a node, by name."""
    return {
        child.name: rp for rp, child in _root(tree, nodename).children.items()
    }


_Records = dict[str, tuple[object, object]]


@dataclasses.dataclass(frozen=True)
class Settled:
    """A tree that an update left as it found it.

    The next one will do the same if it finds the same and goes by the same.
    Only the names of units must be given anew: Placement does not keep them.

    :ivar basis: what the update went by.
    :ivar records: inventory and traits by provider.
    """

    basis: tuple[object, ...]
    records: _Records
    units: collections.abc.Mapping[str, dict[str, Units]]

    @classmethod
    def of(
        cls,
        tree: nova_tree.ProviderTree,
        node: inventory.Node,
        basis: tuple[object, ...],
    ) -> 'Settled':
        """Describe a tree after an update."""
        children = _root(tree, node.name).children
        units = {
            rp: dict(child.resources)
            for rp, child in children.items()
            if child.resources
        }
        return cls(basis, copy.deepcopy(records(tree, node)), units)

    def restore(
        self,
        tree: nova_tree.ProviderTree,
        node: inventory.Node,
        basis: tuple[object, ...],
    ) -> bool:
        """Bring a tree to the desired state, if it is this one.

        :returns: False: it is another one, and was not touched.
        """
        if any(map(operator.is_not, self.basis, basis)):
            return False
        if records(tree, node) != self.records:
            return False
        children = _root(tree, node.name).children
        for rp, units in self.units.items():
            children[rp].resources = dict(units)
        return True


def records(tree: nova_tree.ProviderTree, node: inventory.Node) -> _Records:
    """Return inventory and traits of each child of a node, not copied."""
    children = _root(tree, node.name).children
    return {
        rp: (child.inventory, child.traits) for rp, child in children.items()
    }


def read(
    tree: nova_tree.ProviderTree, node: inventory.Node
) -> dict[str, inventory.KnownProvider]:
    """Return the providers of ours that Placement has, by uuid."""
    known = {}
    for rp_uuid in tree.get_provider_uuids(node.uuid):
        data = tree.data(rp_uuid)
        stable_id = naming.stable_id_of(
            node.name, node.uuid, data.name, rp_uuid
        )
        if stable_id is not None:
            known[rp_uuid] = inventory.KnownProvider(
                stable_id, inventories(data.inventory), frozenset(data.traits)
            )
    return known


def inventories(
    records: collections.abc.Mapping[
        str, collections.abc.Mapping[str, ty.Any]
    ],
) -> dict[str, inventory.Inventory]:
    """Read inventory records, by resource class, as Placement has them."""
    return {
        rc: inventory.Inventory(
            total=record['total'],
            reserved=record.get('reserved', 0),
            max_unit=record.get('max_unit', record['total']),
        )
        for rc, record in records.items()
    }


def write(
    tree: nova_tree.ProviderTree,
    node: inventory.Node,
    providers: collections.abc.Iterable[inventory.Provider],
    cache: UnitsCache,
) -> None:
    """Bring the tree to the desired state. Writes only what differs."""
    for provider in providers:
        if not tree.exists(provider.uuid):
            tree.new_child(provider.name, node.uuid, uuid=provider.uuid)
        tree.update_inventory(
            provider.uuid,
            {rc: _record(inv) for rc, inv in provider.inventories.items()},
        )
        foreign = {
            trait
            for trait in tree.data(provider.uuid).traits
            if not trait.startswith(_GENERATED)
        }
        tree.update_traits(provider.uuid, foreign | provider.traits)
        tree.update_resources(
            provider.uuid,
            {
                rc: cache.get(provider.uuid, rc, ids)
                for rc, ids in provider.units.items()
            },
        )


def _record(inv: inventory.Inventory) -> dict[str, int | float]:
    return {
        'total': inv.total,
        'reserved': inv.reserved,
        'min_unit': 1,
        'max_unit': inv.max_unit,
        'step_size': 1,
        'allocation_ratio': 1.0,
    }
