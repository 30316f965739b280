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
import testtools

from nova_accel_tempest.tests import guest

_T4 = 'ACCEL-GUEST DEV 10de:1eb8 serial=132 mdev=b0a1'
_NVME = 'ACCEL-GUEST DEV 144d:a80a serial=- mdev=-'


def _console(*lines: str) -> str:
    return ''.join(f'{line}\r\n' for line in lines)


class LastReportTest(testtools.TestCase):
    def test_none_yet(self) -> None:
        self.assertIsNone(guest.last_report(''))
        self.assertIsNone(
            guest.last_report(_console('ACCEL-GUEST BEGIN', _T4))
        )

    def test_no_device(self) -> None:
        console = _console('boot', 'ACCEL-GUEST BEGIN', 'ACCEL-GUEST END')
        self.assertEqual((), guest.last_report(console))

    def test_sorted_and_what_is_not_known_is_empty(self) -> None:
        console = _console('ACCEL-GUEST BEGIN', _NVME, _T4, 'ACCEL-GUEST END')
        self.assertEqual(
            (
                guest.Device('10de:1eb8', '132', 'b0a1'),
                guest.Device('144d:a80a'),
            ),
            guest.last_report(console),
        )

    def test_the_last_complete_one_counts(self) -> None:
        console = _console(
            *('ACCEL-GUEST BEGIN', _T4, 'ACCEL-GUEST END'),
            *('ACCEL-GUEST BEGIN', _NVME, 'ACCEL-GUEST END'),
            *('ACCEL-GUEST BEGIN', _T4),
        )
        self.assertEqual(
            (guest.Device('144d:a80a'),), guest.last_report(console)
        )
