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
"""What an image may ask, on nova's own request specifications."""

import typing as ty
from unittest import mock

import ddt
import fixtures
import nova.conf
from nova import context as nova_context
from nova import exception as nova_exception
from nova import objects
from nova.scheduler import filters as host_filters
from nova.scheduler import request_filter
from nova.scheduler import utils
from nova import test

from nova_accel.scheduler import filters
from nova_accel.scheduler import placement
from nova_accel.scheduler import request

CONF = nova.conf.CONF

MODEL_8Q = 'CUSTOM_ACCEL_MODEL_GRID_T4_8Q'
IN_GROUP = {'resources1:VGPU': '1', f'trait1:{MODEL_8Q}': 'required'}


@ddt.ddt
class RequestFilterTest(test.NoDBTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.context = nova_context.get_admin_context()
        self.useFixture(
            fixtures.MockPatchObject(placement, 'is_trait', lambda name: True)
        )

    def _filter(self, spec: objects.RequestSpec) -> bool:
        return request.accel_request_filter(self.context, spec)

    def test_group_gives_what_the_image_requires(self) -> None:
        image = _image(MODEL_8Q, 'CUSTOM_OTHER')
        spec = _spec(IN_GROUP, image)
        self.assertTrue(self._filter(spec))
        asked = utils.ResourceRequest.from_request_spec(spec)
        self.assertEqual(
            {'CUSTOM_OTHER'}, asked.get_request_group(None).required_traits
        )
        self.assertEqual(
            {MODEL_8Q}, asked.get_request_group('1').required_traits
        )
        # Neither the caller's image changes, nor is there a change to save.
        self.assertEqual(
            [MODEL_8Q, 'CUSTOM_OTHER'], image.properties.traits_required
        )
        self.assertNotIn('image', spec.obj_what_changed())

    def test_placement_is_left_to_find_the_model(self) -> None:
        spec = _spec({'resources:VGPU': '1'}, _image(MODEL_8Q))
        self.assertTrue(self._filter(spec))
        asked = utils.ResourceRequest.from_request_spec(spec)
        self.assertEqual(
            {MODEL_8Q}, asked.get_request_group(None).required_traits
        )

    @ddt.data({}, {'resources1:VGPU': '1'}, {'resources:CUSTOM_VGPU_X': '1'})
    def test_refused(self, specs: dict[str, str]) -> None:
        error = self.assertRaises(
            nova_exception.RequestFilterFailed,
            self._filter,
            _spec(specs, _image(MODEL_8Q)),
        )
        self.assertIn('desktop', error.message)
        self.assertIn('v1', error.message)

    def test_long_names_leave_room_for_the_advice(self) -> None:
        spec = _spec({}, _image(MODEL_8Q, name='i' * 255), name='f' * 255)
        error = self.assertRaises(
            nova_exception.RequestFilterFailed, self._filter, spec
        )
        fault = nova_exception.NoValidHost(reason=error.message)
        self.assertIn('resources:VGPU=1', fault.format_message()[:255])

    @ddt.data(
        None,
        objects.ImageMeta(),
        objects.ImageMeta(properties=objects.ImageMetaProps()),
        objects.ImageMeta.from_dict(
            {'properties': {'trait:HW_CPU_X86_AVX2': 'required'}}
        ),
    )
    def test_images_without_a_model(
        self, image: objects.ImageMeta | None
    ) -> None:
        self.assertFalse(self._filter(_spec({}, image)))

    def test_image_from_a_volume_has_no_name(self) -> None:
        image = objects.ImageMeta(properties=_image(MODEL_8Q).properties)
        self.assertRaises(
            nova_exception.RequestFilterFailed, self._filter, _spec({}, image)
        )

    @ddt.data({'resources:VGPU': 'one'}, {'trait:x y': 'required'})
    def test_what_nova_complains_of_is_left_to_nova(
        self, specs: dict[str, str]
    ) -> None:
        self.assertFalse(self._filter(_spec(specs, _image(MODEL_8Q))))

    def test_request_without_image_and_extra_specs(self) -> None:
        spec = objects.RequestSpec(flavor=objects.Flavor(name='v1'))
        self.assertFalse(self._filter(spec))


class SeamTest(test.NoDBTestCase):
    """There is no option for request filters: we append to nova's list."""

    def test_installed_once(self) -> None:
        request.install()
        self.assertEqual(
            1,
            request_filter.ALL_REQUEST_FILTERS.count(
                request.accel_request_filter
            ),
        )

    def test_nova_calls_what_stands_in_the_list(self) -> None:
        with mock.patch.object(
            request_filter,
            'ALL_REQUEST_FILTERS',
            [request.accel_request_filter],
        ):
            self.assertRaises(
                nova_exception.RequestFilterFailed,
                request_filter.process_reqspec,
                nova_context.get_admin_context(),
                _spec({}, _image(MODEL_8Q)),
            )

    def test_the_option_of_the_docs_loads_the_filter(self) -> None:
        self.flags(
            available_filters=[
                'nova.scheduler.filters.all_filters',
                'nova_accel.scheduler.filters.AccelFilter',
            ],
            group='filter_scheduler',
        )
        loaded = host_filters.HostFilterHandler().get_matching_classes(
            CONF.filter_scheduler.available_filters
        )
        self.assertIn(filters.AccelFilter, loaded)


def _image(*traits: str, name: str = 'desktop') -> objects.ImageMeta:
    return objects.ImageMeta.from_dict(
        {
            'name': name,
            'properties': {f'trait:{trait}': 'required' for trait in traits},
        }
    )


def _spec(
    specs: dict[str, str], image: ty.Any, name: str = 'v1'
) -> objects.RequestSpec:
    """A request as it reaches the scheduler: nothing in it is changed."""
    spec = objects.RequestSpec(
        flavor=objects.Flavor(
            name=name,
            extra_specs=specs,
            vcpus=1,
            memory_mb=512,
            root_gb=1,
            ephemeral_gb=0,
            swap=0,
        ),
        image=image,
        is_bfv=False,
        request_level_params=objects.RequestLevelParams(),
        requested_resources=[],
    )
    spec.obj_reset_changes(recursive=True)
    return spec
