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
"""The port: what a hypervisor must do for us, and nothing else.

Everything above talks to a ``Backend``. ``backends/fake.py`` is one that
ships for tests.
"""

import abc
import collections.abc
import dataclasses

from nova_accel.core import device
from nova_accel.core import upkeep
from nova_accel import exception


@dataclasses.dataclass(frozen=True)
class Assignment:
    """One unit of one server, resolved to what must be attached.

    :ivar unit: the claimed unit's identifier.
    :ivar function: the function to pass through, or the parent of the
        mediated device.
    :ivar mdev_uuid: None for a PCI function.
    :ivar mdev_type: vGPU type id, None for a PCI function.
    :ivar managed: libvirt detaches the host driver itself.
    :ivar adopted: the mediated device was not made by us, and may have been
        made to come back when the host is rebooted.
    :ivar live_migratable: a live migration may replace it by another one.
    """

    unit: str
    function: device.Device
    mdev_uuid: str | None = None
    mdev_type: str | None = None
    managed: bool = True
    adopted: bool = False
    live_migratable: bool = False


class Backend(abc.ABC):
    """A hypervisor's devices.

    Verbs may be called from any thread. They raise the errors of
    ``nova_accel.exception`` and nothing of the hypervisor's own.
    """

    @abc.abstractmethod
    def discover(self, full: bool = False) -> device.HostView:
        """Return the host's devices and mediated devices.

        Cheap: answers from a cache that events keep fresh, and returns the
        very same object while nothing changed.

        :param full: read everything again, trusting no cache.
        """

    @abc.abstractmethod
    def guests(self) -> tuple[device.Guest, ...]:
        """Return every guest, running or not, and the devices it has.

        Two round trips and one a guest: for an audit, not for every day.

        :raises BackendUnavailable: the hypervisor does not answer.
        """

    @abc.abstractmethod
    def prepare(self, assignment: Assignment) -> None:
        """Make the device exist, ready to be attached. Idempotent.

        :raises DeviceUnavailable: it cannot be; nothing is left behind.
        """

    @abc.abstractmethod
    def render(self, assignment: Assignment) -> object:
        """Return the guest configuration of the device. No side effect."""

    @abc.abstractmethod
    def release(self, assignment: Assignment) -> None:
        """Undo ``prepare``. Idempotent; a device still in use is kept.

        :raises DeviceUnavailable: it is still in use.
        """

    def reset(self, assignment: Assignment) -> None:
        """Reset a PCI function that nobody uses.

        :raises DeviceRefused: it is in use, or cannot be reset.
        """
        raise exception.DeviceRefused(
            device=assignment.unit,
            reason='this hypervisor cannot reset devices',
        )

    def readings(
        self, devices: collections.abc.Iterable[device.Device]
    ) -> dict[str, upkeep.Reading]:
        """Return what tells about the health of devices, by their names.

        Asks the hypervisor nothing; what it does not tell is left out.
        """
        return {}
