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
import sys
import types

import libvirt
import testtools

from nova_accel.backends.libvirt import errors


class ErrorsTest(testtools.TestCase):
    def real(self, code):
        error = libvirt.libvirtError('no')
        error.err = (code, 0, 'no')
        return error

    def test_the_real_library(self):
        missing = self.real(libvirt.VIR_ERR_NO_NODE_DEVICE)
        self.assertTrue(errors.is_libvirt(missing))
        self.assertTrue(errors.is_missing(missing))
        other = self.real(libvirt.VIR_ERR_INTERNAL_ERROR)
        self.assertFalse(errors.is_missing(other))
        self.assertTrue(errors.named(other, 'NO_SUPPORT', 'INTERNAL_ERROR'))

    def test_a_stand_in_with_numbers_of_its_own(self):
        module = types.ModuleType('stand_in')
        exec(
            'VIR_ERR_NO_NODE_DEVICE = 667\n'
            'class libvirtError(Exception):\n'
            '    def get_error_code(self):\n'
            '        return self.args[0]\n',
            module.__dict__,
        )
        sys.modules['stand_in'] = module
        self.addCleanup(sys.modules.pop, 'stand_in')
        self.assertTrue(errors.is_missing(module.libvirtError(667)))
        real = libvirt.VIR_ERR_NO_NODE_DEVICE
        self.assertFalse(errors.is_missing(module.libvirtError(real)))
        self.assertFalse(errors.named(module.libvirtError(None), 'UNKNOWN'))

    def test_anything_else_is_not_libvirts(self):
        self.assertFalse(errors.is_libvirt(KeyError('x')))
        self.assertFalse(errors.is_missing(KeyError('x')))
