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
"""What fits on a card: the rules by which drivers hand out vGPUs.

A card holds one type at a time unless it mixes, and as many of it as its
memory allows; a virtual function holds one device.
"""

import collections
import collections.abc
import fractions

from nova_accel.backends.libvirt import nodedev

# (name of the parent, type) of each mediated device
Pairs = collections.abc.Iterable[tuple[str, str]]


class Cards:
    """All mediated-device parents of one host.

    :param mixed: cards hold different types at once, sharing their memory.
    """

    def __init__(self, mixed: bool) -> None:
        self._mixed = mixed
        self._parents: dict[str, nodedev.Function] = {}
        self._members: dict[str, dict[str, None]] = {}
        self._limits: dict[str, dict[str, int]] = {}
        self._figures: dict[tuple[str, str], int] = {}

    def add(
        self,
        function: nodedev.Function,
        limits: collections.abc.Mapping[str, int],
    ) -> None:
        """Take in a parent that has nothing on it.

        :param limits: type -> how many the whole card holds, where the file
            says so.
        """
        self._parents[function.name] = function
        self._members.setdefault(str(function.card), {})[function.name] = None
        self._limits[function.name] = dict(limits)

    def remove(self, name: str) -> None:
        parent = self._parents.pop(name, None)
        if parent is not None:
            del self._members[str(parent.card)][name]

    def offers(self, name: str) -> frozenset[str]:
        """Types that a function can create."""
        parent = self._parents.get(name)
        types = parent.mdev_types if parent else ()
        return frozenset(mdev_type.id for mdev_type in types)

    def siblings(self, name: str) -> list[str]:
        """All parents on the card of one."""
        parent = self._parents.get(name)
        return [] if parent is None else list(self._members[str(parent.card)])

    def count(
        self, names: collections.abc.Iterable[str], mdevs: Pairs = ()
    ) -> None:
        """Learn what new parents hold in all, given what is on them now.

        A card that holds one type shows nothing of the others: an identical
        card stands in for it.
        """
        used = collections.Counter(mdevs)
        parents = [self._parents[n] for n in names if n in self._parents]
        shown: dict[tuple[str, str], int] = collections.defaultdict(int)
        for parent in parents:
            for mdev_type in parent.mdev_types:
                kind = (parent.product_id, mdev_type.id)
                total = mdev_type.available + used[parent.name, mdev_type.id]
                shown[kind] = max(shown[kind], total)
        for parent in parents:
            for mdev_type in parent.mdev_types:
                self._figures[parent.name, mdev_type.id] = shown[
                    parent.product_id, mdev_type.id
                ]

    def available(self, name: str, type_id: str, mdevs: Pairs) -> int:
        """Tell how many more of a type one parent can create.

        :param mdevs: those on its card.
        """
        held = list(mdevs)
        left = self._left(name, type_id, [held_type for _, held_type in held])
        if self._parents[name].physical is None:
            return left
        taken = any(parent == name for parent, _ in held)
        return 0 if taken else min(left, 1)

    def _left(self, name: str, type_id: str, held: list[str]) -> int:
        capacity = self._capacity(name, type_id)
        if self._mixed:
            shares = (
                fractions.Fraction(1, self._capacity(name, other) or 1)
                for other in held
            )
            return max(0, int((1 - sum(shares)) * capacity))
        if set(held) - {type_id}:
            return 0
        return max(0, capacity - len(held))

    def _capacity(self, name: str, type_id: str) -> int:
        limit = self._limits[name].get(type_id)
        if limit is not None:
            return limit
        figure = self._figures.get((name, type_id), 0)
        if self._parents[name].physical is None:
            return figure
        return figure * len(self.siblings(name))
