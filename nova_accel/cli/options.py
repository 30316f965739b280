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
"""Options that several commands share."""

import argparse
import uuid

CONFIG = '/etc/nova/accel.yaml'
CONFIG_DIR = '/etc/nova/accel.d'
URI = 'qemu:///system'
# What a command reads that works without nova.
NOVA_CONF = (
    '/etc/nova/nova.conf and /etc/nova/nova-compute.conf, if they exist'
)


def add_whitelist(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('whitelist')
    group.add_argument(
        '--config',
        metavar='FILE',
        type=_path,
        action='extend',
        nargs='+',
        default=[],
        help=f'whitelist file; may be given several times (default: '
        f'{CONFIG}, if it exists)',
    )
    group.add_argument(
        '--config-dir',
        metavar='DIR',
        type=_path,
        help=f'read every *.yaml of DIR too (default without --config: '
        f'{CONFIG_DIR}, if it exists)',
    )


def add_host(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group('host')
    group.add_argument(
        '--connect',
        metavar='URI',
        default=URI,
        help='libvirt connection to the host (default: %(default)s); '
        'test:////abs/node.xml reads a file of node devices instead, '
        'xapi+https://root@MASTER/HOST asks XenServer or XCP-ng, with the '
        'password in NOVA_ACCEL_XAPI_PASSWORD',
    )
    group.add_argument(
        '--node',
        metavar='NAME',
        help='name of the compute node (default: as libvirt names the host, '
        'which is what nova does)',
    )
    group.add_argument(
        '--node-uuid',
        metavar='UUID',
        type=_uuid,
        help='uuid of the compute node, from "openstack resource provider '
        'list"; with it the uuids of the providers are shown too',
    )


def add_nova_conf(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument(
        '--nova-conf',
        metavar='FILE',
        action='append',
        default=[],
        help=f"nova's configuration; may be given several times (default: "
        f'{default})',
    )


def add_format(parser: argparse._ActionsContainer) -> None:
    parser.add_argument(
        '-f',
        '--format',
        choices=('table', 'json'),
        default='table',
        help='how to print (default: %(default)s)',
    )


def _path(text: str) -> str:
    # What a script passes whose variable is not set.
    if not text:
        raise argparse.ArgumentTypeError('the name is empty')
    return text


def _uuid(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f'{text!r} is not a uuid') from error
