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
import random

import ddt
import testtools

from nova_accel.core import packing
from nova_accel import exception
from tests.unit.core import hosts

REGIONS = (('region', 3), ('function', 4))
HALVES = (('half', 2), ('region', 3), ('function', 4))


def card(slots, levels=()):
    """A card whose slots are served by functions."""
    rule = hosts.rule(
        'r', 1, kind='pci', dev_types=('type-VF',), levels=levels
    )
    (pool,) = hosts.offer([rule], hosts.sriov(1, slots)).pools
    return pool


def boards(text):
    """A pool of whole devices; each letter is the board of one."""
    devices = [
        hosts.pci(bus, upstream=letter.strip('-'))
        for bus, letter in enumerate(text)
    ]
    rule = hosts.rule('r', *range(len(text)), kind='pci', pool='host')
    (pool,) = hosts.offer([rule], devices).pools
    return pool


def free_of(pool, text):
    """Units marked with a dot, in slot order; blanks are for the reader."""
    marks = text.replace(' ', '')
    names = list(pool.stocks[0].by_id)
    assert len(marks) == len(names), (marks, names)
    return {n for n, mark in zip(names, marks, strict=True) if mark == '.'}


def choose(pool, free, amount):
    (stock,) = pool.stocks
    units = packing.choose(pool, stock, frozenset(free), amount)
    names = list(stock.by_id)
    return [names.index(str(unit.id)) for unit in units]


@ddt.ddt
class SlotsTest(testtools.TestCase):
    @ddt.data(
        # A dot is free, an x is not; amount; places taken.
        ('.... .... ....', 1, [0]),
        # What is broken already is used first, the fullest block first.
        ('.... x... ....', 1, [5]),
        ('.... x... xxx.', 1, [11]),
        ('xx.. xxx. ....', 1, [7]),
        # Together if there is room.
        ('x... xx.. ....', 2, [6, 7]),
        ('x... xxx. ....', 2, [1, 2]),
        # In pieces rather than break a block.
        ('xxx. .... xxx.', 2, [3, 11]),
        ('x... xx.. ....', 5, [1, 2, 3, 6, 7]),
        # As few blocks as it takes.
        ('.... .... ....', 5, [0, 1, 2, 3, 4]),
        ('.... .... xx..', 6, [0, 1, 2, 3, 10, 11]),
        # A block is aligned, whatever else is free.
        ('x... x... ....', 4, [8, 9, 10, 11]),
        ('.... .... ....', 4, [0, 1, 2, 3]),
        ('.... .... ....', 12, list(range(12))),
    )
    @ddt.unpack
    def test_one_card(self, text, amount, taken):
        pool = card(12, REGIONS)
        self.assertEqual(taken, choose(pool, free_of(pool, text), amount))

    @ddt.data(
        # The tightest half that holds an aligned block.
        ('.... .... .... | xxxx .... ....', 4, [16, 17, 18, 19]),
        ('.... .... .... | x... x... ....', 4, [20, 21, 22, 23]),
        # Rather a new region in a broken half than a broken half more.
        ('.... .... .... | xxxx .... ....', 1, [16]),
        ('.... xxxx xxxx | x... x... x...', 1, [13]),
        # One half, if one can hold it.
        ('x... x... xxxx | .... x... xx..', 6, [1, 2, 3, 5, 6, 7]),
        ('.... .... .... | .... .... ....', 12, list(range(12))),
        ('xxxx .... .... | .... .... ....', 12, list(range(12, 24))),
        # No half can hold it: whole regions stay whole all the same.
        (
            'xxx. xxx. .... | x... x... x...',
            10,
            [3, 7, 13, 14, 15, 17, 18, 19, 21, 22],
        ),
    )
    @ddt.unpack
    def test_halves(self, text, amount, taken):
        pool = card(24, HALVES)
        free = free_of(pool, text.replace('|', ''))
        self.assertEqual(taken, choose(pool, free, amount))

    def test_block_of_two(self):
        pool = card(4, (('half', 2), ('slot', 2)))
        self.assertEqual([2, 3], choose(pool, free_of(pool, 'x...'), 2))
        self.assertRaises(
            exception.NotEnoughUnits, choose, pool, free_of(pool, 'x..x'), 2
        )

    def test_card_without_levels_is_filled_from_the_first_slot(self):
        pool = card(8)
        self.assertEqual([1, 2, 5], choose(pool, free_of(pool, 'x..xx...'), 3))

    def test_card_of_one_unit(self):
        pool = card(1)
        self.assertEqual([0], choose(pool, free_of(pool, '.'), 1))

    def test_units_of_several_models_are_placed_alike(self):
        rule = hosts.rule('r', 1, mode='dynamic')
        (pool,) = hosts.offer([rule], [hosts.t4(1)]).pools
        for stock in pool.stocks:
            (unit,) = packing.choose(pool, stock, stock.ids, 1)
            self.assertEqual(stock.units[0], unit)

    @ddt.data(
        ('x... .x.. ..x.', 4, 'no aligned block of 4 is free; 9 free in'),
        ('x... .... ....', 12, '11 free, 12 asked'),
        ('xxxx xxxx xxxx', 1, '0 free, 1 asked'),
        ('.... .... ....', 13, '12 free, 13 asked'),
    )
    @ddt.unpack
    def test_refusal_says_why(self, text, amount, reason):
        pool = card(12, REGIONS)
        error = self.assertRaises(
            exception.NotEnoughUnits,
            choose,
            pool,
            free_of(pool, text),
            amount,
        )
        self.assertIn(reason, str(error))
        self.assertIn('sn:1', str(error))
        self.assertIn('CUSTOM_PCI_10DE_20B6', str(error))

    def test_units_that_the_stock_does_not_have_are_not_free(self):
        pool = card(2)
        self.assertRaises(
            exception.NotEnoughUnits, choose, pool, {'sn:1/vf/7'}, 1
        )


