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
"""The listing names what is there, and what it does can fail."""

import typing as ty
import unittest

import testtools

from tests.functional import nova_own


class Driven:
    """What nova's test classes have."""

    set_to: str

    def flags(self, **options: ty.Any) -> None:
        self.set_to = options['compute_driver']


class ListingTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.listing = nova_own.Listing.read()

    def test_whatever_it_names_is_there(self) -> None:
        everything = set()
        for name, core in self.listing.modules.items():
            there = set()
            for cls, found in nova_own.classes(name).items():
                tests = {f'{cls}.{test}' for test in nova_own.tests(found)}
                there |= tests | {cls}
            self.assertEqual(set(), set(core) - there, name)
            everything |= there
        self.assertEqual(set(), self.listing.failing.keys() - everything)

    def test_what_fails_has_a_reason(self) -> None:
        for test, reason in self.listing.failing.items():
            self.assertGreater(len(reason), 20, test)


class SwappedTest(testtools.TestCase):
    class Sample(Driven, testtools.TestCase):
        def test_driver(self) -> None:
            self.flags(compute_driver='libvirt.LibvirtDriver')
            self.assertEqual(nova_own.DRIVER, self.set_to)

        def test_other(self) -> None:
            self.flags(compute_driver='fake.FakeDriver')
            self.assertEqual('fake.FakeDriver', self.set_to)

        def test_wrong(self) -> None:
            self.assertEqual(1, 2)

    def run_it(
        self, core: tuple[str, ...], failing: tuple[str, ...] = ()
    ) -> tuple[int, list[str]]:
        """Return how many tests were run, and which failed."""
        cls = nova_own.swapped(self.Sample, __name__, core, failing)
        assert cls is not None
        result = unittest.TestResult()
        unittest.TestLoader().loadTestsFromTestCase(cls).run(result)
        wrong = [*result.failures, *result.errors]
        return result.testsRun, [case.id().split('.')[-1] for case, _ in wrong]

    def test_a_class_is_run_with_our_driver(self) -> None:
        self.assertEqual((3, ['test_wrong']), self.run_it(('Sample',)))

    def test_one_test_is_run_alone(self) -> None:
        self.assertEqual((1, []), self.run_it(('Sample.test_other',)))

    def test_a_class_that_is_not_core_is_left_out(self) -> None:
        self.assertIsNone(nova_own.swapped(self.Sample, __name__, ('Other',)))

    def test_what_must_fail_may(self) -> None:
        self.assertEqual(
            (3, []), self.run_it(('Sample',), ('Sample.test_wrong',))
        )

    def test_what_must_fail_and_passes_is_a_failure(self) -> None:
        self.assertEqual(
            (1, ['test_other']),
            self.run_it(('Sample.test_other',), ('Sample.test_other',)),
        )
