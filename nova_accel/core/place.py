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
"""Where the PCI functions are that servers hold, and whether they have moved.

A guest is defined with addresses, and its server holds identities. What the
guests are defined with is noted: at the claim, and whenever guests have been
defined anew. What is found elsewhere later has moved.
"""

import collections.abc
import threading

from nova_accel.core import inventory

Places = collections.abc.Mapping[str, str | None]
"""Unit -> address of its function, None for one that is not here."""


def places(
    offer: inventory.Offer,
    claims: collections.abc.Iterable[inventory.Claim],
) -> Places:
    """Return where each unit is that is no vGPU."""
    found: dict[str, str | None] = {}
    for claim in claims:
        unit = inventory.read_unit(claim.unit)
        if unit is not None and not unit.is_vgpu:
            function = offer.locate(unit)
            found[claim.unit] = str(function.address) if function else None
    return found


class Followed:
    """What the guests of a host are defined with. Safe for threads."""

    def __init__(self) -> None:
        self._noting = threading.Lock()
        self._places: Places = {}
        # Claimed since; a look that began earlier does not know of them.
        self._claimed: dict[str, str | None] = {}

    def claimed(self, found: Places) -> None:
        """Note where units are that a server has just been given."""
        if found:
            with self._noting:
                self._claimed.update(found)

    def released(self, units: collections.abc.Iterable[str]) -> None:
        """Forget where units were claimed; nobody has them any more."""
        with self._noting:
            for unit in self._claimed.keys() & units:
                del self._claimed[unit]

    def follow(self, found: Places) -> None:
        """Note that guests are defined with what is there."""
        if found is self._places and not self._claimed:
            return
        with self._noting:
            self._places = found
            for unit in self._claimed.keys() & found.keys():
                del self._claimed[unit]

    def differs(self, found: Places) -> bool:
        """Tell whether a unit is elsewhere than was noted."""
        with self._noting:
            before, claimed = self._places, dict(self._claimed)
        if found is not before and _differ(before, found, claimed):
            return True
        return _differ(claimed, found)


def _differ(
    before: Places, now: Places, but: collections.abc.Container[str] = ()
) -> bool:
    return any(
        before[unit] != now[unit]
        for unit in before.keys() & now.keys()
        if unit not in but
    )
