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
"""What an operator sets up once: endpoints, images, flavors, a network."""

import dataclasses
import pathlib

from tests.cloud.harness import api
from tests.cloud.harness import conf
from tests.cloud.harness import hosts
from tests.cloud.harness import settings
from tests.lab.harness import guests

_SERVICES = {
    'nova': ('compute', '/v2.1'),
    'placement': ('placement', ''),
    'glance': ('image', ''),
    'neutron': ('network', ''),
    'accelerators': ('accelerator-hotplug', ''),
}
NETWORK = 'shared'


@dataclasses.dataclass(frozen=True)
class Seed:
    """What tempest is told of.

    :ivar raw_image: for hosts that take no other.
    """

    image: str
    other_image: str
    raw_image: str
    flavor: str
    other_flavor: str
    network: str


def catalog(client: api.Api, cloud: settings.Settings) -> None:
    """Tell keystone where the others are, and let services trust us."""
    for name, (kind, path) in _SERVICES.items():
        body = {'service': {'name': name, 'type': kind}}
        made = client.call('keystone', 'POST', '/services', json=body)
        endpoint = {
            'service_id': made['service']['id'],
            'interface': 'public',
            'region_id': conf.REGION,
            'url': cloud.url(name) + path,
        }
        body = {'endpoint': endpoint}
        client.call('keystone', 'POST', '/endpoints', json=body)
    _grant_service(client)


def _grant_service(client: api.Api) -> None:
    """The services' user is the administrator: give it their role, too."""
    (role,) = client.get('keystone', '/roles?name=service')['roles']
    (user,) = client.get('keystone', '/users?name=admin')['users']
    (project,) = client.get('keystone', '/projects?name=admin')['projects']
    client.call(
        *('keystone', 'PUT'),
        f'/projects/{project["id"]}/users/{user["id"]}/roles/{role["id"]}',
    )
    client.forget_token()


def plant(client: api.Api, folder: pathlib.Path) -> Seed:
    image = guests.tiny_image(folder)
    about = {
        'hw_disk_bus': 'sata',
        'hw_machine_type': 'q35',
        # Else the scheduler would send some to the host on XAPI.
        'img_hv_type': 'qemu',
    }
    images = [client.upload(f'tiny{n}', image, **about) for n in ('', '-2')]
    raw = folder / 'empty.raw'
    raw.write_bytes(bytes(1 << 20))
    return Seed(
        image=images[0]['id'],
        other_image=images[1]['id'],
        raw_image=client.upload('empty', raw, disk_format='raw')['id'],
        flavor=client.flavor('m1.tiny', 64),
        other_flavor=client.flavor('m1.small', 80),
        network=_network(client),
    )


def _network(client: api.Api) -> str:
    """Flat, for everybody; the first one that a server gets."""
    network = {
        'name': NETWORK,
        'shared': True,
        'provider:network_type': 'flat',
        'provider:physical_network': conf.PHYSICAL_NETWORK,
    }
    body = {'network': network}
    made = client.call('neutron', 'POST', '/networks', json=body)['network']
    subnet = {
        'network_id': made['id'],
        'name': NETWORK,
        'ip_version': 4,
        'cidr': '198.51.100.0/24',
        'gateway_ip': None,
        'enable_dhcp': False,
    }
    client.call('neutron', 'POST', '/subnets', json={'subnet': subnet})
    return str(made['id'])


def aggregate(client: api.Api) -> None:
    """Keep servers off the made-up hosts that do not ask for them."""
    body = {'aggregate': {'name': 'synthetic'}}
    made = client.call('nova', 'POST', '/os-aggregates', json=body)
    path = f'/os-aggregates/{made["aggregate"]["id"]}/action'
    for host in hosts.MADE_UP:
        body = {'add_host': {'host': host}}
        client.call('nova', 'POST', path, json=body)
    metadata = {f'trait:{hosts.TRAIT}': 'required'}
    body = {'set_metadata': {'metadata': metadata}}
    client.call('nova', 'POST', path, json=body)
