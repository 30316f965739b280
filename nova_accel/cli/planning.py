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
"""From the options of stock nova to a whitelist that offers the same."""

import collections.abc
import dataclasses
import json
import re
import typing as ty

import os_resource_classes

from nova_accel.cli import novaconf
from nova_accel.cli import text
from nova_accel.conf import composer
from nova_accel.core import device
from nova_accel.core import inventory
from nova_accel.core import naming
from nova_accel.core import topology
from nova_accel.core import whitelist
from nova_accel import exception

FILE = 'accel.yaml'

# Keys of a device_spec that nova alone can serve, and why it stays there.
_NOVAS = {
    'physical_network': 'ports of Neutron ask for it',
    'remote_managed': 'ports of Neutron ask for it',
    'one_time_use': 'a whitelist has no such key yet',
}
_MATCHING = ('vendor_id', 'product_id', 'address', 'devname')
NOTHING = 'it matches no device of this host'
_NO = frozenset({'0', 'f', 'false', 'n', 'no', 'off'})


@dataclasses.dataclass(frozen=True)
class Given:
    """What stock nova offers of one card.

    :ivar functions: what serves: the card itself, or functions of it.
    :ivar units: how many stock nova reports.
    """

    card: device.Device
    functions: tuple[device.Device, ...]
    resource_class: str
    units: int


@dataclasses.dataclass(frozen=True)
class Rule:
    """A rule of the file to be.

    :ivar option: where it comes from.
    :ivar keys: all but kind and match, in order.
    """

    name: str
    option: str
    kind: str
    match: dict[str, ty.Any]
    keys: dict[str, ty.Any]
    given: tuple[Given, ...]


@dataclasses.dataclass(frozen=True)
class Kept:
    """An option that stays in nova.conf, and why."""

    option: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Plan:
    """What becomes of each option.

    :ivar gone: options that must leave nova.conf.
    """

    rules: tuple[Rule, ...] = ()
    kept: tuple[Kept, ...] = ()
    gone: tuple[str, ...] = ()

    @property
    def whitelist(self) -> str:
        """The file."""
        lines = ['version: 1']
        lines.append('devices:' if self.rules else 'devices: {}')
        for rule in self.rules:
            lines += ['', f'  # {text.printable(rule.option)}']
            lines += [f'  {rule.name}:', f'    kind: {rule.kind}']
            lines.append('    match:')
            lines += [
                f'      {key}: {json.dumps(value)}'
                for key, value in rule.match.items()
            ]
            lines += [
                f'    {key}: {_value(value)}'
                for key, value in rule.keys.items()
            ]
        return '\n'.join(lines) + '\n'

    def has(self, kind: str) -> bool:
        return any(rule.kind == kind for rule in self.rules)


def _value(value: ty.Any) -> str:
    plain = isinstance(value, str) and re.fullmatch(r'[A-Z][A-Z_0-9]*', value)
    return str(value) if plain else json.dumps(value)


def plan(conf: novaconf.NovaConf, view: device.HostView) -> Plan:
    """Work out what the options mean on this host, and the rules for it."""
    work = _Work(conf, view)
    for mdev_type in conf.mdev_types:
        work.take_type(mdev_type)
    for spec in conf.specs:
        work.take_spec(spec)
    return Plan(tuple(work.rules), tuple(work.kept), tuple(work.gone))


_Functions = collections.abc.Sequence[device.Device]


