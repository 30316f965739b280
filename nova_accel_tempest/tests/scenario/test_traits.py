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
"""What flavors and images may ask of a card beside its class."""

import io

from tempest import config
from tempest.lib.common.utils import data_utils
from tempest.lib import decorators

from nova_accel_tempest.tests import base
from nova_accel_tempest.tests import offers
from nova_accel_tempest.tests import tags

CONF = config.CONF
_MODEL = 'CUSTOM_ACCEL_MODEL_'
_PRODUCT = 'CUSTOM_ACCEL_PRODUCT_'


class TraitsTest(base.AccelTestCase):
    def model(self) -> tuple[str, str]:
        """A vGPU class and the trait of its model."""
        for rc, providers in self.offered().items():
            for provider in providers:
                models = [t for t in provider.traits if t.startswith(_MODEL)]
                if len(models) == 1 and provider.free.get(rc):
                    return rc, models[0]
        raise self.skipException('no vGPU model is offered')

    def image(self, trait: str) -> str:
        """An image like the usual one that requires a trait."""
        known = self.images.show_image(CONF.compute.image_ref)
        kept = {k: v for k, v in known.items() if k.startswith('hw_')}
        made = self.images.create_image(
            name=data_utils.rand_name('accel'),
            disk_format=known['disk_format'],
            container_format=known['container_format'],
            visibility='public',
            **kept,
            **{f'trait:{trait}': 'required'},
        )
        self.addCleanup(self.images.delete_image, made['id'])
        data = self.images.show_image_file(CONF.compute.image_ref).data
        self.images.store_image_file(made['id'], io.BytesIO(data))
        return str(made['id'])

    @decorators.attr(type='driver')
    @decorators.idempotent_id('9b8a7c60-2d3e-4f5a-8b9c-d0e1f2a3b401')
    def test_a_flavor_names_the_product(self) -> None:
        rc = self.any_class()
        provider = next(p for p in self.offered()[rc] if p.free.get(rc))
        (product,) = (t for t in provider.traits if t.startswith(_PRODUCT))
        flavor = self.flavor(
            {
                f'resources_CARD:{rc}': '1',
                f'trait_CARD:{product}': 'required',
            }
        )
        server = self.boot(flavor)
        self.assert_has(server, **{rc: 1})
        (uuid,) = self.allocated(server)
        (chosen,) = (p for p in self.offers.read() if p.uuid == uuid)
        self.assertIn(product, chosen.traits)

    @tags.passes_without_a_driver('the scheduler refuses it')
    @decorators.idempotent_id('9b8a7c60-2d3e-4f5a-8b9c-d0e1f2a3b402')
    def test_a_forbidden_product_is_refused(self) -> None:
        rc = self.any_class()
        products = {
            trait
            for provider in self.offered()[rc]
            for trait in provider.traits
            if trait.startswith(_PRODUCT)
        }
        specs = {f'trait_CARD:{trait}': 'forbidden' for trait in products}
        said = self.refused(
            self.flavor({f'resources_CARD:{rc}': '1', **specs})
        )
        self.assertIn('No valid host', said)

    @decorators.attr(type='driver')
    @decorators.idempotent_id('9b8a7c60-2d3e-4f5a-8b9c-d0e1f2a3b403')
    def test_an_image_requires_the_model_that_the_flavor_gives(self) -> None:
        rc, trait = self.model()
        server = self.boot(
            self.flavor_of(**{rc: 1}), imageRef=self.image(trait)
        )
        self.assert_has(server, **{rc: 1})

    @tags.passes_without_a_driver('refused before any host hears of it')
    @decorators.idempotent_id('9b8a7c60-2d3e-4f5a-8b9c-d0e1f2a3b404')
    def test_an_image_that_needs_a_vgpu_says_so(self) -> None:
        _rc, trait = self.model()
        said = self.refused(self.flavor({}), imageRef=self.image(trait))
        self.assertIn(trait, said)


class OfferedElsewhereTest(base.AccelTestCase):
    @tags.passes_without_a_driver('the scheduler refuses it')
    @decorators.idempotent_id('9b8a7c60-2d3e-4f5a-8b9c-d0e1f2a3b405')
    def test_more_than_any_card_has_is_refused(self) -> None:
        offered = self.offered()
        rc = next(iter(offered))
        most = offers.free(self.offers.read(), rc)
        said = self.refused(self.flavor_of(**{rc: most + 1}))
        self.assertIn('No valid host', said)
