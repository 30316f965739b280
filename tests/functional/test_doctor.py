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
"""``nova-accel doctor`` beside a nova-compute that runs."""

import collections.abc
import contextlib
import io
import pathlib
import subprocess
import sys
import threading
import typing as ty
import uuid

import fixtures
import testtools

from nova_accel.testing import cloud

from nova.conductor import rpcapi
import nova.conf
from nova.conf import devices as nova_devices
from nova import objects
from nova.tests import fixtures as nova_fixtures

from nova_accel.cli import doctor
from nova_accel.cli import onhost
from nova_accel.cli import outcome
from nova_accel.cli import visit
from nova_accel.core import invariant
from nova_accel.core import inventory
from nova_accel.core import naming
from nova_accel.virt import drivers

from tests.functional import rules

SCRIPT = str(pathlib.Path(sys.executable).with_name('nova-accel'))


class Here:
    """True, and what it stands for, in one thread; false in all others.

    Conductor and doctor are one process here. One of them has a database.
    """

    def __init__(self, what: object = None) -> None:
        self._what = what
        self._thread = threading.current_thread()

    def __bool__(self) -> bool:
        return threading.current_thread() is self._thread

    def __getattr__(self, name: str) -> ty.Any:
        return getattr(self._what, name)


class DoctorCase(cloud.CloudTestCase):
    def visit(self) -> visit.Visit:
        """Come with a driver of our own, as the command does."""
        driver = drivers.LibvirtAccelDriver(None)
        driver._host._node_uuid = self.compute_rp_uuids['host1']
        connection = self.connection_of('host1')
        self.useFixture(
            fixtures.MockPatchObject(
                driver._host, 'get_connection', lambda: connection
            )
        )
        client = self.computes['host1'].manager.reportclient
        return visit.attend(driver, client)

    @contextlib.contextmanager
    def without_database(self) -> collections.abc.Iterator[None]:
        """Do to this thread what nova-compute does to its process."""
        api = Here(rpcapi.ConductorAPI())
        with (
            nova_fixtures.IndirectionAPIFixture(api),
            fixtures.MonkeyPatch('nova.db.main.api.DISABLE_DB_ACCESS', Here()),
        ):
            yield

    def doctor(self, fix: bool = False) -> doctor.Diagnosis:
        with self.without_database():
            return doctor.examine(self.visit(), fix)

    def kinds(self, fix: bool = False) -> list[str]:
        return [finding.kind for finding in self.doctor(fix).findings]


