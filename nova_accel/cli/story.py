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
"""The chapters of the demo, each with what must hold after it."""

import collections
import collections.abc
import importlib.resources
import typing as ty
import uuid

from keystoneauth1 import adapter
from keystoneauth1 import session
from keystoneauth1 import token_endpoint
from oslo_utils.fixture import uuidsentinel as uuids

from nova_accel.cli.osc import client
from nova_accel.cli.osc import waiting
from nova_accel.cli import render
from nova_accel.testing import cloud
from nova_accel.testing import front as front_door

HOSTS = {'desk-1': 't4', 'train-1': 'a100'}

# What the operator calls it -> extra specs.
ATTACHMENT = '8d3f5a52-0a3c-4c8f-9d1a-5b0f2a7c1e11'

FLAVORS = {
    'desktop': {'resources:VGPU': '1', 'accel_hotplug:max_VGPU': '1'},
    'workstation': {'resources:VGPU': '2'},
    'training': {'resources:CUSTOM_A100': '1'},
}


class Story:
    """What goes to the terminal: chapters, tables, trees."""

    def __init__(self, file: ty.TextIO) -> None:
        self.screen = render.Screen(file)
        self._chapter = 0

    def chapter(self, title: str) -> None:
        self._chapter += 1
        self.screen.line()
        self.screen.heading(f'{self._chapter}. {title}')
        self.screen.line()

    def say(self, words: str) -> None:
        for line in words.splitlines():
            self.screen.line(line)


def draw_providers(
    story: Story,
    services: cloud.CloudTestCase,
    hosts: collections.abc.Iterable[str],
    shown: collections.abc.Callable[[str], str] = str,
) -> None:
    """Draw what each host has and how much of it is used.

    :param shown: writes the stable id of a provider.
    """
    for host in hosts:
        used = services.usages(host)
        branches = tuple(
            render.Branch(
                f'{host}_accel_{shown(stable_id)}',
                tuple(
                    render.Branch(
                        f'{rc}: {used.get(stable_id, {}).get(rc, 0)} of '
                        f'{total - reserved} used'
                    )
                    for rc, (total, reserved) in classes.items()
                ),
            )
            for stable_id, classes in sorted(
                services.inventories(host).items()
            )
        )
        story.screen.tree(
            render.Branch(f'{host}  (compute node)', branches, True)
        )


