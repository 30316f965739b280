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
import dataclasses

import ddt
import testtools

from nova_accel.core import attachment
from nova_accel.core import inventory
from nova_accel import exception

ONE = '11111111-1111-1111-1111-111111111111'
TWO = '22222222-2222-2222-2222-222222222222'
CARD, OTHER = 'card', 'other'
RC = 'CUSTOM_T4_8Q'
NOW = '2026-11-21T18:00:00Z'
FULL = attachment.Attachment(
    ONE,
    RC,
    2,
    attachment.ATTACHED,
    '33333333-3333-3333-3333-333333333333',
    ('sn:1/nvidia-233/0', 'sn:1/nvidia-233/1'),
    NOW,
    NOW,
    'because "it" has\nto be',
    'req-4711',
)


def claim(unit, provider=CARD, resource_class=RC):
    return inventory.Claim(provider, resource_class, unit)


def holding(id_, *claims):
    record = attachment.Attachment(id_, RC, len(claims), attachment.ATTACHED)
    return record.holding(claims)


@ddt.ddt
class RecordTest(testtools.TestCase):
    def test_round_trip(self):
        metadata = attachment.written({'image_x': 'y'}, FULL)
        self.assertEqual({ONE: FULL}, attachment.read(metadata))
        self.assertEqual({'image_x': 'y'}, attachment.erased(metadata, ONE))

    def test_what_stays_where_it_is(self):
        fixed = dataclasses.replace(FULL, live_migratable=False)
        metadata = attachment.written({}, fixed)
        self.assertEqual({ONE: fixed}, attachment.read(metadata))

    def test_values_fit_a_column(self):
        long = dataclasses.replace(
            FULL,
            resource_class='CUSTOM_' + 'X' * 248,
            units=tuple(f'sn:\u00e9\u00e8/nvidia-1/{n}' for n in range(40)),
        )
        metadata = attachment.written({}, long)
        self.assertLess(5, len(metadata))
        self.assertGreaterEqual(255, max(map(len, metadata.values())))
        self.assertGreaterEqual(255, max(map(len, metadata)))
        self.assertTrue(all(value.isascii() for value in metadata.values()))
        self.assertEqual({ONE: long}, attachment.read(metadata))
        # A shorter one leaves nothing of it behind.
        metadata = attachment.written(metadata, FULL)
        self.assertEqual({ONE: FULL}, attachment.read(metadata))
        self.assertEqual({}, attachment.erased(metadata, ONE))

    def test_more_than_ten_parts(self):
        units = tuple(f'sn:{n:04}/nvidia-1/{n}' for n in range(200))
        long = dataclasses.replace(FULL, units=units)
        metadata = attachment.written({}, long)
        self.assertLess(11, len(metadata))
        self.assertEqual({ONE: long}, attachment.read(metadata))

    def test_oldest_first(self):
        old = dataclasses.replace(FULL, id=TWO, created='2025-01-01T00:00:00Z')
        metadata = attachment.written(attachment.written({}, FULL), old)
        self.assertEqual([TWO, ONE], list(attachment.read(metadata)))

    @ddt.data(
        '',
        '{',
        '[]',
        '"x"',
        '{"v":2,"rc":"VGPU","n":1,"s":"attached"}',
        '{"v":1,"n":1,"s":"attached"}',
        '{"v":1,"rc":"VGPU","n":"1","s":"attached"}',
        '{"v":1,"rc":"VGPU","n":1,"s":"strange"}',
        '{"v":1,"rc":"VGPU","n":1,"s":"attached","u":[1]}',
        '{"v":1,"rc":"VGPU","n":1,"s":"attached","u":7}',
        '{"v":1,"rc":"VGPU","n":1,"s":"attached","p":7}',
        '{"v":1,"rc":"VGPU","n":1,"s":["attached"]}',
        '{"v":1,"rc":"VGPU","n":0,"s":"attached"}',
    )
    def test_unreadable(self, text):
        metadata = attachment.written({}, FULL)
        metadata[f'accel_attachment_{TWO}'] = text
        self.assertEqual([ONE], list(attachment.read(metadata)))
        self.assertEqual({TWO}, attachment.unreadable(metadata))
        self.assertEqual({ONE}, {*attachment.read(metadata)})

    def test_other_metadata_is_not_ours(self):
        metadata = {
            'accel_attachment_x': '{}',
            'instance_type_id': '1',
            f'accel_attachment_{ONE}.0': '{}',
        }
        self.assertEqual({}, attachment.read(metadata))
        self.assertEqual(frozenset(), attachment.unreadable(metadata))
        self.assertEqual(metadata, attachment.erased(metadata, ONE))

    @ddt.data(
        (ONE, True),
        (ONE.upper().replace('1', 'A'), False),
        (ONE.replace('-', ''), False),
        (f'{ONE}.1', False),
        (f'{ONE}\n', False),
        ('', False),
    )
    @ddt.unpack
    def test_ids(self, text, expected):
        self.assertEqual(expected, attachment.is_id(text))

    def test_primitive(self):
        primitive = FULL.primitive()
        self.assertEqual(FULL, attachment.Attachment.of(primitive))
        later = {**primitive, 'colour': 'red'}
        self.assertEqual(FULL, attachment.Attachment.of(later))


