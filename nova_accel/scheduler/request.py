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
"""A request filter: what an image asks of a flavor, before Placement.

An image names the vGPU model it needs by a required trait
(``trait:CUSTOM_ACCEL_MODEL_GRID_T4_8Q=required``). Nova puts that trait into
the group without a suffix, so that Placement finds no host, and the user no
reason, where the flavor asks for no vGPU or does so in other groups.
"""

from nova import context as nova_context
from nova import exception as nova_exception
from nova import objects
from nova.scheduler import request_filter

from nova_accel.core import request
from nova_accel import exception
from nova_accel.scheduler import placement
from nova_accel.scheduler import rules

# A fault has room for 255 characters.
_LONGEST_NAME = 32


def install() -> None:
    """Add the filter to nova's list of them; there is no option for it."""
    if accel_request_filter not in request_filter.ALL_REQUEST_FILTERS:
        request_filter.ALL_REQUEST_FILTERS.append(accel_request_filter)


def accel_request_filter(
    ctxt: nova_context.RequestContext, request_spec: objects.RequestSpec
) -> bool:
    """Refuse what can never be, and settle what the flavor's groups give.

    :raises RequestFilterFailed: its reason becomes the server's fault.
    """
    models = rules.model_traits(image_traits(request_spec))
    asked = asked_by_flavor(request_spec)
    if not models or asked is None:
        return False
    try:
        settled = rules.settled_by_groups(
            asked,
            models,
            placement.is_trait,
            image=_short(request_spec.image, 'name'),
            flavor=_short(request_spec.flavor, 'name'),
        )
    except exception.ModelRefused as error:
        raise nova_exception.RequestFilterFailed(reason=str(error)) from error
    if settled:
        _no_longer_require(request_spec, settled)
    return True


def image_traits(request_spec: objects.RequestSpec) -> list[str]:
    """Return the traits that the image requires."""
    image = request_spec.image if 'image' in request_spec else None
    if not image or 'properties' not in image:
        return []
    return list(image.properties.get('traits_required', []))


def asked_by_flavor(
    request_spec: objects.RequestSpec,
    traits: tuple[str, ...] = (),
) -> request.Request | None:
    """Read the flavor's groups; None if it is for nova to complain."""
    flavor = request_spec.flavor
    specs = flavor.extra_specs if 'extra_specs' in flavor else {}
    try:
        return request.parse(specs, traits)
    except exception.InvalidRequest:
        return None


def _short(found: objects.Flavor | objects.ImageMeta, field: str) -> str:
    name = getattr(found, field) if field in found else ''
    name = name or 'without a name'
    if len(name) <= _LONGEST_NAME:
        return name
    return name[: _LONGEST_NAME - 3] + '...'


def _no_longer_require(
    request_spec: objects.RequestSpec, traits: frozenset[str]
) -> None:
    # The request specification is the scheduler's copy and is not saved.
    # Its image is replaced all the same, not changed.
    image = request_spec.image.obj_clone()
    image.properties.traits_required = [
        trait
        for trait in image.properties.traits_required
        if trait not in traits
    ]
    image.obj_reset_changes(recursive=True)
    request_spec.image = image
    request_spec.obj_reset_changes(['image'])
