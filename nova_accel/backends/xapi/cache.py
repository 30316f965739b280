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
"""A copy of the objects we go by, kept fresh by events.

One call a look: ``event.from`` with the token of last time tells at once
what changed since, and nothing where nothing did. The token is of the pool,
not of a session. A token that a new master does not know, and a count of
objects that is not ours, mean that events were lost: all is read again, in
one call as well.
"""

import collections.abc
import threading
import time
import typing as ty

from nova_accel.backends.xapi import errors
from nova_accel.backends.xapi import session
from nova_accel.backends.xapi import wire
from nova_accel import exception

# Of each class, the fields that are looked at; a change of others is none.
_FIELDS: dict[str, tuple[str, ...]] = {
    'host': ('uuid', 'hostname', 'name_label', 'address', 'enabled'),
    'gpu_group': ('uuid', 'name_label', 'allocation_algorithm'),
    'pci': (
        'uuid',
        'class_id',
        'vendor_id',
        'vendor_name',
        'device_id',
        'device_name',
        'subsystem_vendor_id',
        'subsystem_device_id',
        'driver_name',
        'dependencies',
        'host',
        'pci_id',
    ),
    'pgpu': (
        'uuid',
        'PCI',
        'GPU_group',
        'host',
        'enabled_VGPU_types',
        'supported_VGPU_max_capacities',
    ),
    'vgpu_type': (
        'uuid',
        'model_name',
        'vendor_name',
        'framebuffer_size',
        'max_heads',
        'max_resolution_x',
        'max_resolution_y',
        'implementation',
        'compatible_types_in_vm',
    ),
    'vgpu': (
        'uuid',
        'VM',
        'GPU_group',
        'type',
        'resident_on',
        'scheduled_to_be_resident_on',
        'other_config',
    ),
    'vm': (
        'uuid',
        'name_label',
        'power_state',
        'is_a_template',
        'is_a_snapshot',
        'is_control_domain',
        'resident_on',
        'scheduled_to_be_resident_on',
        'other_config',
        'VGPUs',
        'VUSBs',
    ),
    'pusb': (
        'uuid',
        'USB_group',
        'host',
        'path',
        'vendor_id',
        'vendor_desc',
        'product_id',
        'product_desc',
        'serial',
        'passthrough_enabled',
        'other_config',
    ),
    'vusb': ('uuid', 'VM', 'USB_group', 'other_config', 'currently_attached'),
}
CLASSES = tuple(_FIELDS)

Objects = collections.abc.Mapping[str, collections.abc.Mapping[str, ty.Any]]
"""Class in lower case -> reference -> record."""


class Cache:
    """The objects of a pool.

    :param resync: seconds after which all is read again, whatever events
        say.
    :ivar version: counts the looks that found something new.
    """

    def __init__(self, xapi: session.Session, resync: float) -> None:
        self._xapi = xapi
        self._resync = resync
        self._read = -resync
        self._lock = threading.Lock()
        self._token = ''
        self._objects: dict[str, dict[str, wire.Record]] = {}
        self.version = 0

    def look(self, full: bool = False) -> tuple[int, Objects]:
        """Return the objects as they are now, and their version.

        :raises BackendUnavailable: XAPI does not answer.
        """
        with self._lock:
            due = time.monotonic() - self._read >= self._resync
            if full or due or not self._token:
                self._all()
            elif not self._changes():
                self._all()
            return self.version, {
                kind: dict(found) for kind, found in self._objects.items()
            }

    def _all(self) -> None:
        self._objects = {kind: {} for kind in CLASSES}
        self._token = ''
        self._take(self._ask())
        self._read = time.monotonic()
        self.version += 1
        hosts = self._objects['host'].values()
        self._xapi.remember(host['address'] for host in hosts)

    def _changes(self) -> bool:
        """Take in what happened since; False if some of it is lost."""
        try:
            batch = self._ask()
        except exception.XapiFailure as error:
            if error.code != errors.TOKEN:
                raise exception.XapiUnavailable(reason=str(error)) from error
            return False
        if self._take(batch):
            self.version += 1
        counts = batch.get('valid_ref_counts') or {}
        return all(
            int(counts[kind]) == len(found)
            for kind, found in self._objects.items()
            if kind in counts
        )

    def _ask(self) -> dict[str, ty.Any]:
        return self._xapi.events(CLASSES, self._token, 0.0)

    def _take(self, batch: collections.abc.Mapping[str, ty.Any]) -> bool:
        changed = False
        for event in batch['events']:
            # Older releases write the class with capital letters.
            found = self._objects.get(event['class'].lower())
            if found is not None:
                changed |= _apply(found, event)
        self._token = str(batch['token'])
        return changed


def _apply(
    found: dict[str, wire.Record], event: collections.abc.Mapping[str, ty.Any]
) -> bool:
    """Take in one event; tell whether it says anything new."""
    ref = event['ref']
    snapshot = event.get('snapshot')
    if event['operation'] == 'del' or snapshot is None:
        return found.pop(ref, None) is not None
    fields = _FIELDS[event['class'].lower()]
    record = {name: snapshot[name] for name in fields if name in snapshot}
    if found.get(ref) == record:
        return False
    found[ref] = record
    return True