class _Work:
    """One run of ``plan``."""

    def __init__(self, conf: novaconf.NovaConf, view: device.HostView) -> None:
        self._devices = tuple(sorted(view.devices, key=topology.order))
        self._cards = topology.cards(self._devices)
        self._named = {a for t in conf.mdev_types for a in t.addresses}
        self._used = {mdev.parent for mdev in view.mdevs}
        self._taken: set[str] = set()
        self.rules: list[Rule] = []
        self.kept: list[Kept] = []
        self.gone: list[str] = []

    # vGPUs

    def take_type(self, mdev_type: novaconf.MdevType) -> None:
        option = f'[devices]enabled_mdev_types = {mdev_type.name}'
        virtual = [a for a in mdev_type.addresses if ':' not in a]
        if virtual:
            reason = f'{", ".join(virtual)} is no PCI device'
            self.kept.append(Kept(option, reason))
            return
        given = tuple(
            sorted(self._vgpus(mdev_type), key=lambda g: g.card.address)
        )
        if not given:
            self.kept.append(Kept(option, NOTHING))
            return
        functions = [f for each in given for f in each.functions]
        makers = [dev for dev in self._devices if dev.models]
        self._add(
            Rule(
                self._name(given[0].card, mdev_type.name),
                option,
                whitelist.KIND_VGPU,
                _match(functions, makers),
                {
                    'models': [mdev_type.name],
                    'resource_class': mdev_type.resource_class,
                },
                given,
            )
        )
        self.gone.append(option)

    def _vgpus(
        self, mdev_type: novaconf.MdevType
    ) -> collections.abc.Iterator[Given]:
        left = mdev_type.limit
        # Nova counts first what exists.
        for card in sorted(self._cards, key=self._is_unused):
            functions: _Functions = [
                member
                for member in card.members
                if self._is_of_type(member, mdev_type)
            ]
            if left is not None:
                functions = self._within(left, functions, mdev_type)
            units = sum(_units(f, mdev_type.name) for f in functions)
            if functions:
                yield Given(
                    card.device,
                    tuple(functions),
                    mdev_type.resource_class,
                    units,
                )
            if left is not None:
                left -= units

    def _is_of_type(
        self, dev: device.Device, mdev_type: novaconf.MdevType
    ) -> bool:
        if not any(m.type_id == mdev_type.name for m in dev.models):
            return False
        if mdev_type.addresses:
            return str(dev.address) in mdev_type.addresses
        return str(dev.address) not in self._named

    def _within(
        self, left: int, functions: _Functions, mdev_type: novaconf.MdevType
    ) -> _Functions:
        """Leave out what does not fit under a limit as a whole, as nova."""
        found = []
        for dev in sorted(functions, key=self._is_idle):
            units = _units(dev, mdev_type.name)
            if units <= left:
                left -= units
                found.append(dev)
        return sorted(found, key=topology.order)

    def _is_unused(self, card: topology.Card) -> bool:
        return all(map(self._is_idle, card.members))

    def _is_idle(self, dev: device.Device) -> bool:
        return dev.name not in self._used

    # PCI devices

    def take_spec(self, spec: novaconf.Spec) -> None:
        option = f'[pci]device_spec = {spec.text}'
        reason = next(
            (why for key, why in _NOVAS.items() if _is_set(spec, key)), ''
        )
        if reason:
            self.kept.append(Kept(option, reason))
            return
        try:
            found = self._matching(spec)
        except exception.InvalidWhitelist as error:
            reason = '; '.join(p.text for p in error.problems)
            self.kept.append(Kept(option, f'it is not understood: {reason}'))
            return
        by_type: dict[str, list[device.Device]] = {}
        for dev in found:
            by_type.setdefault(dev.dev_type, []).append(dev)
        parents = {dev.parent for dev in found}
        either = [
            dev
            for dev in by_type.get(device.TYPE_PF, ())
            if dev.address in parents
        ]
        for dev in either:
            by_type[device.TYPE_PF].remove(dev)
        if not found:
            self.kept.append(Kept(option, NOTHING))
            return
        for dev_type, devices in by_type.items():
            if devices:
                self._add_pci(spec, option, dev_type, devices)
        self.gone.append(option)

    def _matching(self, spec: novaconf.Spec) -> list[device.Device]:
        """Devices that nova takes by this option and by none before it."""
        matches = _predicate(spec)
        return [
            dev
            for dev in self._devices
            if matches(dev)
            and dev.name not in self._taken
            and dev.class_id[:2] not in device.HOST_CLASSES
        ]

    def _add_pci(
        self,
        spec: novaconf.Spec,
        option: str,
        dev_type: str,
        devices: list[device.Device],
    ) -> None:
        match = _match(
            devices,
            self._devices,
            '' if dev_type == device.TYPE_PCI else dev_type,
        )
        names = {dev.name for dev in devices}
        given = []
        for card in self._cards:
            mine = tuple(m for m in card.members if m.name in names)
            for rc in sorted({_class(spec, dev) for dev in mine}):
                of_class = tuple(d for d in mine if _class(spec, d) == rc)
                given.append(Given(card.device, of_class, rc, len(of_class)))
        self._add(
            Rule(
                self._name(devices[0]),
                option,
                whitelist.KIND_PCI,
                match,
                _pci_keys(spec),
                tuple(given),
            )
        )

    # Both

    def _add(self, rule: Rule) -> None:
        self.rules.append(rule)
        self._taken.update(
            dev.name for each in rule.given for dev in each.functions
        )

    def _name(self, dev: device.Device, *more: str) -> str:
        words = re.findall(
            '[a-z0-9]+', ' '.join([text.product(dev), *more]).lower()
        )
        name = '-'.join(words)[:50].strip('-') or 'card'
        taken = {rule.name for rule in self.rules}
        number = 2
        unique = name
        while unique in taken:
            unique = f'{name}-{number}'
            number += 1
        return unique


def _predicate(
    spec: novaconf.Spec,
) -> collections.abc.Callable[[device.Device], bool]:
    """Read what an option matches with the words that rules share with it.

    :raises InvalidWhitelist: that cannot be.
    """
    match = {
        key: value
        for key, value in spec.fields.items()
        if key in _MATCHING and value != '*'
    }
    if not match:
        return lambda dev: True
    rule = Rule('spec', 'spec', whitelist.KIND_PCI, match, {}, ())
    return parse(Plan((rule,))).rules[0].matches


