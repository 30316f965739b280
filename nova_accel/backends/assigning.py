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
"""Which device serves a claim, by the last look at the host."""

from nova_accel.backends import base
from nova_accel.core import inventory
from nova_accel.core import snapshot
from nova_accel import exception


def resolve(
    now: snapshot.Snapshot, claim: inventory.Claim, server: str = '-'
) -> base.Assignment:
    """Find what serves a claim, listed in the whitelist or not.

    :raises DeviceUnavailable: it is not in this host.
    """
    unit = inventory.read_unit(claim.unit)
    function = now.offer.locate(unit) if unit else None
    if unit is None or function is None:
        raise exception.DeviceUnavailable(
            device=claim.unit,
            server=server,
            reason='it is not in this host any more, or another one may '
            'be in its place: nova-accel identify tells',
        )
    pool = now.index.pools.get(claim.provider)
    vgpu = unit.is_vgpu
    mdev_uuid = now.mdev_of(claim) if vgpu else None
    return base.Assignment(
        unit=claim.unit,
        function=function,
        mdev_uuid=mdev_uuid,
        mdev_type=unit.part if vgpu else None,
        managed=pool.rule.managed if pool else True,
        adopted=mdev_uuid in now.adopted,
        live_migratable=_is_live_migratable(pool, vgpu),
    )


def locate(now: snapshot.Snapshot, unit: str) -> base.Assignment:
    """Find what serves a unit that nobody holds.

    :raises DeviceUnavailable: it is not offered here now.
    """
    for rp, pool in now.index.pools.items():
        for stock in pool.stocks:
            if unit in stock.ids:
                claim = inventory.Claim(rp, stock.resource_class, unit)
                return resolve(now, claim)
    raise exception.DeviceUnavailable(
        device=unit, server='-', reason='it is not offered here now'
    )


def _is_live_migratable(pool: inventory.Pool | None, vgpu: bool) -> bool:
    """Go by the rule; without a word of it, a vGPU is and no other device."""
    said = pool.rule.live_migratable if pool else None
    return vgpu if said is None else said
