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
"""event.from: what changed, since when, and for whom."""

import threading
import time

import ddt

from tests.unit.testing.xapi_simulator import common


@ddt.ddt
class FromTest(common.PoolTestCase):
    def news(self, batch):
        return {
            (event['class'], event['operation'], event['ref'])
            for event in batch['events']
        }

    def test_empty_token_is_everything(self):
        batch = self.events()
        self.assertEqual({'add'}, {e['operation'] for e in batch['events']})
        for cls in ('VM', 'PGPU', 'VGPU_type', 'host', 'network', 'SR'):
            found = {
                event['ref']: event['snapshot']
                for event in batch['events']
                if event['class'] == cls.lower()
            }
            records = getattr(self.api, cls).get_all_records()
            self.assertEqual(records, found)
            self.assertEqual(
                len(records), batch['valid_ref_counts'][cls.lower()]
            )

    def test_nothing_happened(self):
        token = self.events()['token']
        batch = self.events(token)
        self.assertEqual([], batch['events'])
        self.assertEqual(token, batch['token'])
        self.assertIn('vm', batch['valid_ref_counts'])

    def test_add_mod_del(self):
        token = self.events()['token']
        vm = self.vm()
        batch = self.events(token, ['VM'])
        self.assertEqual({('vm', 'add', vm)}, self.news(batch))
        self.api.VM.set_name_label(vm, 'other')
        batch = self.events(batch['token'], ['VM'])
        self.assertEqual({('vm', 'mod', vm)}, self.news(batch))
        self.assertEqual('other', batch['events'][0]['snapshot']['name_label'])
        self.api.VM.destroy(vm)
        batch = self.events(batch['token'], ['VM'])
        self.assertEqual({('vm', 'del', vm)}, self.news(batch))
        self.assertNotIn('snapshot', batch['events'][0])

    def test_changes_between_come_as_one(self):
        token = self.events()['token']
        vm = self.vm()
        for name in 'abc':
            self.api.VM.set_name_label(vm, name)
        gone = self.vm()
        self.api.VM.destroy(gone)
        batch = self.events(token, ['VM'])
        # Who never knew it is not told that it is gone.
        self.assertEqual({('vm', 'add', vm)}, self.news(batch))

    def test_no_news_of_what_was_written_again(self):
        vm = self.vm(name_label='same')
        token = self.events()['token']
        self.api.VM.set_name_label(vm, 'same')
        self.assertEqual([], self.events(token)['events'])

    def test_a_start_tells_of_gpus(self):
        vm = self.vm_with('GRID K100')
        token = self.events()['token']
        self.start(vm)
        classes = {e['class'] for e in self.events(token)['events']}
        self.assertEqual(
            {
                'console',
                'host',
                'pgpu',
                'vgpu',
                'vm',
                'vm_guest_metrics',
                'vm_metrics',
            },
            classes,
        )

    @ddt.data(['vm'], ['VM'], ['Vm', 'vgpu'])
    def test_case_of_a_class(self, classes):
        token = self.events()['token']
        vm = self.vm()
        self.assertEqual(
            {('vm', 'add', vm)}, self.news(self.events(token, classes))
        )

    def test_one_object(self):
        one, other = self.vm(), self.vm()
        token = self.events()['token']
        for vm in (one, other):
            self.api.VM.set_name_label(vm, 'new')
        batch = self.events(token, [f'VM/{one}'])
        self.assertEqual({('vm', 'mod', one)}, self.news(batch))

    def test_sessions_are_not_told_of(self):
        token = self.events()['token']
        self.log_in(self.simulator.url)
        self.assertEqual([], self.events(token)['events'])

    def test_waits(self):
        token = self.events()['token']
        session = self.log_in(self.simulator.url)
        record = common.vm_record()
        made = threading.Timer(0.05, session.xenapi.VM.create, (record,))
        made.start()
        started = time.monotonic()
        batch = self.events(token, ['VM'], 15.0)
        made.join()
        self.assertEqual(1, len(batch['events']))
        self.assertLess(time.monotonic() - started, 14)

    def test_gives_up(self):
        token = self.events()['token']
        started = time.monotonic()
        self.assertEqual([], self.events(token, timeout=0.05)['events'])
        self.assertLess(0.05, time.monotonic() - started)

    @ddt.data('x', '1', 'a,b', '1,2,3', '00000000000000000001')
    def test_token(self, token):
        details = self.refused(
            'EVENT_FROM_TOKEN_PARSE_FAILURE', self.events, token
        )
        self.assertEqual([token], details)

    @ddt.data('VM/', 'a b', '', '/x')
    def test_subscription(self, word):
        details = self.refused(
            'EVENT_SUBSCRIPTION_PARSE_FAILURE', self.events, '', [word]
        )
        self.assertEqual([word], details)

    def test_session_expires_meanwhile(self):
        """Whoever waits is told at once."""
        token = self.events()['token']
        handle = self.session.handle
        expire = threading.Timer(
            0.05, self.control, ('POST', 'sessions/expire')
        )
        expire.start()
        method = getattr(self.session.event, 'from')
        answer = method(handle, ['*'], token, 15.0)
        expire.join()
        self.assertEqual(
            ['SESSION_INVALID', handle], answer['ErrorDescription']
        )

    def test_lost(self):
        """Events may be lost; the counts tell who compares them."""
        vms = [self.vm() for _ in range(3)]
        token = self.events()['token']
        self.control('POST', 'events/lose', count=2)
        for vm in vms:
            self.api.VM.destroy(vm)
        batch = self.events(token, ['VM'])
        self.assertEqual({('vm', 'del', vms[2])}, self.news(batch))
        self.assertEqual(len(self.all('VM')), batch['valid_ref_counts']['vm'])
        token = batch['token']
        self.assertEqual([], self.events(token)['events'])
