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
"""Which device of the new host takes over which device of the old one."""

import collections
import collections.abc
import dataclasses

from nova_accel import exception


@dataclasses.dataclass(frozen=True, order=True)
class Part:
    """One device of a server that is to be live-migrated.

    :ivar kind: devices of one kind may stand in for one another: the vGPU
        type, or ``<vendor>:<product>``.
    :ivar name: what the guest's configuration names: the uuid of a mediated
        device, the address of a PCI function.
    """

    kind: str
    name: str


def pair(
    server: str,
    there: collections.abc.Iterable[Part],
    claimed: collections.abc.Mapping[str, int],
    here: collections.abc.Iterable[Part],
) -> dict[str, str]:
    """Give each device that a server has claimed here one to take over from.

    :param there: devices that its guest has now, ours or stock nova's.
    :param claimed: kind -> how many of them are claimed there as ours: as
        many at least are to be taken over.
    :returns: name there -> name here.
    :raises NoCounterpart: a device is left over on either side.
    """
    old, new = _by_kind(there), _by_kind(here)
    for kind in sorted(claimed.keys() | new.keys()):
        _check(
            server,
            kind,
            len(old[kind]),
            claimed.get(kind, 0),
            len(new[kind]),
        )
    return {
        name: other
        for kind, names in new.items()
        for name, other in zip(old[kind], names, strict=False)
    }


def _by_kind(
    parts: collections.abc.Iterable[Part],
) -> collections.defaultdict[str, list[str]]:
    found: collections.defaultdict[str, list[str]] = collections.defaultdict(
        list
    )
    for part in sorted(parts):
        found[part.kind].append(part.name)
    return found


def _check(server: str, kind: str, old: int, claimed: int, new: int) -> None:
    if new < claimed:
        raise exception.NoCounterpart(
            server=server,
            reason=f'it has {claimed} of {kind} and would get {new} here',
        )
    if new > old:
        raise exception.NoCounterpart(
            server=server,
            reason=f'it would get {new} of {kind} here, and the host it runs '
            f'on names {old}: its devices are of another kind, or the driver '
            'there is an older one',
        )
