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
"""The device of each claim, and the claim of each device."""

from nova_accel.core import facts as evidence
from nova_accel.core.invariant import case as cases
from nova_accel.core.invariant import finding
from nova_accel.core import inventory


def attached(case: cases.Case) -> finding.Findings:
    """Every claim has its device, in the guest of its server."""
    for server in case.facts.servers:
        for claim in server.claims:
            if case.devices[claim] is None:
                text = 'its device is not in this host'
                yield case.about(finding.NO_DEVICE, claim, server.uuid, text)
        for claim in server.attached:
            yield from _present(case, server, claim)


def _present(
    case: cases.Case, server: evidence.Server, claim: inventory.Claim
) -> finding.Findings:
    device = case.devices[claim]
    guest = case.guests.get(server.uuid)
    if device is None or server.state == evidence.IDLE:
        return
    if guest is None and server.state == evidence.STOPPED:
        return
    if guest is None:
        text = f'{device} is not attached: the server has no guest here'
        yield case.about(finding.NOT_ATTACHED, claim, server.uuid, text)
    elif device not in guest:
        text = f'{device} is not in its guest'
        yield case.about(finding.NOT_ATTACHED, claim, server.uuid, text)


def made(case: cases.Case) -> finding.Findings:
    """A guest that runs has no mediated device that does not exist."""
    units = {device: claim for claim, device in case.devices.items()}
    for guest in case.facts.guests:
        for device in guest.devices if guest.running else ():
            claim = units.get(device)
            unit = inventory.read_unit(claim.unit) if claim else None
            if not claim or not unit or not unit.is_vgpu:
                continue
            if device not in case.facts.mdevs:
                text = f'mediated device {device} does not exist'
                yield case.about(finding.NOT_MADE, claim, guest.server, text)


def loose(case: cases.Case) -> finding.Findings:
    """Every mediated device of ours has a claim."""
    held = {(claim.provider, claim.unit) for claim in case.claims}
    for mdev, claim in case.facts.ours.items():
        # The class of a unit that is offered no more is not known.
        if (claim.provider, claim.unit) in held:
            continue
        if claim.provider not in case.unsettled:
            yield finding.Finding(
                finding.LOOSE,
                f'mediated device {mdev} stands for unit {claim.unit} of '
                f'{case.name(claim.provider)}, which no server holds',
                mdev,
                provider=claim.provider,
            )
