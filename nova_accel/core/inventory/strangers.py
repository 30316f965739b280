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
"""Mediated devices that somebody else made on a card of ours."""

import collections.abc
import dataclasses

from nova_accel.core import device
from nova_accel.core.inventory import values
from nova_accel.core import naming


def occupied(
    offer: values.Offer, mdevs: collections.abc.Iterable[device.Mdev]
) -> frozenset[values.Claim]:
    """Return the units whose place foreign mediated devices take.

    They are claims of no provider: the units are not free, and they show as
    reserved. A virtual function is its own slot. On a card that is one
    parent, and for a function that is spare because the card holds fewer,
    the last slots are given up, since ours fill from the first.

    :param mdevs: mediated devices that are not ours.
    """
    parents = _parents(offer)
    found: set[values.Claim] = set()
    # Those that have a slot of their own first.
    for places in sorted(
        [_places(parents, mdev) for mdev in sorted(mdevs)], key=len
    ):
        found.update([place for place in places if place not in found][:1])
    return frozenset(found)


def lacking(
    offer: values.Offer,
    shares: collections.abc.Mapping[tuple[str, str], int],
) -> frozenset[values.Claim]:
    """Return units that stand for what others keep us from having.

    Where only an amount is known, they are none that exist: each crowds
    one out that is free.

    :param shares: see ``device.HostView.lacking``.
    """
    found = set()
    for pool in offer.pools:
        for stock in pool.stocks:
            for unit in stock.units if stock.model is None else ():
                if shares.get((unit.function.name, '')):
                    found.add(values.Claim('', '', str(unit.id)))
            if stock.model is not None:
                first, total = stock.units[0], len(stock.units)
                key = (first.function.name, stock.model.type_id)
                for beyond in range(shares.get(key, 0)):
                    unit_id = dataclasses.replace(
                        first.id, slot=total + beyond
                    )
                    found.add(values.Claim('', '', str(unit_id)))
    return frozenset(found)


def _places(parents: '_Parents', mdev: device.Mdev) -> list[values.Claim]:
    """Return the places that a mediated device may take, best first."""
    units = parents.get((mdev.parent, mdev.type_id))
    if units is None:
        units = parents.get((mdev.parent, None), ())
    return [
        values.Claim(
            '',
            '',
            str(naming.UnitId(unit.id.device, mdev.type_id, unit.id.slot)),
        )
        for unit in reversed(units)
    ]


_Parents = dict[tuple[str, str | None], tuple[values.Unit, ...]]


def _parents(offer: values.Offer) -> _Parents:
    """Units by the function that serves them and by vGPU type.

    The key with None stands for any type that is not offered: it still
    keeps a card that takes one model at a time from taking ours.
    """
    parents: dict[tuple[str, str | None], list[values.Unit]] = {}
    for pool in offer.pools:
        for stock in pool.stocks:
            if stock.model is None:
                continue
            serving = {unit.function.name for unit in stock.units}
            for key in (stock.model.type_id, None):
                for unit in stock.units:
                    name = unit.function.name
                    parents.setdefault((name, key), []).append(unit)
                for dev in pool.devices:
                    if dev.models and dev.name not in serving:
                        spare = parents.setdefault((dev.name, key), [])
                        spare.extend(stock.units)
    return {key: tuple(units) for key, units in parents.items()}
