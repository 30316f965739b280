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
import ddt
import testtools

from nova_accel.cli import uri

SECRETS = (
    'qemu+tcp://bob:s3cret@host1/system',
    'qemu+tcp://bob:p%40ss@host1:2222/system?keyfile=/home/bob/k',
    'esx://bob:a:b@host1/?no_verify=1&password=hunter2',
    'qemu+tcp://bob@host1/system#fragment',
)


@ddt.ddt
class UriTest(testtools.TestCase):
    @ddt.data(
        ('qemu:///system', 'qemu:///system'),
        ('test:////tmp/node.xml', 'test:////tmp/node.xml'),
        ('qemu+tcp://host1/system', 'qemu+tcp://host1/system'),
        (SECRETS[0], 'qemu+tcp://host1/system'),
        (SECRETS[1], 'qemu+tcp://host1:2222/system'),
        (SECRETS[2], 'esx://host1/'),
        (SECRETS[3], 'qemu+tcp://host1/system'),
        ('qemu+tcp://bob:pw@[::1/', '(unreadable URI)'),
        ('bob:pw@host1', '(unreadable URI)'),
        ('', ''),
    )
    @ddt.unpack
    def test_shown(self, given: str, expected: str) -> None:
        self.assertEqual(expected, uri.shown(given))

    @ddt.data(*SECRETS)
    def test_scrub_leaves_no_secret(self, given: str) -> None:
        message = (
            f'cannot open {given}: login of bob with s3cret, p@ss, p%40ss, '
            f'a:b, hunter2 and /home/bob/k refused'
        )
        scrubbed = uri.scrub(message, given)
        userinfo = given.partition('://')[2].rpartition('@')[0]
        self.assertNotIn(userinfo, scrubbed)
        self.assertNotIn(given, scrubbed)

    def test_scrub_decodes(self) -> None:
        self.assertEqual(
            'ssh: *** and *** refused by host1',
            uri.scrub('ssh: p@ss and p%40ss refused by host1', SECRETS[1]),
        )

    def test_scrub_keeps_other_text(self) -> None:
        message = "Failed to connect socket to '/var/run/libvirt-sock'"
        self.assertEqual(message, uri.scrub(message, 'qemu:///system'))

    @ddt.data(
        ('qemu:///system', True),
        ('qemu+unix:///system', True),
        ('qemu+tcp://host1/system', False),
        ('test:////tmp/node.xml', False),
    )
    @ddt.unpack
    def test_is_local(self, given: str, expected: bool) -> None:
        self.assertEqual(expected, uri.is_local(given))
