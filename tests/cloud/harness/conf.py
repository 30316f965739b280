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
"""The configuration file of every service, as data."""

import collections.abc
import os
import pathlib
import typing as ty

from tests.cloud.harness import settings
from tests.lab.harness import database

Sections = dict[str, dict[str, ty.Any]]

REGION = 'RegionOne'
# It guards a cloud that listens on the loopback interface alone.
PASSWORD = 'cloud'
PHYSICAL_NETWORK = 'physnet1'
# The one host whose servers have ports; the agent of its switch says so.
SWITCHED = 'qemu1'
SCHEMAS = (
    *('nova_api', 'nova_cell0', 'nova'),
    *('placement', 'glance', 'keystone', 'neutron'),
)

GUNICORN = """
import sys

def post_fork(server, worker):
    # the services would read gunicorn's arguments as theirs
    sys.argv[:] = sys.argv[:1]
"""

# Programs run something as root through it; here everything is root.
SUDO = """#!/bin/sh
while [ "${1#-}" != "$1" ]; do shift; done
exec "$@"
"""


def ini(sections: Sections) -> str:
    """Render; an option whose value is a tuple is written once for each."""
    return '\n'.join(
        f'[{section}]\n' + ''.join(_lines(options))
        for section, options in sections.items()
    )


def _lines(
    options: collections.abc.Mapping[str, ty.Any],
) -> collections.abc.Iterator[str]:
    for key, value in options.items():
        for one in value if isinstance(value, tuple) else (value,):
            yield f'{key} = {one}\n'


