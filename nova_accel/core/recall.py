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
"""What Placement and nova remember of devices, ahead of looking at them."""

import collections.abc

from nova_accel.core import identity
from nova_accel.core import inventory
from nova_accel.core import naming

Known = collections.abc.Mapping[str, inventory.KnownProvider]
"""Provider uuid -> what Placement has of ours."""


def in_use(
    known: Known,
    held: frozenset[inventory.Claim],
    who: collections.abc.Mapping[str, str],
    remaps: collections.abc.Mapping[str, tuple[str, str]],
) -> identity.InUse:
    """Stable ids that are never changed again."""
    units = (inventory.read_unit(claim.unit) for claim in held)
    claimed = frozenset(unit.device for unit in units if unit is not None)
    ids = claimed.union(one.stable_id for one in known.values())
    return identity.InUse(ids, claimed, who, remaps)


def who(known: Known) -> dict[str, str]:
    """Return what Placement remembers of devices, by short id."""
    traits = (trait for one in known.values() for trait in one.traits)
    return dict(filter(None, map(naming.read_who, traits)))


def remaps(known: Known) -> dict[str, tuple[str, str]]:
    """Return what operators have said of devices, by short id."""
    traits = (trait for one in known.values() for trait in one.traits)
    found = filter(None, map(naming.read_remap, traits))
    return {old: (new, dev) for old, new, dev in found}
