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
"""A backend in memory, for tests of everything above the port.

Behaves like a real one: a card that holds one model refuses another, a full
card refuses more, a device in use is not released, and every change makes
a new view.
"""

import collections.abc
import dataclasses
import threading

from nova_accel.backends import base
from nova_accel.core import device
from nova_accel.core import upkeep
from nova_accel import exception


class FakeBackend(base.Backend):
    """Devices that exist because a test says so.

    :ivar busy: uuids of mediated devices that a guest holds.
    :ivar domains: server -> what its guest is made of.
    :ivar broken: device name -> reason for which it refuses to be used.
    :ivar unreachable: why the hypervisor does not answer, None if it does.
    :ivar prepared: what ``prepare`` was asked for and ``release`` was not.
    :ivar resets: units that were reset.
    :ivar health: device name -> what tells about its health.
    """

    def __init__(
        self, devices: collections.abc.Iterable[device.Device] = ()
    ) -> None:
        self._lock = threading.Lock()
        self._view = device.HostView(devices=_ordered(devices))
        self.busy: set[str] = set()
        self.domains: dict[str, device.Guest] = {}
        self.broken: dict[str, str] = {}
        self.unreachable: str | None = None
        self.prepared: dict[str, base.Assignment] = {}
        self.resets: list[str] = []
        self.health: dict[str, upkeep.Reading] = {}

    def plug(self, *devices: device.Device) -> None:
        """Add devices, or replace those of the same name."""
        names = {one.name for one in devices}
        kept = [one for one in self._view.devices if one.name not in names]
        self._replace(devices=_ordered([*kept, *devices]))

    def unplug(self, *names: str) -> None:
        """Take devices out, and the mediated devices on them."""
        view = self._view
        self._replace(
            devices=tuple(d for d in view.devices if d.name not in names),
            mdevs=tuple(m for m in view.mdevs if m.parent not in names),
        )

    def reboot(self) -> None:
        """Lose what does not outlive the host: mediated devices, guests."""
        self.busy.clear()
        self._replace(mdevs=())

    def rewire(self, devices: collections.abc.Iterable[device.Device]) -> None:
        """Be another machine from now on; what was on it is lost."""
        self.busy.clear()
        self._replace(devices=_ordered(devices), mdevs=())

    def _replace(self, **changes: object) -> None:
        view = dataclasses.replace(
            self._view,
            **changes,  # type: ignore[arg-type]
        )
        if view != self._view:
            self._view = view

    def discover(self, full: bool = False) -> device.HostView:
        if self.unreachable is not None:
            raise exception.BackendUnavailable(reason=self.unreachable)
        return self._view

    def guests(self) -> tuple[device.Guest, ...]:
        self.discover()
        return tuple(self.domains.values())

    def prepare(self, assignment: base.Assignment) -> None:
        with self._lock:
            function = self._recognise(assignment)
            if assignment.mdev_uuid is not None:
                self._create(assignment, function)
            self.prepared[assignment.unit] = assignment

    def render(self, assignment: base.Assignment) -> object:
        return assignment

    def release(self, assignment: base.Assignment) -> None:
        with self._lock:
            if assignment.mdev_uuid in self.busy:
                raise _refused(assignment, 'it is in use by a guest')
            self._replace(
                mdevs=tuple(
                    mdev
                    for mdev in self._view.mdevs
                    if mdev.uuid != assignment.mdev_uuid
                )
            )
            self.prepared.pop(assignment.unit, None)

    def reset(self, assignment: base.Assignment) -> None:
        self._recognise(assignment)
        self.resets.append(assignment.unit)

    def readings(
        self, devices: collections.abc.Iterable[device.Device]
    ) -> dict[str, upkeep.Reading]:
        return {
            dev.name: self.health[dev.name]
            for dev in devices
            if dev.name in self.health
        }

    def _recognise(self, assignment: base.Assignment) -> device.Device:
        claimed = assignment.function
        for present in self.discover().devices:
            if present.name == claimed.name:
                break
        else:
            raise _refused(assignment, 'it is not there')
        if _who(present) != _who(claimed):
            raise _refused(assignment, 'another device is in its place')
        if present.name in self.broken:
            raise _refused(assignment, self.broken[present.name])
        return present

    def _create(
        self, assignment: base.Assignment, function: device.Device
    ) -> None:
        wanted = device.Mdev(
            assignment.mdev_uuid or '',
            assignment.mdev_type or '',
            function.name,
        )
        mdevs = [m for m in self._view.mdevs if m.uuid != wanted.uuid]
        if wanted in self._view.mdevs:
            return
        if len(mdevs) != len(self._view.mdevs):
            raise _refused(assignment, 'its uuid is in use elsewhere')
        self._check_room(assignment, function, wanted)
        self._replace(mdevs=tuple(sorted([*mdevs, wanted])))

    def _check_room(
        self,
        assignment: base.Assignment,
        function: device.Device,
        wanted: device.Mdev,
    ) -> None:
        model = next(
            (m for m in function.models if m.type_id == wanted.type_id), None
        )
        if model is None:
            raise _refused(assignment, f'it offers no {wanted.type_id}')
        there = self._on_card(function)
        types = {mdev.type_id for mdev in there}
        if not function.mixed and types - {wanted.type_id}:
            raise _refused(assignment, f'its card holds {min(types)} already')
        same = sum(mdev.type_id == wanted.type_id for mdev in there)
        taken = function.parent is not None and any(
            mdev.parent == function.name for mdev in there
        )
        if taken or (model.capacity is not None and same >= model.capacity):
            raise _refused(assignment, 'it is full')

    def _on_card(self, function: device.Device) -> list[device.Mdev]:
        card = function.parent or function.address
        names = {
            one.name
            for one in self._view.devices
            if (one.parent or one.address) == card
        }
        return [mdev for mdev in self._view.mdevs if mdev.parent in names]


def _who(one: device.Device) -> tuple[str, ...]:
    return one.vendor_id, one.product_id, one.serial


def _refused(
    assignment: base.Assignment, reason: str
) -> exception.DeviceRefused:
    return exception.DeviceRefused(
        device=assignment.function.ids[0], reason=reason
    )


def _ordered(
    devices: collections.abc.Iterable[device.Device],
) -> tuple[device.Device, ...]:
    return tuple(sorted(devices, key=lambda one: one.address))
