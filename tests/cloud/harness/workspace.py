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
"""What tempest is told of the cloud."""

import pathlib

from tests.cloud.harness import cloud
from tests.cloud.harness import conf
from tests.cloud.harness import hosts
from tests.cloud.harness import settings
from tests.lab.harness import process


def write_openrc(about: settings.Settings) -> pathlib.Path:
    """Write what the openstack command needs; return the file."""
    known = {
        'OS_AUTH_URL': about.url('keystone') + '/v3',
        'OS_USERNAME': 'admin',
        'OS_PASSWORD': conf.PASSWORD,
        'OS_PROJECT_NAME': 'admin',
        'OS_USER_DOMAIN_ID': 'default',
        'OS_PROJECT_DOMAIN_ID': 'default',
        'OS_REGION_NAME': conf.REGION,
        'OS_IDENTITY_API_VERSION': '3',
        'PATH': f'{about.venv}/bin:$PATH',
    }
    file = about.run / 'openrc'
    file.write_text(
        ''.join(f'export {key}="{value}"\n' for key, value in known.items())
    )
    return file


def write(box: cloud.Cloud) -> pathlib.Path:
    """Write tempest's configuration; return the folder to run it in."""
    folder = box.settings.run / 'tempest'
    (folder / 'etc').mkdir(parents=True, exist_ok=True)
    (folder / 'etc' / 'tempest.conf').write_text(conf.ini(_sections(box)))
    import tempest

    code = pathlib.Path(tempest.__file__).parent
    (folder / '.stestr.conf').write_text(
        f'[DEFAULT]\ntest_path={code}/test_discover\ntop_dir={code.parent}\n'
        'group_regex=([^\\.]*\\.)*\n'
    )
    if not (folder / '.stestr').exists():
        process.run(
            box.settings.tool('stestr'),
            'init',
            cwd=folder,
            env=box.services.env,
        )
    return folder


def _sections(box: cloud.Cloud) -> conf.Sections:
    about, known = box.settings, box.seed
    return {
        'DEFAULT': {'log_file': 'tempest.log', 'debug': 'true'},
        'auth': {
            'admin_username': 'admin',
            'admin_password': conf.PASSWORD,
            'admin_project_name': 'admin',
            'admin_domain_name': 'Default',
            'create_isolated_networks': 'false',
            'use_dynamic_credentials': 'true',
        },
        'identity': {
            'uri_v3': about.url('keystone') + '/v3',
            'auth_version': 'v3',
            'region': conf.REGION,
        },
        'service-clients': {'http_timeout': 300},
        'oslo_concurrency': {'lock_path': about.run / 'lock'},
        'service_available': {
            'cinder': 'false',
            'swift': 'false',
            'accel': 'true',
        },
        'compute': {
            'image_ref': known.image,
            'image_ref_alt': known.other_image,
            'flavor_ref': known.flavor,
            'flavor_ref_alt': known.other_flavor,
            'fixed_network_name': 'shared',
            'build_interval': 1,
            'build_timeout': 300,
            'ready_wait': 0,
            'min_compute_nodes': 1,
            'max_microversion': 'latest',
        },
        'placement': {'max_microversion': 'latest'},
        'compute-feature-enabled': {
            'cold_migration': 'true',
            'live_migration': 'false',
            'resize': 'true',
            'rescue': 'true',
            'shelve': 'true',
            'snapshot': 'true',
            'suspend': 'true',
            'vnc_console': 'false',
            'metadata_service': 'false',
            'config_drive': 'false',
            'volume_backed_live_migration': 'false',
            'attach_encrypted_volume': 'false',
        },
        'network': {
            'shared_physical_network': 'true',
            'floating_network_name': 'none',
        },
        'network-feature-enabled': {'floating_ips': 'false'},
        'validation': {'run_validation': 'false', 'connect_method': 'fixed'},
        'accel': {
            'resource_classes': ','.join(hosts.CLASSES),
            'flavor_extra_specs': f'trait:{hosts.TRAIT}=required',
            'images': ','.join(
                f'{rc}={known.raw_image}' for rc in hosts.XEN_CLASSES
            ),
            'guest_reports': 'true',
            'silent_guests': ','.join(hosts.XEN_CLASSES),
            'guest_timeout': 60,
            'two_hosts': 'true',
            'drain': 'true',
            'hot_attach': 'true',
        },
    }
