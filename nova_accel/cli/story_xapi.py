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
"""The demo's second act: the same file and flavors, on a XAPI pool."""

import importlib.resources
import typing as ty

from nova_accel.cli import story as first
from nova_accel.testing import xapi_cloud
from nova_accel.testing import xapi_pool

HOSTS = ('desk-2', 'train-2')
MODEL = 'GRID T4-8Q'

_REFUSED = """\
Here XAPI picks the card, so the two T4 are one provider. And XAPI might put
any of five types on them, so nova-accel check says what to do:"""


class Demo(xapi_cloud.XapiCloudTestCase):
    """A test case, since nova's services live in one."""

    story: ty.ClassVar[first.Story]

    def make_pool(self) -> xapi_pool.Pool:
        files = importlib.resources.files('nova_accel.testing')
        with importlib.resources.as_file(
            files.joinpath('demo-xapi.yaml')
        ) as path:
            return xapi_pool.Pool(str(path))

    def runTest(self) -> None:
        self.flavors = {
            name: self._create_flavor(name=name, extra_spec=specs)
            for name, specs in first.FLAVORS.items()
        }
        self.servers: dict[str, dict[str, ty.Any]] = {}
        for chapter in (
            self.hosts,
            self.boot_servers,
            self.fill_up,
            self.delete_all,
        ):
            chapter()

    # Chapters

    def hosts(self) -> None:
        self.story.chapter('The same file on a XenServer or XCP-ng pool')
        self.story.say(_REFUSED)
        self.story.say('  xe pgpu-param-set uuid=... enabled-VGPU-types=...')
        xapi_cloud.enabled_only(self.xapi, HOSTS[0], MODEL)
        self.write_rules(first.rules())
        for host in HOSTS:
            self.start_host(host)
        self.story.screen.line()
        self.draw_providers()

    def boot_servers(self) -> None:
        self.story.chapter('The same flavors')
        for name, flavor in (('alice', 'desktop'), ('carol', 'training')):
            self.servers[name] = self.boot(self.flavors[flavor], name=name)
        rows = []
        for name, server in self.servers.items():
            found = self.api.get_server(server['id'])
            host = found['OS-EXT-SRV-ATTR:host']
            rows.append([name, found['status'], host, self.devices(server)])
        self.story.screen.table(
            ['server', 'status', 'host', 'in its virtual machine'], rows
        )
        self.story.screen.line()
        self.draw_providers()
        self.assert_invariants()

    def devices(self, server: dict[str, ty.Any]) -> str:
        record = self.machine(server)
        types = [
            self.xapi.call('VGPU.get_type', ref) for ref in record['VGPUs']
        ]
        models = [
            self.xapi.call('VGPU_type.get_model_name', ref) for ref in types
        ]
        return ', '.join(models) or record['other_config']['pci']

    def fill_up(self) -> None:
        self.story.chapter('Full is full here, too')
        for name in ('dave', 'frank', 'grace'):
            self.servers[name] = self.boot(self.flavors['desktop'], name=name)
        self.story.say('Three more desktops, and erin asks for the fifth:')
        message = self.refused(self.flavors['desktop'], name='erin').strip()
        self.story.say(f'"{message}"')
        self.assertIn('No valid host', message)
        self.assert_invariants()

    def delete_all(self) -> None:
        self.story.chapter('Servers go, and nothing of them stays')
        for server in self.servers.values():
            self._delete_server(server)
        self.story.say('No machine, no disk, no VGPU, no allocation:')
        self.draw_providers()
        self.assert_nothing_left()
        self.assert_invariants()

    # Pictures

    def draw_providers(self) -> None:
        first.draw_providers(self.story, self, HOSTS, _shown)


def _shown(stable_id: str) -> str:
    """Leave out what another run would have another way."""
    kind, _, rest = stable_id.partition(':')
    return f'{kind}:<uuid>' if kind == 'gpu-group' else f'{kind}:{rest}'
