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
"""The operator's word: which devices this host offers, and as what.

``parse`` turns a document (what YAML made of the file, plus where each key
stood) into a frozen ``Whitelist``. Reading files is not done here.
"""

import collections.abc
import dataclasses

from nova_accel.core import device

KIND_VGPU = 'vgpu'
KIND_PCI = 'pci'

MODE_FIXED = 'fixed'
MODE_DYNAMIC = 'dynamic'

POOL_NUMA = 'numa'
POOL_DEVICE = 'device'
POOL_HOST = 'host'


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a key stands. Lines count from 1."""

    file: str
    line: int

    def __str__(self) -> str:
        return f'{self.file}:{self.line}'


@dataclasses.dataclass(frozen=True)
class Rule:
    """One named entry of ``devices:``.

    :ivar name: the operator's name for it.
    :ivar place: where it stands, for messages.
    :ivar match: key -> predicate over a device. All must hold.
    :ivar models: vGPU types wanted, by type id or by model name, in the
        operator's order. Empty: all that the card offers.
    :ivar resource_class: None when the default applies.
    :ivar levels: level name -> how many of it one of the level above holds,
        outermost first. ``(('region', 3), ('function', 4))`` is twelve
        slots; blocks of 12, of 4 and of 1 are placed aligned.
    """

    name: str
    place: Place
    kind: str
    match: tuple[tuple[str, collections.abc.Callable[[device.Device], bool]], ...]
    models: tuple[str, ...] = ()
    mode: str = MODE_FIXED
    resource_class: str | None = None
    traits: frozenset[str] = frozenset()
    pool: str = POOL_NUMA
    levels: tuple[tuple[str, int], ...] = ()
    max_slots: int | None = None
    managed: bool = True
    live_migratable: bool | None = None

    def matches(self, dev: device.Device) -> bool:
        return all(test(dev) for _key, test in self.match)


@dataclasses.dataclass(frozen=True)
class Whitelist:
    """All rules of all files, in the order they were read."""

    rules: tuple[Rule, ...] = ()

    def matching(self, dev: device.Device) -> tuple[Rule, ...]:
        """Return every rule that a device matches; more than one conflicts."""
        return tuple(rule for rule in self.rules if rule.matches(dev))