@ddt.ddt
class StateTest(testtools.TestCase):
    def test_every_state_is_left_and_reached(self):
        states = {'', *attachment.STATES}
        self.assertEqual(states, {*attachment.TRANSITIONS})
        self.assertEqual(
            states, frozenset().union(*attachment.TRANSITIONS.values())
        )

    def test_a_step(self):
        record = dataclasses.replace(FULL, state=attachment.ATTACHING)
        failed = record.to(attachment.ERROR, 'later', 'x' * 1000)
        self.assertEqual('error', failed.state)
        self.assertEqual('later', failed.updated)
        self.assertEqual(NOW, failed.created)
        self.assertEqual(500, len(failed.reason))
        again = failed.to(attachment.ATTACHING, 'even later')
        self.assertEqual('', again.reason)

    @ddt.data(
        (attachment.ATTACHED, attachment.ATTACHING),
        (attachment.ATTACHED, ''),
        (attachment.DETACHING, attachment.ERROR),
        (attachment.ERROR, attachment.ATTACHED),
    )
    @ddt.unpack
    def test_no_such_step(self, state, to):
        record = dataclasses.replace(FULL, state=state)
        error = self.assertRaises(exception.AttachmentBusy, record.to, to, NOW)
        self.assertIn(state, str(error))


POLICY = {'group_policy': 'none', 'accel_hotplug:group_policy': 'none'}


@ddt.ddt
class FlavorTest(testtools.TestCase):
    @ddt.data(
        ({}, POLICY),
        ({'resources:VGPU': '1', 'hw:cpu_policy': 'shared'}, POLICY),
        ({'resources1:VGPU': '1'}, POLICY),
        ({'trait_GPU:CUSTOM_A': 'required'}, POLICY),
        ({'resources1:VGPU': '1', 'group_policy': 'isolate'}, {}),
        (
            {
                'resources1:VGPU': '1',
                'resources2:VGPU': '1',
                'group_policy': 'none',
            },
            {},
        ),
    )
    @ddt.unpack
    def test_one_group(self, own, added):
        found = attachment.with_group(own, FULL)
        wanted = {f'resources_ACCEL_{ONE}:{RC}': '2', **added}
        self.assertEqual({**own, **wanted}, found)
        self.assertEqual({ONE: (RC, 2)}, attachment.groups(found))
        self.assertEqual(found, attachment.with_group(found, FULL))
        self.assertEqual(own, attachment.without_group(found, ONE))
        self.assertEqual(own, attachment.without_group(own, ONE))

    def test_the_policy_goes_with_the_last(self):
        other = dataclasses.replace(FULL, id=TWO)
        one = attachment.with_group({}, FULL)
        self.assertEqual('none', one['group_policy'])
        both = attachment.with_group(one, other)
        self.assertEqual('none', both['group_policy'])
        one = attachment.without_group(both, ONE)
        self.assertEqual('none', one['group_policy'])
        self.assertEqual({}, attachment.without_group(one, TWO))

    def test_another_flavor_is_given_the_same_groups(self):
        source = attachment.with_group({}, FULL)
        stale = attachment.with_group(
            {'resources1:VGPU': '1'}, dataclasses.replace(FULL, id=TWO)
        )
        found = attachment.aligned(stale, attachment.groups(source))
        self.assertEqual({ONE: (RC, 2)}, attachment.groups(found))
        self.assertEqual('1', found['resources1:VGPU'])
        self.assertEqual('none', found['group_policy'])

    def test_groups_of_others_are_left_alone(self):
        own = {
            'resources_ACCEL:VGPU': '1',
            'resources_ACCELERATE:VGPU': '1',
            'group_policy': 'none',
        }
        self.assertEqual({}, attachment.groups(own))
        self.assertEqual(own, attachment.aligned(own, {}))

    @ddt.data(
        ({}, None),
        ({'accel_hotplug:max_VGPU': '3'}, None),
        ({f'accel_hotplug:max_{RC}': '0'}, 0),
        ({f'accel_hotplug:max_{RC}': '12'}, 12),
    )
    @ddt.unpack
    def test_limit(self, extra_specs, expected):
        self.assertEqual(expected, attachment.limit(extra_specs, RC))

    @ddt.data('', '-1', '1.5', 'many', '\u0661')
    def test_no_limit_at_all(self, value):
        key = f'accel_hotplug:max_{RC}'
        error = self.assertRaises(
            exception.InvalidRequest, attachment.limit, {key: value}, RC
        )
        self.assertIn(key, str(error))

    def test_attachable(self):
        self.assertEqual(
            ('CUSTOM_A', 'VGPU'),
            attachment.attachable(
                {
                    'accel_hotplug:max_VGPU': '1',
                    'accel_hotplug:max_CUSTOM_A': '1',
                    'accel_hotplug:group_policy': 'none',
                }
            ),
        )


