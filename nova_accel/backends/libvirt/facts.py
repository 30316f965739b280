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
"""The facts about all node devices of a host, found by whatever is asked.

Keeps track of what changed since it was last asked about that.
"""

import collections
import collections.abc

from nova_accel.backends.libvirt import nodedev
from nova_accel.core import device


class Facts:
    """Functions, mediated devices and interfaces. Not thread-safe."""

    def __init__(self) -> None:
        self._known: dict[str, nodedev.NodeDevice] = {}
        self._by_address: dict[device.PciAddress, str] = {}
        self._by_card: dict[device.PciAddress, dict[str, None]] = (
            collections.defaultdict(dict)
        )
        self._by_uuid: dict[str, nodedev.Mediated] = {}
        self._by_parent: dict[str, dict[str, None]] = collections.defaultdict(
            dict
        )
        self._devnames: dict[str, str] = {}
        self._indices: dict[
            device.PciAddress, tuple[device.PciAddress, int]
        ] = {}
        self.stale: set[str] = set()
        """Functions whose device must be assembled again."""
        self.mdevs_changed = False

    def add(self, found: nodedev.NodeDevice) -> None:
        """Take in a device, new or known; what it was is forgotten."""
        if self._known.get(found.name) == found:
            return
        self.remove(found.name)
        self._known[found.name] = found
        _ADD[type(found)](self, found)

    def remove(self, name: str) -> None:
        """Forget a device. Unknown names are no error."""
        found = self._known.pop(name, None)
        if found is not None:
            _REMOVE[type(found)](self, found)

    def function(self, name: str) -> nodedev.Function | None:
        found = self._known.get(name)
        return found if isinstance(found, nodedev.Function) else None

    def functions(self) -> list[nodedev.Function]:
        """All functions, ordered by address."""
        found = [
            known
            for known in self._known.values()
            if isinstance(known, nodedev.Function)
        ]
        return sorted(found, key=_order)

    def mdev(self, uuid: str) -> nodedev.Mediated | None:
        return self._by_uuid.get(uuid)

    def is_mdev(self, name: str) -> bool:
        return isinstance(self._known.get(name), nodedev.Mediated)

    def mdevs(self) -> collections.abc.Iterable[nodedev.Mediated]:
        return self._by_uuid.values()

    def mdevs_on(self, parent: str) -> list[nodedev.Mediated]:
        """Mediated devices on one function."""
        names = self._by_parent.get(parent, ())
        found = (self._known[name] for name in names)
        return [one for one in found if isinstance(one, nodedev.Mediated)]

    def physical(self, function: nodedev.Function) -> str | None:
        """Name of the physical function of a virtual one, if listed."""
        if function.physical is None:
            return None
        return self._by_address.get(function.physical)

    def index(self, function: nodedev.Function) -> int | None:
        """Position of a virtual function, from 0, if its own says so."""
        physical, index = self._indices.get(function.address, (None, None))
        return index if physical == function.physical else None

    def disowned(self) -> set[str]:
        """Physical functions that do not know one of the new virtual ones.

        They were read before it was made.
        """
        found = (self.function(name) for name in self.stale)
        return {
            physical
            for one in found
            if one is not None
            and (physical := self.physical(one)) is not None
            and self.index(one) is None
        }

    def devname(self, function: nodedev.Function) -> str:
        """Network interface of a function, '' if libvirt listed none."""
        return self._devnames.get(function.name, '')

    def _touch(self, function: nodedev.Function) -> None:
        self.stale.add(function.name)
        if function.physical is None:
            # Virtual functions take ids and slot from the physical one.
            self.stale.update(self._by_card[function.card])

    def _add_function(self, function: nodedev.Function) -> None:
        self._by_address[function.address] = function.name
        self._by_card[function.card][function.name] = None
        for index, address in enumerate(function.virtual or ()):
            self._indices[address] = function.address, index
        self._touch(function)

    def _remove_function(self, function: nodedev.Function) -> None:
        self._touch(function)
        if self._by_address.get(function.address) == function.name:
            del self._by_address[function.address]
        del self._by_card[function.card][function.name]
        for address in function.virtual or ():
            self._indices.pop(address, None)

    def _add_mdev(self, mdev: nodedev.Mediated) -> None:
        self._by_uuid[mdev.uuid] = mdev
        self._by_parent[mdev.upstream][mdev.name] = None
        self.mdevs_changed = True

    def _remove_mdev(self, mdev: nodedev.Mediated) -> None:
        if self._by_uuid.get(mdev.uuid) == mdev:
            del self._by_uuid[mdev.uuid]
        del self._by_parent[mdev.upstream][mdev.name]
        self.mdevs_changed = True

    def _add_interface(self, interface: nodedev.Interface) -> None:
        self._devnames[interface.upstream] = interface.devname
        self.stale.add(interface.upstream)

    def _remove_interface(self, interface: nodedev.Interface) -> None:
        if self._devnames.get(interface.upstream) == interface.devname:
            del self._devnames[interface.upstream]
        self.stale.add(interface.upstream)


_Verb = collections.abc.Callable[..., None]

_ADD: dict[type, _Verb] = {
    nodedev.Function: Facts._add_function,
    nodedev.Mediated: Facts._add_mdev,
    nodedev.Interface: Facts._add_interface,
}
_REMOVE: dict[type, _Verb] = {
    nodedev.Function: Facts._remove_function,
    nodedev.Mediated: Facts._remove_mdev,
    nodedev.Interface: Facts._remove_interface,
}


def _order(function: nodedev.Function) -> tuple[int, int, int, int]:
    at = function.address
    return at.domain, at.bus, at.slot, at.function