class Conf:
    """Writes what the services read.

    :param cloud: where and on which ports.
    """

    def __init__(self, cloud: settings.Settings) -> None:
        self._cloud = cloud
        self.folder = cloud.conf

    def write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, sections in self._files().items():
            (self.folder / name).write_text(ini(sections))
        for name in (
            *('nova/api-paste.ini', 'glance/glance-api-paste.ini'),
            'neutron/api-paste.ini',
        ):
            folder, _, file = name.partition('/')
            text = (self._cloud.venv / 'etc' / name).read_text()
            target = f'{folder}-{file}'.replace('glance-glance', 'glance')
            (self.folder / target).write_text(text)
        (self.folder / 'gunicorn.py').write_text(GUNICORN)
        sudo = self.path / 'sudo'
        sudo.parent.mkdir(exist_ok=True)
        sudo.write_text(SUDO)
        sudo.chmod(0o755)

    @property
    def path(self) -> pathlib.Path:
        """A folder of programs that the services find first."""
        return self._cloud.run / 'bin'

    def file(self, name: str) -> str:
        return str(self.folder / name)

    def _files(self) -> dict[str, Sections]:
        return {
            'keystone.conf': self._keystone(),
            'placement.conf': self._placement(),
            'glance-api.conf': self._glance(),
            'neutron.conf': self._neutron(),
            'ml2.ini': self._ml2(),
            'openvswitch.ini': self._openvswitch(),
            'nova.conf': self._nova_control(),
            'tempest-logging.conf': {},
        }

    # Common parts

    def _database(self, schema: str) -> dict[str, ty.Any]:
        return {
            'connection': database.url(self._cloud, schema),
            'max_pool_size': 10,
            'max_overflow': 20,
        }

    def _user(self) -> dict[str, ty.Any]:
        """What a service proves itself with, to keystone."""
        return {
            'auth_type': 'password',
            'auth_url': self._cloud.url('keystone') + '/v3',
            'username': 'admin',
            'password': PASSWORD,
            'user_domain_id': 'default',
            'project_name': 'admin',
            'project_domain_id': 'default',
            'region_name': REGION,
        }

    def _authtoken(self) -> dict[str, ty.Any]:
        return {
            **self._user(),
            'www_authenticate_uri': self._cloud.url('keystone') + '/v3',
            'service_token_roles_required': 'true',
            'service_token_roles': 'service',
            'token_cache_time': 300,
        }

    def _helpers(
        self, *contexts: str, file: str
    ) -> dict[str, dict[str, ty.Any]]:
        """How privileged helpers are started: plainly."""
        helper = f'{self._cloud.tool("privsep-helper")} --config-file {file}'
        return {name: {'helper_command': helper} for name in contexts}

    def _common(self, name: str) -> dict[str, ty.Any]:
        return {
            'transport_url': database.bus(self._cloud),
            'debug': str('NOVA_ACCEL_CLOUD_DEBUG' in os.environ),
            'log_options': 'false',
            'state_path': self._cloud.run / name,
            'rpc_response_timeout': 60,
            'graceful_shutdown_timeout': 3,
        }

    def _locks(self) -> dict[str, ty.Any]:
        return {'lock_path': self._cloud.run / 'lock'}

    # Services

    def _keystone(self) -> Sections:
        keys = self._cloud.run / 'keystone'
        return {
            'DEFAULT': {'debug': 'false', 'log_options': 'false'},
            'database': self._database('keystone'),
            'token': {'expiration': 86400},
            'fernet_tokens': {'key_repository': keys / 'fernet'},
            'credential': {'key_repository': keys / 'credential'},
            # One process serves all, so its own memory will do.
            'cache': {'enabled': 'true', 'backend': 'oslo_cache.dict'},
            # As cheap as it gets: nothing is kept secret here.
            'identity': {
                'password_hash_algorithm': 'bcrypt',
                'password_hash_rounds': 4,
            },
        }

    def _placement(self) -> Sections:
        return {
            'DEFAULT': {'debug': 'false', 'log_options': 'false'},
            'placement_database': self._database('placement'),
            'keystone_authtoken': self._authtoken(),
            'placement': {
                'max_allocation_candidates': 1000,
                'allocation_candidates_generation_strategy': 'breadth-first',
                # MariaDB's snapshots make retries in one transaction futile
                'allocation_conflict_retry_count': 1,
            },
        }

    def _glance(self) -> Sections:
        folder = self._cloud.run / 'glance'
        return {
            'DEFAULT': {
                'enabled_backends': 'file:file',
                'node_staging_uri': f'file://{folder}/staging',
                'log_options': 'false',
            },
            'glance_store': {'default_backend': 'file'},
            'file': {'filesystem_store_datadir': folder / 'images'},
            'os_glance_staging_store': {
                'filesystem_store_datadir': folder / 'staging'
            },
            'os_glance_tasks_store': {
                'filesystem_store_datadir': folder / 'tasks'
            },
            'database': self._database('glance'),
            'keystone_authtoken': self._authtoken(),
            'paste_deploy': {
                'flavor': 'keystone',
                'config_file': self.file('glance-api-paste.ini'),
            },
        }

    def _neutron(self) -> Sections:
        return {
            'DEFAULT': {
                **self._common('neutron'),
                'core_plugin': 'ml2',
                'service_plugins': '',
                'api_paste_config': self.file('neutron-api-paste.ini'),
                'rpc_workers': 1,
                'rpc_state_report_workers': 0,
                'api_workers': 1,
                'dhcp_agent_notification': 'false',
                'notify_nova_on_port_status_changes': 'true',
                'notify_nova_on_port_data_changes': 'true',
                'agent_down_time': 30,
            },
            'agent': {
                'report_interval': 5,
                'root_helper': '',
                'root_helper_daemon': '',
            },
            'database': self._database('neutron'),
            'keystone_authtoken': self._authtoken(),
            'nova': {**self._user(), 'endpoint_type': 'public'},
            'placement': self._user(),
            'oslo_concurrency': self._locks(),
            **self._helpers('privsep', file=self.file('neutron.conf')),
        }

    def _ml2(self) -> Sections:
        return {
            'ml2': {
                'type_drivers': 'local,flat,vlan',
                'tenant_network_types': 'local',
                'mechanism_drivers': 'openvswitch',
                'extension_drivers': 'port_security',
            },
            'ml2_type_flat': {'flat_networks': PHYSICAL_NETWORK},
            'ml2_type_vlan': {
                'network_vlan_ranges': f'{PHYSICAL_NETWORK}:100:199'
            },
            'securitygroup': {
                'enable_security_group': 'true',
                'firewall_driver': 'noop',
            },
        }

    def _openvswitch(self) -> Sections:
        return {
            'DEFAULT': {'host': SWITCHED},
            'ovs': {
                'ovsdb_connection': self.ovsdb,
                'integration_bridge': 'br-int',
                'bridge_mappings': f'{PHYSICAL_NETWORK}:br-ex',
                'datapath_type': 'netdev',
                'of_listen_address': '127.0.0.1',
                'of_listen_port': self._cloud.port('openflow'),
                'of_inactivity_probe': 60,
            },
            'agent': {'tunnel_types': '', 'polling_interval': 1},
            'securitygroup': {
                'enable_security_group': 'false',
                'firewall_driver': 'noop',
            },
        }

    @property
    def ovsdb(self) -> str:
        return f'tcp:127.0.0.1:{self._cloud.port("ovsdb")}'

    # nova

    def _nova(self) -> Sections:
        user = self._user()
        cloud = self._cloud
        return {
            'DEFAULT': {
                **self._common('nova'),
                'my_ip': '127.0.0.1',
                'service_down_time': 60,
                'report_interval': 5,
                # Else the first look for new hosts may be a minute away.
                'periodic_fuzzy_delay': 0,
            },
            'oslo_concurrency': self._locks(),
            'keystone_authtoken': self._authtoken(),
            'service_user': {**user, 'send_service_user_token': 'true'},
            'placement': {
                **user,
                'endpoint_override': cloud.url('placement'),
            },
            'neutron': {
                **user,
                'endpoint_override': cloud.url('neutron'),
            },
            'glance': {**user, 'endpoint_override': cloud.url('glance')},
            'barbican': {'barbican_endpoint_type': 'internal'},
            'vnc': {'enabled': 'false'},
            'spice': {'enabled': 'false'},
        }

    def _nova_control(self) -> Sections:
        return {
            **self._nova(),
            'api_database': self._database('nova_api'),
            'database': self._database('nova'),
            'api': {'local_metadata_per_cell': 'false'},
            'wsgi': {'api_paste_config': self.file('nova-api-paste.ini')},
            'scheduler': {
                'workers': 1,
                'discover_hosts_in_cells_interval': 2,
                'enable_isolated_aggregate_filtering': 'true',
                'max_attempts': 3,
            },
            'conductor': {'workers': 1},
            'filter_scheduler': {
                'track_instance_changes': 'false',
                'available_filters': (
                    'nova.scheduler.filters.all_filters',
                    'nova_accel.scheduler.filters.AccelFilter',
                ),
                'enabled_filters': (
                    'ComputeFilter,ComputeCapabilitiesFilter,'
                    'ImagePropertiesFilter,ServerGroupAntiAffinityFilter,'
                    'ServerGroupAffinityFilter,SameHostFilter,'
                    'DifferentHostFilter,PciPassthroughFilter,'
                    'NUMATopologyFilter,AccelFilter'
                ),
            },
        }

    def compute(
        self,
        host: str,
        driver: str,
        more: collections.abc.Mapping[str, dict[str, ty.Any]],
    ) -> pathlib.Path:
        """Write the configuration of one nova-compute; return the file."""
        folder = self._cloud.run / host
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / 'nova.conf'
        common = self._nova()
        sections: Sections = {
            **common,
            'DEFAULT': {
                **common['DEFAULT'],
                'host': host,
                'compute_driver': driver,
                'state_path': folder,
                # One folder for all hosts: servers move within it.
                'instances_path': self._cloud.run / 'instances',
                'force_raw_images': 'false',
                'shutdown_timeout': 3,
                'manager_shutdown_timeout': 5,
                'update_resources_interval': 15,
                'reserved_host_memory_mb': 256,
                'sync_power_state_interval': -1,
                'vif_plugging_timeout': 60,
            },
            'compute': {
                'provider_config_location': folder / 'providers',
                # how soon a host notices what an operator tells Placement
                'resource_provider_association_refresh': 15,
            },
            'workarounds': {'disable_libvirt_livesnapshot': 'true'},
            'os_vif_ovs': {'ovsdb_connection': self.ovsdb},
            **self._helpers(
                *('nova_sys_admin', 'privsep_osbrick'),
                *('vif_plug_ovs_privileged',),
                'vif_plug_linux_bridge_privileged',
                file=str(file),
            ),
        }
        for section, options in more.items():
            sections[section] = {**sections.get(section, {}), **options}
        file.write_text(ini(sections))
        return file
