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
"""What a host has for servers: processors, memory, storage."""

import typing as ty

from nova.objects import fields
from oslo_serialization import jsonutils

from nova_accel.backends import xapi
from nova_accel.backends.xapi import wire
from nova_accel.virt.xapi import disks

_TYPE = 'XenServer'


class HostInfo:
    """The resources of this host.

    What does not change while a host runs is asked once.
    """

    def __init__(
        self,
        session: xapi.Session,
        backend: xapi.XapiBackend,
        store: disks.Disks,
    ) -> None:
        self._xapi = session
        self._backend = backend
        self._store = store
        self._known: wire.Record = {}
        self._memory = 0
        self.last: dict[str, ty.Any] = {}
        """What was found last: updates go by it, without a call."""

    @property
    def record(self) -> wire.Record:
        """All fields of the host, as they were at the start."""
        if not self._known:
            host = self._backend.survey().host
            self._known = self._xapi.call('host.get_record', host)
            metrics = self._xapi.call(
                'host_metrics.get_record', self._known['metrics']
            )
            self._memory = int(metrics['memory_total'])
        return self._known

    @property
    def name(self) -> str:
        return str(self.record['hostname'])

    def read(self) -> dict[str, ty.Any]:
        """Return what nova's ComputeNode wants. A fixed number of calls."""
        record = self.record
        free = int(
            self._xapi.call(
                'host.compute_free_memory', self._backend.survey().host
            )
        )
        size, used = self._store.space()
        self.last = {
            'vcpus': int(record['cpu_info'].get('cpu_count') or 0)
            or len(record['host_CPUs']),
            'vcpus_used': 0,
            'memory_mb': self._memory >> 20,
            'memory_mb_used': max(0, self._memory - free) >> 20,
            'local_gb': size // disks.GIB,
            'local_gb_used': used // disks.GIB,
            'disk_available_least': max(0, size - used) // disks.GIB,
            'hypervisor_type': _TYPE,
            'hypervisor_version': _version(record),
            'hypervisor_hostname': record['hostname'],
            'cpu_info': jsonutils.dumps(_cpu(record)),
            'supported_instances': [
                (
                    fields.Architecture.X86_64,
                    fields.HVType.XEN,
                    fields.VMMode.HVM,
                )
            ],
            'numa_topology': None,
            'pci_passthrough_devices': '[]',
        }
        return dict(self.last)


def _version(record: wire.Record) -> int:
    text = record['software_version'].get('product_version', '')
    parts = [int(part) for part in text.split('.') if part.isdecimal()]
    major, minor, patch, *_rest = (*parts, 0, 0, 0)
    return max(1, major * 1_000_000 + minor * 1000 + patch)


def _cpu(record: wire.Record) -> dict[str, ty.Any]:
    info = record['cpu_info']
    return {
        'arch': fields.Architecture.X86_64,
        'vendor': info.get('vendor', ''),
        'model': info.get('modelname', ''),
        'features': [],
        'topology': {
            'sockets': int(info.get('socket_count') or 1),
            'cores': int(info.get('cpu_count') or 1),
            'threads': 1,
        },
    }