class DoctorTest(DoctorCase):
    def setUp(self) -> None:
        super().setUp()
        self.start_host('host1', 't4', rules.T4_8Q)
        self.one = self.flavor(resources__VGPU=1)
        self.server = self.boot(self.one)

    def loose(self) -> str:
        """Leave a mediated device of ours behind."""
        (held,) = self.claims(self.server)
        card, part, number = held.unit.rsplit('/', 2)
        unit = f'{card}/{part}/{1 - int(number)}'
        claim = inventory.Claim(held.provider, 'VGPU', unit)
        self.computes['host1'].driver.accel.attach('-', [claim])
        return naming.mdev_uuid(claim.provider, claim.unit)

    def allocate(self, consumer: str) -> str:
        """Let somebody have a unit of a free card; return its provider."""
        (held,) = self.claims(self.server)
        (free,) = {*self.accel_providers('host1').values()} - {held.provider}
        body = {
            'allocations': {free: {'resources': {'VGPU': 1}}},
            'project_id': 'p',
            'user_id': 'u',
            'consumer_generation': None,
            'consumer_type': 'INSTANCE',
        }
        answer = self.placement.put(
            f'/allocations/{consumer}', body, version='1.38'
        )
        self.assertEqual(204, answer.status, answer.body)
        return free

    def deleted(self) -> str:
        server = self.boot(self.one)
        self._delete_server(server)
        return ty.cast(str, server['id'])

    def test_healthy(self) -> None:
        client = 'nova.scheduler.client.report.SchedulerReportClient'
        for verb in ('put', 'post', 'delete'):
            # To call it would be an error, hence a witness less.
            self.useFixture(fixtures.MonkeyPatch(f'{client}.{verb}', None))
        found = self.doctor()
        self.assertEqual((), found.findings)
        self.assertEqual(1, sum(bool(s.claims) for s in found.facts.servers))
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            self.assertEqual(outcome.OK, doctor.show(found, 'table'))
        self.assertIn('Healthy', printed.getvalue())

    def test_what_is_safe_is_repaired(self) -> None:
        consumer = self.deleted()
        mdev = self.loose()
        provider = self.allocate(consumer)
        found = self.doctor()
        self.assertEqual(
            [
                (invariant.OF_DELETED, consumer, provider),
                (invariant.LOOSE, '', self.claims(self.server)[0].provider),
            ],
            [(f.kind, f.server, f.provider) for f in found.findings],
        )
        self.assertEqual(mdev, found.findings[1].device)
        # Nothing happened so far.
        self.assertEqual(2, len(self.mdevs('host1')))
        self.assertFalse(found.healthy)
        self.assertTrue(self.doctor(fix=True).healthy)
        self.assertEqual([], self.kinds())
        self.assertEqual(1, len(self.mdevs('host1')))
        self.assert_invariants()

    def test_what_is_not_safe_is_left(self) -> None:
        stranger = str(uuid.uuid4())
        self.allocate(stranger)
        conn = self.connection_of('host1')
        domain = conn.lookupByUUIDString(self.server['id'])
        domain._live.clear()
        (held,) = self.claims(self.server)
        url = f'/resource_providers/{held.provider}/inventories/VGPU'
        record = self.placement.get(url).body
        record['reserved'] = 1
        self.placement.put(url, record)
        found = self.doctor(fix=True)
        self.assertEqual(
            {
                invariant.OF_UNKNOWN: (stranger, False),
                invariant.NOT_ATTACHED: (self.server['id'], False),
                invariant.AMOUNTS: ('', False),
            },
            {
                each.finding.kind: (each.finding.server, each.done)
                for each in found.outcomes
            },
        )
        self.assertTrue(all(each.text for each in found.outcomes))
        # What the findings say to do helps.
        self.placement.delete(f'/allocations/{stranger}')
        self.computes['host1'].manager.reset()
        self.run_periodic()
        self._reboot_server(self.server, hard=True)
        self.assertEqual([], self.kinds())

    def test_servers_that_nova_is_at_work_on(self) -> None:
        conn = self.connection_of('host1')
        domain = conn.lookupByUUIDString(self.server['id'])
        domain._live.clear()
        instance = objects.Instance.get_by_uuid(
            self.context, self.server['id']
        )
        instance.task_state = 'rebooting'
        instance.save()
        self.assertEqual([], self.kinds())

    def test_a_mediated_device_in_use_stays(self) -> None:
        mdev = self.loose()
        conn = self.connection_of('host1')
        domain = conn.lookupByUUIDString(self.server['id'])
        (hostdev,) = domain._live
        domain._live.append({**hostdev, 'address_uuid': mdev})
        found = self.doctor(fix=True)
        self.assertEqual(
            [(invariant.NOT_HELD, False), (invariant.LOOSE, False)],
            [(each.finding.kind, each.done) for each in found.outcomes],
        )
        self.assertEqual(2, len(self.mdevs('host1')))


class TakenOverTest(DoctorCase):
    def test_devices_that_stock_nova_made(self) -> None:
        self.flags(compute_driver='libvirt.LibvirtDriver')
        self.flags(enabled_mdev_types=['nvidia-233'], group='devices')
        nova_devices.register_dynamic_opts(nova.conf.CONF)
        self.start_host('host1', 't4')
        server = self.boot(self.flavor(resources__VGPU=2))
        before = self.hostdevs('host1', server)
        self.write_rules(rules.T4_8Q)
        self.flags(compute_driver='accel.LibvirtAccelDriver')
        self.flags(enabled_mdev_types=[], group='devices')
        self.restart_compute_service('host1')
        found = self.doctor()
        self.assertEqual((), found.findings)
        self.assertEqual(before, sorted(found.facts.ours))


class CommandTest(testtools.TestCase):
    """The command as such; there is no cloud around it."""

    def run_doctor(self, text: str) -> subprocess.CompletedProcess[str]:
        folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        conf = folder / 'nova.conf'
        conf.write_text(text.format(folder=folder))
        (folder / 'accel.yaml').write_text(
            'version: 1\ndevices:\n  t4: {kint: vgpu}\n'
        )
        return subprocess.run(
            [SCRIPT, 'doctor', f'--nova-conf={conf}'],
            capture_output=True,
            text=True,
            timeout=300,
        )

    def test_what_it_cannot_work_with(self) -> None:
        cases = {
            '[DEFAULT]\nstate_path = {folder}\ntransport_url = fake:/\n'
            'compute_driver = libvirt.LibvirtDriver\n': (
                "compute_driver is 'libvirt.LibvirtDriver' in"
            ),
            '[DEFAULT]\nstate_path = {folder}\ntransport_url = fake:/\n'
            'compute_driver = accel.LibvirtAccelDriver\n'
            '[accel]\nconfig = {folder}/accel.yaml\nconfig_dir =\n': (
                'accel.yaml:3: devices.t4.kint: unknown key'
            ),
        }
        for text, said in cases.items():
            done = self.run_doctor(text)
            self.assertEqual(onhost.CANNOT_LOOK, done.returncode, done.stderr)
            self.assertIn(said, done.stderr)
            self.assertNotIn('Traceback', done.stderr)