class Demo(cloud.CloudTestCase):
    """A test case, since nova's services live in one."""

    story: ty.ClassVar[Story]

    def runTest(self) -> None:
        self.flavors: dict[str, str] = {}
        self.servers: dict[str, dict[str, ty.Any]] = {}
        for chapter in (
            self.whitelist,
            self.hosts,
            self.make_flavors,
            self.boot_servers,
            self.attach_one,
            self.detach_it,
            self.fill_up,
            self.delete_all,
        ):
            chapter()

    # Chapters

    def whitelist(self) -> None:
        self.story.chapter('The operator writes one file for all hosts')
        found = rules()
        self.story.say(found.strip())
        self.write_rules(found)

    def hosts(self) -> None:
        self.story.chapter('nova-compute starts and reports')
        for host, node in HOSTS.items():
            # Nova's harness asks for a node's uuid here; random otherwise.
            setattr(uuids, f'node_{host}', _node_uuid(host))
            self.start_host(host, node)
        self.story.say('The provider trees, as Placement has them:')
        self.draw_providers()
        self.assertEqual({}, self.used())

    def make_flavors(self) -> None:
        self.story.chapter('Users ask with ordinary flavors')
        for name, specs in FLAVORS.items():
            self.flavors[name] = self._create_flavor(
                name=name, extra_spec=specs
            )
        self.story.screen.table(
            ['flavor', 'asks for'],
            [
                [name, ' '.join(f'{k}={v}' for k, v in specs.items())]
                for name, specs in FLAVORS.items()
            ],
        )

    def boot_servers(self) -> None:
        self.story.chapter('Servers boot: one vGPU, two, a whole GPU')
        for name, flavor in (
            ('alice', 'desktop'),
            ('bob', 'workstation'),
            ('carol', 'training'),
        ):
            self.servers[name] = self.boot(self.flavors[flavor], name=name)
        self.list_servers()
        self.story.screen.line()
        self.story.say('What that leaves, as Placement has it:')
        self.draw_providers()
        self.assert_invariants()

    def attach_one(self) -> None:
        self.story.chapter('A running server gets one more vGPU')
        front = self.useFixture(
            front_door.Front(self.servers['alice']['tenant_id'])
        )
        self.accelerators = client.Client(
            adapter.Adapter(
                session.Session(token_endpoint.Token(front.url, 'a token')),
                service_type=client.SERVICE_TYPE,
            )
        )
        self.story.say(
            'The flavor desktop lets one be attached, on top of its own:\n'
            '$ openstack server add accelerator alice --resource VGPU --wait'
        )
        alice = self.servers['alice']['id']
        made = self.accelerators.attach(alice, ATTACHMENT, 'VGPU', 1)
        self.waiter().attached(alice, made)
        self.list_accelerators('alice')
        self.assertEqual(2, len(self.hostdevs('desk-1', {'id': alice})))
        self.assertEqual({'VGPU': 4}, self.used_on('desk-1'))
        self.assert_invariants()

    def detach_it(self) -> None:
        self.story.chapter('And gives it back')
        self.story.say(
            f'$ openstack server remove accelerator alice {ATTACHMENT} --wait'
        )
        alice = self.servers['alice']['id']
        before = self.accelerators.show(alice, ATTACHMENT)
        self.accelerators.detach(alice, ATTACHMENT)
        self.waiter().detached(alice, {**before, 'status': 'detaching'})
        self.list_accelerators('alice')
        self.assertEqual(1, len(self.hostdevs('desk-1', {'id': alice})))
        self.assertEqual({'VGPU': 3}, self.used_on('desk-1'))
        self.assert_invariants()

    def fill_up(self) -> None:
        self.story.chapter("The desktops' host fills up, and says so")
        self.servers['dave'] = self.boot(self.flavors['desktop'], name='dave')
        self.story.say('dave takes the last vGPU, and erin asks for one more:')
        message = self.refused(self.flavors['desktop'], name='erin').strip()
        self.story.say(f'"{message}"')
        self.assertIn('No valid host', message)
        self.assert_invariants()

    def delete_all(self) -> None:
        self.story.chapter('Servers go, and everything is free again')
        for server in self.servers.values():
            self._delete_server(server)
        self.story.say('No server, no mediated device, no allocation:')
        self.draw_providers()
        self.assertEqual({}, self.used())
        for host in HOSTS:
            self.assertEqual([], self.mdevs(host))
        self.assert_invariants()

    # Pictures

    def draw_providers(self) -> None:
        draw_providers(self.story, self, HOSTS)

    def list_servers(self) -> None:
        rows = []
        for name, server in self.servers.items():
            server = self.api.get_server(server['id'])
            host = server['OS-EXT-SRV-ATTR:host']
            devices = self.hostdevs(host, server)
            claims = self.claims(server)
            self.assertEqual('ACTIVE', server['status'])
            self.assertEqual(len(claims), len(devices))
            rows += [
                [name, server['status'], host, claim.unit, dev]
                for claim, dev in zip(claims, devices, strict=True)
            ]
        self.story.screen.table(
            ['server', 'status', 'host', 'claimed', 'in its domain'], rows
        )

    def list_accelerators(self, name: str) -> None:
        self.story.say(f'$ openstack server accelerator list {name}')
        self.story.screen.table(
            ['resource class', 'amount', 'status', 'source'],
            [
                [
                    found['resource_class'],
                    str(found['amount']),
                    found['status'],
                    found['source'],
                ]
                for found in self.accelerators.list(self.servers[name]['id'])
            ],
        )

    def waiter(self) -> waiting.Waiter:
        # How often a status is seen depends on the machine: not told.
        return waiting.Waiter(self.accelerators, lambda line: None, 120)

    def used_on(self, host: str) -> dict[str, int]:
        return dict(
            sum(
                (collections.Counter(u) for u in self.usages(host).values()),
                collections.Counter(),
            )
        )

    def used(self) -> dict[str, ty.Any]:
        return {h: u for h in HOSTS if (u := self.usages(h))}


def _node_uuid(host: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, host))


def rules() -> str:
    """The whitelist of both acts."""
    files = importlib.resources.files('nova_accel.testing')
    return files.joinpath('demo.yaml').read_text()
