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
"""USB devices of one host, against the simulator."""

from nova_accel.backends import base
from nova_accel.backends import xapi
from nova_accel.backends.xapi import marks
from nova_accel.backends.xapi import plans
from nova_accel import exception
from tests.unit.backends.xapi import common


class UsbTest(common.PoolTestCase):
    TOPOLOGY = 'passthrough'

    def setUp(self):
        super().setUp()
        self.backend = xapi.XapiBackend(self.xapi)

    def device(self, path):
        view = self.backend.discover()
        (found,) = [dev for dev in view.devices if dev.path == path]
        return found

    def assignment(self, path='2-1', **changes):
        fields = {'unit': 'unit-1', 'function': self.device(path), **changes}
        return base.Assignment(**fields)

    def pusb(self, path='2-1'):
        return self.one('PUSB', path=path)

    def enabled(self, path='2-1'):
        return self.xapi.call('PUSB.get_passthrough_enabled', self.pusb(path))

    def vusb(self, vm, path='2-1', **config):
        group = self.xapi.call('PUSB.get_USB_group', self.pusb(path))
        return self.xapi.call('VUSB.create', vm, group, config)

    def ours(self):
        config = {marks.SERVER: 's', marks.HOST: self.backend.host_uuid}
        return self.vm(other_config=config)

    def lacking(self, path='2-1'):
        return self.backend.discover().lacking.get((f'usb:{path}', ''))

    def test_what_is_known_of_one(self):
        found = self.device('1-1')
        self.assertEqual('usb:1-1', str(found.address))
        self.assertEqual(
            ('sn:usb-096e-0006-D1', 'path:usb-1-1'), tuple(found.ids)
        )
        self.assertEqual('D1', found.serial)
        self.assertTrue(found.is_usb)

    def test_it_is_let_be_passed_through_and_taken_back(self):
        self.assertFalse(self.enabled())
        assignment = self.assignment()
        for _each in range(2):
            self.backend.prepare(assignment)
            self.assertTrue(self.enabled())
        self.assertIsInstance(self.backend.render(assignment), plans.UsbPlan)
        for _each in range(2):
            self.backend.release(assignment)
            self.assertFalse(self.enabled())
        config = self.xapi.call('PUSB.get_other_config', self.pusb())
        self.assertEqual({}, config)

    def test_what_the_operator_enabled_stays_so(self):
        assignment = self.assignment('1-1')
        self.backend.prepare(assignment)
        self.backend.release(assignment)
        self.assertTrue(self.enabled('1-1'))

    def test_one_that_is_not_ours_to_enable(self):
        error = self.assertRaises(
            exception.DeviceRefused,
            self.backend.prepare,
            self.assignment(managed=False),
        )
        self.assertIn('passthrough-enabled=true', str(error))
        self.assertFalse(self.enabled())

    def test_xapi_does_not_want_it(self):
        self.fault(
            'PUSB.set_passthrough_enabled',
            error=['INTERNAL_ERROR', 'no licence'],
        )
        error = self.assertRaises(
            exception.DeviceRefused, self.backend.prepare, self.assignment()
        )
        self.assertIn('no licence', str(error))
        self.backend.release(self.assignment())
        config = self.xapi.call('PUSB.get_other_config', self.pusb())
        self.assertEqual({}, config)

    def test_another_one_in_its_place(self):
        assignment = self.assignment('1-1')
        pusb = self.pusb('1-1')
        self.simulator.world.store.set('PUSB', pusb, serial='D9')
        error = self.assertRaises(
            exception.DeviceRefused, self.backend.prepare, assignment
        )
        self.assertIn('in its place', str(error))
        # Nor is the other one taken from anybody.
        self.backend.release(assignment)
        self.assertTrue(self.enabled('1-1'))

    def test_one_that_is_gone(self):
        assignment = self.assignment('1-1')
        self.simulator.world.store.delete('PUSB', self.pusb('1-1'))
        error = self.assertRaises(
            exception.DeviceRefused, self.backend.prepare, assignment
        )
        self.assertIn('not plugged in', str(error))
        self.backend.release(assignment)

    def test_somebody_else_keeps_one_running_or_not(self):
        vm = self.vm()
        self.vusb(vm, '1-1')
        self.assertEqual(1, self.lacking('1-1'))
        self.start(vm)
        self.assertEqual(1, self.lacking('1-1'))
        (guest,) = [g for g in self.backend.guests() if g.running]
        self.assertEqual({'usb:1-1'}, guest.devices)
        self.xapi.call('VM.hard_shutdown', vm)
        self.xapi.call('VM.destroy', vm)
        self.assertIsNone(self.lacking('1-1'))

    def test_what_a_server_keeps_is_released_once_it_is_off(self):
        assignment = self.assignment()
        self.backend.prepare(assignment)
        vm = self.ours()
        vusb = self.vusb(vm, **{marks.UNIT: 'unit-1'})
        self.start(vm)
        self.assertIsNone(self.lacking())
        self.assertRaises(
            exception.DeviceRefused, self.backend.release, assignment
        )
        self.assertTrue(self.enabled())
        self.xapi.call('VM.hard_shutdown', vm)
        self.backend.release(assignment)
        self.assertNotIn(vusb, self.xapi.call('VUSB.get_all'))
        self.assertFalse(self.enabled())

    def test_what_others_keep_is_never_released(self):
        assignment = self.assignment()
        self.backend.prepare(assignment)
        vusb = self.vusb(self.vm(), **{marks.UNIT: 'unit-1'})
        self.backend.release(assignment)
        self.assertIn(vusb, self.xapi.call('VUSB.get_all'))
        self.assertTrue(self.enabled())