def _is_set(spec: novaconf.Spec, key: str) -> bool:
    return str(spec.fields.get(key, 'no')).lower() not in _NO


def _units(dev: device.Device, type_id: str) -> int:
    if dev.dev_type == device.TYPE_VF:
        return 1
    return sum(m.capacity or 0 for m in dev.models if m.type_id == type_id)


def _match(
    devices: collections.abc.Sequence[device.Device],
    others: collections.abc.Iterable[device.Device],
    dev_type: str = '',
) -> dict[str, ty.Any]:
    """Match these devices and none of the others.

    By maker and product where that does: it outlives a change of addresses.
    """
    match: dict[str, ty.Any] = {
        'vendor_id': _one(dev.vendor_id for dev in devices),
        'product_id': _one(dev.product_id for dev in devices),
    }
    if dev_type:
        match['dev_type'] = dev_type
    pairs = {(dev.vendor_id, dev.product_id) for dev in devices}
    names = {dev.name for dev in devices}
    vendors = {vendor for vendor, _product in pairs}
    products = {product for _vendor, product in pairs}
    for other in others:
        alike = (
            other.vendor_id in vendors
            and other.product_id in products
            and dev_type in ('', other.dev_type)
        )
        if alike and other.name not in names:
            match['address'] = _one(str(dev.address) for dev in devices)
    return match


def _one(words: collections.abc.Iterable[str]) -> str | list[str]:
    found = sorted(set(words))
    return found[0] if len(found) == 1 else found


def _class(spec: novaconf.Spec, dev: device.Device) -> str:
    named = spec.fields.get('resource_class')
    return (
        resource_class(str(named))
        if named
        else naming.pci_class(dev.vendor_id, dev.product_id)
    )


def resource_class(name: str) -> str:
    """Return a class as nova spells it."""
    upper = name.upper()
    standard = upper in os_resource_classes.STANDARDS
    return upper if standard else naming.custom(_plain(upper))


def _plain(name: str) -> str:
    return name.removeprefix(os_resource_classes.CUSTOM_NAMESPACE)


def traits(words: object) -> list[str]:
    """Return traits as nova spells them, from a list with commas."""
    found = [word.strip().upper() for word in str(words or '').split(',')]
    return [
        word if word.startswith('HW_') else naming.custom(_plain(word))
        for word in found
        if word
    ]


def _pci_keys(spec: novaconf.Spec) -> dict[str, ty.Any]:
    keys: dict[str, ty.Any] = {}
    if spec.fields.get('resource_class'):
        keys['resource_class'] = resource_class(
            str(spec.fields['resource_class'])
        )
    if spec.fields.get('traits'):
        keys['traits'] = traits(spec.fields['traits'])
    for key in ('managed', 'live_migratable'):
        if key in spec.fields:
            keys[key] = _is_set(spec, key)
    return keys


def parse(found: Plan) -> whitelist.Whitelist:
    """Read the file of a plan with the parser that nova-compute uses.

    :raises InvalidWhitelist: it makes no sense.
    """
    document = composer.compose(FILE, found.whitelist.encode())
    return whitelist.parse([document])


@dataclasses.dataclass(frozen=True)
class Row:
    """What stock nova offers of a card, and what the file does.

    :ivar note: why the two differ, '' if they do not.
    """

    given: Given
    rule: str
    ours: int
    note: str = ''


def compare(found: Plan, offer: inventory.Offer) -> list[Row]:
    """Compare what the options offer with what the file does."""
    return [
        _row(each, rule, offer) for rule in found.rules for each in rule.given
    ]


def _row(given: Given, rule: Rule, offer: inventory.Offer) -> Row:
    names = {dev.name for dev in given.functions}
    ours = sum(
        unit.function.name in names
        for pool in offer.pools
        for stock in pool.stocks
        if stock.resource_class == given.resource_class
        for unit in stock.units
    )
    named = names | {given.card.name}
    reasons = {
        entry.reason for entry in offer.withheld if entry.device.name in named
    }
    note = ', '.join(sorted(reasons))
    if not note and ours != given.units:
        note = (
            'nova counts virtual functions; the card holds this many'
            if rule.kind == whitelist.KIND_VGPU and 0 < ours < given.units
            else 'they differ'
        )
    return Row(given, rule.name, ours, note)


def problems(rows: collections.abc.Iterable[Row]) -> list[str]:
    """Say which cards the file does not offer as nova does."""
    return [
        f'{row.given.card.address}: nova offers {row.given.units} of '
        f'{row.given.resource_class}, rule {row.rule!r} {row.ours}: {row.note}'
        for row in rows
        if row.note and not 0 < row.ours < row.given.units
    ]


def read(found: Plan) -> tuple[whitelist.Whitelist, list[str]]:
    """Read the file of a plan; say what is wrong instead of raising."""
    try:
        return parse(found), []
    except exception.InvalidWhitelist as error:
        return whitelist.Whitelist(), [str(p) for p in error.problems]
