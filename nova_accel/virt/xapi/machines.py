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
"""Virtual machines: found, made, started and stopped.

A machine is told to be a server by what we wrote into its ``other_config``,
and by nothing else.
"""

import collections.abc
import contextlib
import dataclasses
import logging
import typing as ty

from nova import exception as nova_exception
from nova import objects

from nova_accel.backends import xapi
from nova_accel.backends.xapi import marks
from nova_accel.backends.xapi import wire
from nova_accel import exception

LOG = logging.getLogger(__name__)

HALTED = 'Halted'
RUNNING = 'Running'
PAUSED = 'Paused'
SUSPENDED = 'Suspended'

_MIB = 1 << 20
_PLATFORM = {
    'acpi': 'true',
    'apic': 'true',
    'nx': 'true',
    'pae': 'true',
    'viridian': 'true',
}


@dataclasses.dataclass(frozen=True)
class Machine:
    """A virtual machine that is a server of this host."""

    ref: str
    record: wire.Record

    @property
    def state(self) -> str:
        return str(self.record['power_state'])

    @property
    def is_up(self) -> bool:
        return self.state in (RUNNING, PAUSED)

    @property
    def is_left(self) -> bool:
        """The server has moved on and may come back."""
        return marks.LEFT in self.record['other_config']


class Machines:
    """The virtual machines of this host."""

    def __init__(
        self, session: xapi.Session, backend: xapi.XapiBackend
    ) -> None:
        self._xapi = session
        self._backend = backend

    @property
    def host(self) -> str:
        """Reference of this host."""
        return self._backend.survey().host

    def all(self) -> list[tuple[str, Machine]]:
        """Return every machine of ours with its server."""
        survey = self._backend.survey()
        return [
            (server, Machine(ref, record))
            for ref, record in survey.objects['vm'].items()
            if not record['is_a_template'] and not record['is_a_snapshot']
            if (server := survey.server_of(record)) is not None
        ]

    def references(self) -> set[str]:
        """Return the references of all machines of ours."""
        return {machine.ref for _server, machine in self.all()}

    def of(self, server: str) -> list[Machine]:
        """Return all machines of a server, those it has left included."""
        return [machine for uuid, machine in self.all() if uuid == server]

    def find(self, server: str) -> Machine | None:
        """Return the machine that a server is now."""
        return next((m for m in self.of(server) if not m.is_left), None)

    def get(self, server: str) -> Machine:
        """Return the machine that a server is now.

        :raises InstanceNotFound: there is none.
        """
        found = self.find(server)
        if found is None:
            raise nova_exception.InstanceNotFound(instance_id=server)
        return found

    def record(self, machine: Machine) -> wire.Record:
        """Return all fields of a machine, as they are now."""
        return ty.cast(
            wire.Record, self._xapi.call('VM.get_record', machine.ref)
        )

    def create(
        self,
        instance: objects.Instance,
        flavor: objects.Flavor,
        image_meta: objects.ImageMeta,
        pci: collections.abc.Iterable[str] = (),
    ) -> str:
        """Make a machine without disks, networks and vGPUs."""
        survey = self._backend.survey()
        config = {
            marks.SERVER: instance.uuid,
            marks.HOST: survey.objects['host'][survey.host]['uuid'],
        }
        if functions := pci_value(pci):
            config[marks.PCI] = functions
        return str(
            self._xapi.call(
                'VM.create',
                _record(instance, flavor, image_meta, survey.host, config),
            )
        )

    def start(self, ref: str) -> None:
        """Start a machine on this host.

        :raises XapiNoRoom: says precisely what is missing.
        """
        host = self.host
        self._xapi.call('VM.assert_can_boot_here', ref, host)
        self._xapi.call('Async.VM.start_on', ref, host, False, False)

    def stop(self, ref: str) -> None:
        """Switch a machine off at once. Idempotent."""
        try:
            self._xapi.call('Async.VM.hard_shutdown', ref)
        except exception.XapiGone:
            return
        except exception.XapiRefused as error:
            if error.code != 'VM_BAD_POWER_STATE':
                raise
            if self._xapi.call('VM.get_power_state', ref) != HALTED:
                raise

    def shut_down(self, machine: Machine, timeout: int) -> None:
        """Let the guest shut down; switch it off if it does not."""
        if timeout and self.may(machine, 'clean_shutdown'):
            with contextlib.suppress(
                exception.XapiFailure, exception.XapiUnsure
            ):
                self._xapi.call(
                    'Async.VM.clean_shutdown', machine.ref, timeout=timeout
                )
        self.stop(machine.ref)

    def may(self, machine: Machine, operation: str) -> bool:
        """Tell whether XAPI would allow an operation right now."""
        allowed = self._xapi.call('VM.get_allowed_operations', machine.ref)
        return operation in allowed

    def destroy(self, ref: str) -> None:
        """Remove a machine, its VBDs, VIFs and VGPUs. Idempotent.

        Its disks stay.
        """
        with contextlib.suppress(exception.XapiGone):
            self.stop(ref)
            self._xapi.call('VM.destroy', ref)

    def mark(self, ref: str, key: str, value: str | None) -> None:
        """Write into ``other_config``, or take out of it."""
        self._xapi.call('VM.remove_from_other_config', ref, key)
        if value is not None:
            self._xapi.call('VM.add_to_other_config', ref, key, value)


def pci_value(addresses: collections.abc.Iterable[str]) -> str:
    """Return what XAPI reads PCI functions from. It checks nothing."""
    return ','.join(f'0/{address}' for address in sorted(set(addresses)))


def _record(
    instance: objects.Instance,
    flavor: objects.Flavor,
    image_meta: objects.ImageMeta,
    host: str,
    config: dict[str, str],
) -> dict[str, ty.Any]:
    # All four the same: vGPUs on virtual functions want no ballooning.
    memory = flavor.memory_mb * _MIB
    return {
        'name_label': instance.name,
        'name_description': instance.display_name or '',
        'user_version': 0,
        'is_a_template': False,
        'affinity': host,
        'memory_static_min': memory,
        'memory_dynamic_min': memory,
        'memory_dynamic_max': memory,
        'memory_static_max': memory,
        'VCPUs_params': {},
        'VCPUs_max': flavor.vcpus,
        'VCPUs_at_startup': flavor.vcpus,
        'actions_after_shutdown': 'destroy',
        'actions_after_reboot': 'restart',
        'actions_after_crash': 'destroy',
        'PV_bootloader': '',
        'PV_kernel': '',
        'PV_ramdisk': '',
        'PV_args': '',
        'PV_bootloader_args': '',
        'PV_legacy_args': '',
        'HVM_boot_policy': 'BIOS order',
        'HVM_boot_params': _firmware(image_meta),
        'domain_type': 'hvm',
        'platform': dict(_PLATFORM),
        'PCI_bus': '',
        'other_config': config,
        'recommendations': '',
        'xenstore_data': {},
    }


def _firmware(image_meta: objects.ImageMeta) -> dict[str, str]:
    wanted = image_meta.properties.get('hw_firmware_type')
    return {'order': 'cd', 'firmware': 'uefi' if wanted == 'uefi' else 'bios'}