class IsolateTest(testtools.TestCase):
    held = (claim('a'), claim('b', OTHER), claim('c', 'third', 'VGPU'))

    def apart(self, **extra_specs):
        specs = {k.replace('__', ':'): v for k, v in extra_specs.items()}
        return attachment.apart(specs, self.held)

    def test_without_the_policy(self):
        specs = {f'resources1__{RC}': '1', 'group_policy': 'none'}
        self.assertEqual(frozenset(), self.apart(**specs))
        self.assertEqual(frozenset(), self.apart(resources1__VGPU='1'))

    def test_providers_of_other_groups(self):
        specs = {f'resources1__{RC}': '1', 'group_policy': 'isolate'}
        self.assertEqual({CARD, OTHER}, self.apart(**specs))
        # The group without a suffix is not kept apart from any.
        specs = {f'resources__{RC}': '1', 'group_policy': 'isolate'}
        self.assertEqual(frozenset(), self.apart(**specs))

    def test_what_would_be_counted_wrongly(self):
        isolate = {'group_policy': 'isolate'}
        without = {f'resources:{RC}': '1', 'resources1:VGPU': '1'}
        self.assertTrue(attachment.mixes({**isolate, **without}, RC))
        self.assertFalse(attachment.mixes({**isolate, **without}, 'VGPU'))
        self.assertFalse(attachment.mixes(isolate, RC))
        self.assertFalse(attachment.mixes(without, RC))
        none = {**without, 'group_policy': 'none'}
        self.assertFalse(attachment.mixes(none, RC))

    def test_providers_of_other_attachments(self):
        specs = attachment.with_group({'group_policy': 'isolate'}, FULL)
        self.assertEqual({CARD, OTHER}, attachment.apart(specs, self.held))


class ReboundTest(testtools.TestCase):
    def test_nothing_moved(self):
        records = (holding(ONE, claim('a')), holding(TWO, claim('b')))
        held = [claim('a'), claim('b'), claim('c')]
        self.assertEqual(records, attachment.rebound(records, held))

    def test_units_of_another_host(self):
        records = (holding(ONE, claim('a')), holding(TWO, claim('b')))
        held = [claim('x', OTHER), claim('y', OTHER), claim('z', 'third')]
        found = attachment.rebound(records, held)
        self.assertEqual(
            [{claim('z', 'third')}, {claim('y', OTHER)}],
            [record.claims for record in found],
        )
        self.assertEqual('third', found[0].provider)

    def test_from_one_provider(self):
        record = holding(ONE, claim('a'), claim('b'))
        held = [claim('x', OTHER), claim('y', 'third'), claim('z', 'third')]
        (found,) = attachment.rebound([record], held)
        self.assertEqual({*held[1:]}, found.claims)

    def test_what_is_whose_is_not_taken(self):
        old, kept = holding(ONE, claim('a')), holding(TWO, claim('b'))
        found = attachment.rebound([old, kept], [claim('b'), claim('c')])
        self.assertEqual({claim('c')}, found[0].claims)
        self.assertEqual(kept, found[1])

    def test_nothing_there(self):
        record = holding(ONE, claim('a'))
        self.assertEqual((record,), attachment.rebound([record], []))
        empty = attachment.Attachment(TWO, RC, 1)
        self.assertEqual((empty,), attachment.rebound([empty], [claim('a')]))

    def test_leaving(self):
        gone = dataclasses.replace(
            holding(ONE, claim('a')), state=attachment.DETACHING
        )
        stays = holding(TWO, claim('b'))
        self.assertEqual({claim('a')}, attachment.leaving([gone, stays]))
