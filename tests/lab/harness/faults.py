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
"""Single faults to plant in our driver: which scenario notices?"""

import collections.abc
import dataclasses

from nova_accel.backends import base
from nova_accel.backends.libvirt import backend

_Backend = backend.LibvirtBackend


def no_release() -> None:
    """Devices are never given back."""

    def release(self: _Backend, assignment: base.Assignment) -> None:
        pass

    _Backend.release = release  # type: ignore[method-assign]


def _twin(host: _Backend, assignment: base.Assignment) -> base.Assignment:
    """Return the assignment moved to another card of the same kind."""
    mine = assignment.function
    other = next(
        (
            one
            for one in host.discover().devices
            if one.product_id == mine.product_id
            and one.serial != mine.serial
            and one.dev_type == mine.dev_type
        ),
        mine,
    )
    return dataclasses.replace(assignment, function=other)


def wrong_parent() -> None:
    """A vGPU is created on another card than the claimed one."""
    right = _Backend.prepare

    def prepare(self: _Backend, assignment: base.Assignment) -> None:
        right(self, _twin(self, assignment))

    _Backend.prepare = prepare  # type: ignore[method-assign]


def wrong_device() -> None:
    """A server gets another card than the one it claimed."""
    right = _Backend.render

    def render(self: _Backend, assignment: base.Assignment) -> object:
        return right(self, _twin(self, assignment))

    _Backend.render = render  # type: ignore[method-assign]


def not_recreated() -> None:
    """A mediated device that got lost is not made again."""
    right = _Backend.prepare
    made: set[str] = set()

    def prepare(self: _Backend, assignment: base.Assignment) -> None:
        if assignment.unit not in made:
            right(self, assignment)
        made.add(assignment.unit)

    def release(self: _Backend, assignment: base.Assignment) -> None:
        made.discard(assignment.unit)
        give_back(self, assignment)

    give_back = _Backend.release
    _Backend.prepare = prepare  # type: ignore[method-assign]
    _Backend.release = release  # type: ignore[method-assign]


def no_wait() -> None:
    """A device is taken for free before the guest has let go of it."""

    def inside(*_args: object) -> bool:
        return False

    # Nova is there in nova-compute only; what lists the faults lacks it.
    from nova import objects

    objects.register_all()
    from nova_accel.virt import drivers

    drivers.LibvirtAccelDriver.accel_inside = inside  # type: ignore[method-assign, assignment]


@dataclasses.dataclass(frozen=True)
class Fault:
    """One way to be wrong.

    :ivar plant: changes the driver of this process.
    :ivar caught_by: parts of names of the scenarios that must fail.
    """

    plant: collections.abc.Callable[[], None]
    caught_by: tuple[str, ...]


FAULTS = {
    'no-release': Fault(
        no_release,
        ('BootTest.test_vgpu_on_physical', 'BootTest.test_vgpu_on_virtual'),
    ),
    'wrong-parent': Fault(wrong_parent, ('BootTest.test_vgpu_on_physical',)),
    'wrong-device': Fault(wrong_device, ('BootTest.test_whole_gpu',)),
    'not-recreated': Fault(not_recreated, ('test_lost_mdev',)),
    'no-wait': Fault(no_wait, ('HotplugTest.test_late_and_never',)),
}
