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
"""Cards for the tests of capabilities."""

from nova_accel.core import device
from nova_accel.core import inventory
from nova_accel.core import naming
from nova_accel.core import whitelist

NODE = inventory.Node('host1', '5f2f0b4e-6a0c-4ac7-8f0f-2d1f7c6a9d11')

T4_2Q = device.VgpuModel('nvidia-231', 'GRID T4-2Q', 8, 2048, 4, (7680, 4320))
T4_8Q = device.VgpuModel('nvidia-233', 'GRID T4-8Q', 2, 8192, 4, (7680, 4320))
M60_0B = device.VgpuModel('nvidia-11', 'GRID M60-0B', 16)

CLASS_2Q = naming.vgpu_class(T4_2Q.name)
CLASS_8Q = naming.vgpu_class(T4_8Q.name)


def card(
    serial: str,
    *offered: tuple[str, device.VgpuModel],
    exclusive: bool = True,
) -> inventory.Pool:
    """A card that offers each model under the class given with it."""
    stable_id = f'sn:{serial}'
    dev = device.Device(
        name=f'pci_{serial}',
        ids=(stable_id,),
        address=device.PciAddress.parse('0000:3b:00.0'),
        vendor_id='10de',
        product_id='1eb8',
        models=tuple(model for _rc, model in offered),
        mixed=not exclusive,
    )
    return inventory.Pool(
        stable_id,
        whitelist.Rule('t4', whitelist.Place('accel.yaml', 2), 'vgpu', ()),
        tuple(stock(dev, rc, model) for rc, model in offered),
        frozenset(),
        devices=(dev,),
        exclusive=exclusive,
    )


def stock(
    dev: device.Device, rc: str, model: device.VgpuModel
) -> inventory.Stock:
    units = tuple(
        inventory.Unit(naming.UnitId(dev.ids[0], model.type_id, slot), dev)
        for slot in range(model.capacity or 1)
    )
    return inventory.Stock(rc, units, model)


def provider(pool: inventory.Pool) -> str:
    return naming.provider_uuid(NODE.uuid, pool.stable_id)


def claims(
    pool: inventory.Pool, rc: str, amount: int
) -> frozenset[inventory.Claim]:
    """The first units of a class, held."""
    (found,) = [s for s in pool.stocks if s.resource_class == rc]
    return frozenset(
        inventory.Claim(provider(pool), rc, str(unit.id))
        for unit in found.units[:amount]
    )


def offer(*pools: inventory.Pool) -> inventory.Offer:
    return inventory.Offer(pools=pools)
