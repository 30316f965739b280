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
"""How each of ``faults`` is planted: for nova-compute's own process."""

import collections.abc
import typing as ty

from nova_accel import manager

from tests.lab.harness import faults as lab_faults


def not_released() -> None:
    """What a server held stays held when it is deleted."""
    right = manager.Manager.settle

    def keep(self: manager.Manager, *_claims: ty.Any) -> None:
        pass

    def settle(
        self: manager.Manager, persisted: ty.Any, meant: ty.Any
    ) -> None:
        # Else the next update would put it right.
        right(self, persisted | self.held, meant)

    manager.Manager.unclaim = keep  # type: ignore[method-assign]
    manager.Manager.detach = keep  # type: ignore[method-assign]
    manager.Manager.settle = settle  # type: ignore[method-assign]


def not_attached() -> None:
    """A device is claimed and prepared, and never given to the guest."""
    right = manager.Manager.attach

    def attach(
        self: manager.Manager, server: str, claims: ty.Any
    ) -> list[object]:
        right(self, server, claims)
        return []

    manager.Manager.attach = attach  # type: ignore[method-assign]


PLANTS: dict[str, collections.abc.Callable[[], None]] = {
    'not-released': not_released,
    'not-attached': not_attached,
    'wrong-device': lab_faults.wrong_device,
}
