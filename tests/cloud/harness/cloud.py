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
"""The whole cloud as one thing."""

import collections.abc
import concurrent.futures
import dataclasses
import json
import shutil
import time
import typing as ty

from tests.cloud.harness import api
from tests.cloud.harness import hosts
from tests.cloud.harness import hypervisor
from tests.cloud.harness import seed
from tests.cloud.harness import services
from tests.cloud.harness import settings
from tests.cloud.harness import switch
from tests.lab.harness import errors
from tests.lab.harness import process
from tests.lab.harness import telling

_READY = 300


class Cloud:
    """Use ``up`` and ``down``; the parts are attributes."""

    def __init__(
        self,
        about: settings.Settings,
        say: collections.abc.Callable[[str], None] = telling.silent,
    ) -> None:
        self.settings = about
        self.services = services.Services(about)
        self.switch = switch.Switch(about)
        self.hypervisor = hypervisor.Hypervisor(about)
        # The pool of the hosts on XAPI; they have one.
        self.pool = process.Daemon('xapi', about.run / 'log')
        # Placement by itself, while claims are counted.
        self.rounds = process.Daemon('rounds', about.run / 'rounds')
        self.api = api.Api(about)
        self.hosts = {
            name: hosts.Host(about, self.services, self.hypervisor, name)
            for name in hosts.HOSTS
        }
        self._say = say

    # Life

    @property
    def is_up(self) -> bool:
        return (self.settings.run / 'up.json').exists()

    def up(self) -> None:
        """Start everything.

        :raises LabError: it runs already, or some part did not start; then
            what did start runs on, for a look at it, until ``down``.
        """
        if any(self.running.values()):
            raise errors.LabError('it runs already; end it: cloud down')
        shutil.rmtree(self.settings.run, ignore_errors=True)
        self.settings.run.mkdir(parents=True)
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            jobs = (
                pool.submit(self._start_host),
                pool.submit(self.services.start),
            )
            for job in jobs:
                job.result()
        self._say('database, switch and libvirtd run')
        self.services.wait_web('keystone')
        seed.catalog(self.api, self.settings)
        self._start_pool()
        self.services.start_rest()
        self.services.wait_web('nova')
        self._wait_conductor()
        self.start_hosts()
        self.services.wait()
        self._say('all APIs answer')
        planted = seed.plant(self.api, self.settings.run / 'guests')
        self.services.nest.stop()
        self.wait_hosts()
        seed.aggregate(self.api)
        self._wait_agent()
        self._say('all hosts report')
        (self.settings.run / 'up.json').write_text(
            json.dumps(dataclasses.asdict(planted))
        )

    @property
    def seed(self) -> seed.Seed:
        """What was set up at the start.

        :raises LabError: the cloud is not up.
        """
        if not self.is_up:
            raise errors.LabError('it is not up; start it: cloud up')
        known = json.loads((self.settings.run / 'up.json').read_text())
        return seed.Seed(**known)

    def down(self) -> None:
        """End everything; nothing is left but the folder."""
        (self.settings.run / 'up.json').unlink(missing_ok=True)
        self._stop_all([one.stop for one in self.hosts.values()])
        self._stop_all(
            [
                *(self.services.stop, self.switch.stop),
                *(self.hypervisor.stop, self.pool.stop, self.rounds.stop),
            ]
        )

    @staticmethod
    def _stop_all(
        stops: ty.Sequence[collections.abc.Callable[[], None]],
    ) -> None:
        with concurrent.futures.ThreadPoolExecutor(len(stops)) as pool:
            for done in [pool.submit(stop) for stop in stops]:
                done.result()

    @property
    def running(self) -> dict[str, int | None]:
        """Process by process: its number, None if it does not run."""
        return {
            **self.services.running,
            **{n: d.pid for n, d in self.switch.daemons.items()},
            'libvirtd': self.hypervisor.daemon.pid,
            'xapi': self.pool.pid,
            **{n: host.daemon.pid for n, host in self.hosts.items()},
        }

    def _start_host(self) -> None:
        self.switch.start()
        self.hypervisor.start(self.switch.env)
        self.hypervisor.wait()

    def _start_pool(self) -> None:
        (topology,) = filter(None, (h.about.pool for h in self.hosts.values()))
        self.pool.start(
            [
                *(self.settings.tool('python'), '-m'),
                'nova_accel.testing.xapi_simulator',
                *('--topology', topology),
                *('--listen', f'127.0.0.1:{self.settings.port("xapi")}'),
            ],
            env=self.services.env,
        )

    # Hosts

    def start_hosts(
        self,
        names: collections.abc.Iterable[str] = tuple(hosts.HOSTS),
        kind: str = hosts.REAL,
        fault: str = '',
    ) -> None:
        for name in names:
            self.hosts[name].start(kind, fault)

    def wait_hosts(
        self,
        names: collections.abc.Collection[str] = tuple(hosts.HOSTS),
        since: str = '',
        nodes: bool = True,
    ) -> None:
        """Wait until hosts have reported for duty after a time.

        :param since: as nova writes times; beats of before do not count.
        :param nodes: they must have told their inventory, too.
        """

        def fresh() -> bool:
            for name in names:
                if self.hosts[name].daemon.pid is None:
                    raise errors.LabError(
                        f'{name} ended:\n{self.hosts[name].daemon.tail()}'
                    )
            beats = self.api.beats()
            return all(beats.get(name, '') > since for name in names) and (
                not nodes or self._offered(names)
            )

        # Each look costs nova-api more than a wait does.
        process.wait_for(
            'fresh heartbeat of each host', fresh, _READY, pause=0.5
        )

    def _offered(self, names: collections.abc.Collection[str]) -> bool:
        found = self.api.get('nova', '/os-hypervisors/detail')
        known = {one['service']['host'] for one in found['hypervisors']}
        if not known >= set(names):
            return False
        providers = self.api.get('placement', '/resource_providers')
        ids = {one['uuid'] for one in providers['resource_providers']}
        return all(one['id'] in ids for one in found['hypervisors'])

    def restart_hosts(
        self,
        names: collections.abc.Collection[str] = hosts.SYNTHETIC,
        kind: str = hosts.REAL,
        fault: str = '',
    ) -> None:
        """Start hosts anew, with another driver or a fault."""
        self._stop_all([self.hosts[name].stop for name in names])
        since = time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime())
        self.start_hosts(names, kind, fault)
        self.wait_hosts(names, since, nodes=kind != hosts.SILENT)

    def restore_hosts(self) -> None:
        """Start every host with its real driver.

        A driver without a node has had its providers deleted, and with them
        the word that they are part of an aggregate.
        """
        self.restart_hosts(tuple(self.hosts))
        process.run(
            *self.services.command(
                *('nova-manage', 'placement', 'sync_aggregates'),
                file='nova.conf',
            ),
            env=self.services.env,
        )

    def _wait_conductor(self) -> None:
        """Hosts that ask before it listens ask again after ten seconds."""

        def known() -> bool:
            return bool(self.api.services('nova-conductor'))

        self.api.wait('nova-conductor', known, _READY)

    def _wait_agent(self) -> None:
        def alive() -> bool:
            return any(one['alive'] for one in self.api.agents())

        self.api.wait('agent of neutron', alive, _READY)
