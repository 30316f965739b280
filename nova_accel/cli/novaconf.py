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
"""What nova.conf gives to servers: vGPU types, PCI devices and their aliases.

Read as nova reads it, and without nova: what counts is on this host, where
nova may be another version than the one that is installed with us.
"""

import collections.abc
import dataclasses
import json
import os
import typing as ty

from oslo_config import cfg

FILES = ('/etc/nova/nova.conf', '/etc/nova/nova-compute.conf')

_Json = dict[str, ty.Any]

_OPTIONS = {
    'devices': [
        cfg.ListOpt(
            'enabled_mdev_types',
            default=[],
            deprecated_name='enabled_vgpu_types',
        )
    ],
    'pci': [
        cfg.MultiStrOpt(
            'device_spec',
            default=[],
            deprecated_opts=[
                cfg.DeprecatedOpt('passthrough_whitelist', group='pci'),
                cfg.DeprecatedOpt(
                    'pci_passthrough_whitelist', group='DEFAULT'
                ),
            ],
        ),
        cfg.MultiStrOpt(
            'alias',
            default=[],
            deprecated_name='pci_alias',
            deprecated_group='DEFAULT',
        ),
        cfg.BoolOpt('report_in_placement', default=False),
    ],
}


@dataclasses.dataclass(frozen=True)
class MdevType:
    """One type of ``[devices]enabled_mdev_types``.

    :ivar addresses: what serves it; empty: all that nothing else claims.
    :ivar limit: how many of it the host may have, None for all.
    """

    name: str
    addresses: tuple[str, ...] = ()
    resource_class: str = 'VGPU'
    limit: int | None = None


@dataclasses.dataclass(frozen=True)
class Spec:
    """One ``[pci]device_spec``.

    :ivar text: as it stands in the file.
    """

    text: str
    fields: _Json


@dataclasses.dataclass(frozen=True)
class Alias:
    """One ``[pci]alias``; several of one name are alternatives."""

    name: str
    fields: _Json


@dataclasses.dataclass(frozen=True)
class NovaConf:
    """What the files say.

    :ivar files: those that were read.
    """

    files: tuple[str, ...] = ()
    mdev_types: tuple[MdevType, ...] = ()
    specs: tuple[Spec, ...] = ()
    aliases: tuple[Alias, ...] = ()
    report_in_placement: bool = False


class Unreadable(Exception):
    """The files cannot be read; the text says why."""


def read(files: collections.abc.Sequence[str] = ()) -> NovaConf:
    """Read nova.conf.

    :param files: by default those of ``FILES`` that exist.
    :raises Unreadable: there is none, or what it says makes no sense.
    """
    found = tuple(files) or tuple(filter(os.path.exists, FILES))
    if not found:
        raise Unreadable(
            f'there is no {FILES[0]}; name yours with --nova-conf'
        )
    conf = cfg.ConfigOpts()
    for group, opts in _OPTIONS.items():
        conf.register_opts(opts, group=group)
    try:
        conf(
            [],
            project='nova',
            default_config_files=list(found),
            default_config_dirs=[],
        )
        return _found(found, conf)
    except (cfg.Error, ValueError, OSError) as error:
        raise Unreadable(f'{", ".join(found)}: {error}') from error


def _found(files: tuple[str, ...], conf: cfg.ConfigOpts) -> NovaConf:
    return NovaConf(
        files,
        tuple(_mdev_types(conf)),
        tuple(
            Spec(text, fields)
            for text in conf.pci.device_spec
            for fields in _objects('device_spec', text)
        ),
        tuple(
            Alias(str(fields.get('name', '')), fields)
            for text in conf.pci.alias
            for fields in _objects('alias', text)
        ),
        conf.pci.report_in_placement,
    )


def _mdev_types(
    conf: cfg.ConfigOpts,
) -> collections.abc.Iterator[MdevType]:
    has_default = False
    for name in conf.devices.enabled_mdev_types:
        group = f'mdev_{name}'
        conf.register_opts(
            [
                cfg.ListOpt(
                    'device_addresses',
                    default=[],
                    deprecated_group=f'vgpu_{name}',
                ),
                cfg.StrOpt('mdev_class', default='VGPU'),
                cfg.IntOpt('max_instances', min=1),
            ],
            group=group,
        )
        section = conf[group]
        addresses = tuple(section.device_addresses)
        # Of several types without addresses, nova takes the first.
        if addresses or not has_default:
            has_default |= not addresses
            yield MdevType(
                name, addresses, section.mdev_class, section.max_instances
            )


def _objects(option: str, text: str) -> list[_Json]:
    """Read the JSON of an option: an object, or a list of them."""
    try:
        found = json.loads(text)
    except ValueError as error:
        raise Unreadable(f'[pci]{option} = {text}: {error}') from error
    listed = found if isinstance(found, list) else [found]
    if not all(isinstance(each, dict) for each in listed):
        raise Unreadable(f'[pci]{option} = {text}: not a JSON object')
    return listed
