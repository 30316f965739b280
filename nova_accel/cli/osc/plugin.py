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
"""Makes ``openstack`` know the API of hot attach and detach.

OpenStackClient finds this module and reads the names in capitals.
"""

import argparse
import os

from keystoneauth1 import adapter
from osc_lib import clientmanager
from osc_lib import utils

from nova_accel.cli.osc import client

API_NAME = 'accelerator_hotplug'
DEFAULT_API_VERSION = '1'
API_VERSION_OPTION = 'os_accelerator_hotplug_api_version'
API_VERSIONS = {'1': 'nova_accel.cli.osc.client', '1.0': ''}

_ENDPOINT = 'OS_ACCELERATOR_HOTPLUG_ENDPOINT'


def make_client(instance: clientmanager.ClientManager) -> client.Client:
    """Return the client that commands find under API_NAME."""
    return client.Client(
        adapter.Adapter(
            session=instance.session,
            service_type=client.SERVICE_TYPE,
            interface=instance.interface,
            region_name=instance.region_name,
            endpoint_override=_endpoint(instance),
            default_microversion='1.0',
            # Everything may be sent twice: that is what ids are for.
            connect_retries=2,
            status_code_retries=2,
            retriable_status_codes=[503],
        )
    )


def _endpoint(instance: clientmanager.ClientManager) -> str | None:
    given = instance.get_configuration().get('accelerator_hotplug_endpoint')
    return given or os.environ.get(_ENDPOINT)


def build_option_parser(
    parser: argparse.ArgumentParser,
) -> argparse.ArgumentParser:
    """Add our options to those of ``openstack`` itself."""
    parser.add_argument(
        '--os-accelerator-hotplug-api-version',
        metavar='<version>',
        default=utils.env('OS_ACCELERATOR_HOTPLUG_API_VERSION'),
        help='Version of the API that attaches accelerators to servers, '
        f'default={DEFAULT_API_VERSION} '
        '(Env: OS_ACCELERATOR_HOTPLUG_API_VERSION)',
    )
    parser.add_argument(
        '--os-accelerator-hotplug-endpoint',
        metavar='<url>',
        default=utils.env(_ENDPOINT),
        help='URL of the API that attaches accelerators to servers, if the '
        f'service catalog has no {client.SERVICE_TYPE} (Env: {_ENDPOINT})',
    )
    return parser
