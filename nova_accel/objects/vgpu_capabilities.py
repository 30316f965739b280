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

How they travel from the node to the scheduler: ``stats.py``.
"""

import collections
import collections.abc

from oslo_versionedobjects import fields

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
    offer: inventory.Offer,
    claims: collections.abc.Iterable[inventory.Claim],
    node: inventory.Node,
) -> VGPUCapabilities:
    """Describe what a host offers and what of it is free.

    :param claims: every unit that servers and migrations of the host hold.
    """
    claimed = collections.defaultdict(list)
    for claim in claims:
        claimed[claim.provider].append(_type_held(claim))
    cards, rows = [], collections.defaultdict(list)
    for pool in offer.pools:
        stocks = [stock for stock in pool.stocks if stock.model]
        if not stocks:
            continue
        provider = naming.provider_uuid(node.uuid, pool.stable_id)
        card = _card(pool, stocks, provider, claimed[provider])
        cards.append(card)
        for stock in stocks:
            rows[stock.resource_class, _type_id(stock)].append((stock, card))
    capabilities = VGPUCapabilities(
        models=[_model(pairs) for pairs in rows.values()], cards=cards
    )
    capabilities.obj_reset_changes(recursive=True)
    return capabilities


def _type_held(claim: inventory.Claim) -> str:
    try:
        return naming.UnitId.parse(claim.unit).part
    except ValueError:
        # Not one of the models, whatever it is; so it blocks them.
        return ''


def _card(
    pool: inventory.Pool,
    stocks: list[inventory.Stock],
    provider: str,
    held: list[str],
) -> VGPUCardCapability:
    used = collections.Counter(held)
    return VGPUCardCapability(
        provider=provider,
        stable_id=pool.stable_id,
        mixed=not pool.exclusive,
        held=sorted(used),
        types={s.resource_class: _type_id(s) for s in stocks},
        total={s.resource_class: len(s.units) for s in stocks},
        free={
            s.resource_class: _free(s, pool.exclusive, used) for s in stocks
        },
    )


def _type_id(stock: inventory.Stock) -> str:
    assert stock.model is not None
    return stock.model.type_id


def _free(
    stock: inventory.Stock, exclusive: bool, used: collections.Counter[str]
) -> int:
    mine = used[_type_id(stock)]
    if exclusive and used.total() > mine:
        return 0
    return max(0, len(stock.units) - mine)


def _model(
    pairs: list[tuple[inventory.Stock, VGPUCardCapability]],
) -> VGPUModelCapability:
    stock = pairs[0][0]
    model, rc = stock.model, stock.resource_class
    assert model is not None
    return VGPUModelCapability(
        name=model.name,
        type_id=model.type_id,
        resource_class=rc,
        vendor_id=next((u.function.vendor_id for u in stock.units), None),
        framebuffer_mib=model.framebuffer_mib,
        max_heads=model.max_heads,
        max_resolution=model.max_resolution
        and '{}x{}'.format(*model.max_resolution),
        total=sum(card.total[rc] for _stock, card in pairs),
        free=sum(card.free[rc] for _stock, card in pairs),
    )
