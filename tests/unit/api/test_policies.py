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
"""The defaults, as oslo.policy reads them."""

import pathlib

import ddt
import fixtures
from oslo_config import cfg
from oslo_policy import generator
from oslo_policy import policy
import testtools

from nova_accel.api import policies
from nova_accel.api.policies import accelerator

SAMPLE = (
    pathlib.Path(__file__).parents[3] / 'etc/nova-accel.policy.yaml.sample'
)
OWN = {'project_id': 'p1', 'user_id': 'u1'}
READ = {accelerator.LIST, accelerator.SHOW}
CHANGE = {accelerator.CREATE, accelerator.DELETE}
ALL = {rule.name for rule in policies.list_rules()}


def creds(*roles: str, project: str | None = 'p1') -> dict[str, object]:
    return {'roles': list(roles), 'project_id': project, 'user_id': 'u1'}


@ddt.ddt
class DefaultsTest(testtools.TestCase):
    def setUp(self) -> None:
        super().setUp()
        conf = cfg.ConfigOpts()
        conf([], default_config_files=[], default_config_dirs=[])
        self.enforcer = policy.Enforcer(conf, policy_file='none.yaml')
        self.enforcer.register_defaults(policies.list_rules())

    def allowed(self, who: dict[str, object]) -> set[str]:
        found = set()
        for rule in ALL:
            try:
                if self.enforcer.authorize(rule, OWN, who, do_raise=False):
                    found.add(rule)
            except policy.InvalidScope:
                pass
        return found

    @ddt.data(
        (creds('reader'), READ),
        (creds('member', 'reader'), READ | CHANGE),
        (creds('admin', 'member', 'reader'), ALL),
        (creds('admin', project='p2'), ALL),
        (creds('member', 'reader', project='p2'), set()),
        (creds('other'), set()),
        (creds(), set()),
    )
    @ddt.unpack
    def test_who_may_do_what(
        self, who: dict[str, object], rules: set[str]
    ) -> None:
        self.assertEqual(rules, self.allowed(who))

    @ddt.data(
        {'system_scope': 'all', 'project_id': None},
        {'domain_id': 'd1', 'project_id': None},
    )
    def test_a_token_without_a_project_may_do_nothing(
        self, scope: dict[str, object]
    ) -> None:
        self.assertEqual(set(), self.allowed({**creds('admin'), **scope}))

    def test_every_rule_is_documented(self) -> None:
        for rule in policies.list_rules():
            self.assertTrue(rule.description, rule.name)
            self.assertEqual(['project'], rule.scope_types, rule.name)


class SampleTest(testtools.TestCase):
    def test_it_is_up_to_date(self) -> None:
        """Write it anew with ``tox -e genpolicy``."""
        folder = self.useFixture(fixtures.TempDir()).path
        made = pathlib.Path(folder, 'sample.yaml')
        generator._generate_sample(['nova_accel'], str(made))
        self.assertEqual(SAMPLE.read_text(), made.read_text())
