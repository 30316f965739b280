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
"""Whatever happens to the hardware, no server gets another device.

Stories that any seed makes the same again. A few hundred are told in each
run; ``NOVA_ACCEL_STORIES`` (tox -e stories) says how many more.
"""

import collections
import dataclasses
import logging
import os
from unittest import mock

import ddt
import testtools

from nova_accel.core import device
from nova_accel.core import identity
from tests.unit import identity_story

_A_TEST = 15
_BLOCKS = 20
_MORE = int(os.environ.get('NOVA_ACCEL_STORIES', '0'))


class StoryTestCase(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        logging.disable(logging.CRITICAL)
        self.addCleanup(logging.disable, logging.NOTSET)

    def told(self, seeds) -> collections.Counter[str]:
        counts: collections.Counter[str] = collections.Counter()
        for seed in seeds:
            try:
                counts += identity_story.tell(seed)
            except identity_story.Wrong as error:
                self.fail(f'story {seed}: {error}')
        return counts


@ddt.ddt
class StoryTest(StoryTestCase):
    @ddt.data(*range(_BLOCKS))
    def test_no_server_gets_another_device(self, block: int) -> None:
        counts = self.told(range(block * _A_TEST, (block + 1) * _A_TEST))
        for outcome in ('servers', 'healed', 'refused'):
            self.assertGreaterEqual(counts[outcome], _A_TEST, counts)


@ddt.ddt
class FoundTest(StoryTestCase):
    """Stories that ended badly once."""

    @ddt.data(
        186,  # what was said of a card was forgotten while it was away
        5301,  # a card counted as here, as another carried its id
        7002,  # a pool forgot its card before the next one was offered
        10075,  # a word on one of two twins hid the word on the other
    )
    def test_it_ends_well(self, seed: int) -> None:
        self.told([seed])


class ManyStoriesTest(StoryTestCase):
    def test_no_server_gets_another_device(self) -> None:
        first = _A_TEST * _BLOCKS
        counts = self.told(range(first, first + _MORE))
        if _MORE:
            print(dict(counts))


class AlarmTest(StoryTestCase):
    """The stories do find what they are told for."""

    def assert_told_wrong(self, within: int = _A_TEST) -> None:
        for seed in range(within):
            try:
                identity_story.tell(seed)
            except identity_story.Wrong:
                return
        self.fail('nothing was found')

    def test_going_by_the_address(self) -> None:
        def by_address(dev: device.Device) -> tuple[str, ...]:
            return (f'at:{dev.address}',)

        with mock.patch.object(identity, 'carried', by_address):
            self.assert_told_wrong()

    def test_going_by_a_place_whatever_sits_there(self) -> None:
        with mock.patch.object(identity, 'make', lambda _dev: 'any'):
            self.assert_told_wrong(within=100)

    def test_not_comparing_what_is_remembered(self) -> None:
        with mock.patch.object(identity, 'may_be', lambda *_args: True):
            # One story in forty comes to it.
            self.assert_told_wrong(within=400)

    def test_believing_a_serial_number_that_has_come(self) -> None:
        may_be = identity.may_be

        def believing(stable_id, dev, in_use):
            mute = dataclasses.replace(dev, serial='')
            return may_be(stable_id, dev, in_use) or may_be(
                stable_id, mute, in_use
            )

        with mock.patch.object(identity, 'may_be', believing):
            self.assert_told_wrong(within=100)
