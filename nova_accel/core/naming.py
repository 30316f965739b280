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
"""Names in both directions: providers, units, mediated devices, classes.

A provider name is never parsed for meaning. It is only *verified*: the name
of one of ours ends in the stable id from which its uuid was computed.
"""

import dataclasses
import functools
import hashlib
import urllib.parse
import uuid

import os_resource_classes
import os_traits

MANAGED = 'CUSTOM_ACCEL_MANAGED'
MISSING = 'CUSTOM_ACCEL_MISSING'
HOTPLUG = 'CUSTOM_ACCEL_HOTPLUG'

# Placement refuses longer provider names and longer traits.
_MAX_NAME = 200
_MAX_SYMBOL = 255
# Leaves room for the rest of a pool's id under the longest node name.
_MAX_RULE = 40

_WHO = 'CUSTOM_ACCEL_WHO_'
_AT = 'CUSTOM_ACCEL_AT_'
_IS = 'CUSTOM_ACCEL_IS_'
_POOL = 'pool'
HOST_WIDE = 'host'


@functools.lru_cache(maxsize=4096)
def provider_uuid(node_uuid: str, stable_id: str) -> str:
    """Uuid of a provider: a pure function of where and what it is."""
    return str(uuid.uuid5(uuid.UUID(node_uuid), stable_id))


def provider_name(node_name: str, stable_id: str) -> str:
    """Name of a provider, at most 200 characters."""
    return f'{_prefix(node_name)}{stable_id}'


def _prefix(node_name: str) -> str:
    # A node name may itself be 255 characters long.
    return f'{_shorten(node_name, _MAX_NAME // 2)}_accel_'


def fit(node_name: str, stable_id: str) -> str:
    """Return the stable id, hashed if its provider's name got too long."""
    return _shorten(stable_id, _MAX_NAME - len(_prefix(node_name)))


def _shorten(text: str, length: int) -> str:
    if len(text) <= length:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:32]
    return f'{text[: length - len(digest) - 1]}~{digest}'


def stable_id_of(
    node_name: str, node_uuid: str, name: str, rp_uuid: str
) -> str | None:
    """Return the stable id of a provider of ours, None for anyone else's.

    >>> stable_id_of('host1', NODE, 'host1_accel_sn:42', RP)  # doctest: +SKIP
    'sn:42'
    """
    prefix = _prefix(node_name)
    if not name.startswith(prefix):
        return None
    stable_id = name[len(prefix) :]
    if provider_uuid(node_uuid, stable_id) != rp_uuid:
        return None
    return stable_id


def is_named_like_ours(node_name: str, name: str) -> bool:
    """Tell a name that only providers of ours on this node should bear."""
    return name.startswith(_prefix(node_name))


def pool_id(
    rule_name: str, vendor_id: str, product_id: str, place: str
) -> str:
    """Stable id of a pool of identical whole devices.

    :param place: ``numa_place(...)`` or ``HOST_WIDE``.

    >>> pool_id('a100', '10de', '20b5', numa_place(1))
    'pool:a100:10de-20b5:numa1'
    """
    return f'{pool_prefix(rule_name)}{vendor_id}-{product_id}:{place}'


def pool_prefix(rule_name: str) -> str:
    """How the ids of all pools of a rule begin, and of no other rule's.

    The whitelist sees to it that a rule's name has no colon.
    """
    return f'{_POOL}:{_shorten(rule_name, _MAX_RULE)}:'


def is_pool(stable_id: str) -> bool:
    """Tell a pool of whole devices from a card."""
    return stable_id.startswith(f'{_POOL}:')


def numa_place(numa_node: int | None) -> str:
    """Name a NUMA node within the id of a pool."""
    return f'numa{"-unknown" if numa_node is None else numa_node}'


@functools.lru_cache(maxsize=8192)
def short_id(stable_id: str) -> str:
    """Eight upper-case hex digits that stand for an id inside a trait."""
    return hashlib.sha256(stable_id.encode()).hexdigest()[:8].upper()


@dataclasses.dataclass(frozen=True, order=True)
class UnitId:
    """Identifier of the smallest thing one can claim.

    It says all that is needed to attach it again, also when the whitelist
    no longer lists the device. Written into ``instance.resources`` as
    ``<device>`` (whole device), ``<device>/vf/<index>`` (virtual function)
    or ``<device>/<vGPU type>/<slot>`` (vGPU).

    :ivar device: stable id of the card.
    :ivar part: '' for the whole device, 'vf', or the vGPU type id.
    :ivar slot: position inside the card, 0 for a whole device.
    """

    device: str
    part: str = ''
    slot: int = 0

    VF = 'vf'

    def __str__(self) -> str:
        device = _quote(self.device)
        if not self.part:
            return device
        return f'{device}/{_quote(self.part)}/{self.slot}'

    @classmethod
    def parse(cls, text: str) -> 'UnitId':
        """Read what ``str()`` wrote.

        :raises ValueError: for any other text.
        """
        device, *rest = map(urllib.parse.unquote, text.split('/'))
        part, slot = rest if len(rest) == 2 else ('', '0')
        if slot.isdecimal():
            unit = cls(device, part, int(slot))
            # Only one spelling names a unit: identifiers are compared.
            if device and str(unit) == text:
                return unit
        raise ValueError(f'{text!r} is not the identifier of a unit')

    @property
    def is_vgpu(self) -> bool:
        return self.part not in ('', self.VF)


