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
"""What hosts report, without any server. Not a test of a driver's guests."""

from tempest import config
from tempest.lib import decorators

from nova_accel_tempest.tests import base
from nova_accel_tempest.tests import tags

CONF = config.CONF
_REASON = 'a driver that serves nobody reports all this as well'


class OfferTest(base.AccelTestCase):
    @tags.passes_without_a_driver(_REASON)
    @decorators.idempotent_id('0e4a5a0c-6c0c-4d0a-9a5b-3f3d5c6b7a01')
    def test_everything_configured_is_offered(self) -> None:
        for rc, providers in self.offered().items():
            self.assertGreater(sum(p.total[rc] for p in providers), 0, rc)

    @tags.passes_without_a_driver(_REASON)
    @decorators.idempotent_id('0e4a5a0c-6c0c-4d0a-9a5b-3f3d5c6b7a02')
    def test_each_provider_is_part_of_a_host(self) -> None:
        for providers in self.offered().values():
            for provider in providers:
                self.assertNotEqual(provider.uuid, provider.root)
                self.assertIn('_accel_', provider.name)

    @tags.passes_without_a_driver(_REASON)
    @decorators.idempotent_id('0e4a5a0c-6c0c-4d0a-9a5b-3f3d5c6b7a03')
    def test_each_provider_says_who_owns_it(self) -> None:
        for providers in self.offered().values():
            for provider in providers:
                self.assertIn('OWNER_NOVA', provider.traits, provider.name)
                self.assertTrue(
                    any(
                        trait.startswith('CUSTOM_ACCEL_VENDOR_')
                        for trait in provider.traits
                    ),
                    provider.name,
                )
