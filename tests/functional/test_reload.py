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
"""The whitelist changes while nova-compute runs and devices are in use."""

import os
import pathlib
import signal
import time
import typing as ty

import nova.conf
from nova.conf import devices as nova_devices
from nova import utils

from nova_accel.objects import publication
from nova_accel.testing import cloud

from tests.functional import rules

CONF = nova.conf.CONF

NVME = """
version: 1
devices:
  nvme:
    kind: pci
    match: {class: "0108"}
    resource_class: CUSTOM_NVME
"""
WRONG = f'{NVME}    colour: red\n'


class ReloadCase(cloud.CloudTestCase):
    def rewrite(self, text: str | None) -> None:
        """Change the file, or remove it, and say so to nova-compute."""
        path = pathlib.Path(CONF.accel.config)
        if text is None:
            path.unlink()
        else:
            path.write_text(text)
        CONF.mutate_config_files()

    def errors(self) -> list[str]:
        # The driver of an earlier test may still be there and say the same.
        said = {
            line.partition(' ERROR ')[2]
            for line in self.stdlog.logger.output.splitlines()
            if 'not read anew' in line
        }
        return sorted(said)

    def records(self) -> dict[str, tuple[int, int]]:
        """Class -> total and reserved, of all providers of ours."""
        return {
            rc: record
            for classes in self.inventories('host1').values()
            for rc, record in classes.items()
        }


class InUseTest(ReloadCase):
    def setUp(self) -> None:
        super().setUp()
        self.start_host('host1', 'mixed', rules.MIXED)
        self.one = self.flavor(resources__VGPU=1)
        self.server = self.boot(
            self.flavor(resources__VGPU=1, resources__CUSTOM_NVME=1)
        )
        self.before = self.hostdevs('host1', self.server)
        self.offered = self.records()

    def tearDown(self) -> None:
        self.assert_invariants()
        super().tearDown()

    def assert_serves(self) -> None:
        """The server has what it had, also when it is started again."""
        self._reboot_server(self.server, hard=True)
        self.assertEqual(self.before, self.hostdevs('host1', self.server))

    def assert_kept(self, *classes: str) -> None:
        """Providers of what is listed no more stay, for who has it."""
        self.run_periodic()
        records = self.records()
        for rc in classes:
            total, _reserved = self.offered[rc]
            self.assertEqual((total, total - 1), records[rc])
        self.assertEqual(self.offered.keys(), records.keys())
        self.assert_invariants()

    def assert_gone(self, *classes: str) -> None:
        """They go with the last server."""
        self._delete_server(self.server)
        self.run_periodic()
        self.assertEqual(
            self.offered.keys() - set(classes), self.records().keys()
        )

    def test_a_bad_file_keeps_the_last_good_one(self) -> None:
        self.rewrite(WRONG)
        (error,) = self.errors()
        self.assertIn('accel.yaml:8: devices.nvme.colour: unknown key', error)
        self.run_periodic()
        self.assertEqual(self.offered, self.records())
        self.boot(self.one)
        self.assert_serves()
        # Mended, it counts.
        self.rewrite(NVME)
        self.refused(self.one)

    def test_a_rule_is_removed(self) -> None:
        self.rewrite(NVME)
        self.assertEqual([], self.errors())
        self.assert_kept('VGPU')
        self.refused(self.one)
        self.assert_serves()
        self.restart_compute_service('host1')
        self.assert_serves()
        self.assert_kept('VGPU')
        self.assert_gone('VGPU')

    def test_the_file_is_removed(self) -> None:
        self.rewrite(None)
        self.assertEqual([], self.errors())
        self.assert_kept('VGPU', 'CUSTOM_NVME')
        self.refused(self.one)
        self.assert_serves()
        # The host reboots, and the mediated devices are lost.
        conn = self.connection_of('host1')
        conn.lookupByUUIDString(self.server['id']).destroy()
        conn.machine.reboot()
        self.restart_compute_service('host1')
        self.assert_serves()
        self.assert_kept('VGPU', 'CUSTOM_NVME')
        self.assert_gone('VGPU', 'CUSTOM_NVME')
        self.assertEqual([], self.mdevs('host1'))
        stats = self.computes['host1'].manager.rt.stats['host1']
        capabilities = publication.load(stats)
        assert capabilities is not None
        self.assertEqual([], capabilities.models)

    def test_the_file_comes_back(self) -> None:
        self.rewrite(None)
        self.run_periodic()
        self.rewrite(rules.MIXED)
        self.run_periodic()
        self.assertEqual(self.offered, self.records())
        self.assert_serves()


class NewRulesTest(ReloadCase):
    def test_they_are_offered_at_the_next_update(self) -> None:
        self.start_host('host1', 'mixed', 'version: 1\ndevices: {}\n')
        self.assertEqual({}, self.records())
        self.rewrite(rules.MIXED)
        self.run_periodic()
        self.assertEqual({'VGPU', 'CUSTOM_NVME'}, self.records().keys())
        self.boot(self.flavor(resources__VGPU=1, resources__CUSTOM_NVME=1))
        self.assert_invariants()

    def test_a_device_that_nova_gives_away_itself(self) -> None:
        self.flags(enabled_mdev_types=['nvidia-233'], group='devices')
        nova_devices.register_dynamic_opts(CONF)
        self.flags(device_addresses=['0000:af:00.0'], group='mdev_nvidia-233')
        mine = rules.T4_8Q.replace('"1eb8"', '"1eb8", address: "0000:18:00.0"')
        self.start_host('host1', 't4', mine)
        before = self.inventories('host1')
        self.rewrite(rules.T4_8Q)
        (error,) = self.errors()
        self.assertIn('0000:af:00.0', error)
        self.assertIn('rule t4-8q', error)
        self.assertIn('[devices]enabled_mdev_types', error)
        self.run_periodic()
        self.assertEqual(before, self.inventories('host1'))


class SignalTest(ReloadCase):
    def test_sighup(self) -> None:
        if not utils.concurrency_mode_threading():
            self.skipTest('with eventlet oslo.service itself reloads')
        # The launcher's, which would end the process.
        before = signal.signal(signal.SIGHUP, self.fail)
        self.addCleanup(signal.signal, signal.SIGHUP, before)
        self.start_host('host1', 'mixed', NVME)
        pathlib.Path(CONF.accel.config).write_text(rules.MIXED)
        service = self.computes['host1'].manager
        client, rpcapi = service.reportclient, service.compute_rpcapi
        tree = client._provider_tree
        os.kill(os.getpid(), signal.SIGHUP)
        self._wait(lambda: service.compute_rpcapi is not rpcapi)
        self._wait(lambda: client._provider_tree is not tree)
        self.run_periodic()
        self.assertEqual({'VGPU', 'CUSTOM_NVME'}, self.records().keys())

    def _wait(self, condition: ty.Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not condition():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)
