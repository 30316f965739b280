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
"""The host, and its servers as they are."""

import datetime
import typing as ty

from nova.compute import power_state
import nova.conf
from nova import objects
from nova.virt import configdrive as nova_configdrive
from nova.virt import hardware
from nova.virt import node
from oslo_log import log as logging

from nova_accel.virt.xapi import base
from nova_accel.virt.xapi import machines

CONF = nova.conf.CONF
LOG = logging.getLogger(__name__)

_STATES = {
    machines.HALTED: power_state.SHUTDOWN,
    machines.PAUSED: power_state.PAUSED,
    machines.RUNNING: power_state.RUNNING,
    machines.SUSPENDED: power_state.SUSPENDED,
}


class Node(base.Base):
    """Answers what nova asks about a host. Changes nothing."""

    def init_host(self, host: str) -> None:
        self._node_uuid = node.get_local_node_uuid()
        LOG.info(
            'XAPI host %s (%s), pool master %s',
            self._info.name,
            self._backend.host_uuid,
            self._xapi.master,
        )
        self._info.read()

    def cleanup_host(self, host: str) -> None:
        self._xapi.close()

    def get_available_nodes(self, refresh: bool = False) -> list[str]:
        return [self._info.name]

    def get_nodenames_by_uuid(self, refresh: bool = False) -> dict[str, str]:
        return {self._node_uuid: self._info.name}

    def get_available_resource(self, nodename: str) -> dict[str, ty.Any]:
        return {**self._info.read(), 'uuid': self._node_uuid}

    def update_provider_tree(
        self,
        provider_tree: ty.Any,
        nodename: str,
        allocations: ty.Any = None,
    ) -> None:
        before = provider_tree.data(nodename).inventory
        ratios = self._get_allocation_ratios(before)
        reserved = {
            'VCPU': CONF.reserved_host_cpus,
            'MEMORY_MB': CONF.reserved_host_memory_mb,
            'DISK_GB': self._get_reserved_host_disk_gb_from_config(),
        }
        totals = {
            'VCPU': self._info.last['vcpus'],
            'MEMORY_MB': self._info.last['memory_mb'],
            'DISK_GB': self._info.last['local_gb'],
        }
        provider_tree.update_inventory(
            nodename,
            {
                rc: {
                    'total': total,
                    'min_unit': 1,
                    'max_unit': total,
                    'step_size': 1,
                    'allocation_ratio': ratios[rc],
                    'reserved': min(reserved[rc], total),
                }
                for rc, total in totals.items()
                if total > 0
            },
        )

    def get_host_ip_addr(self) -> str:
        # The other end of a move goes by it: both are of one pool.
        return str(self._info.record['address'])

    def get_host_uptime(self) -> str:
        boot = float(self._info.record['other_config'].get('boot_time', 0))
        now = datetime.datetime.now(datetime.UTC).timestamp()
        return f'up {datetime.timedelta(seconds=int(now - boot))}'

    def get_volume_connector(self, instance: ty.Any) -> dict[str, ty.Any]:
        return {
            'ip': self._info.record['address'],
            'initiator': self._info.record['iscsi_iqn'],
            'host': CONF.host,
        }

    # Servers as they are

    def list_instances(self) -> list[str]:
        return [
            machine.record['name_label']
            for _server, machine in self._machines.all()
        ]

    def list_instance_uuids(self) -> list[str]:
        return sorted({server for server, _ in self._machines.all()})

    def instance_exists(self, instance: objects.Instance) -> bool:
        return self._machines.find(instance.uuid) is not None

    def instance_on_disk(self, instance: objects.Instance) -> bool:
        """Tell whether a server that was elsewhere finds its disks here.

        It never does: disks that several hosts of the pool can reach still
        belong to the machine that the server was there.
        """
        return False

    def get_info(
        self, instance: objects.Instance, use_cache: bool = True
    ) -> hardware.InstanceInfo:
        machine = self._machines.get(instance.uuid)
        return hardware.InstanceInfo(
            _STATES.get(machine.state, power_state.NOSTATE)
        )

    def get_instance_diagnostics(
        self, instance: objects.Instance
    ) -> objects.Diagnostics:
        machine = self._machines.get(instance.uuid)
        record = self._machines.record(machine)
        state = _STATES.get(machine.state, power_state.NOSTATE)
        found = objects.Diagnostics(
            state=power_state.STATE_MAP[state],
            driver='xenapi',
            hypervisor='xen',
            hypervisor_os='linux',
            config_drive=nova_configdrive.required_by(instance),
        )
        found.memory_details = objects.MemoryDiagnostics(
            maximum=int(record['memory_static_max']) >> 20
        )
        for cpu in range(int(record['VCPUs_max'])):
            found.add_cpu(id=cpu)
        for vif in record['VIFs']:
            found.add_nic(mac_address=self._xapi.call('VIF.get_MAC', vif))
        for _disk in self._disks.of(machine.ref):
            found.add_disk()
        return found
