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
from nova_accel.backends import base
from nova_accel.backends import xapi
from nova_accel.backends.xapi import marks
from nova_accel.backends.xapi import plans
from nova_accel import exception
from tests.unit.backends.xapi import common


class HostTest(common.PoolTestCase):
    """Two hosts of a pool, each with cards of its own."""

    def view(self, host):
        return xapi.XapiBackend(self.xapi, host).discover()

    def totals(self, view, label):
        (found,) = [
            {model.name: model.capacity for model in dev.models}
            for dev in view.devices
            if dev.models and label in dev.product_name
        ]
        return found

    def test_each_host_reports_its_own(self):
        # One group spans both hosts.
        for host in ('xen1', 'xen2'):
            found = self.totals(self.view(host), 'GRID K1')
            self.assertEqual(16, found['GRID K140Q'])
            self.assertEqual(4, found['GRID K180Q'])
        self.assertRaises(ValueError, self.totals, self.view('xen1'), 'K2')
        self.assertEqual(
            2, self.totals(self.view('xen2'), 'GRID K2')['GRID K280Q']
        )

    def test_what_others_have_is_lacking(self):
        view = self.view('xen2')
        names = {
            (dev.name, model.type_id): model.name
            for dev in view.devices
            for model in dev.models
            if 'K2' in dev.product_name
        }
        found = {
            names[key]: count
            for key, count in view.lacking.items()
            if key in names
        }
        # theirs-2 has a K280Q on one of the two GPUs.
        self.assertEqual(
            {
                'GRID K200': 8,
                'GRID K220Q': 8,
                'GRID K240Q': 4,
                'GRID K260Q': 2,
                'GRID K280Q': 1,
            },
            found,
        )

    def test_a_card_in_use_cannot_be_passed_through(self):
        view = self.view('xen2')
        addresses = {dev.name: str(dev.address) for dev in view.devices}
        whole = [addresses[name] for name, kind in view.lacking if not kind]
        self.assertEqual(1, len(whole))
        self.assertIn(whole[0], ('0000:44:00.0', '0000:45:00.0'))

    def test_a_host_that_is_not_there(self):
        error = self.assertRaises(exception.XapiUnavailable, self.view, 'xen3')
        self.assertIn('xen1, xen2', str(error))


class SeveralTest(common.PoolTestCase):
    TOPOLOGY = 'a40'

    def test_types_of_which_a_server_may_have_several(self):
        view = xapi.XapiBackend(self.xapi).discover()
        models = [model for dev in view.devices for model in dev.models]
        self.assertTrue(models)
        for model in models:
            ref = self.one('VGPU_type', uuid=model.type_id)
            allowed = self.xapi.call(
                'VGPU_type.get_compatible_types_in_vm', ref
            )
            wanted = None if ref in allowed else 1
            self.assertEqual(wanted, model.per_server, model.name)
        self.assertIn(None, {model.per_server for model in models})


class FreshnessTest(common.PoolTestCase):
    def setUp(self):
        super().setUp()
        self.backend = xapi.XapiBackend(self.xapi, 'xen1')
        self.view = self.backend.discover()

    def test_a_quiet_look_is_one_call(self):
        self.forget_calls()
        for _each in range(3):
            self.assertIs(self.view, self.backend.discover())
        self.assertEqual({'event.from': 3}, self.calls())

    def test_a_change_is_seen_at_once(self):
        vm = self.vm()
        self.vgpu(vm, 'GRID K180Q', 'GRID K1')
        self.assertIs(self.view, self.backend.discover())
        self.start(vm)
        lacking = self.backend.discover().lacking
        self.assertNotEqual(self.view.lacking, lacking)
        self.xapi.call('VM.hard_shutdown', vm)
        self.assertEqual(self.view.lacking, self.backend.discover().lacking)

    def test_lost_events_are_noticed(self):
        self.control('POST', 'events/lose', count=1)
        self.vm()
        vm = self.vm()
        self.backend.discover()
        self.assertIn(vm, self.backend.survey().objects['vm'])

    def test_a_token_that_is_not_known_any_more(self):
        vm = self.vm()
        self.fault(
            'event.from', error=['EVENT_FROM_TOKEN_PARSE_FAILURE', '$token']
        )
        self.assertIn(vm, self.backend.survey().objects['vm'])

    def test_a_session_ends_in_mid_event(self):
        vm = self.vm()
        self.fault('event.from', stage='after', error=['SESSION_INVALID', 'x'])
        self.assertIn(vm, self.backend.survey().objects['vm'])
        self.assertEqual(self.view.lacking, self.backend.discover().lacking)

    def test_a_new_master(self):
        self.control('POST', 'master', host='xen2')
        vm = self.vm()
        self.assertIn(vm, self.backend.survey().objects['vm'])


