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
"""Which vGPU models a host offers, as versioned objects.

How they travel from the node to the scheduler: ``publication.py``.
"""

import collections
import collections.abc

from oslo_versionedobjects import fields

from nova_accel.core import device
from nova_accel.core import inventory
from nova_accel.core import naming
from nova_accel.objects import base


@base.AccelObjectRegistry.register
class VGPUModelCapability(base.AccelObject):
    """One vGPU model that a host offers under one resource class.

    All but class and counts are None where unknown or left out for want of
    room. ``max_resolution`` is written as drivers write it, ``4096x2160``.
    """

    # Version 1.0: Initial version
    VERSION = '1.0'

    fields = {
        'name': fields.StringField(nullable=True),
        'type_id': fields.StringField(nullable=True),
        'resource_class': fields.StringField(),
        'vendor_id': fields.StringField(nullable=True),
        'framebuffer_mib': fields.NonNegativeIntegerField(nullable=True),
        'max_heads': fields.NonNegativeIntegerField(nullable=True),
        'max_resolution': fields.StringField(nullable=True),
        'total': fields.NonNegativeIntegerField(),
        'free': fields.NonNegativeIntegerField(),
    }


@base.AccelObjectRegistry.register
class VGPUCardCapability(base.AccelObject):
    """One card: a provider in Placement.

    ``types``, ``total`` and ``free`` are keyed by resource class; ``types``
    gives the type id of the model behind it. ``held`` lists the type ids that
    servers hold on the card right now, offered or not. Where ``mixed`` is
    False, holding one model leaves nothing free of the others.
    """

    # Version 1.0: Initial version
    VERSION = '1.0'

    fields = {
        'provider': fields.UUIDField(),
        'stable_id': fields.StringField(),
        'mixed': fields.BooleanField(),
        'held': fields.ListOfStringsField(),
        'types': fields.DictOfStringsField(),
        'total': fields.DictOfIntegersField(),
        'free': fields.DictOfIntegersField(),
    }


@base.AccelObjectRegistry.register
class VGPUCapabilities(base.AccelObject):
    """All vGPU models of a host, and since 1.1 its cards.

    No cards means that nothing is known about them, not that there are none.
    """

    # Version 1.0: Initial version
    # Version 1.1: Add cards
    VERSION = '1.1'

    fields = {
        'models': fields.ListOfObjectsField('VGPUModelCapability'),
        'cards': fields.ListOfObjectsField('VGPUCardCapability', default=[]),
    }

    # What makes obj_make_compatible() drop the cards for 1.0.
    obj_relationships = {
        'models': [('1.0', '1.0'), ('1.1', '1.0')],
        'cards': [('1.1', '1.0')],
    }

    def model_of(self, card: VGPUCardCapability, rc: str) -> str | None:
        """Return the name of the model behind a class of a card."""
        type_id = card.types.get(rc)
        for model in self.models:
            if (model.resource_class, model.type_id) == (rc, type_id):
                return model.name
        return None


def from_offer(
    node: inventory.Node,
    offer: inventory.Offer,
    claims: collections.abc.Iterable[inventory.Claim],
) -> VGPUCapabilities:
    """Describe what a host offers and what of it is free.

    :param claims: every unit that servers and migrations of the host hold,
        or that strangers occupy.
    """
    held = inventory.Holdings.of(claims)
    cards = []
    rows = collections.defaultdict(list)
    for pool in offer.pools:
        models = {s.resource_class: s.model for s in pool.stocks if s.model}
        if not models:
            continue
        card = _card(node, pool, models, held)
        cards.append(card)
        for rc, model in models.items():
            rows[rc, model.type_id].append((model, pool, card))
    capabilities = VGPUCapabilities(
        models=[_model(rc, found) for (rc, _type), found in rows.items()],
        cards=cards,
    )
    capabilities.obj_reset_changes(recursive=True)
    return capabilities


def _card(
    node: inventory.Node,
    pool: inventory.Pool,
    models: dict[str, device.VgpuModel],
    held: inventory.Holdings,
) -> VGPUCardCapability:
    return VGPUCardCapability(
        provider=naming.provider_uuid(node.uuid, pool.stable_id),
        stable_id=pool.stable_id,
        mixed=not pool.exclusive or pool.parts > 1,
        held=sorted(held.parts.get(pool.stable_id, ())),
        types={rc: model.type_id for rc, model in models.items()},
        total={s.resource_class: len(s.units) for s in pool.stocks},
        free={
            s.resource_class: len(inventory.free(pool, s, held))
            for s in pool.stocks
        },
    )


def _model(
    rc: str,
    found: list[tuple[device.VgpuModel, inventory.Pool, VGPUCardCapability]],
) -> VGPUModelCapability:
    model, pool, _card = found[0]
    size = model.max_resolution
    return VGPUModelCapability(
        name=model.name,
        type_id=model.type_id,
        resource_class=rc,
        vendor_id=pool.devices[0].vendor_id,
        framebuffer_mib=model.framebuffer_mib,
        max_heads=model.max_heads,
        max_resolution=f'{size[0]}x{size[1]}' if size else None,
        total=sum(card.total[rc] for _, _, card in found),
        free=sum(card.free[rc] for _, _, card in found),
    )
