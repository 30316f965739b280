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
"""USB devices: let be passed through, and taken back.

XAPI gives each device a group of its own. A VUSB keeps the group for its
machine, whether that runs or not, and attaches when the machine starts.
"""

import contextlib

from nova_accel.backends import base
from nova_accel.backends.xapi import discovery
from nova_accel.backends.xapi import marks
from nova_accel.backends.xapi import plans
from nova_accel.backends.xapi import session
from nova_accel import exception


def plan(
    assignment: base.Assignment, survey: discovery.Survey
) -> plans.UsbPlan:
    """Return what to create.

    :raises DeviceRefused: it is not there, or something else is.
    """
    record = survey.objects['pusb'][_find(assignment, survey)]
    return plans.UsbPlan(assignment.unit, record['USB_group'])


def _find(assignment: base.Assignment, survey: discovery.Survey) -> str:
    claimed = assignment.function
    for ref, dev in survey.usbs.items():
        if dev.address != claimed.address:
            continue
        if dev.ids != claimed.ids or dev.vendor_id != claimed.vendor_id:
            raise _refused(assignment, f'{dev.label} is in its place')
        return ref
    raise _refused(assignment, 'it is not plugged in')


def enable(
    xapi: session.Session,
    survey: discovery.Survey,
    assignment: base.Assignment,
) -> None:
    """Let a device be passed through. Idempotent.

    :raises DeviceRefused: it must not be, or XAPI does not want it.
    """
    pusb = _find(assignment, survey)
    record = survey.objects['pusb'][pusb]
    if record['passthrough_enabled']:
        return
    if not assignment.managed:
        raise _refused(
            assignment,
            'the host keeps it for itself; run xe pusb-param-set '
            f'uuid={record["uuid"]} passthrough-enabled=true, or write '
            'managed: yes',
        )
    try:
        # Marked first: whatever ends here, it is taken back.
        _mark(xapi, pusb, True)
        xapi.call('PUSB.set_passthrough_enabled', pusb, True)
    except exception.XapiFailure as error:
        raise _refused(assignment, str(error)) from error


def release(
    xapi: session.Session,
    survey: discovery.Survey,
    assignment: base.Assignment,
) -> None:
    """Undo ``enable``; remove what kept the device. Idempotent.

    :raises DeviceRefused: its machine runs.
    """
    try:
        pusb = _find(assignment, survey)
    except exception.DeviceRefused:
        return
    theirs = False
    for vusb, record in survey.vusbs(pusb).items():
        unit = record['other_config'].get(marks.UNIT)
        if unit != assignment.unit or not survey.is_ours(record['VM']):
            theirs = True
        elif record['currently_attached']:
            raise _refused(assignment, 'its virtual machine runs')
        else:
            with contextlib.suppress(exception.XapiGone):
                xapi.call('VUSB.destroy', vusb)
    record = survey.objects['pusb'][pusb]
    if not theirs and marks.ENABLED in record['other_config']:
        with contextlib.suppress(exception.XapiGone):
            xapi.call('PUSB.set_passthrough_enabled', pusb, False)
            _mark(xapi, pusb, False)


def _mark(xapi: session.Session, pusb: str, enabled: bool) -> None:
    xapi.call('PUSB.remove_from_other_config', pusb, marks.ENABLED)
    if enabled:
        xapi.call('PUSB.add_to_other_config', pusb, marks.ENABLED, 'true')


def _refused(
    assignment: base.Assignment, reason: str
) -> exception.DeviceRefused:
    return exception.DeviceRefused(device=assignment.unit, reason=reason)