class DeviceTest(common.PoolTestCase):
    TOPOLOGY = 'grid-k2'

    def setUp(self):
        super().setUp()
        self.backend = xapi.XapiBackend(self.xapi)
        self.view = self.backend.discover()
        self.group = next(d for d in self.view.devices if d.models)

    def assignment(self, model='GRID K240Q', **changes):
        types = {m.name: m.type_id for m in self.group.models}
        fields = {
            'unit': 'unit-1',
            'function': self.group,
            'mdev_uuid': 'mdev-1',
            'mdev_type': types[model],
            **changes,
        }
        return base.Assignment(**fields)

    def ours(self, mdev='mdev-1'):
        config = {marks.SERVER: 's', marks.HOST: self.backend.host_uuid}
        vm = self.vm(other_config=config)
        self.vgpu(vm, 'GRID K240Q', 'GRID K2', {marks.MDEV: mdev})
        return vm

    def test_a_plan(self):
        assignment = self.assignment()
        self.backend.prepare(assignment)
        plan = self.backend.render(assignment)
        self.assertIsInstance(plan, plans.VgpuPlan)
        self.assertEqual(
            'GRID K240Q',
            self.xapi.call('VGPU_type.get_model_name', plan.vgpu_type),
        )

    def test_a_type_that_is_enabled_nowhere(self):
        only = self.one('VGPU_type', model_name='GRID K280Q')
        for ref in self.xapi.call('PGPU.get_all'):
            if not self.xapi.call('PGPU.get_resident_VGPUs', ref):
                self.xapi.call('PGPU.set_enabled_VGPU_types', ref, [only])
                continue
            for vgpu in self.xapi.call('PGPU.get_resident_VGPUs', ref):
                vm = self.xapi.call('VGPU.get_VM', vgpu)
                self.xapi.call('VM.hard_shutdown', vm)
            self.xapi.call('PGPU.set_enabled_VGPU_types', ref, [only])
        error = self.assertRaises(
            exception.DeviceRefused, self.backend.prepare, self.assignment()
        )
        self.assertIn('enabled on no GPU', str(error))

    def test_ours_are_told_from_others(self):
        before = self.view.lacking
        vm = self.ours()
        self.start(vm)
        view = self.backend.discover()
        self.assertEqual(['mdev-1'], [mdev.uuid for mdev in view.mdevs])
        key = self.group.name, self.assignment().mdev_type
        self.assertEqual(before[key], view.lacking[key])

    def test_release(self):
        vm = self.ours()
        self.start(vm)
        self.assertRaises(
            exception.DeviceUnavailable,
            self.backend.release,
            self.assignment(),
        )
        self.xapi.call('VM.hard_shutdown', vm)
        self.backend.release(self.assignment())
        self.backend.release(self.assignment())
        self.assertEqual((), self.backend.discover().mdevs)

    def test_what_others_have_is_never_released(self):
        vm = self.vm()
        self.vgpu(vm, 'GRID K240Q', 'GRID K2', {marks.MDEV: 'mdev-1'})
        self.backend.release(self.assignment())
        self.assertEqual(1, len(self.xapi.call('VM.get_VGPUs', vm)))


class PassthroughTest(common.PoolTestCase):
    TOPOLOGY = 'passthrough'

    def test_siblings_go_along(self):
        backend = xapi.XapiBackend(self.xapi)
        survey = backend.survey()
        found = {
            str(dev.address): survey.siblings(dev.address)
            for dev in survey.pcis.values()
        }
        self.assertTrue(found)
        for address, together in found.items():
            self.assertEqual(address, together[0])
            for sibling in together[1:]:
                self.assertEqual(address[:-2], sibling[:-2])
