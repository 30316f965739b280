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
import contextlib
import importlib.util
import io
import pathlib
import types
import typing as ty
from unittest import mock

import testtools

_FILE = pathlib.Path(__file__).resolve().parents[2] / 'tools' / 'tiers.py'


def _load() -> types.ModuleType:
    """tools/ is no package: it runs before anything is installed."""
    spec = importlib.util.spec_from_file_location('tiers', _FILE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with mock.patch.dict('sys.modules', tiers=module):
        spec.loader.exec_module(module)
    return module


class BudgetTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.tiers = _load()
        self.now = 0.0
        self.ran: list[str] = []
        for name, value in {
            'TIERS': (
                self.tiers.Tier('unit', 'unit', counts=True, minutes=10),
                self.tiers.Tier(
                    'cloud', 'cloud', counts=True, minutes=15, default=False
                ),
            ),
            'set_up': lambda tiers: None,
            'run': self.run_tier,
        }.items():
            patch = mock.patch.object(self.tiers, name, value)
            patch.start()
            self.addCleanup(patch.stop)
        clock = mock.patch('time.monotonic', lambda: self.now)
        clock.start()
        self.addCleanup(clock.stop)

    def run_tier(self, tier: ty.Any) -> object:
        self.ran.append(tier.name)
        self.now += 300
        return self.tiers.Result(tier.name, 300, passed=1)

    def said(self, budget: float) -> str:
        with contextlib.redirect_stdout(io.StringIO()) as out:
            self.assertEqual(0, self.tiers.run_all(budget))
        return out.getvalue()

    def test_what_is_not_run_by_default_is_said_aloud(self) -> None:
        said = self.said(0)
        self.assertEqual(['unit'], self.ran)
        self.assertIn('CLOUD WAS NOT RUN: tools/test cloud', said)

    def test_it_runs_where_it_fits(self) -> None:
        self.assertNotIn('NOT RUN', self.said(20))
        self.assertEqual(['unit', 'cloud'], self.ran)

    def test_it_does_not_run_where_it_may_not_fit(self) -> None:
        self.assertIn('NOT RUN', self.said(19))
        self.assertEqual(['unit'], self.ran)

    def test_a_named_tier_needs_no_time(self) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            self.assertEqual(0, self.tiers.test(['cloud']))
        self.assertEqual(['cloud'], self.ran)
