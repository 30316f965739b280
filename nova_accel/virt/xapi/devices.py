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
"""What a machine gets for its claims: VGPUs and PCI functions.

XAPI takes hold of neither before the machine starts, and of a stopped one's
it lets go. Placement keeps them for the server; somebody who goes past nova
may take them meanwhile, and is found out here.
"""

import collections.abc

from nova_accel.backends import xapi
from nova_accel.backends.xapi import discovery
from nova_accel.backends.xapi import marks
from nova_accel.backends.xapi import plans
from nova_accel import exception
from nova_accel.virt.xapi import machines

Plans = collections.abc.Sequence[object]

_ALONE = 'VGPU_TYPE_NOT_COMPATIBLE'
_MANY_USB = 'TOO_MANY_VUSBS'
_USB_TAKEN = 'USB_GROUP_CONFLICT'
# Codes that name a GPU group and, one of them, a vGPU type.
_GPU_CODES = ('VM_REQUIRES_VGPU', 'VM_REQUIRES_GPU')


class Devices:
    """The devices of servers of this host."""

    def __init__(
        self, session: xapi.Session, backend: xapi.XapiBackend
    ) -> None:
        self._xapi = session
        self._backend = backend

    def functions(self, wanted: Plans) -> list[str]:
        """Return the addresses of all PCI functions, siblings included."""
        return [
            address
            for plan in wanted
            if isinstance(plan, plans.PciPlan)
            for address in plan.addresses
        ]

    def create(self, vm: str, server: str, wanted: Plans) -> None:
        """Give a machine that is halted the VGPUs and VUSBs it lacks."""
        present = set(self._present(vm))
        vusbs = set(self._vusbs(vm))
        for plan in wanted:
            if isinstance(plan, plans.UsbPlan) and plan.unit not in vusbs:
                self._xapi.call(
                    'VUSB.create',
                    vm,
                    plan.group,
                    {marks.SERVER: server, marks.UNIT: plan.unit},
                )
            if isinstance(plan, plans.VgpuPlan) and plan.mdev not in present:
                self._xapi.call(
                    'VGPU.create',
                    vm,
                    plan.group,
                    '0',
                    {
                        marks.SERVER: server,
                        marks.UNIT: plan.unit,
                        marks.MDEV: plan.mdev,
                    },
                    plan.vgpu_type,
                )

    def _present(self, vm: str) -> dict[str, str]:
        """VGPUs of a machine that we have made: mark -> reference."""
        return {
            record['other_config'][marks.MDEV]: ref
            for ref, record in self._backend.survey().objects['vgpu'].items()
            if record['VM'] == vm and marks.MDEV in record['other_config']
        }

    def _vusbs(self, vm: str) -> dict[str, str]:
        """VUSBs of a machine that we have made: unit -> reference."""
        return {
            record['other_config'][marks.UNIT]: ref
            for ref, record in self._backend.survey().objects['vusb'].items()
            if record['VM'] == vm and marks.UNIT in record['other_config']
        }

    def ensure(
        self, machine: machines.Machine, server: str, wanted: Plans
    ) -> None:
        """Let a machine that is halted have what it holds, and no more."""
        needed = {
            plan.mdev for plan in wanted if isinstance(plan, plans.VgpuPlan)
        }
        for mdev, ref in self._present(machine.ref).items():
            if mdev not in needed:
                self._xapi.call('VGPU.destroy', ref)
        units = {
            plan.unit for plan in wanted if isinstance(plan, plans.UsbPlan)
        }
        for unit, ref in self._vusbs(machine.ref).items():
            if unit not in units:
                self._xapi.call('VUSB.destroy', ref)
        self.create(machine.ref, server, wanted)
        functions = machines.pci_value(self.functions(wanted))
        if functions != machine.record['other_config'].get(marks.PCI, ''):
            self._xapi.call(
                'VM.remove_from_other_config', machine.ref, marks.PCI
            )
            if functions:
                self._xapi.call(
                    'VM.add_to_other_config',
                    machine.ref,
                    marks.PCI,
                    functions,
                )

    def check(self, vm: str, server: str, wanted: Plans) -> None:
        """See that nobody has taken a function; XAPI would not.

        :raises DeviceUnavailable: somebody has it.
        """
        survey = self._backend.survey()
        owners = {
            str(survey.pcis[ref].address): owner
            for ref, owner in survey.taken.items()
        }
        for plan in wanted:
            if not isinstance(plan, plans.PciPlan):
                continue
            for address in plan.addresses:
                owner = owners.get(address, vm)
                if owner != vm:
                    raise exception.DeviceUnavailable(
                        device=plan.unit,
                        server=server,
                        reason=f'{_name(survey, owner)} has {address}',
                    )

    def explain(self, error: exception.XapiFailure) -> str:
        """Say who has what a machine lacks, as far as that can be known."""
        if error.code == _ALONE:
            return (
                'vGPUs of this type do not go together in one virtual '
                f'machine: ask for one ({error.code})'
            )
        if error.code == _MANY_USB:
            return (
                f'XAPI gives a virtual machine {discovery.MAX_VUSBS} USB '
                f'devices at most ({error.code})'
            )
        if error.code == _USB_TAKEN:
            return self._explain_usb(error)
        if error.code not in _GPU_CODES or len(error.params) < 2:
            return str(error)
        survey = self._backend.survey()
        group = error.params[1]
        kind = survey.objects['vgpu_type'].get(error.params[-1], {})
        owners = sorted(
            {
                _name(survey, record['VM'])
                for pgpu in survey.groups.get(group, ())
                for record in survey.residents.get(pgpu.ref, ())
                if not survey.is_ours(record['VM'])
            }
        )
        named = survey.objects['gpu_group'].get(group, {})
        return (
            f'no GPU of group {named.get("name_label", group)} on this host '
            f'has room for a {kind.get("model_name", "vGPU")}'
            + (f'; {", ".join(owners)} has taken it' if owners else '')
            + f' ({error.code})'
        )

    def _explain_usb(self, error: exception.XapiFailure) -> str:
        survey = self._backend.survey()
        owners = sorted(
            _name(survey, record['VM'])
            for record in survey.objects['vusb'].values()
            if record['USB_group'] in error.params
        )
        taken = ' and '.join(owners) or 'a virtual machine'
        return f'{taken} has the USB device ({error.code})'


def _name(survey: discovery.Survey, vm: str) -> str:
    record = survey.objects['vm'].get(vm)
    if record is None:
        return 'a virtual machine'
    server = survey.server_of(record)
    if server is not None:
        return f'server {server}'
    return f'virtual machine {record["name_label"]!r} ({record["uuid"]})'
