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
"""Whether the host of a server has what is to be attached.

Only so that most of what cannot be is refused at once, with the reason: the
node decides.
"""

import typing as ty
import urllib.parse

from keystoneauth1 import exceptions as ks_exc
from nova import exception as nova_exception
from nova import objects
from nova.scheduler.client import report

from nova_accel.api import servers
from nova_accel.core import naming
from nova_accel import exception

# in_tree came with 1.14, required with 1.18.
_VERSION = '1.18'


def check(server: servers.Server, resource_class: str, amount: int) -> None:
    """Refuse where the host cannot attach a class, or has none free.

    :raises HotplugUnsupported: no provider there has the class, or the
        trait.
    :raises NoFreeSlot: none has that much free.
    """
    able = _providers(server, required=naming.HOTPLUG)
    if not able:
        raise exception.HotplugUnsupported(
            server=server.uuid,
            resource_class=resource_class,
            reason=f'nothing there has the trait {naming.HOTPLUG}; create '
            'the server with a flavor that asks for the device, or let an '
            'administrator migrate it to a host that can',
        )
    if not able & _providers(server, resources=f'{resource_class}:{amount}'):
        if not any(_offers(server, each, resource_class) for each in able):
            raise exception.HotplugUnsupported(
                server=server.uuid,
                resource_class=resource_class,
                reason='nothing there offers it; have an administrator '
                'migrate the server to a host that does',
            )
        raise exception.NoFreeSlot(
            server=server.uuid,
            resource_class=resource_class,
            amount=amount,
            reason='no single device there has as much left',
        )


def _providers(server: servers.Server, **query: str) -> frozenset[str]:
    """Return providers of the server's host, by uuid."""
    asked = urllib.parse.urlencode({'in_tree': _node(server), **query})
    found = _get(server, f'/resource_providers?{asked}')
    return frozenset(each['uuid'] for each in found['resource_providers'])


def _offers(
    server: servers.Server, provider: str, resource_class: str
) -> bool:
    found = _get(server, f'/resource_providers/{provider}/inventories')
    return resource_class in found['inventories']


def _node(server: servers.Server) -> str:
    instance = server.instance
    try:
        node = objects.ComputeNode.get_by_host_and_nodename(
            server.context, instance.host, instance.node
        )
    except nova_exception.ComputeHostNotFound as e:
        raise exception.HostUnavailable(server=server.uuid) from e
    return ty.cast(str, node.uuid)


def _get(server: servers.Server, url: str) -> dict[str, ty.Any]:
    try:
        answer = report.report_client_singleton().get(
            url,
            version=_VERSION,
            global_request_id=server.context.global_id,
        )
    except ks_exc.ClientException as e:
        raise exception.ServiceSilent(service='Placement') from e
    if answer.status_code == 200:
        return ty.cast(dict[str, ty.Any], answer.json())
    if answer.status_code in (400, 404):
        # A resource class that no host has ever reported, or a provider
        # that has just gone.
        return {'resource_providers': [], 'inventories': {}}
    raise exception.ServiceSilent(service='Placement')
