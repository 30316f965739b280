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
"""The port, on XAPI.

A vGPU of XAPI exists only as part of a virtual machine. So ``prepare`` sees
whether it could be had, ``render`` says what to create, and the driver
creates it with the machine.
"""

import contextlib
import logging
import threading

from nova_accel.backends import base
from nova_accel.backends.xapi import cache
from nova_accel.backends.xapi import discovery
from nova_accel.backends.xapi import marks
from nova_accel.backends.xapi import plans
from nova_accel.backends.xapi import session
from nova_accel.backends.xapi import usb
from nova_accel.core import device
from nova_accel import exception

LOG = logging.getLogger(__name__)


class XapiBackend(base.Backend):
    """The devices of one host of a pool.

    :param host: its uuid, its host name or its name in XAPI; '' where the
        pool has just one.
    :param resync_interval: seconds between two complete readings.
    """

    def __init__(
        self,
        xapi: session.Session,
        host: str = '',
        resync_interval: float = 600,
    ) -> None:
        self._xapi = xapi
        self._host = host
        self._cache = cache.Cache(xapi, resync_interval)
        self._lock = threading.Lock()
        self._seen = -1
        self._survey = discovery.Survey({}, '')
        self._view = device.HostView()

    def survey(self, full: bool = False) -> discovery.Survey:
        """Return this host as it is now.

        The very same object while nothing changed.

        :raises BackendUnavailable: XAPI does not answer, or knows no such
            host.
        """
        with self._lock:
            try:
                version, objects = self._cache.look(full)
            except exception.XapiFailure as error:
                raise exception.XapiUnavailable(reason=str(error)) from error
            if version != self._seen:
                host = find_host(objects, self._host)
                self._survey = discovery.Survey(objects, host)
                view = self._survey.view
                if view != self._view:
                    self._view = view
                self._seen = version
            return self._survey

    @property
    def host_uuid(self) -> str:
        """Uuid of this host; it never changes."""
        survey = self._survey if self._seen >= 0 else self.survey()
        return str(survey.objects['host'][survey.host]['uuid'])

    @property
    def name(self) -> str:
        """The host's own name for itself."""
        survey = self.survey()
        return str(survey.objects['host'][survey.host]['hostname'])

    def discover(self, full: bool = False) -> device.HostView:
        self.survey(full)
        return self._view

    def guests(self) -> tuple[device.Guest, ...]:
        return tuple(self.survey().guests())

    def prepare(self, assignment: base.Assignment) -> None:
        survey = self.survey()
        self._plan(assignment, survey)
        if assignment.function.is_usb:
            usb.enable(self._xapi, survey, assignment)

    def render(self, assignment: base.Assignment) -> plans.Plan:
        return self._plan(assignment, self._survey)

    def _plan(
        self, assignment: base.Assignment, survey: discovery.Survey
    ) -> plans.Plan:
        if assignment.mdev_uuid is not None:
            return _vgpu(assignment, assignment.mdev_uuid, survey)
        if assignment.function.is_usb:
            return usb.plan(assignment, survey)
        return _pci(assignment, survey)

    def release(self, assignment: base.Assignment) -> None:
        if assignment.function.is_usb:
            usb.release(self._xapi, self.survey(), assignment)
        elif assignment.mdev_uuid is not None:
            self._release_vgpu(assignment)

    def _release_vgpu(self, assignment: base.Assignment) -> None:
        survey = self.survey()
        for ref, record in survey.objects['vgpu'].items():
            mark = record['other_config'].get(marks.MDEV)
            if mark == assignment.mdev_uuid and survey.is_ours(record['VM']):
                self._destroy(assignment, ref)

    def _destroy(self, assignment: base.Assignment, ref: str) -> None:
        with contextlib.suppress(exception.XapiGone):
            try:
                self._xapi.call('VGPU.destroy', ref)
            except exception.XapiGone:
                raise
            except exception.XapiFailure as error:
                raise exception.DeviceRefused(
                    device=assignment.unit,
                    reason=f'its virtual machine runs: {error}',
                ) from error


def find_host(objects: cache.Objects, wanted: str) -> str:
    """Return the reference of a host.

    :raises BackendUnavailable: there is none of that name, or several.
    """
    hosts = objects.get('host', {})
    found = [
        ref
        for ref, host in hosts.items()
        if not wanted
        or wanted in (host['uuid'], host['hostname'], host['name_label'])
    ]
    if len(found) == 1:
        return found[0]
    names = ', '.join(sorted(host['hostname'] for host in hosts.values()))
    raise exception.XapiUnavailable(
        reason=f'the pool has {len(found)} hosts that could be '
        f'{wanted or "this one"!r}; its hosts are {names}'
    )


def _vgpu(
    assignment: base.Assignment, mdev: str, survey: discovery.Survey
) -> plans.VgpuPlan:
    name = assignment.function.name
    for ref, members in survey.groups.items():
        if f'gpu-group:{survey.objects["gpu_group"][ref]["uuid"]}' != name:
            continue
        for vgpu_type in {t for pgpu in members for t in pgpu.capacities}:
            record = survey.objects['vgpu_type'][vgpu_type]
            if record['uuid'] == assignment.mdev_type:
                return plans.VgpuPlan(assignment.unit, mdev, ref, vgpu_type)
        raise _refused(
            assignment,
            f'vGPU type {assignment.mdev_type} is enabled on no GPU of '
            f'{name} here',
        )
    raise _refused(assignment, f'this host has no GPU of {name} any more')


def _pci(
    assignment: base.Assignment, survey: discovery.Survey
) -> plans.PciPlan:
    claimed = assignment.function
    for dev in survey.pcis.values():
        if dev.address != claimed.address:
            continue
        if _who(dev) != _who(claimed):
            raise _refused(assignment, f'{dev.label} is in its place')
        return plans.PciPlan(assignment.unit, survey.siblings(claimed.pci))
    raise _refused(assignment, 'it is not there')


def _who(dev: device.Device) -> tuple[str, ...]:
    return (
        dev.vendor_id,
        dev.product_id,
        dev.subsystem_vendor_id,
        dev.subsystem_product_id,
    )


def _refused(
    assignment: base.Assignment, reason: str
) -> exception.DeviceRefused:
    return exception.DeviceRefused(device=assignment.unit, reason=reason)