@ddt.ddt
class BoardsTest(testtools.TestCase):
    @ddt.data(
        # One device: the board with the fewest free.
        ('aaaabbbb', '........', 1, [0]),
        ('aaaabbbb', '.... x...', 1, [5]),
        ('aaaabbbb', 'xx.. xxx.', 1, [7]),
        ('aab', '...', 1, [2]),
        # Several: behind one bridge, the tightest.
        ('aabbbbcc', 'x. .... ..', 2, [6, 7]),
        ('abababab', '........', 4, [0, 2, 4, 6]),
        ('aaaabbb', '.... ...', 3, [4, 5, 6]),
        # More than any board has: as few boards as it takes.
        ('aaabbbb', '... ....', 5, [0, 3, 4, 5, 6]),
        ('aabbbcccc', '.. ... ....', 6, [0, 1, 5, 6, 7, 8]),
        ('aabbbcccc', '.. ... ....', 7, [2, 3, 4, 5, 6, 7, 8]),
        # Unknown bridges are boards of their own.
        ('----aa', '......', 2, [4, 5]),
        ('----', 'x...', 3, [1, 2, 3]),
    )
    @ddt.unpack
    def test_boards(self, letters, text, amount, taken):
        pool = boards(letters)
        self.assertEqual(taken, choose(pool, free_of(pool, text), amount))

    def test_refusal(self):
        pool = boards('aab')
        error = self.assertRaises(
            exception.NotEnoughUnits, choose, pool, free_of(pool, 'x..'), 3
        )
        self.assertIn('2 free, 3 asked', str(error))


@ddt.ddt
class RandomTest(testtools.TestCase):
    @ddt.data(*range(30))
    def test_any_state(self, seed):
        rng = random.Random(seed)
        pool = rng.choice(
            [
                card(24, HALVES),
                card(12, REGIONS),
                card(7),
                boards('aabbbbc-d-'),
            ]
        )
        names = list(pool.stocks[0].by_id)
        for _ in range(20):
            free = {name for name in names if rng.random() < 0.6}
            amount = rng.randint(1, 6)
            try:
                taken = choose(pool, free, amount)
            except exception.NotEnoughUnits:
                aligned = amount > 1 and amount in pool.blocks
                self.assertTrue(aligned or len(free) < amount)
                continue
            self.assertEqual(amount, len(taken))
            self.assertEqual(sorted(set(taken)), taken)
            self.assertLessEqual({names[place] for place in taken}, free)
            if amount > 1 and amount in pool.blocks:
                self.assertEqual(0, taken[0] % amount)
                self.assertEqual(amount, taken[-1] - taken[0] + 1)
            self.assertEqual(taken, choose(pool, free, amount))


class SimulationTest(testtools.TestCase):
    """Best fit keeps blocks whole: the claim of the packing table.

    Requests of 1, 4 and 12 slots come at 80, 14 and 6 percent to a card of
    four boards of three regions of four, and leave again, so that it is
    about 70 percent full. Counted is how often a whole board can be had.
    """

    LEVELS = (('board', 4), ('region', 3), ('function', 4))

    def accepted(self, pick, seed):
        rng = random.Random(seed)
        pool = card(48, self.LEVELS)
        names = list(pool.stocks[0].by_id)
        held, asked, got = [], 0, 0
        for _ in range(300):
            while sum(map(len, held)) > 0.7 * 48:
                held.pop(rng.randrange(len(held)))
            free = set(names).difference(*held)
            (amount,) = rng.choices((1, 4, 12), (80, 14, 6))
            taken = pick(rng, pool, free, amount)
            if amount == 12:
                asked += 1
                got += bool(taken)
            if taken:
                held.append({names[place] for place in taken})
        return got / asked

    @staticmethod
    def best_fit(rng, pool, free, amount):
        try:
            return choose(pool, free, amount)
        except exception.NotEnoughUnits:
            return []

    @staticmethod
    def anywhere(rng, pool, free, amount):
        """What ``set.pop`` does, given that blocks must be aligned."""
        names = list(pool.stocks[0].by_id)
        blocks = [
            range(start, start + amount)
            for start in range(0, len(names), amount)
            if free.issuperset(names[start : start + amount])
        ]
        return list(rng.choice(blocks)) if blocks else []

    def test_best_fit_keeps_boards_whole(self):
        best = sum(self.accepted(self.best_fit, seed) for seed in (1, 2))
        stock = sum(self.accepted(self.anywhere, seed) for seed in (1, 2))
        self.assertGreater(best, 3 * stock)