def _quote(text: str) -> str:
    return urllib.parse.quote(text, safe=':.-_~ ')


def mdev_uuid(rp_uuid: str, unit: str) -> str:
    """Uuid of the mediated device that serves a unit: always the same one."""
    return str(uuid.uuid5(uuid.UUID(rp_uuid), unit))


# Each new view of the host asks the same again.
@functools.lru_cache(maxsize=4096)
def unit_of_mdev(
    mdev: str,
    rp_uuid: str,
    stable_id: str,
    type_id: str,
    slots: tuple[int, ...],
) -> str | None:
    """Return the unit of a card whose mediated device has this uuid.

    :param slots: where it may be.
    """
    for slot in slots:
        unit = str(UnitId(stable_id, type_id, slot))
        if mdev_uuid(rp_uuid, unit) == mdev:
            return unit
    return None


def custom(*parts: str) -> str:
    """Join into a symbol that Placement accepts as class or trait.

    >>> custom('VGPU', 'GRID T4-8Q')
    'CUSTOM_VGPU_GRID_T4_8Q'
    """
    return _shorten_symbol(os_resource_classes.normalize_name('_'.join(parts)))


def _shorten_symbol(text: str) -> str:
    if len(text) <= _MAX_SYMBOL:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:16].upper()
    return f'{text[: _MAX_SYMBOL - 17]}_{digest}'


def vgpu_class(model_name: str) -> str:
    """Resource class of one model where a rule offers several."""
    return custom('VGPU', model_name)


def pci_class(vendor_id: str, product_id: str) -> str:
    """Resource class of a whole device, as nova itself names it."""
    return custom('PCI', vendor_id, product_id)


def usb_class(vendor_id: str, product_id: str) -> str:
    """Resource class of a USB device."""
    return custom('USB', vendor_id, product_id)


# The ids of PCI and those of USB are given out by different people.
def vendor_trait(vendor_id: str, bus: str = '') -> str:
    return custom('ACCEL', *filter(None, [bus]), 'VENDOR', vendor_id)


def product_trait(vendor_id: str, product_id: str, bus: str = '') -> str:
    ids = vendor_id, product_id
    return custom('ACCEL', *filter(None, [bus]), 'PRODUCT', *ids)


def who_trait(stable_id: str, who: str) -> str:
    """Trait that remembers what goes by a stable id.

    :param who: all by which it is told from a stranger.
    """
    return f'{_WHO}{short_id(stable_id)}_{short_id(who)}'


# Every update reads the same few hundred traits again.
@functools.lru_cache(maxsize=8192)
def read_who(trait: str) -> tuple[str, str] | None:
    """Return the short id and the hash in ``who_trait``, None for others."""
    short, _, who = trait.removeprefix(_WHO).partition('_')
    return (short, who) if trait.startswith(_WHO) and who else None


def at_trait(stable_id: str, address: object) -> str:
    """Trait that tells where a device was seen last.

    An attribute for people, by which nothing is recognised.
    """
    return f'{_AT}{short_id(stable_id)}_{custom(str(address))[7:]}'


@functools.lru_cache(maxsize=8192)
def read_at(trait: str) -> tuple[str, str] | None:
    """Return the short id and the address in ``at_trait``, None for others."""
    short, _, where = trait.removeprefix(_AT).partition('_')
    parts = where.split('_')
    if not trait.startswith(_AT) or len(parts) != 4:
        return None
    domain, bus, slot, function = parts
    return short, f'{domain}:{bus}:{slot}.{function}'.lower()


def remap_trait(old: str, new: str, who: str) -> str:
    """Trait of an operator's word: what was found as ``new`` is ``old``.

    :param who: all by which the device that was found is told from another.
    """
    return f'{_IS}{short_id(old)}_{short_id(new)}_{short_id(who)}'


@functools.lru_cache(maxsize=8192)
def read_remap(trait: str) -> tuple[str, str, str] | None:
    """Return the three short ids in ``remap_trait``, None for others."""
    parts = trait.removeprefix(_IS).split('_')
    if not trait.startswith(_IS) or len(parts) != 3:
        return None
    old, new, who = parts
    return old, new, who


def model_trait(model_name: str) -> str:
    """Trait by which an image or a flavor asks for a vGPU model."""
    return custom('ACCEL_MODEL', model_name)


def missing_trait(stable_id: str) -> str:
    """Trait that remembers a device a pool has lost."""
    return f'{MISSING}_{short_id(stable_id)}'


def is_missing_trait(trait: str) -> bool:
    """Tell a trait that says a device, or one of a pool, is missing."""
    return trait == MISSING or trait.startswith(f'{MISSING}_')


def heads_trait(heads: int) -> str | None:
    """Standard trait for a number of displays, None where there is none."""
    trait = f'HW_GPU_MAX_DISPLAY_HEADS_{heads}'
    return trait if hasattr(os_traits, trait) else None


def resolution_trait(width: int, height: int) -> str | None:
    """Standard trait for a resolution, None where there is none."""
    trait = f'HW_GPU_RESOLUTION_W{width}H{height}'
    return trait if hasattr(os_traits, trait) else None
